"""The rate budget of an API key, shared by every process that uses the key."""

import hashlib
import os
import pwd
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
from pydantic import Field

from pipeline import ratelimit
from pipeline.config.source import Source

NO_LIMIT = ratelimit.RateWindow(requests=10_000, per_s=1.0)
"""For an API without a rate limit, which only has places in flight: more than it can answer."""


class BudgetResource(dg.ConfigurableResource["BudgetResource"]):
    """Where budgets are shared."""

    where: str = Field(
        repr=False,  # a URL may hold a password
        description="a folder (processes of this machine), postgresql://… or redis://… (several "
        "machines), or memory (each process by itself)",
    )

    def open(self, source: Source, *, share: float = 1.0) -> ratelimit.Budget:
        """The budget of a source's API key, to be opened inside the run's event loop.

        :param share: the part of it that this run may take.
        """
        windows = tuple(ratelimit.RateWindow(w.requests, w.per_s) for w in source.limits.windows)
        windows = windows or (NO_LIMIT,)
        limits = ratelimit.Limits(windows, source.limits.in_flight, source.limits.throttle_wait_s)
        return ratelimit.open_budget(budget_name(source), limits, self.where, share=share)

    def usage(self, source: Source) -> tuple[ratelimit.Minute, ...]:
        """What all users of the source's budget had in each minute of the last hour.

        :raises ConfigError, Retryable: the store can't be used, or does not answer.
        """
        return ratelimit.usage(self.where, budget_name(source))


def budget_name(source: Source) -> str:
    """A name for the key, without the key: the API's host, and a digest of address and identity.

    Sources of one API that use one key have one budget, whatever they are called.
    """
    address = source.base_url.rstrip("/")
    who = source.auth.identity
    digest = hashlib.sha256(who.encode()).hexdigest() if who else "anonymous"
    identity = f"{address}|{source.auth.kind}|{digest}"
    host = re.sub(r"[^a-z0-9.-]", "-", (urlsplit(address).hostname or "api").lower())[:60]
    return f"{host}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def default_budget_folder() -> str:
    """A folder of this user on this machine: the same for a cron job, a service and a shell.

    So it is in the home that the machine knows, whatever the environment says, and stays when the
    user's last session ends. Of a user without a home that can be written it is in ``/tmp``.
    """
    uid = os.getuid()
    with suppress(KeyError):
        home = Path(pwd.getpwuid(uid).pw_dir)
        folder = home / ".local" / "state" / "headrace" / "budgets"
        there = next((at for at in (folder, *folder.parents) if at.is_dir()), home)
        if home.is_dir() and os.access(there, os.W_OK | os.X_OK):
            return str(folder)
    return f"/tmp/headrace-budgets-{uid}"  # noqa: S108 - it is made for this user alone
