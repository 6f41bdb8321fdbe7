"""What the examples share: a server on loopback, and a file that sets a shell's variables."""

import os
import shlex
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from local.instance import prepare_home
from local.services import S3
from local.settings import LAKE

HOST = "127.0.0.1"


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


def serve(app: Any, port: int, ready: Callable[[int], None]) -> None:
    """Answer requests until SIGTERM or SIGINT; ``ready`` is told the port.

    :param app: an ASGI application.
    :param port: 0: any free one.
    """
    config = uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=0,
    )
    listener = socket.create_server((HOST, port), backlog=128)
    Server(config, lambda: ready(listener.getsockname()[1])).run(sockets=[listener])


def exports(values: Mapping[str, str], s3: S3, folder: Path) -> str:
    """For `sh`: an example's settings, its lake, its budgets and its instance of Dagster."""
    all_values = s3.env() | {
        "HEADRACE_LAKE": LAKE,
        "HEADRACE_BUDGET": str(folder / "budgets"),
        "DAGSTER_HOME": str(prepare_home(folder / "dagster")),
        **values,
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in all_values.items())


def write(path: Path, text: str) -> None:
    """All at once, and readable by this user only: it may hold the S3 server's key."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
