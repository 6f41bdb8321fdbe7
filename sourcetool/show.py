"""A refusal, or what a command has seen of an API, for a person and for a program: the verdict
first, then what it rests on.
"""

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
from pipeline.decode.value_text import value_text
from pipeline.errors import counted, printable
from sourcetool.bounds import Finding
from sourcetool.findings import rate_headers, written_as_text
from sourcetool.probe import ProbeResult

_MARKS = {"broken": "[bold red]✗[/]", "doubtful": "[yellow]?[/]", "sound": "[green]✓[/]"}
_VALUE_CHARS = 44


@dataclass(frozen=True)
class Inspection:
    """An endpoint that was looked at, and what is doubtful about it."""

    probe: ProbeResult
    doubts: Sequence[Finding]

    @property
    def verdict(self) -> str:
        """``sound``, ``doubtful``, or ``broken``: rows would be lost or mixed up."""
        if any(doubt.breaks for doubt in self.doubts):
            return "broken"
        return "doubtful" if self.doubts else "sound"

    @property
    def rows(self) -> str:
        return _rows(self.probe) if self.probe.pages else "no page"


def print_refusal(console: Console, text: str) -> None:
    """Say why a command does nothing. What an API or a document says stays text: no markup."""
    console.print(f"{_MARKS['broken']} {escape(printable(text))}", highlight=False)


def show(console: Console, source: Source, inspections: Sequence[Inspection]) -> None:
    """The verdict of each endpoint with its doubts, then the details."""
    counts = Counter(each.verdict for each in inspections)
    worst = next((name for name in _MARKS if counts[name]), "sound")
    of = f"{len(inspections)} endpoint{'s' * (len(inspections) != 1)}"
    sentences = {
        "broken": f"{counts['broken']} of {of} would lose or mix up rows",
        "doubtful": f"{counts['doubtful']} of {of} to look at again",
        "sound": f"nothing to doubt in {of}",
    }[worst]
    console.print(f"{_MARKS[worst]} [bold]{source.source}[/]: {sentences}", highlight=False)
    width = max((len(each.probe.name) for each in inspections), default=0)
    for each in inspections:
        name = f"{each.probe.name:<{width}}"
        console.print(f"  {_MARKS[each.verdict]} {name}  {escape(each.rows)}", highlight=False)
        for doubt in each.doubts:
            mark = _MARKS["broken" if doubt.breaks else "doubtful"]
            console.print(f"      {mark} {escape(_in_line(doubt.text))}", highlight=False)
            console.print(f"        [dim]→ {escape(_in_line(doubt.remedy))}[/]", highlight=False)
    for each in inspections:
        _details(console, each.probe)


def as_json(source: Source, inspections: Sequence[Inspection]) -> dict[str, Any]:
    """The verdict and the details of each endpoint, for programs."""
    order = [*_MARKS]
    worst = min((each.verdict for each in inspections), key=order.index, default="sound")
    return {
        "source": source.source,
        "base_url": source.shown_url,
        "verdict": worst,
        "endpoints": [
            {
                "name": each.probe.name,
                "verdict": each.verdict,
                "doubts": [asdict(doubt) for doubt in each.doubts],
                "rows": each.probe.rows,
                "facts": dict(_facts(each.probe)),
                "columns": {name: kind for name, kind, _, _ in _columns(each.probe)},
            }
            for each in inspections
        ],
    }


def _details(console: Console, probe: ProbeResult) -> None:
    of = "" if probe.of is None else f" of {escape(str(probe.of))}"
    console.rule(f"[bold]{probe.name}{of}", align="left")
    for name, text in _facts(probe):
        console.print(f"  [cyan]{name:<9}[/] {escape(_in_line(text))}", highlight=False)
    if not (rows := _columns(probe)):
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
    for title, least in (("column", 16), ("type", 14), ("", 8), ("first value", 8)):
        table.add_column(title, overflow="ellipsis", no_wrap=True, min_width=least, max_width=44)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def _in_line(text: str) -> str:
    return printable(text).replace("\n", " ")


def _rows(probe: ProbeResult) -> str:
    head = probe.pages[0].info
    total = head.total if probe.counted is None else probe.counted
    of = f" of {total:,}" if total is not None else ""
    rows = " + ".join(f"{page.info.rows:,}" for page in probe.pages)
    if probe.endpoint.paging.one_page:
        return f"{rows}{of}"
    return f"{rows}{of}, {probe.endpoint.paging.limit:,} a page requested"


def _facts(probe: ProbeResult) -> list[tuple[str, str]]:
    statuses = Counter(response.status for response in probe.responses)
    statuses_text = ", ".join(f"{n} × {status}" for status, n in statuses.items()) or "none"
    size = sum(len(response.body) for response in probe.responses)
    facts = [("responses", f"{statuses_text}, {size:,} bytes")]
    if not probe.pages:
        return facts
    head = probe.pages[0].info
    total = head.total if probe.counted is None else probe.counted
    facts.append(("rows", _rows(probe)))
    facts.append(("key", f"{', '.join(probe.endpoint.key) or 'none'}: {_keys(probe)}"))
    facts.append(("window", _window(probe)))
    following = "a link" if head.url else "a token" if head.token else None
    by = "by count" if total is not None else "by the next number"
    facts.append(("next", following or (by if len(probe.pages) > 1 else "none")))
    limits = rate_headers(probe.responses[-1].headers)
    facts.append(
        ("limits", ", ".join(f"{k}: {v}" for k, v in limits.items()) or "the headers say none")
    )
    if texts := written_as_text(probe):
        facts.append(
            ("written", f"otherwise than declared, and read all the same: {', '.join(texts)}")
        )
    return facts


def _keys(probe: ProbeResult) -> str:
    """The first and the last key of each page, all columns of it."""
    names = [name for name in probe.endpoint.key if name not in probe.endpoint.value_columns]
    spans = []
    for page in probe.pages:
        table = page.table
        if table.num_rows and all(name in table.column_names for name in names):
            ends = (
                "/".join(value_text(table[name][at].as_py()) for name in names)
                for at in (0, table.num_rows - 1)
            )
            spans.append(" … ".join(ends))
    return "; ".join(spans) or "no row"


def _window(probe: ProbeResult) -> str:
    cursor, window = probe.endpoint.cursor, probe.window
    if probe.endpoint.parents is not None and not probe.endpoint.incremental:
        return f"that of {probe.endpoint.parents.endpoint}"
    if cursor is None or window.start is None:
        return "a snapshot: the whole collection"
    window_text = f"{cursor} from {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}"
    tables = [page.table[cursor] for page in probe.pages if page.table.num_rows]
    if not tables:
        return f"{window_text}: no row"
    low = min(pc.min(column).as_py() for column in tables)
    high = max(pc.max(column).as_py() for column in tables)
    beyond = sum(page.outside for page in probe.pages)
    dropped = f", {counted(beyond, 'row')} beyond it dropped" if beyond > 0 else ""
    return f"{window_text}: rows from {value_text(low)} to {value_text(high)}{dropped}"


def _columns(probe: ProbeResult) -> list[tuple[str, str, str, str]]:
    """Name, type, where the type is from, first value."""
    columns: list[tuple[str, str, str, str]] = []
    table = next((page.table for page in probe.pages if page.table.num_rows), None)
    if table is None:
        return columns
    for field in table.schema:
        if field.name.startswith("_extracted"):
            continue
        how = "declared" if field.name in probe.endpoint.columns else "inferred"
        value = next((v.as_py() for v in table[field.name] if v.is_valid), None)
        shown = _in_line(value_text(value))[: _VALUE_CHARS * 2]
        columns.append((field.name, type_text(field.type), how, shown))
    return columns
