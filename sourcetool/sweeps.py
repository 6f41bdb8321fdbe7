"""``sweeps``: the sweeps of an endpoint that have a record, and taking one back."""

import os

from rich.console import Console
from rich.markup import escape

from pipeline.errors import ConfigError, HeadraceError
from pipeline.lake.stores.base import open_lake
from pipeline.run.deletions import recorded_sweeps, take_back


def sweeps(endpoint: str, instant: str | None, console: Console) -> int:
    """List the recorded sweeps, or remove the record of one: its keys are there again.

    :param endpoint: ``SOURCE/ENDPOINT``.
    :param instant: of the sweep to take back; None lists them. Returns 2 if that can't be done.
    """
    source, _, name = endpoint.partition("/")
    try:
        url = os.environ.get("HEADRACE_LAKE")
        if not url or not name:
            missing = "`HEADRACE_LAKE` is not set" if not url else f"`{endpoint}` has no `/`"
            raise ConfigError(f"{missing}; expected HEADRACE_LAKE=s3://… and SOURCE/ENDPOINT")
        lake = open_lake(url)
        if instant is not None:
            keys = take_back(lake, source, name, instant)
            console.print(f"sweep {escape(instant)} taken back: {keys:,} keys", highlight=False)
            return 0
        instants = recorded_sweeps(lake, source, name)
    except HeadraceError as error:
        console.print(f"[bold red]✗[/] {escape(str(error))}", highlight=False)
        return 2
    for each in instants:
        console.print(escape(each), highlight=False)
    console.print(f"{len(instants):,} sweeps", highlight=False)
    return 0
