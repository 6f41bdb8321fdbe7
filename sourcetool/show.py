"""What was seen, for a person: in colour on a terminal, plain elsewhere."""

from collections import Counter
from collections.abc import Sequence

import pyarrow.compute as pc
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.decode.types import type_text
from sourcetool.doubt import Doubt
from sourcetool.findings import rate_headers
from sourcetool.probe import Seen


def show(console: Console, seen: Seen, found: Sequence[Doubt]) -> None:
    """One endpoint."""
    of = "" if seen.of is None else f" of {escape(str(seen.of))}"
    console.rule(f"[bold]{seen.name}{of}")
    for name, text in _facts(seen):
        console.print(f"  [cyan]{name:<9}[/] {escape(text)}", highlight=False)
    if seen.pages and seen.pages[0].table.num_rows:
        console.print(_columns(seen))
    for doubt in found:
        mark = "[bold red]✗[/]" if doubt.breaks else "[yellow]?[/]"
        console.print(f"  {mark} {escape(doubt.text)}\n    [dim]→ {escape(doubt.remedy)}[/]")
    if not found:
        console.print("  [green]✓[/] nothing to doubt")


def _facts(seen: Seen) -> list[tuple[str, str]]:
    statuses = Counter(answer.status for answer in seen.answers)
    said = ", ".join(f"{n} × {status}" for status, n in statuses.items()) or "none"
    size = sum(len(answer.body) for answer in seen.answers)
    facts = [("answers", f"{said}, {size:,} bytes")]
    if not seen.pages:
        return facts
    head = seen.pages[0].info
    total = head.total if seen.counted is None else seen.counted
    of = f" of {total:,}" if total is not None else ""
    rows = " + ".join(f"{page.info.rows:,}" for page in seen.pages)
    facts.append(("rows", f"{rows}{of}, {seen.endpoint.paging.limit:,} a page asked for"))
    keys = "; ".join(f"{page.info.first} … {page.info.last}" for page in seen.pages)
    facts.append(("key", f"{', '.join(seen.endpoint.key)}: {keys}"))
    facts.append(("window", _window(seen)))
    following = "a link" if head.url else "a token" if head.token else None
    by = "by count" if total is not None else "by the next number"
    facts.append(("next", following or (by if len(seen.pages) > 1 else "none")))
    told = rate_headers(seen.answers[-1].headers)
    facts.append(("limits", ", ".join(f"{k}: {v}" for k, v in told.items()) or "none told"))
    return facts


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
    dropped = f", {beyond:,} rows beyond it dropped" if beyond > 0 else ""
    return f"{asked}: rows from {low} to {high}{dropped}"


def _columns(seen: Seen) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
    for title, least in (("column", 16), ("type", 14), ("", 8), ("first value", 8)):
        table.add_column(title, overflow="ellipsis", no_wrap=True, min_width=least, max_width=44)
    page = seen.pages[0].table
    for field in page.schema:
        if field.name.startswith("_extracted"):
            continue
        how = "declared" if field.name in seen.endpoint.columns else "inferred"
        value = next((v.as_py() for v in page[field.name] if v.is_valid), None)
        table.add_row(field.name, type_text(field.type), how, escape(str(value)))
    return table
