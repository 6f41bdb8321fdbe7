"""``validate``: whether all sources of a deployment load, and Dagster takes them. No request is
sent."""

import os

import dagster as dg
from rich.console import Console
from rich.markup import escape

from assets import not_loaded, resolved, source_definitions
from pipeline.config import LoadedSources, load_all
from pipeline.config.settings import Settings
from pipeline.errors import counted
from resources import deployment_resources

_SETTINGS = Settings(lake="s3://lake", sources=(), budget=None)
"""Which lake it is makes no difference to whether a source loads."""


def validate(console: Console) -> int:
    """Load all sources, and print which do not load. :return: 1 if one does not."""
    places = (os.environ.get("HEADRACE_SOURCES") or "sources").split(":")
    loaded, _ = resolved(load_all([place for place in places if place], os.environ), _definitions)
    for source in loaded.sources:
        endpoints = counted(len(source.endpoints), "endpoint")
        console.print(f"[green]✓[/] {source.source}: {endpoints}")
    for broken in loaded.broken:
        console.print(f"[bold red]✗[/] {broken.name} does not load:", highlight=False)
        console.print(f"  {escape(broken.reason)}", highlight=False)
    return int(bool(loaded.broken))


def _definitions(loaded: LoadedSources) -> dg.Definitions:
    broken = [not_loaded(each) for each in loaded.broken]
    return dg.Definitions.merge(
        source_definitions(loaded.sources, lake_url=_SETTINGS.lake, budget=None, broken=broken),
        dg.Definitions(resources=deployment_resources(_SETTINGS)),
    )
