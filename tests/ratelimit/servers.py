"""Real Redis and Postgres servers from the machine's own binaries, on free loopback ports."""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _binary(name: str) -> str:
    found = shutil.which(name)
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        found = found or shutil.which(name, path=str(folder))
    if found is None:
        pytest.skip(f"{name} is not installed on this machine")
    return found


def _need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the optional package {package} is not installed")


@contextmanager
def _running(
    process: "subprocess.Popen[bytes]", port: int, ended_by: signal.Signals = signal.SIGTERM
) -> Iterator[None]:
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "the server ended at once"
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.02)
        yield
    finally:
        process.send_signal(ended_by)
        process.wait(20)


@contextmanager
def redis_url(port: int | None = None) -> Iterator[str]:
    _need("redis")
    server = _binary("redis-server")  # before there is a folder: without it the test is skipped
    port, folder = port or free_port(), tempfile.mkdtemp(prefix="headrace-redis-")
    command = [server, "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--save", "", "--dir", folder]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with _running(process, port):
            yield f"redis://127.0.0.1:{port}/0"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Postgres:
    """A server that a test may stop and start again.

    :ivar url: its address, the same after a restart.
    """

    def __init__(self, serve: Callable[[], AbstractContextManager[str]]) -> None:
        self._serve = serve
        self._running = ExitStack()
        self.url = ""

    def start(self) -> None:
        self.url = self._running.enter_context(self._serve())

    def stop(self) -> None:
        self._running.close()


@contextmanager
def postgres_url() -> Iterator[str]:
    """A Postgres that runs as long as this."""
    with postgres() as server:
        yield server.url


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Postgres refuses to run as root, so root starts it as ``nobody``."""
    _need("psycopg")
    initdb, binary = _binary("initdb"), _binary("postgres")
    port, folder = free_port(), tempfile.mkdtemp(prefix="headrace-postgres-")
    user: str | None = None
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        user = nobody.pw_name
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    data = f"{folder}/data"
    init = [initdb, "-D", data, "-U", "headrace", "-A", "trust", "-N", "--locale=C"]
    quiet = subprocess.DEVNULL
    try:
        subprocess.run(init, check=True, stdout=quiet, stderr=quiet, user=user, cwd=folder)
        command = [binary, "-D", data, "-p", str(port), "-k", folder, "-F", "-h", "127.0.0.1"]

        @contextmanager
        def serve() -> Iterator[str]:
            process = subprocess.Popen(command, stdout=quiet, stderr=quiet, user=user, cwd=folder)
            with _running(process, port, signal.SIGINT):  # it ends its sessions, and does not wait
                yield f"postgresql://headrace@127.0.0.1:{port}/postgres"

        server = Postgres(serve)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
