"""Run the emulator as a child process, for tests, demos and benchmarks."""

import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson

ROOT = Path(__file__).resolve().parent.parent
READY_S = 180.0
STOP_S = 5.0


class Emulator:
    """A running emulator: where it is, and its control API."""

    def __init__(self, pid: int, port: int, client_id: str, client_secret: str) -> None:
        self.pid = pid
        self.port = port
        self.client_id = client_id
        self.client_secret = client_secret
        self.origin = f"http://127.0.0.1:{port}"
        self.base_url = f"{self.origin}/v4"
        self.token_url = f"{self.origin}/oauth2/token"
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it speaks no TLS: read no certificates
        self._http = httpx.Client(
            base_url=self.origin, timeout=60.0, trust_env=False, verify=nobody
        )

    def close(self) -> None:
        """Close the control connection; the process goes on."""
        self._http.close()

    def env(self) -> dict[str, str]:
        """The IGDB settings of a client of this emulator."""
        return {
            "IGDB_BASE_URL": self.base_url,
            "IGDB_TOKEN_URL": self.token_url,
            "IGDB_CLIENT_ID": self.client_id,
            "IGDB_CLIENT_SECRET": self.client_secret,
        }

    def control(self, path: str, payload: Any = None, method: str | None = None) -> Any:
        """Call `/_control/{path}`: POST if there is a payload, else GET. ValueError on a 4xx."""
        verb = method or ("GET" if payload is None else "POST")
        reply = self._http.request(verb, f"/_control/{path}", json=payload)
        if reply.status_code >= 400:
            raise ValueError(f"{verb} /_control/{path}: {reply.status_code} {reply.text}")
        return orjson.loads(reply.content)

    def stats(self) -> dict[str, Any]:
        """Counts since the start or the last reset."""
        return dict(self.control("stats"))

    def reset(self) -> None:
        """Forget the statistics."""
        self.control("reset", {})

    def rows(self, endpoint: str, where: str | None = None) -> list[dict[str, Any]]:
        """All rows by id, or those that match an Apicalypse condition."""
        query = f"?{httpx.QueryParams({'where': where})}" if where else ""
        return list(self.control(f"rows/{endpoint}{query}"))

    def touch(
        self,
        endpoint: str,
        *,
        ids: Sequence[int] | None = None,
        count: int | None = None,
        updated_at: int | str | None = None,
        set: Mapping[str, object] | None = None,
    ) -> list[int]:
        """Change rows; their ids."""
        return self._change(endpoint, "touch", ids=ids, count=count, updated_at=updated_at, set=set)

    def upsert(
        self,
        endpoint: str,
        *,
        rows: Sequence[Mapping[str, object]] | None = None,
        count: int | None = None,
        updated_at: int | str | None = None,
    ) -> list[int]:
        """Add or replace whole rows, or add `count` invented ones; their ids."""
        return self._change(endpoint, "upsert", rows=rows, count=count, updated_at=updated_at)

    def delete(
        self, endpoint: str, *, ids: Sequence[int] | None = None, count: int | None = None
    ) -> list[int]:
        """Delete rows; their ids."""
        return self._change(endpoint, "delete", ids=ids, count=count)

    def faults(self, *rules: Mapping[str, object]) -> None:
        """Put these fault rules in place of the ones before."""
        self.control("faults", list(rules))

    def clear_faults(self) -> None:
        """No more faults."""
        self.control("faults", method="DELETE")

    def config(self, **changes: object) -> dict[str, Any]:
        """Change settings; all of them as they are now."""
        return dict(self.control("config", changes))

    def revoke_tokens(self) -> int:
        """Kill all tokens; how many there were."""
        return int(self.control("tokens/revoke", {})["revoked"])

    def token(self) -> str:
        """A new token."""
        form = {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "grant_type": "client_credentials",
        }
        reply = self._http.post("/oauth2/token", data=form)
        return str(reply.raise_for_status().json()["access_token"])

    def headers(self) -> dict[str, str]:
        """What an API request needs, with a new token."""
        return {"Client-ID": self.client_id, "Authorization": f"Bearer {self.token()}"}

    def _change(self, endpoint: str, action: str, **given: object) -> list[int]:
        change = {name: value for name, value in given.items() if value is not None}
        found = self.control("rows", {"endpoint": endpoint, "action": action, **change})
        return list(found["ids"])


@contextmanager
def running(
    *,
    games: int = 2_000,
    rows: Mapping[str, int] | None = None,
    client_id: str = "demo",
    client_secret: str = "demo-secret",
    **options: object,
) -> Iterator[Emulator]:
    """An emulator on a free port, gone when the block ends.

    `options` are those of the command line: `rate=0`, `until="2026-01-01"`, `small=False`,
    `multiquery="off"`, `warm=["games"]`.
    """
    sizes = {"games": games, **(rows or {})}
    command = [
        sys.executable, "-m", "emulator", "--parent-pid", str(os.getpid()),
        "--client-id", client_id, "--client-secret", client_secret,
        "--rows", *(f"{name}={count}" for name, count in sizes.items()),
        *_arguments(options),
    ]  # fmt: skip
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory(prefix="emulator-") as folder:
        port_file = Path(folder) / "port"
        command += ["--port-file", str(port_file)]
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            port = _wait_for_port(process, port_file)
            emulator = Emulator(process.pid, port, client_id, client_secret)
            try:
                yield emulator
            finally:
                emulator.close()
        finally:
            _stop(process)


def _arguments(options: Mapping[str, object]) -> Iterator[str]:
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        elif isinstance(value, list | tuple):
            yield from (f"--{flag}", *map(str, value))
        elif value is not None:
            yield from (f"--{flag}", str(value))


def _wait_for_port(process: "subprocess.Popen[bytes]", port_file: Path) -> int:
    deadline = time.monotonic() + READY_S
    while not port_file.exists():
        if process.poll() is not None:
            raise RuntimeError(f"the emulator ended with code {process.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the emulator was not ready after {READY_S} s")
        time.sleep(0.02)
    return int(port_file.read_text())


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
