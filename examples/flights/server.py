"""Datasette over the flights, on loopback, until it is told to stop."""

import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn
from datasette.app import Datasette

HOST = "127.0.0.1"
MAX_ROWS = 1_000
"""Rows in one answer at most. Datasette refuses a ``_size`` beyond it."""

SETTINGS = {
    "max_returned_rows": MAX_ROWS,
    "sql_time_limit_ms": 10_000,  # its default of 1 s is short on a busy machine
    "suggest_facets": False,
    "num_sql_threads": 4,
}


class Server(uvicorn.Server):
    """uvicorn's, which says when it is ready and stops at once."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = self.force_exit = True


def serve(database: Path, port: int, ready: Callable[[int], None]) -> None:
    """Answer requests until SIGTERM or SIGINT; ``ready`` is told the port."""
    datasette = Datasette([], immutables=[str(database)], settings=SETTINGS)
    config = uvicorn.Config(
        datasette.app(),
        log_level="critical",
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=0,
    )
    listener = socket.create_server((HOST, port), backlog=128)
    Server(config, lambda: ready(listener.getsockname()[1])).run(sockets=[listener])
