"""``cache``: what the response cache in a folder holds, and its invalidation."""

import os

from rich.console import Console
from rich.markup import escape

from pipeline.errors import ConfigError
from pipeline.http.response_store import clear, listed


def cache(clearing: bool, source: str | None, pattern: str | None, console: Console) -> int:
    """List or clear entries of ``HEADRACE_CACHE``; 2 if there is none."""
    folder = os.environ.get("HEADRACE_CACHE")
    try:
        if not folder:
            raise ConfigError(
                "HEADRACE_CACHE is not set: expected the folder of the cache; without one, "
                "responses are kept in memory until their process ends"
            )
        if clearing:
            console.print(f"{clear(folder, source, pattern):,} removed", highlight=False)
            return 0
        entries = listed(folder, source, pattern)
    except ConfigError as error:
        console.print(f"[bold red]✗[/] {escape(str(error))}", highlight=False)
        return 2
    for entry in entries:
        size = f"{entry.body_bytes:,} bytes, last used {entry.unused_s:,.0f} s ago"
        console.print(f"{escape(entry.label)}  [dim]{size}[/]", highlight=False)
    console.print(f"{len(entries):,} answers", highlight=False)
    return 0
