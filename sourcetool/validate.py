"""``validate``: whether all sources of a deployment load. No request is sent."""

import os

from rich.console import Console
from rich.markup import escape

from pipeline.config import load_all
from pipeline.errors import counted


def validate(console: Console) -> int:
    """Load all sources, and print which do not load. :return: 1 if one does not."""
    places = (os.environ.get("HEADRACE_SOURCES") or "sources").split(":")
    loaded = load_all([place for place in places if place], os.environ)
    for source in loaded.sources:
        endpoints = counted(len(source.endpoints), "endpoint")
        console.print(f"[green]✓[/] {source.source}: {endpoints}")
    for broken in loaded.broken:
        console.print(f"[bold red]✗[/] {broken.name} does not load:", highlight=False)
        console.print(f"  {escape(broken.reason)}", highlight=False)
    return int(bool(loaded.broken))
