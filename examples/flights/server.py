"""Datasette over the flights, on loopback, until it is told to stop."""

from collections.abc import Callable
from pathlib import Path

from datasette.app import Datasette

from examples import serving

MAX_ROWS = 1_000
"""Rows in one answer at most. Datasette refuses a ``_size`` beyond it."""

SETTINGS = {
    "max_returned_rows": MAX_ROWS,
    "sql_time_limit_ms": 10_000,  # its default of 1 s is short on a busy machine
    "suggest_facets": False,
    "num_sql_threads": 4,
}


def serve(database: Path, port: int, ready: Callable[[int], None]) -> None:
    """Answer requests until SIGTERM or SIGINT; ``ready`` is told the port."""
    datasette = Datasette([], immutables=[str(database)], settings=SETTINGS)
    serving.serve(datasette.app(), port, ready)
