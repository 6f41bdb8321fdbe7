"""Real Redis and Postgres servers from the machine's own binaries, on free loopback ports."""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
def _running(process: "subprocess.Popen[bytes]", port: int) -> Iterator[None]:
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
        process.terminate()
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


@contextmanager
def postgres_url() -> Iterator[str]:
    """Postgres refuses to run as root, so root starts it as ``nobody``."""
    _need("psycopg")
    initdb, postgres = _binary("initdb"), _binary("postgres")
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
        serve = [postgres, "-D", data, "-p", str(port), "-k", folder, "-F", "-h", "127.0.0.1"]
        process = subprocess.Popen(serve, stdout=quiet, stderr=quiet, user=user, cwd=folder)
        with _running(process, port):
            yield f"postgresql://headrace@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
