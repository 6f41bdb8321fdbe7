"""The kind ``postgres``: a budget for several machines, in a Postgres that a deployment has anyway.

The head of the cells is a ``bytea`` of a row in ``headrace_budgets``, whose lock serializes the
users. Their rings are in ``headrace_budget_pages``: a step of the law moves the pages that it needs
and no others, however large the quota is. An update is two round trips with the pages of the last
one, and one more for each time that others are needed. The clock is the server's, and only waits
leave this module. A
permit in flight is an advisory lock of the session: the server frees it when the connection ends,
however it ends. Such locks are re-entrant, so a session never locks a permit that it holds. A new
connection takes the permits that are in use before any other, and repeats the call that was lost
with the old one. A pooler in transaction mode would lose such locks: connect to the server itself.
"""

from __future__ import annotations

import asyncio
import secrets
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from time import monotonic, time
from typing import Any, TypeVar

from pipeline.errors import ConfigError, Retryable
from pipeline.ratelimit import reservation, state_layout
from pipeline.ratelimit.limits import Limits
from pipeline.ratelimit.stores import server
from pipeline.ratelimit.stores.base import BUDGET_STORES, Change, StateStore
from pipeline.ratelimit.stores.pages import HEAD_BYTES, MissingPage, PagedCells, StoredRow
from pipeline.ratelimit.stores.server import Calls, adopted, cells_of, client_package, readable
from pipeline.ratelimit.usage_stats import Minute, last_hour

T = TypeVar("T")

_CREATE = """
DO $$ BEGIN
    IF to_regclass('headrace_budgets') IS NULL
    OR to_regclass('headrace_budget_pages') IS NULL THEN
        PERFORM pg_advisory_xact_lock(4811);
        CREATE UNLOGGED TABLE IF NOT EXISTS headrace_budgets
            (name text PRIMARY KEY, state bytea NOT NULL)
            WITH (fillfactor = 50, toast_tuple_target = 4080);
        ALTER TABLE headrace_budgets ALTER COLUMN state SET STORAGE EXTERNAL;
        CREATE UNLOGGED TABLE IF NOT EXISTS headrace_budget_pages
            (name text, page int, cells bytea NOT NULL, PRIMARY KEY (name, page))
            WITH (fillfactor = 50);
    END IF;
END $$
"""
_ADD = "INSERT INTO headrace_budgets VALUES (%s, '') ON CONFLICT DO NOTHING"
# The clock is read after the lock is granted, not while it is waited for.
_LOCK = """
WITH locked AS MATERIALIZED (SELECT state FROM headrace_budgets WHERE name = %s FOR UPDATE)
SELECT state, extract(epoch FROM clock_timestamp())::float8 FROM locked
"""
# The lock's wait is over when this begins: it sees what the user before has written.
_PAGES = "SELECT page, cells FROM headrace_budget_pages WHERE name = %s AND page = ANY(%s)"
_ALL_PAGES = "SELECT page, cells FROM headrace_budget_pages WHERE name = %s"
_LOOK = """
SELECT state, extract(epoch FROM clock_timestamp())::float8 FROM headrace_budgets WHERE name = %s
"""
_FULL_SEEN = """
SELECT substring(state FROM %s FOR 8), extract(epoch FROM clock_timestamp())::float8
FROM headrace_budgets WHERE name = %s
"""
_OWN_ROW = "headrace:identity"  # no budget can have this name
_IDENTITY = """
WITH new AS (
    INSERT INTO headrace_budgets VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING state
)
SELECT state FROM new UNION ALL SELECT state FROM headrace_budgets WHERE name = %s LIMIT 1
"""
_WRITE = "UPDATE headrace_budgets SET state = %s WHERE name = %s"
_WRITE_PAGES = """
INSERT INTO headrace_budget_pages SELECT %s, * FROM unnest(%b::int[], %b::bytea[])
ON CONFLICT (name, page) DO UPDATE SET cells = excluded.cells
"""
_DELETE_PAGES = "DELETE FROM headrace_budget_pages WHERE name = %s"
_UNREADABLE = "HEADRACE_BUDGET is not a valid Postgres URL."
_FAILS = (
    "The budget's store, Postgres, failed ({}). Check: 1. HEADRACE_BUDGET; 2. that the server is "
    "up; 3. that this user may create a table."
)
_FULL = (
    "The budget's store, Postgres, has no connection free (too many connections). Each budget that "
    "a process uses takes one: of a source of AWS, each lane that it has open. Check: 1. "
    "max_connections of the server; 2. `limits.lanes_at_once`; 3. how many processes use it."
)
_TOO_MANY = "53300"
_SAID_WHEN_FULL = ("too many clients", "too many connections", "connection slots are reserved")
_NO_LOCKS: dict[int, int | None] = {}
_PERMIT = """
SELECT permit FROM unnest(%s::int[]) AS permit WHERE pg_try_advisory_lock(%s, permit) LIMIT 1
"""
_SESSION = """
SET synchronous_commit = off; SET idle_in_transaction_session_timeout = '5s'; SET jit = off
"""


@BUDGET_STORES.register("postgresql")
@BUDGET_STORES.register("postgres")
class PostgresStore(StateStore):
    """A user's access, over one connection.

    ``_locks`` has the number of a lock by the permit that stands for it; None: lost with a
    connection, and no other was free. So a permit that is freed late frees no lock taken since.
    ``_usual`` are the pages that the last step has used: the next one probably needs them too.
    """

    poll_s = (0.01, 0.1)

    def __init__(self, name: str, limits: Limits, share: float, location: str) -> None:
        super().__init__(name, limits, share, location)
        self._psycopg = client_package("psycopg", "Postgres", "psycopg[binary]")
        self._connection: Any = None
        self._shape = 0.0
        self._usual: list[int] = []
        self._locks: dict[int, int | None] = {}
        self._serial = 0
        self._class = zlib.crc32(name.encode()) - 2**31
        self._calls = Calls()

    async def open(self) -> None:
        self._turn = asyncio.Lock()
        await self._changed(lambda cells, now: None, follow=False)

    async def close(self) -> None:
        await self._calls.ended()
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def update(self, change: Change[T]) -> T:
        return await self._whole(lambda: self._changed(change))

    def give_back(self, ticket: float) -> None:
        self._calls.background(
            self._changed(lambda cells, _: reservation.give_back(cells, ticket, self.share))
        )

    async def take_permit(self) -> int | None:
        return await self._calls.whole(self._retried(self._take_permit), self._undo_permit)

    async def look(self) -> None:
        await self._whole(self._look)

    def owns(self, permit: int) -> bool:
        return super().owns(self._locks.get(permit) or 0)

    def free_permit(self, permit: int) -> None:
        self._calls.background(self._free_permit(permit))

    async def _whole(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await self._calls.whole(self._retried(call), lambda _: None)

    async def _retried(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Retry if the connection is lost: a step that is done twice costs a send slot at most."""
        until, again = monotonic() + server.RESPONSE_S, False
        while True:
            try:
                return await call()
            except Retryable:
                if self._connection is not None or (again and monotonic() > until):
                    raise
            again = True
            await asyncio.sleep(server.AGAIN_S)

    async def _take_permit(self) -> int | None:
        async with self._turn, self._connected() as connection:
            if None in self._locks.values():
                await self._lock_again(connection)
            if None in self._locks.values() or (number := await self._lock_one(connection)) is None:
                return None
            self._serial += 1
            self._locks[self._serial] = number
            return self._serial

    async def _look(self) -> None:
        at = 8 * state_layout.FULL_SEEN_AT + 1
        async with self._turn, self._connected() as connection:
            cursor = await connection.execute(_FULL_SEEN, (at, self.name), binary=True)
            row = await cursor.fetchone()
        if row is not None and len(row[0]) == 8:
            self.note_full(row[1], memoryview(row[0]).cast("d")[0])

    async def _lock_one(self, connection: Any, first: int | None = None) -> int | None:
        """Lock a number that is free, ``first`` if possible."""
        locked = self._locks.values()
        numbers = self.permit_numbers if first is None else range(self.limits.in_flight)
        wanted = [number for number in numbers if number not in locked]
        wanted.sort(key=lambda number: number != first)
        row = await (await connection.execute(_PERMIT, (wanted, self._class))).fetchone()
        return None if row is None else int(row[0])

    async def _lock_again(self, connection: Any, before: dict[int, int | None] = _NO_LOCKS) -> None:
        for permit in [permit for permit, number in self._locks.items() if number is None]:
            self._locks[permit] = await self._lock_one(connection, before.get(permit))

    async def _free_permit(self, permit: int) -> None:
        async with self._turn:
            number = self._locks.pop(permit, None)  # first: a new connection locks what is in here
            if number is None or self._connection is None:
                return
            async with self._connected() as connection:
                await connection.execute("SELECT pg_advisory_unlock(%s, %s)", (self._class, number))

    def _undo_permit(self, permit: int | None) -> None:
        if permit is not None:
            self.free_permit(permit)

    async def _changed(self, change: Change[T], *, follow: bool = True) -> T:
        """Run the step on the row, under its lock."""
        async with self._turn, self._connected() as connection, connection.pipeline():
            await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            locked = await connection.execute(_LOCK, (self.name,), binary=True)
            usual = await connection.execute(_PAGES, (self.name, self._usual), binary=True)
            if (head := await locked.fetchone()) is None:
                raise Retryable(f"The budget {self.name} was deleted from Postgres.", wait_s=1.0)
            row, now = StoredRow(head[0]), head[1]
            if self._is_usable(row.head, now, follow=follow):
                row.add(self._usual, dict(await usual.fetchall()))
            else:
                row = await self._laid_out(connection, row, now, follow=follow)
            result, cells = await self._applied(connection, change, row, now)
            await self._write(connection, cells)
            self._usual = list(cells.used) or self._usual
            return result

    def _is_usable(self, head: bytes, now: float, *, follow: bool) -> bool:
        """Whether the row can be gone on with as it lies: its windows are followed then."""
        cells = cells_of(head)
        if len(head) != HEAD_BYTES or state_layout.head_flaw(cells, now):
            return False
        if not follow and state_layout.windows(cells) != self.limits.windows:
            return False
        if cells[state_layout.SHAPE] != self._shape:
            self.follow(cells)
            self._shape, self._usual = cells[state_layout.SHAPE], []
        return True

    async def _laid_out(
        self, connection: Any, row: StoredRow, now: float, *, follow: bool
    ) -> StoredRow:
        """The row read whole, and laid out anew: for other windows, or as one that is used up.

        Version 0.3 had the whole row where the head is now: what it sent still counts.
        """
        whole = bytearray(row.head)
        if len(whole) == HEAD_BYTES and not state_layout.head_flaw(cells_of(whole), now):
            stored = await connection.execute(_ALL_PAGES, (self.name,), binary=True)
            row.add(range(row.page_count), dict(await stored.fetchall()))
            whole = row.whole()
        cells = adopted(self, whole, now, follow=follow)
        state_layout.new_shape(cells)
        self._shape, self._usual = cells[state_layout.SHAPE], []
        return StoredRow.new(cells)

    async def _applied(
        self, connection: Any, change: Change[T], row: StoredRow, now: float
    ) -> tuple[T, PagedCells]:
        """The result of a step, and the cells as it leaves them. Pages that it needs are read."""
        reach = 1
        while True:
            if row.lost:
                row = await self._laid_out(connection, row, now, follow=True)
            cells = PagedCells(row)
            try:
                return change(cells, now), cells
            except MissingPage as missing:
                wanted = row.near(missing.page, reach - 1)
            reach *= 2  # a step that goes far back needs many
            stored = await connection.execute(_PAGES, (self.name, wanted), binary=True)
            row.add(wanted, {} if row.is_new else dict(await stored.fetchall()))

    async def _write(self, connection: Any, cells: PagedCells) -> None:
        pages = cells.pages_to_write()
        if cells.row.is_new:
            await connection.execute(_DELETE_PAGES, (self.name,))
        if pages:
            values = (self.name, list(pages), list(pages.values()))
            await connection.execute(_WRITE_PAGES, values)
        await connection.execute(_WRITE, (cells.head, self.name))
        await connection.execute("COMMIT")

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        """The connection, made anew if it is broken; one that failed half way is not used again."""
        try:
            new = self._connection is None
            if new:
                self._connection = await self._connect()
            async with asyncio.timeout(server.RESPONSE_S):
                if new:
                    await self._begin(self._connection)
                yield self._connection
        except (self._psycopg.Error, TimeoutError) as error:
            await self._drop()
            raise _failure(error) from error
        except BaseException:
            await self._drop()
            raise

    async def _connect(self) -> Any:
        connect = self._psycopg.AsyncConnection.connect
        try:
            return await connect(
                self.location, autocommit=True, connect_timeout=int(server.RESPONSE_S)
            )
        except self._psycopg.ProgrammingError:  # its text may hold a part of the password
            raise ConfigError(_UNREADABLE) from None

    async def _begin(self, connection: Any) -> None:
        for statement in (_SESSION, _CREATE):
            await connection.execute(statement)
        await connection.execute(_ADD, (self.name,))
        lost, self._locks = self._locks, dict.fromkeys(self._locks)
        await self._lock_again(connection, lost)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    @classmethod
    def usage(cls, name: str, location: str) -> tuple[float, list[Minute]]:
        row = _row(location, _LOOK, (name,))
        state, now = (row[0], row[1]) if row else (b"", time())
        return now, last_hour(readable(state, now), now)

    @classmethod
    def identity(cls, location: str) -> str:
        row = _row(location, _IDENTITY, (_OWN_ROW, secrets.token_bytes(8), _OWN_ROW))
        return bytes(row[0]).hex() if row else ""


def _row(location: str, statement: str, values: tuple[object, ...]) -> Any:
    """The first row of a statement, over a connection of its own; None where no budget was opened.

    :raises ConfigError, Retryable: the store can't be used, or does not answer.
    """
    psycopg = client_package("psycopg", "Postgres", "psycopg[binary]")
    try:
        with psycopg.connect(location, connect_timeout=int(server.RESPONSE_S)) as connection:
            return connection.execute(statement, values, binary=True).fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    except psycopg.Error as error:
        if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
            raise ConfigError(_UNREADABLE) from None  # its text may hold a part of the password
        raise _failure(error) from None


def _failure(error: Exception) -> Retryable:
    """What a person is told; the error's own text may hold a part of the password."""
    # A connection that is refused has no SQLSTATE in psycopg, only the server's sentence.
    is_full = getattr(error, "sqlstate", None) == _TOO_MANY
    if is_full or any(sentence in str(error) for sentence in _SAID_WHEN_FULL):
        return Retryable(_FULL)
    return Retryable(_FAILS.format(type(error).__name__))
