"""A budget in Redis: for several machines. The law of the reservation, once more, in Lua.

A script is one step of the server's, so it needs no lock, and Redis's sorted sets are the rings: a
member is a reservation, its score the send time. The clock is the server's, and only waits leave
this module. A place in flight is a lease of ``LEASE_S``, renewed while its holder lives: one that
is killed gives back what it held when the lease ends.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from pipeline.errors import ConfigError, Retryable
from pipeline.ratelimit import advertised_limit, reservation, send_margin
from pipeline.ratelimit.limits import Limits, RateWindow
from pipeline.ratelimit.reservation import Reservation
from pipeline.ratelimit.state_layout import MARGIN_MAX, MARGIN_MIN, OUTSTANDING
from pipeline.ratelimit.stats import Minute
from pipeline.ratelimit.stores import server
from pipeline.ratelimit.stores.base import BudgetStore, Mark
from pipeline.ratelimit.stores.server import ANSWER_S, Calls, client_package

LEASE_S = 5.0
_TIMEOUTS = {"socket_timeout": ANSWER_S, "socket_connect_timeout": ANSWER_S}
_SLOTS = Path(__file__).with_name("reservation.lua")
_PLACES = Path(__file__).with_name("permits.lua")
_CONSTANTS = (
    reservation.SHORT_S,
    reservation.SMOOTH,
    reservation.CATCH_UP_S,
    reservation.LENT_BACK_S,
    reservation.MAX_BLOCK_S,
    send_margin.FIRST_STEP,
    send_margin.STEP_AGAIN,
    send_margin.AGAIN_S,
    send_margin.HICCUP_HALF_LIFE_S,
    send_margin.HALF_LIFE_S,
    send_margin.COOL_DOWN_MIN_S,
    send_margin.LONG_PAD,
    MARGIN_MIN,
    MARGIN_MAX,
    OUTSTANDING,
    advertised_limit.TOLD_FOR_S,
    send_margin.SURE_WAIT_S,
    send_margin.FIRST_PART,
    send_margin.QUIET_S,
)
_OWN = 1  # a place of the share's part; 2: one that is lent
_UNKNOWN = -1.0  # a wait that the script has to make out
_PARTS = ("", ":throttled", ":waited")
_UNREADABLE = "HEADRACE_BUDGET is not a Redis URL that can be read."
_FAILS = (
    "The budget's store, Redis, does not do as asked ({}): is HEADRACE_BUDGET right, and is the "
    "server up?"
)


class RedisStore(BudgetStore):
    """One user's access. It has one reservation at a time, named by ``_member``."""

    poll_s = (0.01, 0.1)

    def __init__(self, name: str, limits: Limits, share: float, url: str) -> None:
        super().__init__(name, limits, share)
        self._redis = client_package("redis.asyncio", "Redis", "redis")
        self._url, self._token, self._serial = url, secrets.token_hex(6), 0
        self._member = ""
        self._keys = [f"headrace:{{{name}}}:{part}" for part in ("state", "all", "low", "minute:")]
        parts = ("places", "low-places", "state")
        self._place_keys = [f"headrace:{{{name}}}:{part}" for part in parts]
        self._leases: dict[int, bool] = {}
        self._calls = Calls()
        self._beat: asyncio.Task[None] | None = None

    async def open(self) -> None:
        try:
            self._client = self._redis.from_url(self._url, **_TIMEOUTS)
        except ValueError:  # its text may hold a part of the password
            raise ConfigError(_UNREADABLE) from None
        self._slots = self._client.register_script(_SLOTS.read_text())
        self._places = self._client.register_script(_PLACES.read_text())
        try:
            await self._ask("open")
        except Retryable:
            await self._client.aclose()
            raise
        self._beat = asyncio.get_running_loop().create_task(self._renew())

    async def close(self) -> None:
        await self._calls.ended()
        if self._beat is not None:
            self._beat.cancel()
            with suppress(asyncio.CancelledError):
                await self._beat
        await self._client.aclose()

    async def take(self, ticket: float | None) -> Reservation:
        if ticket is None:
            self._serial += 1
            self._member = f"{self._token}:{self._serial}"
        return await self._calls.whole(self._ask("take"), lambda _: None)

    def give_back(self, ticket: float) -> None:
        self._calls.background(self._ask("give_back"))

    def mark(self, granted: Reservation) -> Mark:
        return self._member

    async def left(self, mark: Mark, late_s: float) -> Mark:
        await self._calls.whole(self._ask("left", late_s, str(mark)), lambda _: None)
        return mark

    async def forget(self, marks: Sequence[Mark]) -> None:
        for mark in marks:
            await self._calls.whole(self._ask("forget", member=str(mark)), lambda _: None)

    async def throttled(self, wait_s: float | None) -> None:
        wait_s = self.limits.throttle_wait_s if wait_s is None else wait_s
        known_s = _UNKNOWN if wait_s is None else wait_s
        await self._calls.whole(self._ask("throttled", known_s), lambda _: None)

    async def block(self, wait_s: float) -> None:
        await self._calls.whole(self._ask("block", wait_s), lambda _: None)

    async def tell(self, requests: int, per_s: float) -> None:
        await self._calls.whole(self._ask("tell", per_s, str(requests)), lambda _: None)

    def own(self, place: int) -> bool:
        return self._leases.get(place, True)

    async def look(self) -> None:
        await self._calls.whole(self._on_places("look", []), lambda _: None)

    async def try_place(self) -> int | None:
        return await self._calls.whole(self._try_place(), self._undo_place)

    def free_place(self, place: int) -> None:
        self._leases.pop(place, None)
        self._calls.background(self._on_places("free", [place]))

    async def _try_place(self) -> int | None:
        self._serial += 1
        place = self._serial
        taken = await self._on_places("take", [place])
        if not taken:
            return None
        self._leases[place] = taken == _OWN
        return place

    def _undo_place(self, place: int | None) -> None:
        if place is not None:
            self.free_place(place)

    async def _renew(self) -> None:
        """Keep the leases. A renewal that fails is made up for by the next, in time."""
        while True:
            await asyncio.sleep(LEASE_S / 4)
            if self._leases:
                with suppress(Retryable):
                    await self._on_places("renew", list(self._leases))

    async def _on_places(self, step: str, places: list[int]) -> int:
        limits = (self.limits.in_flight, self.part if self.share < 1 else 0)
        members = [f"{self._token}:{place}" for place in places]
        args = [step, LEASE_S, *limits, reservation.LENT_BACK_S, *members]
        taken, full_seen_s = await self._run(self._places, self._place_keys, args)
        self.full_seen_at = monotonic() - float(full_seen_s)
        return int(taken)

    async def _ask(self, step: str, wait_s: float = 0.0, member: str | None = None) -> Reservation:
        """One step of the slots' script. If others have set other windows, keep to those."""
        member = self._member if member is None else member
        for _ in range(3):
            windows = " ".join(f"{w.requests}:{w.per_s!r}" for w in self.limits.windows)
            args = [step, windows, member, self.share, wait_s, *_CONSTANTS, self.limits.in_flight]
            answer = await self._run(self._slots, self._keys, args)
            if answer[0] != b"windows":
                break
            self._follow(answer[1].decode())
        wait, slot, self.margin, blocked, full_seen_s = map(float, answer)
        self.full_seen_at = monotonic() - full_seen_s
        return Reservation(wait, slot, blocked)

    def _follow(self, text: str) -> None:
        pairs = (pair.split(":") for pair in text.split())
        windows = tuple(RateWindow(int(requests), float(per_s)) for requests, per_s in pairs)
        self.limits = replace(self.limits, windows=windows)

    async def _run(self, script: Any, keys: list[str], args: list[Any]) -> Any:
        until = monotonic() + (server.ANSWER_S if self._beat else 0)  # who opens it is told at once
        while True:
            try:
                return await script(keys=keys, args=args)
            except (self._redis.RedisError, OSError) as error:
                gone = isinstance(error, self._redis.ConnectionError)
                if not gone or monotonic() > until:
                    raise Retryable(_FAILS.format(type(error).__name__)) from error
            await asyncio.sleep(server.AGAIN_S)


def counts(name: str, url: str) -> tuple[float, list[Minute]]:
    """The server's clock, and each minute of the last hour."""
    redis = client_package("redis", "Redis", "redis")
    try:
        client = redis.from_url(url, **_TIMEOUTS)
    except ValueError:  # its text may hold a part of the password
        raise ConfigError(_UNREADABLE) from None
    try:
        with client:
            seconds, micros = client.time()
            now = seconds + micros / 1e6
            minutes = range(int(now // 60) - 59, int(now // 60) + 1)
            keys = [f"headrace:{{{name}}}:minute:{minute}" for minute in minutes]
            parts = [client.mget([key + part for key in keys]) for part in _PARTS]
    except (redis.RedisError, OSError) as error:
        raise Retryable(_FAILS.format(type(error).__name__)) from error
    found = [[float(value or 0) for value in part] for part in parts]
    return now, [
        Minute(60.0 * minute, int(requests), int(throttled), waited_s)
        for minute, requests, throttled, waited_s in zip(minutes, *found, strict=True)
    ]
