"""A budget in a Postgres that a deployment has anyway: for several machines.

The cells are one ``bytea`` of a row in ``headrace_budgets``, and the row's lock serializes the
users: the same law as everywhere, two round trips an update. The clock is the server's, and only
waits leave this module. A place in flight is an advisory lock of the session: the server frees it
when the connection ends, however it ends. Such locks are re-entrant, so a place that this session
holds is never asked for again. A new connection takes the places that are in use before any other,
and what was lost with the old one is asked for once more. A pooler in transaction mode would lose
such locks: connect to the server itself.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic, time
from typing import Any, TypeVar

from pipeline.errors import ConfigError, Retryable
from pipeline.ratelimit import reservation
from pipeline.ratelimit import state_layout as layout
from pipeline.ratelimit.limits import Limits
from pipeline.ratelimit.reservation import Reservation
from pipeline.ratelimit.stats import Minute
from pipeline.ratelimit.stores import server
from pipeline.ratelimit.stores.base import CellStore, Mark
from pipeline.ratelimit.stores.server import Calls, client_package
from pipeline.ratelimit.usage_histogram import last_hour

log = logging.getLogger("headrace.budget")

T = TypeVar("T")

_CREATE = """
DO $$ BEGIN
    IF to_regclass('headrace_budgets') IS NULL THEN
        PERFORM pg_advisory_xact_lock(4811);
        CREATE UNLOGGED TABLE IF NOT EXISTS headrace_budgets
            (name text PRIMARY KEY, state bytea NOT NULL) WITH (fillfactor = 50);
        ALTER TABLE headrace_budgets ALTER COLUMN state SET STORAGE EXTERNAL;
    END IF;
END $$
"""
_ADD = "INSERT INTO headrace_budgets VALUES (%s, '') ON CONFLICT DO NOTHING"
# The clock is read after the lock is granted, not while it is waited for.
_LOCK = """
WITH locked AS MATERIALIZED (SELECT state FROM headrace_budgets WHERE name = %s FOR UPDATE)
SELECT state, extract(epoch FROM clock_timestamp())::float8 FROM locked
"""
_LOOK = """
SELECT state, extract(epoch FROM clock_timestamp())::float8 FROM headrace_budgets WHERE name = %s
"""
_FULL_SEEN = """
SELECT substring(state FROM %s FOR 8), extract(epoch FROM clock_timestamp())::float8
FROM headrace_budgets WHERE name = %s
"""
_WRITE = "UPDATE headrace_budgets SET state = %s WHERE name = %s"
_UNREADABLE = "HEADRACE_BUDGET is not a Postgres URL that can be read."
_FAILS = (
    "The budget's store, Postgres, does not do as asked ({}): is HEADRACE_BUDGET right, is the "
    "server up, may this user create a table?"
)
_NOTHING: dict[int, int | None] = {}
_PLACE = """
SELECT place FROM unnest(%s::int[]) AS place WHERE pg_try_advisory_lock(%s, place) LIMIT 1
"""
_SESSION = """
SET synchronous_commit = off; SET idle_in_transaction_session_timeout = '5s'; SET jit = off
"""


class PostgresStore(CellStore):
    """One user's access, over one connection.

    ``_held`` has the number of a lock by the name of a hold; None: lost with a connection, and
    nothing was free. So what is freed late frees nothing that was taken since.
    """

    poll_s = (0.01, 0.1)

    def __init__(self, name: str, limits: Limits, share: float, url: str) -> None:
        super().__init__(name, limits, share)
        self._psycopg = client_package("psycopg", "Postgres", "psycopg[binary]")
        self._url = url
        self._connection: Any = None
        self._shape = 0.0
        self._held: dict[int, int | None] = {}
        self._serial = 0
        self._class = zlib.crc32(name.encode()) - 2**31
        self._calls = Calls()

    async def open(self) -> None:
        self._turn = asyncio.Lock()
        async with self._turn, self._state(follow=False):
            pass

    async def close(self) -> None:
        await self._calls.ended()
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[tuple[memoryview[float], float]]:
        async with self._turn, self._state(follow=True) as state:
            yield state

    async def take(self, ticket: float | None) -> Reservation:
        return await self._asked(partial(super().take, ticket))

    def give_back(self, ticket: float) -> None:
        self._calls.background(self._give_back(ticket))

    async def left(self, mark: Mark, late_s: float) -> Mark:
        return await self._asked(partial(super().left, mark, late_s))

    async def forget(self, marks: Sequence[Mark]) -> None:
        await self._asked(partial(super().forget, marks))

    async def throttled(self, wait_s: float | None) -> None:
        await self._asked(partial(super().throttled, wait_s))

    async def block(self, wait_s: float) -> None:
        await self._asked(partial(super().block, wait_s))

    async def tell(self, requests: int, per_s: float) -> None:
        await self._asked(partial(super().tell, requests, per_s))

    async def take_one(self) -> int | None:
        return await self._calls.whole(self._again(self._take_one), self._undo_place)

    async def look(self) -> None:
        await self._asked(self._look)

    async def want(self) -> None:
        await self._asked(super().want)

    def own(self, place: int) -> bool:
        return super().own(self._held.get(place) or 0)

    def free_place(self, place: int) -> None:
        self._calls.background(self._free_place(place))

    async def _give_back(self, ticket: float) -> None:
        async with self.locked() as (cells, _):
            reservation.give_back(cells, ticket, self.share)

    async def _asked(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await self._calls.whole(self._again(ask), lambda _: None)

    async def _again(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Again if the connection is lost: what was done twice costs a slot at most."""
        until, again = monotonic() + server.ANSWER_S, False
        while True:
            try:
                return await ask()
            except Retryable:
                if self._connection is not None or (again and monotonic() > until):
                    raise
            again = True
            await asyncio.sleep(server.AGAIN_S)

    async def _take_one(self) -> int | None:
        async with self._turn, self._connected() as connection:
            if None in self._held.values():
                await self._hold_again(connection)
            if None in self._held.values() or (place := await self._lock_one(connection)) is None:
                return None
            self._serial += 1
            self._held[self._serial] = place
            return self._serial

    async def _look(self) -> None:
        at = 8 * layout.FULL_SEEN_AT + 1
        async with self._turn, self._connected() as connection:
            cursor = await connection.execute(_FULL_SEEN, (at, self.name), binary=True)
            row = await cursor.fetchone()
        if row is not None and len(row[0]) == 8:
            self.saw(row[1], memoryview(row[0]).cast("d")[0])

    async def _lock_one(self, connection: Any, first: int | None = None) -> int | None:
        """Lock a place that is free, ``first`` if it can be had."""
        held = self._held.values()
        places = self.places if first is None else range(self.limits.in_flight)
        wanted = [place for place in places if place not in held]
        wanted.sort(key=lambda place: place != first)
        row = await (await connection.execute(_PLACE, (wanted, self._class))).fetchone()
        return None if row is None else int(row[0])

    async def _hold_again(self, connection: Any, before: dict[int, int | None] = _NOTHING) -> None:
        for hold in [hold for hold, place in self._held.items() if place is None]:
            self._held[hold] = await self._lock_one(connection, before.get(hold))

    async def _free_place(self, hold: int) -> None:
        async with self._turn, self._connected() as connection:
            place = self._held.pop(hold, None)
            if place is not None:
                await connection.execute("SELECT pg_advisory_unlock(%s, %s)", (self._class, place))

    def _undo_place(self, place: int | None) -> None:
        if place is not None:
            self.free_place(place)

    @asynccontextmanager
    async def _state(self, *, follow: bool) -> AsyncIterator[tuple[memoryview[float], float]]:
        async with self._connected() as connection, connection.pipeline():
            await connection.execute("BEGIN")
            cursor = await connection.execute(_LOCK, (self.name,), binary=True)
            row = await cursor.fetchone()
            if row is None:
                raise Retryable(f"The budget {self.name} was deleted from Postgres.", wait_s=1.0)
            cells = self._adopt(bytearray(row[0]), row[1], follow)
            yield cells, row[1]
            await connection.execute(_WRITE, (cells.cast("B"), self.name))
            await connection.execute("COMMIT")

    def _adopt(self, state: bytearray, now: float, follow: bool) -> memoryview[float]:
        cells = memoryview(state)[: len(state) // 8 * 8].cast("d")
        if follow and len(cells) > layout.SHAPE and cells[layout.SHAPE] == self._shape:
            return cells
        cells = layout.upgraded(cells)
        flaw = layout.flaw(cells, now)
        if flaw or (not follow and layout.windows(cells) != self.limits.windows):
            new = memoryview(bytearray(8 * layout.size(self.limits))).cast("d")
            if not len(state):
                layout.fresh(new, self.limits, 0.0)
            elif flaw:
                log.warning("the budget %s can't be read (%s): it starts anew", self.name, flaw)
                layout.used_up(new, self.limits, 0.0, now)
            else:
                kept = [cells[i] for i in range(layout.RINGS)]
                layout.carry_over(kept, layout.sent(cells), new, self.limits)
            cells = new
        self._shape = cells[layout.SHAPE]
        self.follow(cells)
        return cells

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        """The connection, made anew if it is broken; one that failed half way is not used again."""
        try:
            new = self._connection is None
            if new:
                self._connection = await self._connect()
            async with asyncio.timeout(server.ANSWER_S):
                if new:
                    await self._begin(self._connection)
                yield self._connection
        except (self._psycopg.Error, TimeoutError) as error:
            await self._drop()
            raise Retryable(_FAILS.format(type(error).__name__)) from error
        except BaseException:
            await self._drop()
            raise

    async def _connect(self) -> Any:
        connect = self._psycopg.AsyncConnection.connect
        try:
            return await connect(self._url, autocommit=True, connect_timeout=int(server.ANSWER_S))
        except self._psycopg.ProgrammingError:  # its text may hold a part of the password
            raise ConfigError(_UNREADABLE) from None

    async def _begin(self, connection: Any) -> None:
        for statement in (_SESSION, _CREATE):
            await connection.execute(statement)
        await connection.execute(_ADD, (self.name,))
        lost, self._held = self._held, dict.fromkeys(self._held)
        await self._hold_again(connection, lost)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def counts(name: str, url: str) -> tuple[float, list[Minute]]:
    """The server's clock, and each minute of the last hour."""
    psycopg = client_package("psycopg", "Postgres", "psycopg[binary]")
    try:
        with psycopg.connect(url, connect_timeout=int(server.ANSWER_S)) as connection:
            row = connection.execute(_LOOK, (name,), binary=True).fetchone()
    except psycopg.errors.UndefinedTable:
        row = None  # nobody has opened a budget yet
    except psycopg.Error as error:
        if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
            raise ConfigError(_UNREADABLE) from None  # its text may hold a part of the password
        raise Retryable(_FAILS.format(type(error).__name__)) from None
    state, now = (row[0], row[1]) if row else (b"", time())
    cells = layout.upgraded(memoryview(state[: len(state) // 8 * 8]).cast("d"))
    if layout.flaw(cells, now):
        cells = memoryview(bytes(8 * layout.RINGS)).cast("d")
    return now, last_hour(cells, now)
