"""The budget as a run uses it: a place in flight, then a slot, then the request, at once.

The order is the point. The place is taken before the slot, else a slot that is due would wait for a
place and be wasted. Only the first of a process's queue takes a shared place and reserves a slot:
a process that is killed loses one slot, and holds at most one place that it does not use.

    tasks → Semaphore(in_flight) → Lock (FIFO) → shared place → AsyncLimiter → shared slot → send

``AsyncLimiter`` is the gate inside the process, ``HEADROOM`` faster than the quota: it never slows
the shared pace down, yet it smooths this process's own catching up, and if the shared state were
lost (a deleted file, a flushed Redis), it alone would keep one process close to the quota. It can't
be the pacer itself: at exactly the quota it gets 429s, and it knows nothing of other processes.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic, time
from typing import Self

from aiolimiter import AsyncLimiter

from pipeline.errors import Retryable
from pipeline.ratelimit.advertised_limit import TOLD_FOR_S
from pipeline.ratelimit.limits import Limits
from pipeline.ratelimit.permits import Permits
from pipeline.ratelimit.reservation import MAX_BLOCK_S, SHORT_S, Reservation
from pipeline.ratelimit.stats import BudgetStats, SendGrant, UsageRecorder
from pipeline.ratelimit.stores.base import BudgetStore, Mark

log = logging.getLogger("headrace.budget")

HEADROOM = 1.25
GATE_S = 0.1
MIN_SLEEP_S = 0.0001
SAID_S = 10.0  # a wait that the API asks for and that is longer than this is not silent
HERE_S = 300.0  # one that is longer, and longer than any window, is not waited for in the process
FREE_AFTER = 1.1  # of the longest window that counts a request which the longest of all does not


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
    """One user of an API key's budget. Open it inside the run's event loop, and share it there."""

    def __init__(self, store: BudgetStore, limits: Limits) -> None:
        self._store, self._limits = store, limits
        self._tally = UsageRecorder()
        self._told: tuple[int, float, float] | None = None
        self._uncounted: deque[tuple[float, SendGrant]] = deque()
        self._waits_until = 0.0

    async def __aenter__(self) -> Self:
        self._local = asyncio.Semaphore(self._limits.in_flight)
        self._turn = asyncio.Lock()
        self._gate = gate_of(self._limits)
        self._places = Permits(self._store)
        self._notes: set[asyncio.Task[None]] = set()
        await self._store.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._notes_taken()
        await self._store.close()

    @asynccontextmanager
    async def request(self) -> AsyncIterator[SendGrant]:
        """Wait for a place in flight and a slot; send on entering. The exit frees the place."""
        began = monotonic()
        async with self._local:
            queued = monotonic()
            async with self._turn:
                first = monotonic()
                mark = None
                while mark is None:
                    place = await self._places.take()
                    placed = monotonic()
                    mark = await self._slot_with(place)
            granted = monotonic()
            grant = SendGrant(
                waited_place_s=queued - began + placed - first,
                waited_slot_s=first - queued + granted - placed,
                left_at=granted,
                mark=mark,
            )
            self._tally.sent(time(), grant)
            try:
                yield grant
            finally:
                self._places.free(place)

    def left(self, grant: SendGrant) -> asyncio.Task[None] | None:
        """The request leaves, now: if that is late, as after a connect, it counts from now on.

        Late is more than half of what the margin leaves free. So a request on a connection that is
        open costs nothing here; one that never leaves counts from its grant.
        """
        now, kept = monotonic(), self._store
        late_s = now - grant.left_at
        if late_s <= kept.margin * kept.limits.shortest.per_s / 2:
            return None
        grant.left_at = now
        return self._note(self._left(grant, late_s))

    async def _left(self, grant: SendGrant, late_s: float) -> None:
        grant.mark = await self._store.left(grant.mark, late_s)

    def throttled(self, wait_s: float | None) -> asyncio.Task[None]:
        """The API answered 429, or 503 with Retry-After: everybody waits, and the margin grows.

        Returns at once; this process's next request goes after it. Awaiting the task is optional.
        """
        self._tally.throttled += 1
        if wait_s is not None and math.isnan(wait_s):
            wait_s = None
        self._say(wait_s or 0.0, "Retry-After")
        return self._note(self._store.throttled(wait_s))

    def observed(self, remaining: int | None, reset_s: float | None) -> asyncio.Task[None] | None:
        """What the API says of its own count. Nothing left: everybody waits until the reset.

        :param reset_s: seconds from now until there is quota again; without it nothing is known.
        """
        if remaining is None or remaining > 0 or reset_s is None or not reset_s > 0:
            return None
        self._say(reset_s, "no request is left for")
        return self._note(self._store.block(reset_s))

    def _say(self, wait_s: float, why: str) -> None:
        """Once for each wait, also where another process has heard of it."""
        wait_s = min(wait_s, MAX_BLOCK_S)
        until = monotonic() + wait_s
        if wait_s > SAID_S and until > self._waits_until + SAID_S:
            self._waits_until = until
            log.warning(
                "everybody who uses this budget waits until %s: the API said so (%s %.0f s)",
                _clock(wait_s), why, wait_s,
            )  # fmt: skip

    def told(self, requests: int, per_s: float) -> asyncio.Task[None] | None:
        """The API says what its limit is. If it is lower than ours, everybody keeps to it."""
        before, self._told = self._told, (requests, per_s, monotonic())
        if before is not None and before[:2] == self._told[:2]:
            if self._told[2] - before[2] < TOLD_FOR_S / 4:
                self._told = before
                return None
        elif before is not None or requests < self._most_in(per_s):
            log.info("the API says that it allows %d requests in %g s", requests, per_s)
        return self._note(self._store.tell(requests, per_s))

    def _most_in(self, per_s: float) -> int:
        """How many requests the configured windows let go in so many seconds."""
        windows = self._limits.windows
        return min(math.ceil(per_s / w.per_s) * w.requests for w in windows)

    def not_counted(self, grant: SendGrant) -> None:
        """The API does not count this request in the longest window: its slot is given back.

        Not before it has left the other windows, which count what the API sees. Until then, and
        if this process ends before, it counts as any other; so it does if there is one window.
        """
        shorter = sorted(window.per_s for window in self._limits.windows)[:-1]
        if shorter:
            self._uncounted.append((monotonic() + FREE_AFTER * shorter[-1], grant))

    @property
    def stats(self) -> BudgetStats:
        """What this user has had until now."""
        return self._tally.frozen(self._store.limits, self._store.margin)

    async def _slot_with(self, place: int) -> Mark | None:
        """A slot for the holder of this place. None: it was lent, and has been given back."""
        try:
            await self._gate.acquire()
            mark = await self._take_slot(place)
        except BaseException:
            self._places.free(place)
            raise
        if mark is None:
            self._places.release(place)
        return mark

    def _note(self, note: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Tell the store in the background: neither sending nor judging an answer waits for it."""
        task = asyncio.get_running_loop().create_task(note)
        self._notes.add(task)
        task.add_done_callback(self._noted)
        return task

    def _noted(self, task: asyncio.Task[None]) -> None:
        self._notes.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("the budget could not be told what became of a request: %s", error)

    async def _notes_taken(self) -> None:
        if self._notes:
            await asyncio.wait(set(self._notes))

    async def _take_slot(self, place: int) -> Mark | None:
        await self._notes_taken()
        await self._give_uncounted_back()
        answer = await self._store.take(None)
        try:
            while answer.wait_s > 0:
                self._end_if_long(answer.blocked_s)
                wait_s = max(min(answer.wait_s, self._uncounted_in_s), MIN_SLEEP_S)
                if not await self._places.wait(place, wait_s):
                    await self._store.forget([self._store.mark(answer)])
                    return None
                await self._notes_taken()
                again = await self._give_uncounted_back(answer)
                answer = await self._store.take(None if again else answer.ticket)
        except (asyncio.CancelledError, Retryable):
            self._store.give_back(answer.ticket)
            raise
        return self._store.mark(answer)

    def _end_if_long(self, blocked_s: float) -> None:
        """A run that would only wait, for hours, ends and comes back later.

        To wait for the next window is what a budget is for, however long that takes.
        """
        self._say(blocked_s, "for")
        if blocked_s > max(HERE_S, FREE_AFTER * self._limits.longest_s):
            raise Retryable(
                f"The API asks everybody who uses this budget to wait until {_clock(blocked_s)}: "
                "no request goes out before that.",
                wait_s=blocked_s,
            )

    @property
    def _uncounted_in_s(self) -> float:
        """Seconds until the next request that is not counted can be given back."""
        return self._uncounted[0][0] - monotonic() if self._uncounted else math.inf

    async def _give_uncounted_back(self, waiting: Reservation | None = None) -> bool:
        """Give back what is due, and then what ``waiting`` has reserved: it may go earlier now."""
        due: list[Mark] = []
        while self._uncounted_in_s <= 0:
            due.append(self._uncounted.popleft()[1].mark)
        if due:
            reserved = [] if waiting is None else [self._store.mark(waiting)]
            await self._store.forget([*due, *reserved])
        return bool(due)
