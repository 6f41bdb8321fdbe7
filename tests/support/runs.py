"""What every source's test needs: its API behind a socket, the engine, and each row compared."""

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import uvicorn
from starlette.applications import Starlette

from local.paths import ROOT
from pipeline import ratelimit
from pipeline.config import Source, load_source
from pipeline.http.client import open_client
from pipeline.lake.files import key_rows
from pipeline.lake.manifest import Manifest
from pipeline.lake.stores.base import ObjectStore
from pipeline.run.context import RunContext
from pipeline.run.runner import RunOutcome, run_source
from tests.support.clock import at_once

Row = dict[str, Any]
LIMITS = ratelimit.Limits((ratelimit.RateWindow(10_000, 1.0),), in_flight=8, throttle_wait_s=0.05)
_numbers = count()


class _Server(uvicorn.Server):
    """uvicorn without its waits of tenths of a second, which are minutes for all the tests."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        ticks = count()
        await self.on_tick(next(ticks))
        self.is_up.set()
        while not self._end.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), 0.1)
            await self.on_tick(next(ticks))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        for task in self.server_state.tasks:
            task.cancel()

    def end(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._end.set)


@contextmanager
def serving(
    app: Starlette, *, date_header: bool = True, names_as_written: bool = False
) -> Iterator[str]:
    """The app on loopback while the `with` lasts: its base URL.

    :param date_header: the server sends its time; False: the app may send another one.
    :param names_as_written: the names of headers keep their capital letters.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    server = _Server(
        uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            lifespan="off",
            date_header=date_header,
            http="h11" if names_as_written else "auto",
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        assert server.is_up.wait(30)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.end()
        thread.join(10)
        listener.close()


def shipped(name: str, env: Mapping[str, str]) -> Source:
    """A source as it ships, with settings."""
    return load_source(ROOT / "sources" / f"{name}.yaml", env)


def days_from(first: str, number: int) -> list[str]:
    return [(date.fromisoformat(first) + timedelta(days=i)).isoformat() for i in range(number)]


def instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def outcome_of(
    source: Source,
    lake: ObjectStore,
    endpoint: str | Sequence[str],
    days: Sequence[str],
    now: datetime,
    run_id: str | None = None,
    sleep: Callable[[float], Awaitable[None]] = at_once,
    attempt: int = 1,
) -> tuple[RunOutcome, int]:
    """Run the engine: what came of it, and how many requests that took.

    :param run_id: of an earlier try of the same run; else a run of its own.
    :param sleep: the pauses between an end and its confirmation. :param attempt: at this step.
    """

    async def main() -> tuple[RunOutcome, int]:
        outcome = RunOutcome()
        async with open_client(
            source, ratelimit.open_budget(source.source, LIMITS, "memory")
        ) as client:
            run = RunContext(
                source,
                lake,
                client,
                run_id or f"run-{next(_numbers)}",
                lambda: now,
                sleep=sleep,
                attempt=attempt,
            )
            names = [endpoint] if isinstance(endpoint, str) else endpoint
            await run_source(run, names, days, outcome)
            return outcome, client.requests

    return asyncio.run(main())


def extract(
    source: Source, lake: ObjectStore, endpoint: str, days: Sequence[str], now: datetime
) -> list[Manifest]:
    """The manifests of the days; all are proved, and every check holds."""
    outcome, _ = outcome_of(source, lake, endpoint, days, now)
    if outcome.failed:
        raise outcome.failed[0].error
    manifests = [receipt.manifest for receipt in outcome.results]
    assert [m.partition for m in manifests] == list(days)
    assert all(m.proof.contiguous for m in manifests)
    assert all(check["passed"] for m in manifests for check in m.checks)
    return manifests


def check_rows(source: Source, lake: ObjectStore, manifest: Manifest, rows: Iterable[Row]) -> int:
    """Every row of the partition against those of the API in its window; how many there are.

    :param rows: the API's rows as they should land.
    """
    spec = source.endpoints[manifest.endpoint]
    cursor = spec.cursor or ""
    start, end = manifest.window.start, manifest.window.end
    wanted: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        at = row.get(cursor)
        inside = not spec.incremental or (
            (start is None or (at is not None and at >= start)) and (at is None or at < end)
        )
        if inside:
            wanted[tuple(row[name] for name in spec.key)] = row
    assert manifest.rows == len(wanted)
    if not manifest.files:
        return 0
    names = list(dict.fromkeys([*spec.key, *spec.columns]))
    read = key_rows(lake, manifest.files, names).to_pylist()
    as_json = [name for name, column in spec.columns.items() if column.type == "json"]
    for row in read:
        row.update({name: json.loads(row[name]) for name in as_json if row[name] is not None})
    by_key = {tuple(row[name] for name in spec.key): row for row in read}
    assert len(by_key) == len(read)
    assert by_key.keys() == wanted.keys()
    for key, row in wanted.items():
        assert by_key[key] == {name: row.get(name) for name in names}, key
    return len(by_key)


def landed(source: Source, endpoint: str, rows: Iterable[Row]) -> list[Row]:
    """How rows of the API should land, by the declared paths and types."""
    columns = [
        (name, (column.path or name).split("."), column.type)
        for name, column in source.endpoints[endpoint].columns.items()
    ]
    return [{name: _value(_at(row, path), kind) for name, path, kind in columns} for row in rows]


def _at(row: Any, path: Sequence[str]) -> Any:
    for part in path:
        row = row.get(part) if isinstance(row, dict) else None
    return row


def _value(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "timestamp[ms]":
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=value)
    if kind == "timestamp[iso]":
        return instant(value)
    if kind == "date":
        return date.fromisoformat(value)
    if kind.startswith(("struct<", "list<struct<")):
        return _struct(value, kind)
    return value


def _struct(value: Any, kind: str) -> Any:
    """Objects with the members that are declared, and no others."""
    if isinstance(value, list):
        return [_struct(item, kind) for item in value]
    names = [piece.split(":")[0].strip() for piece in kind.partition("struct<")[2].split(",")]
    return {name: value.get(name) for name in names}
