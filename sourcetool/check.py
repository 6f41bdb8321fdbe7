"""``check``: a source's YAML against its API."""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from pipeline.config import Source, load_source
from pipeline.errors import ConfigError
from pipeline.http.client import open_client
from pipeline.http.request_batching import batching
from resources.budget import BudgetResource, default_budget_folder
from sourcetool.children import look_at_children
from sourcetool.findings import doubts
from sourcetool.probe import Seen, look, window_of
from sourcetool.show import show


def find(name: str, folders: str) -> Path:
    """A YAML file by its path, or by the source's name. :raises ConfigError: there is none."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    for folder in folders.split(":"):
        if Path(folder).suffix in (".yaml", ".yml") and Path(folder).stem == name:
            return Path(folder)
        for ending in (".yaml", ".yml"):
            path = Path(folder) / f"{name}{ending}"
            if path.exists():
                return path
    raise ConfigError(
        f"expected a YAML file or the name of a source, found no {name!r} in {folders}"
    )


def check(name: str, endpoints: Sequence[str], pages: int, days: float, console: Console) -> int:
    """Look at endpoints; 1 if one has a doubt that breaks, 2 if the YAML is wrong."""
    try:
        source = load_source(find(name, os.environ.get("HEADRACE_SOURCES") or "sources"))
        for one in endpoints:
            if one not in source.endpoints:
                known = ", ".join(list(source.endpoints)[:20])
                raise ConfigError(f"{source.source} has no endpoint {one!r}: it has {known}")
    except ConfigError as error:
        console.print(f"[bold red]✗[/] {escape(str(error))}", highlight=False)
        return 2
    names = _upstream_first(source, endpoints or list(source.endpoints))
    console.print(f"[bold]{source.source}[/] at {source.base_url}: the YAML is valid")
    return int(asyncio.run(_look_at_all(source, names, pages, days, console)))


def _upstream_first(source: Source, names: Sequence[str]) -> list[str]:
    """With the endpoints that were not named: their rows say what to ask for."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        for above in source.upstream(name):
            add(above)
        found[name] = None

    for name in names:
        add(name)
    return list(found)


async def _look_at_all(
    source: Source, names: Sequence[str], pages: int, days: float, console: Console
) -> bool:
    where = os.environ.get("HEADRACE_BUDGET") or default_budget_folder()
    broken, all_seen = False, dict[str, Seen]()
    async with (
        open_client(source, BudgetResource(where=where).open(source)) as client,
        batching(client, source) as sender,
    ):
        for name in names:
            window = window_of(source, source.endpoints[name], datetime.now(UTC), days)
            if source.endpoints[name].fans_out:
                seen = await look_at_children(source, name, all_seen, window, sender, pages)
            else:
                seen = await look(source, name, sender, window, pages)
            all_seen[name] = seen
            found = doubts(source, seen)
            show(console, seen, found)
            broken |= any(doubt.breaks for doubt in found)
    return broken
