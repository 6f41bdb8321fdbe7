"""From ``HEADRACE_BUDGET`` to a store: where the users of a budget meet.

Nothing or ``memory``: this process only. A folder: the processes of this machine. A Postgres or
Redis URL: several machines. Client packages of databases are imported only if they are asked for.
"""

import re
from pathlib import Path
from time import time

from pipeline.errors import ConfigError
from pipeline.ratelimit.budget import Budget
from pipeline.ratelimit.limits import Limits
from pipeline.ratelimit.stats import Minute
from pipeline.ratelimit.stores.base import BudgetStore, MemoryStore

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://")


def open_budget(name: str, limits: Limits, where: str | None, *, share: float = 1.0) -> Budget:
    """The budget ``name``, to be entered inside the run's event loop.

    :param name: the same for all that use one API key, safe for a file name, and no secret.
    :param where: ``None`` or ``memory``, a folder, ``postgresql://…`` or ``redis://…``.
    :param share: of the budget, what this user keeps to while users with all of it are about.
    """
    _check_name(name)
    if not 0 < share <= 1:
        raise ConfigError(f"A budget's share must be over 0 and at most 1, not {share}.")
    return Budget(_store(name, limits, where, share), limits)


def usage(where: str | None, name: str) -> tuple[Minute, ...]:
    """What all users had in each minute of the last hour, in unix times.

    Blocks for as long as a look into the store takes: call it from an asset or a page, not from an
    event loop that sends requests.
    """
    _check_name(name)
    now, counts = _counts(name, where)
    offset = time() - now
    return tuple(minute._replace(at=minute.at + offset) for minute in counts)


def _store(name: str, limits: Limits, where: str | None, share: float) -> BudgetStore:
    match _kind(where):
        case "memory":
            return MemoryStore(name, limits, share)
        case "folder":
            from pipeline.ratelimit.stores.folder import FolderStore

            return FolderStore(name, limits, share, Path(str(where)).expanduser())
        case "postgres":
            from pipeline.ratelimit.stores.postgres import PostgresStore

            return PostgresStore(name, limits, share, str(where))
        case _:
            from pipeline.ratelimit.stores.redis import RedisStore

            return RedisStore(name, limits, share, str(where))


def _counts(name: str, where: str | None) -> tuple[float, list[Minute]]:
    """The store's clock, and the minutes on it."""
    match _kind(where):
        case "memory":
            return MemoryStore.counts(name)
        case "folder":
            from pipeline.ratelimit.stores import folder

            return folder.counts(name, Path(str(where)).expanduser())
        case "postgres":
            from pipeline.ratelimit.stores import postgres

            return postgres.counts(name, str(where))
        case _:
            from pipeline.ratelimit.stores import redis

            return redis.counts(name, str(where))


def _kind(where: str | None) -> str:
    """Which store. The URL itself is not repeated in an error: it may hold a password."""
    if where is None or where in ("", "memory"):
        return "memory"
    scheme = _URL.match(where)
    if scheme is None:
        return "folder"
    kinds = {"postgresql": "postgres", "postgres": "postgres", "redis": "redis", "rediss": "redis"}
    if scheme[1] not in kinds:
        raise ConfigError(
            f"HEADRACE_BUDGET is a URL that begins with {scheme[1]}://: a folder, 'memory', "
            "postgresql://… or redis://… was expected."
        )
    return kinds[scheme[1]]


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "A budget's name is 1 to 100 letters, digits, dots, dashes or underscores, "
            f"not {name!r}."
        )
