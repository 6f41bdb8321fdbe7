"""Commands for what a deployment has: its sources, its response cache, its recorded sweeps.

They read the settings by which runs read them, and send no request to an API.
"""

import os

import dagster as dg
from rich.console import Console
from rich.markup import escape

from assets import not_loaded, resolved, source_definitions
from pipeline.config import LoadedSources, load_all
from pipeline.config.settings import Settings, source_folders
from pipeline.errors import ConfigError, HeadraceError, counted
from pipeline.http.response_store import clear, listed
from pipeline.lake.stores.base import open_lake
from pipeline.run.deletions import recorded_sweeps, take_back
from resources import deployment_resources
from sourcetool.show import print_refusal

_REFUSED = 2
_SETTINGS = Settings(lake="s3://lake", sources=(), budget=None)
"""Which lake it is makes no difference to whether a source loads."""


def validate(console: Console) -> int:
    """Load all sources, and print which do not load, or are refused by Dagster.

    :return: 1 if there is one.
    """
    loaded, _ = resolved(load_all(source_folders(os.environ), os.environ), _definitions)
    for source in loaded.sources:
        endpoints = counted(len(source.endpoints), "endpoint")
        console.print(f"[green]✓[/] {source.source}: {endpoints}")
    for broken in loaded.broken:
        print_refusal(console, f"{broken.name} does not load:\n  {broken.reason}")
    return int(bool(loaded.broken))


def _definitions(loaded: LoadedSources) -> dg.Definitions:
    broken = [not_loaded(each) for each in loaded.broken]
    return dg.Definitions.merge(
        source_definitions(loaded.sources, lake_url=_SETTINGS.lake, budget=None, broken=broken),
        dg.Definitions(resources=deployment_resources(_SETTINGS)),
    )


def cache(source: str | None, pattern: str | None, console: Console, *, clearing: bool) -> int:
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
        print_refusal(console, str(error))
        return _REFUSED
    for entry in entries:
        size = f"{entry.body_bytes:,} bytes, last used {entry.unused_s:,.0f} s ago"
        console.print(f"{escape(entry.label)}  [dim]{size}[/]", highlight=False)
    console.print(f"{len(entries):,} responses", highlight=False)
    return 0


def sweeps(endpoint: str, instant: str | None, console: Console) -> int:
    """List the recorded sweeps, or remove the record of one: its keys are there again.

    :param endpoint: ``SOURCE/ENDPOINT``.
    :param instant: of the sweep to take back; None lists them. Returns 2 if that can't be done.
    """
    source, _, name = endpoint.partition("/")
    try:
        if not name:
            raise ConfigError(f"`{endpoint}` has no `/`; expected SOURCE/ENDPOINT")
        lake = open_lake(Settings.read(os.environ).lake)
        if instant is not None:
            keys = take_back(lake, source, name, instant)
            console.print(f"sweep {escape(instant)} taken back: {keys:,} keys", highlight=False)
            return 0
        instants = recorded_sweeps(lake, source, name)
    except HeadraceError as error:
        print_refusal(console, str(error))
        return _REFUSED
    for each in instants:
        console.print(escape(each), highlight=False)
    console.print(f"{len(instants):,} sweeps", highlight=False)
    return 0
