"""What was seen, for a person and for a program: the verdict first, then what it rests on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.compute as pc
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.config.source import Source
from pipeline.decode.types import type_text
from pipeline.errors import counted
from sourcetool.doubt import Doubt
from sourcetool.findings import rate_headers, written_as_text
from sourcetool.probe import Seen

_MARKS = {"broken": "[bold red]✗[/]", "doubtful": "[yellow]?[/]", "sound": "[green]✓[/]"}
_VALUE_CHARS = 44


@dataclass(frozen=True)
class Looked:
    """An endpoint that was looked at, and what is doubtful about it."""

    seen: Seen
    doubts: Sequence[Doubt]

    @property
    def verdict(self) -> str:
        """``sound``, ``doubtful``, or ``broken``: rows would be lost or mixed up."""
        if any(doubt.breaks for doubt in self.doubts):
            return "broken"
        return "doubtful" if self.doubts else "sound"

    @property
    def rows(self) -> str:
        return _rows(self.seen) if self.seen.pages else "no page"


def show(console: Console, source: Source, found: Sequence[Looked]) -> None:
    """The verdict of each endpoint with its doubts, then the details."""
    counts = Counter(each.verdict for each in found)
    worst = next((name for name in _MARKS if counts[name]), "sound")
    of = f"{len(found)} endpoint{'s' * (len(found) != 1)}"
    said = {
        "broken": f"{counts['broken']} of {of} would lose or mix up rows",
        "doubtful": f"{counts['doubtful']} of {of} to look at again",
        "sound": f"nothing to doubt in {of}",
    }[worst]
    console.print(f"{_MARKS[worst]} [bold]{source.source}[/]: {said}", highlight=False)
    width = max((len(each.seen.name) for each in found), default=0)
    for each in found:
        name = f"{each.seen.name:<{width}}"
        console.print(f"  {_MARKS[each.verdict]} {name}  {escape(each.rows)}", highlight=False)
        for doubt in each.doubts:
            mark = _MARKS["broken" if doubt.breaks else "doubtful"]
            console.print(f"      {mark} {escape(_printable(doubt.text))}", highlight=False)
            console.print(f"        [dim]→ {escape(_printable(doubt.remedy))}[/]", highlight=False)
    for each in found:
        _details(console, each.seen)


def as_json(source: Source, found: Sequence[Looked]) -> dict[str, Any]:
    """The same for programs."""
    order = [*_MARKS]
    worst = min((each.verdict for each in found), key=order.index, default="sound")
    return {
        "source": source.source,
        "base_url": source.base_url,
        "verdict": worst,
        "endpoints": [
            {
                "name": each.seen.name,
                "verdict": each.verdict,
                "doubts": [asdict(doubt) for doubt in each.doubts],
                "rows": each.seen.rows,
                "facts": dict(_facts(each.seen)),
                "columns": {name: kind for name, kind, _, _ in _columns(each.seen)},
            }
            for each in found
        ],
    }


def _details(console: Console, seen: Seen) -> None:
    of = "" if seen.of is None else f" of {escape(str(seen.of))}"
    console.rule(f"[bold]{seen.name}{of}", align="left")
    for name, text in _facts(seen):
        console.print(f"  [cyan]{name:<9}[/] {escape(_printable(text))}", highlight=False)
    if not (rows := _columns(seen)):
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
    for title, least in (("column", 16), ("type", 14), ("", 8), ("first value", 8)):
        table.add_column(title, overflow="ellipsis", no_wrap=True, min_width=least, max_width=44)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def _printable(text: str) -> str:
    """A terminal obeys control characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def _rows(seen: Seen) -> str:
    head = seen.pages[0].info
    total = head.total if seen.counted is None else seen.counted
    of = f" of {total:,}" if total is not None else ""
    rows = " + ".join(f"{page.info.rows:,}" for page in seen.pages)
    return f"{rows}{of}, {seen.endpoint.paging.limit:,} a page requested"


def _facts(seen: Seen) -> list[tuple[str, str]]:
    statuses = Counter(answer.status for answer in seen.answers)
    said = ", ".join(f"{n} × {status}" for status, n in statuses.items()) or "none"
    size = sum(len(answer.body) for answer in seen.answers)
    facts = [("responses", f"{said}, {size:,} bytes")]
    if not seen.pages:
        return facts
    head = seen.pages[0].info
    total = head.total if seen.counted is None else seen.counted
    facts.append(("rows", _rows(seen)))
    facts.append(("key", f"{', '.join(seen.endpoint.key) or 'none'}: {_keys(seen)}"))
    facts.append(("window", _window(seen)))
    following = "a link" if head.url else "a token" if head.token else None
    by = "by count" if total is not None else "by the next number"
    facts.append(("next", following or (by if len(seen.pages) > 1 else "none")))
    told = rate_headers(seen.answers[-1].headers)
    facts.append(("limits", ", ".join(f"{k}: {v}" for k, v in told.items()) or "none told"))
    if texts := written_as_text(seen):
        facts.append(
            ("written", f"otherwise than declared, and read all the same: {', '.join(texts)}")
        )
    return facts


def _keys(seen: Seen) -> str:
    """The first and the last key of each page, all columns of it."""
    names = [name for name in seen.endpoint.key if name not in seen.endpoint.value_columns]
    spans = []
    for page in seen.pages:
        table = page.table
        if table.num_rows and all(name in table.column_names for name in names):
            ends = (
                "/".join(str(table[name][at].as_py()) for name in names)
                for at in (0, table.num_rows - 1)
            )
            spans.append(" … ".join(ends))
    return "; ".join(spans) or "no row"


def _window(seen: Seen) -> str:
    cursor, window = seen.endpoint.cursor, seen.window
    if seen.endpoint.parents is not None and not seen.endpoint.incremental:
        return f"that of {seen.endpoint.parents.endpoint}"
    if cursor is None or window.start is None:
        return "a snapshot: the whole collection"
    asked = f"{cursor} from {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}"
    tables = [page.table[cursor] for page in seen.pages if page.table.num_rows]
    if not tables:
        return f"{asked}: no row"
    low = min(pc.min(column).as_py() for column in tables)
    high = max(pc.max(column).as_py() for column in tables)
    beyond = sum(page.outside for page in seen.pages)
    dropped = f", {counted(beyond, 'row')} beyond it dropped" if beyond > 0 else ""
    return f"{asked}: rows from {low} to {high}{dropped}"


def _columns(seen: Seen) -> list[tuple[str, str, str, str]]:
    """Name, type, where the type is from, first value."""
    found: list[tuple[str, str, str, str]] = []
    table = next((page.table for page in seen.pages if page.table.num_rows), None)
    if table is None:
        return found
    for field in table.schema:
        if field.name.startswith("_extracted"):
            continue
        how = "declared" if field.name in seen.endpoint.columns else "inferred"
        value = next((v.as_py() for v in table[field.name] if v.is_valid), None)
        shown = _printable(str(value))[: _VALUE_CHARS * 2]
        found.append((field.name, type_text(field.type), how, shown))
    return found
