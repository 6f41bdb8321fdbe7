"""From ``HEADRACE_BUDGET`` to a budget.

Nothing or ``memory``: this process only. A folder: the processes of this machine. A URL: several
machines, by the store that its scheme names. Client packages of databases are imported only by the
stores that need them.
"""

import re
from time import time

from pipeline.errors import ConfigError
from pipeline.ratelimit.budget import Budget
from pipeline.ratelimit.limits import Limits

# The kinds that ship; importing a store's module registers it.
from pipeline.ratelimit.stores import folder, memory, postgres, redis  # noqa: F401
from pipeline.ratelimit.stores.base import BUDGET_STORES, BudgetStore
from pipeline.ratelimit.usage_stats import Minute

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://")


def open_budget(name: str, limits: Limits, location: str | None, *, share: float = 1.0) -> Budget:
    """The budget ``name``, to be entered inside the run's event loop.

    :param name: the same for all that use one API key, safe for a file name, and no secret.
    :param location: ``None`` or ``memory``, a folder, ``postgresql://…`` or ``redis://…``.
    :param share: of the budget, what this user keeps to while users with all of it are active.
    :raises ConfigError: the name, the share or the location is not one.
    """
    _check_name(name)
    if not 0 < share <= 1:
        raise ConfigError(f"A budget's share must be over 0 and at most 1, not {share}.")
    store = _kind(location)(name, limits, share, location or "memory")
    return Budget(store, limits)


def usage(location: str | None, name: str) -> tuple[Minute, ...]:
    """The requests of all users in each minute of the last hour, in unix times.

    Blocks for as long as a look into the store takes: call it from an asset or a page, not from an
    event loop that sends requests.

    :raises ConfigError, Retryable: the store can't be used, or does not answer.
    """
    _check_name(name)
    now, minutes = _kind(location).usage(name, location or "memory")
    offset = time() - now
    return tuple(minute._replace(at=minute.at + offset) for minute in minutes)


def _kind(location: str | None) -> type[BudgetStore]:
    """The store of a location, which no error repeats: a URL may hold a password."""
    if location is None or location in ("", "memory"):
        return BUDGET_STORES["memory"]
    url = _URL.match(location)
    if url is None:
        return BUDGET_STORES["folder"]
    if url[1] not in BUDGET_STORES.names:
        schemes = [name for name in BUDGET_STORES.names if name not in ("memory", "folder")]
        urls = ", ".join(f"`{scheme}://`" for scheme in schemes)
        raise ConfigError(
            f"HEADRACE_BUDGET is a URL that begins with `{url[1]}://`, expected a folder, "
            f"`memory`, or a URL with one of {urls}."
        )
    return BUDGET_STORES[url[1]]


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "A budget's name is 1 to 100 letters, digits, dots, dashes or underscores, "
            f"not {name!r}."
        )
