"""`python -m emulator`: run the emulator until it is stopped."""

import argparse
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import uvicorn

from emulator.data import Timeline
from emulator.parent import exit_with
from emulator.schema import ENDPOINTS, sizes
from emulator.server import create_app
from emulator.settings import EmulatorSettings
from emulator.store import Store
from emulator.wire import Protocol

SWITCH_INTERVAL_S = 0.001
"""So short that making rows in the data thread does not delay when requests are seen."""


class Server(uvicorn.Server):
    """uvicorn's, which says when it is ready and stops at once."""

    def __init__(self, config: uvicorn.Config, port_file: Path | None) -> None:
        super().__init__(config)
        self._port_file = port_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        port = sockets[0].getsockname()[1] if sockets else 0
        if self._port_file is not None:
            partial = self._port_file.with_name(f"{self._port_file.name}.{os.getpid()}")
            partial.write_text(f"{port}\n")
            partial.replace(self._port_file)
        print(f"IGDB emulator: http://{self.config.host}:{port}/v4", flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = self.force_exit = True


def main(argv: list[str] | None = None) -> None:
    """Parse the options and serve."""
    options = _parser().parse_args(argv)
    if options.parent_pid:
        exit_with(options.parent_pid)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    until_s = int(options.until.timestamp()) if options.until else int(time.time())
    rows = dict(options.rows)
    games = rows.pop("games", 2_000)
    store = Store(
        sizes(games, rows, small=options.small),
        options.seed,
        Timeline(until_s, options.daily_share),
    )
    settings = EmulatorSettings(
        rate=options.rate,
        per_s=options.per_s,
        in_flight=options.in_flight,
        latency_s=options.latency_s,
        jitter_s=options.jitter_s,
        expires_in_s=options.expires_in_s,
        multiquery=options.multiquery == "on",
        gzip=options.gzip == "on",
        retry_after=options.retry_after,
        retry_after_s=options.retry_after_s,
    )
    app = create_app(store, settings, options.client_id, options.client_secret)
    for name in options.warm:
        table = store.table(name)
        for id_ in table.ids:
            table.encoded(id_)
    config = uvicorn.Config(
        app,
        host=options.host,
        http=Protocol,
        loop="asyncio",
        lifespan="off",
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=0,
    )
    listener = socket.create_server((options.host, options.port), backlog=512)
    Server(config, options.port_file).run(sockets=[listener])
    # A plain return would wait for what the data thread is in the middle of.
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emulator",
        description="A strict local IGDB v4 over synthetic data.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0: any free one")
    add("--port-file", type=Path, metavar="PATH", help="gets the port once requests are served")
    add("--parent-pid", type=int, default=0, metavar="PID", help="exit when this process is gone")
    add("--client-id", default="demo")
    add("--client-secret", default="demo-secret")

    limits = parser.add_argument_group("limits").add_argument
    limits("--rate", type=int, default=4, help="requests in any window; 0: no limit")
    limits("--per-s", type=float, default=1.0, help="the window, in seconds")
    limits("--in-flight", type=int, default=8, help="open requests; 0: no limit")
    limits("--latency-s", type=float, default=0.0, help="a request stays open this much longer")
    limits("--jitter-s", type=float, default=0.0, help="requests arrive late by this ± this")
    limits("--expires-in-s", type=float, default=5_587_808, help="life of a token")
    limits("--retry-after", choices=("none", "seconds", "date"), default="none", help="on a 429")
    limits("--retry-after-s", type=float, default=1.0)
    limits("--multiquery", choices=("on", "off"), default="on", help="off: 403")
    limits("--gzip", choices=("on", "off"), default="on")

    data = parser.add_argument_group("data").add_argument
    data("--rows", type=_rows, nargs="*", default=[], metavar="ENDPOINT=N",
         help="how many rows; games default to 2000, the others follow games")  # fmt: skip
    data("--small", action=argparse.BooleanOptionalAction, default=True,
         help="shrink the other endpoints to about twice the games in all")  # fmt: skip
    data("--seed", type=int, default=1)
    data("--until", type=_moment, metavar="ISO", help="no row changed at or after; default: now")
    data("--daily-share", type=float, default=0.003, help="of the rows, changed on each late day")
    data("--warm", nargs="*", default=[], metavar="ENDPOINT", choices=sorted(ENDPOINTS),
         help="make these rows before serving: for measuring at full pace")  # fmt: skip
    return parser


def _rows(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    if name not in ENDPOINTS or not count.isdigit() or int(count) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected an endpoint, =, and at least 1")
    return name, int(count)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


if __name__ == "__main__":
    main()
