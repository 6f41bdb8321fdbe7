"""The entries of the response cache: one SQLite file in a folder, or the memory of this process.

The key of an entry is ``SOURCE/PATH#DIGEST``: commands list and match the part before ``#``; the
digest stands for all that tells requests apart, and can't be read back. Several processes share a
folder: no operation takes longer the more entries there are.
"""

import asyncio
import functools
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, TypeVar

from pipeline.errors import ConfigError

T = TypeVar("T")
log = logging.getLogger("headrace.cache")
STALE_KEPT_S: Final = 30 * 86_400.0
"""How long an entry that can be revalidated stays after its last use."""
MAX_BYTES: Final = {"memory": 64 * 2**20, "folder": 2**30}
"""Of the pages that entries take up in the database, with their headers and indexes."""
_BITE: Final = 100
"""Entries that are removed in one transaction, while the other processes wait."""
FILE: Final = "responses.db"
_VERSION: Final = 1
_MEMORY: Final = "file:/headrace-responses?vfs=memdb"
_LOCK_WAIT_S: Final = 30.0
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS responses (
    key TEXT PRIMARY KEY, status INTEGER NOT NULL, stored_at_s REAL NOT NULL,
    used_at_s REAL NOT NULL, kept_s REAL NOT NULL, can_ask INTEGER NOT NULL,
    bytes INTEGER NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL
)"""
_OVER_AT_S: Final = "kept_s + CASE WHEN can_ask THEN used_at_s ELSE stored_at_s END"
"""An entry that can be revalidated lives from its last use, another from when it was stored."""
_IS_OVER: Final = f"{_OVER_AT_S} < ?"
_INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS responses_by_use ON responses (used_at_s)",
    f"CREATE INDEX IF NOT EXISTS responses_by_end ON responses ({_OVER_AT_S})",
)
"""What goes first is at the begin of an index. An earlier version's file gets them, too."""
_REMOVE_OVER: Final = (
    "DELETE FROM responses WHERE rowid IN (SELECT rowid FROM responses "  # noqa: S608 - constants
    f"WHERE {_IS_OVER} ORDER BY {_OVER_AT_S} LIMIT {_BITE})"
)
_REMOVE_LEAST_USED: Final = (
    "DELETE FROM responses "
    "WHERE rowid = (SELECT rowid FROM responses ORDER BY used_at_s, rowid LIMIT 1)"
)
_UNUSABLE: Final = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
"""Errors that do not pass by themselves, as a full disk and another user's lock do."""


@dataclass(frozen=True)
class CachedResponse:
    """A response from the store; header names are in lower case.

    :ivar stored_at_s: when it came, or the API last confirmed it; seconds since 1970.
    """

    key: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    stored_at_s: float

    @property
    def conditions(self) -> dict[str, str]:
        """The headers that ask whether the response still holds; none if the API gave no means."""
        pairs = (("etag", "If-None-Match"), ("last-modified", "If-Modified-Since"))
        return {condition: self.headers[name] for name, condition in pairs if name in self.headers}


class ResponseStore:
    """The entries, each operation in a thread. A failure costs the cache, and no response."""

    def __init__(self, db: sqlite3.Connection, max_bytes: int) -> None:
        self._db = db
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._warned = False

    async def get(self, key: str) -> CachedResponse | None:
        return await self._do(lambda: self._get(key))

    async def put(self, response: CachedResponse, *, ttl_s: float) -> None:
        """Keep a response, in place of the one before.

        :param ttl_s: seconds for which it is read without a request.
        """
        await self._do(lambda: self._put(response, ttl_s))
        while await self._do(self._make_room):
            pass

    async def confirm(self, response: CachedResponse) -> None:
        """Note that the API has said that a response holds, and when."""
        update = "UPDATE responses SET stored_at_s = ?, headers = ? WHERE key = ?"
        values = (response.stored_at_s, _as_text(response.headers), response.key)
        await self._do(lambda: self._db.execute(update, values))

    async def _do(self, operation: Callable[[], T]) -> T | None:
        try:
            return await asyncio.to_thread(self._locked, operation)
        except sqlite3.Error as error:
            if not self._warned:
                self._warned = True
                log.warning("the response cache failed (%s); requests go to the API instead", error)
            return None

    def _locked(self, operation: Callable[[], T]) -> T:
        with self._lock:
            return operation()

    def _get(self, key: str) -> CachedResponse | None:
        now_s = time.time()
        row = self._db.execute(
            f"SELECT status, headers, body, stored_at_s FROM responses "  # noqa: S608 - constants
            f"WHERE key = ? AND NOT ({_IS_OVER})",
            (key, now_s),
        ).fetchone()
        if row is None:
            return None
        with suppress(sqlite3.Error):  # a full disk: the response can be read all the same
            self._db.execute("UPDATE responses SET used_at_s = ? WHERE key = ?", (now_s, key))
        status, headers, body, stored_at_s = row
        return CachedResponse(key, status, json.loads(headers), body, stored_at_s)

    def _put(self, response: CachedResponse, ttl_s: float) -> None:
        now_s, size = time.time(), len(response.body)
        can_ask = bool(response.conditions)
        kept_s = ttl_s + STALE_KEPT_S if can_ask else ttl_s
        row = (
            response.key, response.status, response.stored_at_s, now_s, kept_s, can_ask, size,
            _as_text(response.headers), response.body,
        )  # fmt: skip
        with self._transaction():
            self._db.execute(_REMOVE_OVER, (now_s,))
            if size > self._max_bytes:
                self._db.execute("DELETE FROM responses WHERE key = ?", (response.key,))
                return
            self._db.execute(
                "INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            yield

    def _make_room(self) -> bool:
        """Remove a bite of what was used longest ago; whether more has to go."""
        if not self._is_over_full:
            return False
        with self._transaction():
            for _ in range(_BITE):
                removed = self._db.execute(_REMOVE_LEAST_USED).rowcount
                if not removed or not self._is_over_full:
                    return False
        return True

    @property
    def _is_over_full(self) -> bool:
        """By the database's own count of its pages: a sum over the entries would read them all."""
        pages, free, page_bytes = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return bool((pages - free) * page_bytes > self._max_bytes)


def _as_text(headers: Mapping[str, str]) -> str:
    return json.dumps(dict(headers))


@asynccontextmanager
async def open_store(folder: str | None) -> AsyncIterator[ResponseStore]:
    """The store in a folder; without one, in the memory of this process.

    :raises ConfigError: the folder can't be used.
    """
    if folder is None:
        _hold_memory()
        db = await asyncio.to_thread(_connected, _MEMORY)
    else:
        path = _file(folder, make=True)
        db = await asyncio.to_thread(_opened_file, path)
    store = ResponseStore(db, MAX_BYTES["memory" if folder is None else "folder"])
    try:
        yield store
    finally:
        await asyncio.to_thread(store._locked, db.close)


@functools.cache
def _hold_memory() -> sqlite3.Connection:
    """The database in memory lives as long as one connection to it."""
    return sqlite3.connect(_MEMORY, uri=True, check_same_thread=False)


def _connected(database: str | Path) -> sqlite3.Connection:
    db = sqlite3.connect(
        database,
        uri=database == _MEMORY,
        isolation_level=None,
        timeout=_LOCK_WAIT_S,
        check_same_thread=False,
    )
    try:
        if database != _MEMORY:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            log.info("the response cache is of version %d and begins anew", version)
            db.execute("DROP TABLE IF EXISTS responses")
        for statement in (_TABLE, *_INDEXES):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {_VERSION}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _opened_file(path: Path) -> sqlite3.Connection:
    """The file's database. :raises ConfigError: it can't be used."""
    try:
        with suppress(OSError):  # SQLite says why
            fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            try:
                if os.fstat(fd).st_uid == os.geteuid():
                    os.fchmod(fd, 0o600)  # an earlier version's may be there for all to read
            finally:
                os.close(fd)
        return _connected(path)
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF not in _UNUSABLE:
            log.warning("the response cache failed (%s); this run has one in memory", error)
            _hold_memory()
            return _connected(_MEMORY)
        raise ConfigError(
            f"HEADRACE_CACHE: {path} can't be used ({error}). Set it to a folder that this user "
            "can write, or delete the file, which costs only the cached responses."
        ) from None


@dataclass(frozen=True)
class CacheEntry:
    """An entry of a folder's cache. ``label`` is its source and path."""

    key: str
    label: str
    body_bytes: int
    unused_s: float


def listed(folder: str, source: str | None = None, pattern: str | None = None) -> list[CacheEntry]:
    """The entries in a folder; of one source, of the paths that match.

    :param pattern: without ``*``, ``?`` or ``[`` a part of the label; with one, a glob for all of
        it.
    :raises ConfigError: the folder can't be read.
    """
    now_s = time.time()
    with _existing(folder) as db:
        rows = db.execute(
            f"SELECT key, used_at_s, bytes FROM responses WHERE NOT ({_IS_OVER}) "  # noqa: S608
            "ORDER BY key",
            (now_s,),
        ).fetchall()
    entries = (
        CacheEntry(key, key.rpartition("#")[0], size, now_s - used_at_s)
        for key, used_at_s, size in rows
    )
    return [entry for entry in entries if _matches(entry.label, source, pattern)]


def clear(folder: str, source: str | None = None, pattern: str | None = None) -> int:
    """Remove the entries that ``listed`` lists, and their bytes from the file.

    :return: how many entries that were.
    """
    keys = [entry.key for entry in listed(folder, source, pattern)]
    with _existing(folder) as db:
        db.executemany("DELETE FROM responses WHERE key = ?", [(key,) for key in keys])
        if keys:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return len(keys)


def _matches(label: str, source: str | None, pattern: str | None) -> bool:
    if source is not None and label.partition("/")[0] != source:
        return False
    if pattern is None:
        return True
    return fnmatchcase(label, pattern) if set(pattern) & set("*?[") else pattern in label


def _existing(folder: str) -> "closing[sqlite3.Connection]":
    db = sqlite3.connect(_file(folder, make=False), isolation_level=None, timeout=_LOCK_WAIT_S)
    try:
        db.execute("SELECT key FROM responses LIMIT 1").fetchone()
    except sqlite3.Error:
        db.close()
        raise _no_cache(folder) from None
    return closing(db)


def _file(folder: str, *, make: bool) -> Path:
    """The file in a folder, which only this user may read if it is made here."""
    path = Path(folder)
    try:
        if make:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not (path / FILE).exists():
            raise _no_cache(folder)
    except OSError as error:
        raise ConfigError(
            f"HEADRACE_CACHE: {folder} can't be used ({error.strerror}). Expected a folder that "
            "this user can write."
        ) from None
    return path / FILE


def _no_cache(folder: str) -> ConfigError:
    return ConfigError(f"{folder} has no cached responses. Expected the folder of a cache.")
