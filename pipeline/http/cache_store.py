"""Where cached answers are kept: one SQLite file in a folder, or the memory of this process.

The tables are hishel's. The key of an entry is ``SOURCE/PATH#DIGEST``: the part before ``#`` is
what commands list and match; the digest stands for all that tells requests apart, and can't be
read back. What is kept of an answer is its status, headers and body; of the request, nothing.
"""

import functools
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import anysqlite
from hishel import AsyncSqliteStorage, Entry, Headers, Request, Response

from pipeline.errors import ConfigError

STALE_KEPT_S = 30 * 86_400.0
"""How long an entry that can be revalidated stays after its last use."""
MOST_BYTES = {"memory": 64 * 2**20, "folder": 2**30}
_FILE = "answers.db"
_MEMORY = "file:/headrace-answers?vfs=memdb"
_STORED_AT = "x-headrace-stored-at"
_NO_USE = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
"""What does not pass by itself, as a full disk and another user's lock do."""


@dataclass(frozen=True)
class CachedResponse:
    """An answer from the store; header names are in lower case."""

    entry: Entry
    status: int
    headers: Mapping[str, str]
    body: bytes
    stored_at_s: float

    @property
    def conditions(self) -> dict[str, str]:
        """The headers that ask whether it still holds; none if the API gave nothing to ask by."""
        pairs = (("etag", "If-None-Match"), ("last-modified", "If-Modified-Since"))
        return {asked: self.headers[name] for name, asked in pairs if name in self.headers}


class ResponseStore:
    """The entries, within one event loop."""

    def __init__(self, storage: AsyncSqliteStorage) -> None:
        self._storage = storage

    async def get(self, key: str) -> CachedResponse | None:
        found = [kept for e in await self._storage.get_entries(key) if (kept := await _read(e))]
        return max(found, key=lambda kept: kept.stored_at_s, default=None)

    async def put(
        self,
        key: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        *,
        stored_at_s: float,
        ttl_s: float,
    ) -> None:
        """Replaces what is there."""
        await self.drop(key)
        can_ask = "etag" in headers or "last-modified" in headers
        response = Response(
            status, Headers({**headers, _STORED_AT: repr(stored_at_s)}), _chunks(body)
        )
        entry = await self._storage.create_entry(
            Request("GET", ""),
            response,
            key,
            ttl=None if can_ask else ttl_s,
            tti=ttl_s + STALE_KEPT_S if can_ask else None,
        )
        assert isinstance(entry.response.stream, AsyncIterator)
        async for _ in entry.response.stream:  # which stores it
            pass

    async def still_good(self, kept: CachedResponse, at_s: float) -> None:
        """The API has said that it is not modified."""
        headers = Headers({**kept.headers, _STORED_AT: repr(at_s)})
        await self._storage.update_headers(kept.entry.id, headers)

    async def drop(self, key: str) -> None:
        for entry in await self._storage.get_entries(key):
            await self._storage.remove_entry(entry.id)


@asynccontextmanager
async def open_store(folder: str | None) -> AsyncIterator[ResponseStore]:
    """The store in a folder; without one, in the memory of this process.

    :raises ConfigError: the folder can't be used.
    """
    if folder is None:
        _hold_memory()
        connection = await anysqlite.connect(_MEMORY, uri=True, isolation_level=None)
        storage = AsyncSqliteStorage(connection=connection, max_size=MOST_BYTES["memory"])
    else:
        path = _file(folder, make=True)
        _check(path)
        storage = AsyncSqliteStorage(database_path=path, max_size=MOST_BYTES["folder"])
    try:
        await storage.get_entries("")
    except RuntimeError as error:
        raise ConfigError(f"HEADRACE_CACHE: {folder} can't be used: {error}") from None
    try:
        yield ResponseStore(storage)
    finally:
        await storage.close()


@functools.cache
def _hold_memory() -> sqlite3.Connection:
    """The database in memory lives as long as one connection to it."""
    return sqlite3.connect(_MEMORY, uri=True, check_same_thread=False)


@dataclass(frozen=True)
class CacheEntry:
    """An entry of a folder's cache. ``label`` is its source and path."""

    key: str
    label: str
    body_bytes: int
    unused_s: float


def listed(folder: str, source: str | None = None, pattern: str | None = None) -> list[CacheEntry]:
    """What a folder holds; of one source, of the paths that match. A pattern without ``*``, ``?``
    or ``[`` is a part of the label; with one, a glob for all of it.

    :raises ConfigError: the folder can't be read.
    """
    with _opened(folder) as db:
        rows = db.execute(
            "SELECT cache_key, last_accessed_at, (SELECT coalesce(sum(length(chunk_data)), 0) "
            "FROM streams WHERE entry_id = id) FROM entries "
            "WHERE expires_at IS NULL OR expires_at > ? ORDER BY cache_key",
            (time.time(),),
        ).fetchall()
    found = [
        CacheEntry(key, key.rpartition("#")[0], size, time.time() - used)
        for key, used, size in ((bytes(key).decode(), used, size) for key, used, size in rows)
    ]
    return [one for one in found if _matches(one.label, source, pattern)]


def clear(folder: str, source: str | None = None, pattern: str | None = None) -> int:
    """Remove what ``listed`` lists, and its bytes from the file; how many entries that were."""
    keys = [one.key for one in listed(folder, source, pattern)]
    with _opened(folder) as db:
        db.execute("PRAGMA foreign_keys=ON")
        db.executemany("DELETE FROM entries WHERE cache_key = ?", [(key.encode(),) for key in keys])
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


def _opened(folder: str) -> "closing[sqlite3.Connection]":
    db = sqlite3.connect(_file(folder, make=False), isolation_level=None, timeout=30)
    try:
        db.execute("SELECT 1 FROM entries, streams LIMIT 1").fetchone()
    except sqlite3.Error:
        db.close()
        raise ConfigError(f"{folder}: expected a folder with cached answers, found none") from None
    return closing(db)


def _check(path: Path) -> None:
    """Whether it can be written: hishel would go on without, and log a stack trace a request."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as db:
            db.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF in _NO_USE:
            raise ConfigError(
                f"HEADRACE_CACHE: {path} can't be used ({error}): set it to a folder that this "
                "user can write, or delete the file, which costs only what was cached"
            ) from None


def _file(folder: str, *, make: bool) -> Path:
    """Only this user may read the folder, if it is made here."""
    path = Path(folder)
    try:
        if make:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not (path / _FILE).exists():
            raise ConfigError(f"{folder}: expected a folder with cached answers, found none")
    except OSError as error:
        raise ConfigError(
            f"HEADRACE_CACHE: expected a folder that this user can write, got {folder}: "
            f"{error.strerror}"
        ) from None
    return path / _FILE


async def _read(entry: Entry) -> CachedResponse | None:
    """None if it was removed meanwhile."""
    assert isinstance(entry.response.stream, AsyncIterator)
    try:
        body = b"".join([chunk async for chunk in entry.response.stream])
    except (RuntimeError, sqlite3.Error):
        return None
    headers = dict(entry.response.headers)
    stored_at_s = float(headers.pop(_STORED_AT, "0"))
    return CachedResponse(entry, entry.response.status_code, headers, body, stored_at_s)


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    yield body
