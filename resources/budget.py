"""The rate budget of an API key, shared by every process that uses the key."""

import os
import pwd
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import dagster as dg
from pydantic import Field

from pipeline import ratelimit
from pipeline.config.folders import budget_name
from pipeline.config.source import Source
from pipeline.errors import ConfigError
from pipeline.lake.budget_record import BudgetUse

NO_LIMIT = ratelimit.RateWindow(requests=10_000, per_s=1.0)
"""For an API without a rate limit, which only has permits in flight: more than it can serve."""
TEMPORARY = Path("/tmp")  # noqa: S108 - a folder in it is looked at before it is used


class BudgetResource(dg.ConfigurableResource["BudgetResource"]):
    """The place where processes share budgets."""

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

    def use(self, source: Source, now: datetime) -> BudgetUse | None:
        """The use of the source's budget by a run that has opened it; None where users of the store
        can't be told apart. Blocks.

        :raises ConfigError, Retryable: the store can't be used, or does not answer.
        """
        identity = ratelimit.identity(self.where)
        if not identity:
            return None
        return BudgetUse(
            budget_name(source), identity, ratelimit.printable_location(self.where), now
        )

    def usage(self, source: Source) -> tuple[ratelimit.Minute, ...]:
        """The usage of the source's budget by all users, in each minute of the last hour.

        :raises ConfigError, Retryable: the store can't be used, or does not respond.
        """
        return ratelimit.usage(self.where, budget_name(source))


def default_budget_folder() -> str:
    """A folder of this user on this machine: the same for a cron job, a service and a shell.

    So it is in the home that the machine knows, whatever the environment says, and stays when the
    user's last session ends. Of a user without a home that can be written it is in ``/tmp``, where
    it is made at once, so that nobody else can.

    :raises ConfigError: somebody else did.
    """
    uid = os.getuid()
    with suppress(KeyError):
        home = Path(pwd.getpwuid(uid).pw_dir)
        folder = home / ".local" / "state" / "headrace" / "budgets"
        existing = next((at for at in (folder, *folder.parents) if at.is_dir()), home)
        if home.is_dir() and os.access(existing, os.W_OK | os.X_OK):
            return str(folder)
    return _own_folder(TEMPORARY / f"headrace-budgets-{uid}")


def _own_folder(folder: Path) -> str:
    """A folder where everybody may make one, made by this user and for this user alone.

    :raises ConfigError: somebody else has made it, or may write there.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ConfigError(
            f"The budget's folder `{folder}` is not of this user alone. Expected a folder that "
            "this user owns, with mode 0700. Check: 1. who made it; 2. HEADRACE_BUDGET, which "
            "names another one."
        )
    return str(folder)
