"""The budget as a run uses it: a permit in flight, then a send slot, then the request, at once.

The order matters. The permit is taken before the slot, else a slot that is due would wait for a
permit and be wasted. Only the first of a process's queue takes a shared permit and reserves a slot:
a process that is killed loses one slot, and holds at most one permit that it does not use.

    tasks → Semaphore(in_flight) → Lock (FIFO) → shared permit → AsyncLimiter → shared slot → send

``AsyncLimiter`` is the gate inside the process, ``HEADROOM`` faster than the quota: it never slows
the shared pace down, yet smooths this process's own catching up. If the shared state were lost (a
deleted file, a flushed Redis), the gate alone would keep one process close to the quota. The gate
can't be the pacer: at exactly the quota it gets 429s, and it knows nothing of other processes.

Permits in flight are taken one by one by a process, and reused inside for a while. A small share
has the first permits. Those beyond are lent to it while no user with the whole share is active, and
go back as soon as the requests that use them end.

``HEADRACE_BUDGET`` names the store. Nothing or ``memory``: this process only. A folder: the
processes of this machine. A URL: several machines, by the store that its scheme names. Client
packages of databases are imported only by the stores that need them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic, time
from typing import Self

from aiolimiter import AsyncLimiter

from pipeline.errors import ConfigError, RateLimited, Retryable
from pipeline.ratelimit.limits import Limits
from pipeline.ratelimit.reservation import ADVERTISED_TTL_S, MAX_BLOCK_S, SHORT_S, Reservation
from pipeline.ratelimit.stores.base import BUDGET_STORES, BudgetStore, SendId
from pipeline.ratelimit.usage_stats import BudgetStats, Minute, SendGrant, UsageRecorder

TURN_S = 0.5
LOOK_S = 0.25
NAMED_S = 30.0
"""Seconds without a permit after which the log says who holds them."""
STOPPED_S, MAX_PERMIT_WAIT_S = 300.0, 1800.0
"""Seconds after which the wait ends: with a stopped process among the holders, and without."""
RETRY_S = 60.0

log = logging.getLogger("headrace.budget")


class Permits:
    """The permits of one user; one task at a time takes."""

    def __init__(self, store: BudgetStore, clock: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._clock = clock
        self._taken_at: dict[int, float] = {}
        self._wanted: asyncio.Future[int] | None = None

    async def take(self) -> int:
        """Wait for a permit.

        :raises Retryable: none came free for so long that a process must have stopped with it.
        """
        least_s, most_s = self._store.poll_s
        wait_s = least_s
        began, named = self._clock(), False
        while True:
            permit = await self._store.try_permit()
            if permit is not None:
                self._taken_at[permit] = monotonic()
                return permit
            spread = random.uniform(0.5, 1.5)  # noqa: S311 - no secret, only not all at once
            permit = await self._reused(wait_s * spread)
            if permit is not None:
                return permit
            wait_s = min(most_s, wait_s * 1.5)
            waited_s = self._clock() - began
            if waited_s > NAMED_S:
                named = self._name_holders(waited_s, named=named)

    def _name_holders(self, waited_s: float, *, named: bool) -> bool:
        """Log once who holds the permits; end a wait that would not."""
        if named and waited_s <= STOPPED_S:
            return True
        holders = self._store.permit_holders()
        who = ", ".join(map(str, holders)) or "other processes"
        whole = self._store.limits.in_flight
        if not named:
            log.warning(
                "no permit came free for %.0f s: all %d of the budget %s are held by %s",
                waited_s,
                whole,
                self._store.name,
                who,
            )
        # Holders may wait for the next window, however long: that is no reason to end.
        most_s = max(MAX_PERMIT_WAIT_S, 1.1 * self._store.limits.longest_s)
        if waited_s > (STOPPED_S if any(holder.is_stopped for holder in holders) else most_s):
            raise Retryable(
                f"No permit came free for {waited_s:.0f} s. All {whole} of the budget "
                f"`{self._store.name}` are held by {who}. Check: 1. whether one of these processes "
                "is stopped, and let it go on or end it; 2. `limits.in_flight`.",
                wait_s=RETRY_S,
            )
        return True

    async def wait(self, permit: int, wait_s: float) -> bool:
        """Wait for a send slot, with a permit. False: the permit is lent, and wanted back."""
        until = monotonic() + wait_s
        while not self._store.owns(permit) and until - monotonic() > LOOK_S:
            await asyncio.sleep(LOOK_S)
            await self._store.look()
            if not self._store.keeps(permit):
                return False
        await asyncio.sleep(max(0.0, until - monotonic()))
        return True

    def free(self, permit: int) -> None:
        """Reuse a permit within the process, but not for long: others queue for it too."""
        wanted = self._wanted
        reusable = monotonic() - self._taken_at[permit] < TURN_S and self._store.keeps(permit)
        if wanted is not None and not wanted.done() and reusable:
            wanted.set_result(permit)
        else:
            self.release(permit)

    def release(self, permit: int) -> None:
        """Free a permit for all."""
        self._taken_at.pop(permit, None)
        self._store.free_permit(permit)

    async def _reused(self, wait_s: float) -> int | None:
        """Wait for the next attempt, or for a permit that a request of this process frees."""
        self._wanted = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait((self._wanted,), timeout=wait_s)
        except asyncio.CancelledError:
            if self._wanted.done():
                self.release(self._wanted.result())
            raise
        else:
            return self._wanted.result() if self._wanted.done() else None
        finally:
            self._wanted = None


HEADROOM = 1.25
GATE_S = 0.1
MIN_SLEEP_S = 0.0001
LOGGED_WAIT_S = 10.0  # a longer wait that the API asks for is logged
MAX_PAUSE_S = 300.0  # a longer wait, longer than any window too, ends the step
FREE_AFTER = 1.1  # of the longest window but one: an uncounted request has left it after that


def gate_of(limits: Limits) -> AsyncLimiter:
    """The in-process gate: a leaky bucket as small as about ``GATE_S`` of the quota allows."""
    window = limits.shortest
    if window.per_s > SHORT_S:
        return AsyncLimiter(window.requests, window.per_s / HEADROOM)
    burst = max(1, int(window.requests * GATE_S / window.per_s))
    return AsyncLimiter(burst, burst * window.per_s / window.requests / HEADROOM)


def _clock(after_s: float) -> str:
    at = datetime.now(UTC) + timedelta(seconds=after_s)
    return f"{at:%Y-%m-%d} {at:%H:%M:%S} UTC" if after_s > 43_200 else f"{at:%H:%M:%S} UTC"


class Budget:
    """A user of the budget of an API key. Open and share it inside the run's event loop.

    :ivar store: where all users of the budget meet.
    """

    def __init__(self, store: BudgetStore, limits: Limits) -> None:
        self.store, self._limits = store, limits
        self._recorder = UsageRecorder()
        self._advertised: tuple[int, float, float] | None = None
        self._uncounted: deque[tuple[float, SendGrant]] = deque()
        self._waits_until = 0.0

    async def __aenter__(self) -> Self:
        self._local = asyncio.Semaphore(self._limits.in_flight)
        self._turn = asyncio.Lock()
        self._gate = gate_of(self._limits)
        self._permits = Permits(self.store)
        self._notes: set[asyncio.Task[None]] = set()
        await self.store.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._notes_ended()
        await self.store.close()

    @asynccontextmanager
    async def request(self) -> AsyncIterator[SendGrant]:
        """Wait for a permit and a send slot; send on entering. The exit frees the permit."""
        grant = await self.acquire()
        try:
            yield grant
        finally:
            self.release(grant)

    async def acquire(self) -> SendGrant:
        """Wait for a permit and a send slot, and send at once; then ``release`` the grant."""
        began = monotonic()
        await self._local.acquire()
        try:
            queued = monotonic()
            async with self._turn:
                first = monotonic()
                send_id = None
                while send_id is None:
                    permit = await self._permits.take()
                    permitted = monotonic()
                    send_id = await self._slot_with(permit)
        except BaseException:
            self._local.release()
            raise
        granted = monotonic()
        grant = SendGrant(
            waited_permit_s=queued - began + permitted - first,
            waited_slot_s=first - queued + granted - permitted,
            departed_at=granted,
            send_id=send_id,
            permit=permit,
        )
        self._recorder.sent(time(), grant)
        return grant

    def release(self, grant: SendGrant) -> None:
        """Free the permit of a request whose response has come, or that failed."""
        self._permits.free(grant.permit)
        self._local.release()

    def departed(self, grant: SendGrant) -> asyncio.Task[None] | None:
        """Record that the request leaves now: if that is late, it counts from now on.

        Late is more than half of the send margin, as after a connect. So a request on an open
        connection costs nothing here; a request that never leaves counts from its grant.
        """
        now, store = monotonic(), self.store
        late_s = now - grant.departed_at
        if late_s <= store.margin * store.limits.shortest.per_s / 2:
            return None
        grant.departed_at = now
        return self._note(self._departed(grant, late_s))

    async def _departed(self, grant: SendGrant, late_s: float) -> None:
        grant.send_id = await self.store.departed(grant.send_id, late_s)

    def throttled(self, wait_s: float | None) -> asyncio.Task[None]:
        """Record a 429, or a 503 with Retry-After: all processes pause, and the margin grows.

        Returns at once; this process's next request goes after it. Awaiting the task is optional.
        """
        self._recorder.throttled += 1
        if wait_s is not None and math.isnan(wait_s):
            wait_s = None
        self._log_pause(wait_s or 0.0, "Retry-After {:.0f} s")
        return self._note(self.store.throttled(wait_s))

    @property
    def throttle_wait_s(self) -> float | None:
        """The pause after a 429 that names none, if it is configured."""
        return self._limits.throttle_wait_s

    def observed(self, remaining: int | None, reset_s: float | None) -> asyncio.Task[None] | None:
        """Record the API's own count. No request remains: all processes pause until the reset.

        :param reset_s: seconds from now until there is quota again; None if the API does not say.
        """
        if remaining is None or remaining > 0 or reset_s is None or not reset_s > 0:
            return None
        self._log_pause(reset_s, "no requests remain for {:.0f} s")
        return self._note(self.store.block(reset_s))

    def _log_pause(self, wait_s: float, reason: str) -> None:
        """Log each pause once, also where another process has recorded it."""
        wait_s = min(wait_s, MAX_BLOCK_S)
        until = monotonic() + wait_s
        if wait_s > LOGGED_WAIT_S and until > self._waits_until + LOGGED_WAIT_S:
            self._waits_until = until
            log.warning(
                "rate limited: all processes pause until %s (%s)",
                _clock(wait_s),
                reason.format(wait_s),
            )

    def advertised(self, requests: int, per_s: float) -> asyncio.Task[None] | None:
        """Record the limit that the API advertises: all users keep to it if it is the lower one."""
        before, self._advertised = self._advertised, (requests, per_s, monotonic())
        if before is not None and before[:2] == self._advertised[:2]:
            if self._advertised[2] - before[2] < ADVERTISED_TTL_S / 4:
                self._advertised = before
                return None
        elif before is not None or requests < self._most_in(per_s):
            log.info("the API advertises a limit of %d requests in %g s", requests, per_s)
        return self._note(self.store.advertise(requests, per_s))

    def _most_in(self, per_s: float) -> int:
        """How many requests the configured windows let go in so many seconds."""
        windows = self._limits.windows
        return min(math.ceil(per_s / w.per_s) * w.requests for w in windows)

    def not_counted(self, grant: SendGrant) -> None:
        """Free the slot of a request that the API does not count in the longest window.

        The slot is freed once the request has left the other windows, which count every request.
        Until then, and if this process ends before, it counts as any other. With one window only,
        it always counts.
        """
        shorter = sorted(window.per_s for window in self._limits.windows)[:-1]
        if shorter:
            self._uncounted.append((monotonic() + FREE_AFTER * shorter[-1], grant))

    @property
    def stats(self) -> BudgetStats:
        """The usage of this user until now."""
        return self._recorder.frozen(self.store.limits, self.store.margin)

    async def _slot_with(self, permit: int) -> SendId | None:
        """The send id of the holder of a permit. None: the permit was lent, and was freed."""
        try:
            await self._gate.acquire()
            send_id = await self._take_slot(permit)
        except BaseException:
            self._permits.free(permit)
            raise
        if send_id is None:
            self._permits.release(permit)
        return send_id

    def _note(self, note: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Report to the store in the background: no request or response waits for it."""
        task = asyncio.get_running_loop().create_task(note)
        self._notes.add(task)
        task.add_done_callback(self._noted)
        return task

    def _noted(self, task: asyncio.Task[None]) -> None:
        self._notes.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("could not report a request's outcome to the budget store: %s", error)

    async def _notes_ended(self) -> None:
        if self._notes:
            await asyncio.wait(set(self._notes))

    async def _take_slot(self, permit: int) -> SendId | None:
        await self._notes_ended()
        await self._free_uncounted()
        reserved = await self.store.take(None)
        try:
            while reserved.wait_s > 0:
                self._end_if_long(reserved.blocked_s)
                wait_s = max(min(reserved.wait_s, self._uncounted_in_s), MIN_SLEEP_S)
                if not await self._permits.wait(permit, wait_s):
                    await self.store.forget([self.store.send_id(reserved)])
                    return None
                await self._notes_ended()
                freed = await self._free_uncounted(reserved)
                reserved = await self.store.take(None if freed else reserved.ticket)
        except (asyncio.CancelledError, Retryable):
            self.store.give_back(reserved.ticket)
            raise
        return self.store.send_id(reserved)

    def _end_if_long(self, blocked_s: float) -> None:
        """End a run that would only wait, for hours: Dagster retries it after that.

        A wait for the next window, however long, is no reason to end.
        """
        self._log_pause(blocked_s, "{:.0f} s more")
        if blocked_s > max(MAX_PAUSE_S, FREE_AFTER * self._limits.longest_s):
            raise RateLimited(
                f"Rate limited: the API asks all processes of this budget to pause until "
                f"{_clock(blocked_s)}. No request goes out before that.",
                wait_s=blocked_s,
            )

    @property
    def _uncounted_in_s(self) -> float:
        """Seconds until the slot of the next uncounted request can be freed."""
        return self._uncounted[0][0] - monotonic() if self._uncounted else math.inf

    async def _free_uncounted(self, waiting: Reservation | None = None) -> bool:
        """Free the slots that are due, and then the one of ``waiting``: it may go earlier now."""
        due: list[SendId] = []
        while self._uncounted_in_s <= 0:
            due.append(self._uncounted.popleft()[1].send_id)
        if due:
            reserved = [] if waiting is None else [self.store.send_id(waiting)]
            await self.store.forget([*due, *reserved])
        return bool(due)


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

    :raises ConfigError, Retryable: the store can't be used, or does not respond.
    """
    _check_name(name)
    now, minutes = _kind(location).usage(name, location or "memory")
    offset = time() - now
    return tuple(minute._replace(at=minute.at + offset) for minute in minutes)


def identity(location: str | None) -> str:
    """What the store of opened budgets says of itself, the same for all its users. Blocks.

    Empty: not known, or a store of one process.

    :raises ConfigError, Retryable: the store can't be used, or does not answer.
    """
    return _kind(location).identity(location or "memory")


def printable_location(location: str | None) -> str:
    """The location of budgets without secrets, for a person."""
    return _kind(location).printable_location(location or "memory")


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
