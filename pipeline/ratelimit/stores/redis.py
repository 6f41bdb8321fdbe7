"""The kind ``redis``: a budget for several machines, with the law of the reservation in Lua.

A script is one step of the server, so it needs no lock, and sorted sets are the rings: a member is
a reservation, its score the send time. The clock is the server's, and only waits leave this module.
A permit in flight is a lease of ``LEASE_S``, renewed while its holder lives: a killed process frees
its permits when their leases end. Decision 2 has what the law in Python would cost here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from pipeline.errors import ConfigError, Retryable
from pipeline.ratelimit import reservation
from pipeline.ratelimit.limits import MAX_REQUESTS, MAX_WINDOWS, Limits, RateWindow
from pipeline.ratelimit.reservation import Reservation
from pipeline.ratelimit.state_layout import LONG_AGO, MARGIN_MAX, MARGIN_MIN, OUTSTANDING
from pipeline.ratelimit.stores import server
from pipeline.ratelimit.stores.base import BUDGET_STORES, BudgetStore, SendId
from pipeline.ratelimit.stores.server import RESPONSE_S, Calls, client_package
from pipeline.ratelimit.usage_stats import Minute

LEASE_S = 5.0
_TIMEOUTS = {"socket_timeout": RESPONSE_S, "socket_connect_timeout": RESPONSE_S}
_SLOTS = Path(__file__).with_name("reservation.lua")
_PERMITS = Path(__file__).with_name("permits.lua")
_CONSTANTS = json.dumps(
    {
        "SHORT_S": reservation.SHORT_S,
        "SMOOTH": reservation.SMOOTH,
        "CATCH_UP_S": reservation.CATCH_UP_S,
        "LENT_BACK_S": reservation.LENT_BACK_S,
        "MAX_BLOCK_S": reservation.MAX_BLOCK_S,
        "FIRST_STEP": reservation.FIRST_STEP,
        "STEP_AGAIN": reservation.STEP_AGAIN,
        "AGAIN_S": reservation.AGAIN_S,
        "HICCUP_HALF_LIFE_S": reservation.HICCUP_HALF_LIFE_S,
        "HALF_LIFE_S": reservation.HALF_LIFE_S,
        "COOL_DOWN_MIN_S": reservation.COOL_DOWN_MIN_S,
        "LONG_PAD": reservation.LONG_PAD,
        "SURE_WAIT_S": reservation.SURE_WAIT_S,
        "FIRST_PART": reservation.FIRST_PART,
        "QUIET_S": reservation.QUIET_S,
        "MARGIN_MIN": MARGIN_MIN,
        "MARGIN_MAX": MARGIN_MAX,
        "OUTSTANDING": OUTSTANDING,
        "ADVERTISED_TTL_S": reservation.ADVERTISED_TTL_S,
        "EPSILON_S": reservation.EPSILON_S,
        "LONG_AGO": LONG_AGO,
        "MAX_REQUESTS": MAX_REQUESTS,
        "MAX_WINDOWS": MAX_WINDOWS,
    }
)
"""The constants of the law, by the names that the script uses. An unknown name fails the script."""
_OWN = 1  # a permit of the share's part; 2: a lent one
_UNKNOWN = -1.0  # a wait that the script computes
_PARTS = ("", ":throttled", ":waited")
_IDENTITY = "headrace:identity"
_UNREADABLE = "HEADRACE_BUDGET is not a valid Redis URL."
_FORGOTTEN_S = 60.0
"""A window that is shorter is over before a server is up again."""
_FORGETS = (
    "The budget's Redis keeps nothing over a restart (`save` is empty, `appendonly` is no), and "
    "this API has a quota of more than a minute: after a restart it would be given out anew, and "
    "the API would refuse. Set `appendonly yes`, or name another store in HEADRACE_BUDGET"
)
log = logging.getLogger("headrace.budget")
_FAILS = (
    "The budget's store, Redis, failed ({}). Check: 1. HEADRACE_BUDGET; 2. that the server is up."
)


@BUDGET_STORES.register("redis")
@BUDGET_STORES.register("rediss")
class RedisStore(BudgetStore):
    """A user's access, with one reservation at a time, named by ``_member``."""

    poll_s = (0.01, 0.1)

    def __init__(self, name: str, limits: Limits, share: float, location: str) -> None:
        super().__init__(name, limits, share, location)
        self._redis = client_package("redis.asyncio", "Redis", "redis")
        self._token, self._serial = secrets.token_hex(6), 0
        self._member = ""
        self._keys = [f"headrace:{{{name}}}:{part}" for part in ("state", "all", "low", "minute:")]
        parts = ("permits", "low-permits", "state")
        self._permit_keys = [f"headrace:{{{name}}}:{part}" for part in parts]
        self._leases: dict[int, bool] = {}
        self._calls = Calls()
        self._renewal: asyncio.Task[None] | None = None

    async def open(self) -> None:
        try:
            self._client = self._redis.from_url(self.location, **_TIMEOUTS)
        except ValueError:  # its text may hold a part of the password
            raise ConfigError(_UNREADABLE) from None
        self._slots = self._client.register_script(_SLOTS.read_text())
        self._permits = self._client.register_script(_PERMITS.read_text())
        try:
            await self._ask("open")
        except Retryable:
            await self._client.aclose()
            raise
        if self.forgets_quotas(await self._persistence()):
            log.warning(_FORGETS)
        self._renewal = asyncio.get_running_loop().create_task(self._renew())

    async def _persistence(self) -> dict[str, str]:
        """How the server keeps what it has; empty where it does not say (managed ones refuse)."""
        with suppress(Exception):
            return dict(await self._client.config_get("save", "appendonly"))
        return {}

    def forgets_quotas(self, config: Mapping[str, str]) -> bool:
        """Whether a restart of the server would give a quota of minutes or more out anew.

        :param config: ``save`` and ``appendonly`` of the server; empty: unknown.
        """
        keeps = not config or bool(config.get("save")) or config.get("appendonly") == "yes"
        return not keeps and any(w.per_s > _FORGOTTEN_S for w in self.limits.windows)

    async def close(self) -> None:
        await self._calls.ended()
        if self._renewal is not None:
            self._renewal.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewal
        await self._client.aclose()

    async def take(self, ticket: float | None) -> Reservation:
        if ticket is None:
            self._serial += 1
            self._member = f"{self._token}:{self._serial}"
        step = "reserve" if ticket is None else "take"
        return await self._calls.whole(self._ask(step), lambda _: None)

    def give_back(self, ticket: float) -> None:
        self._calls.background(self._ask("give_back"))

    def send_id(self, granted: Reservation) -> SendId:
        return self._member

    async def departed(self, send: SendId, late_s: float) -> SendId:
        await self._calls.whole(self._ask("departed", late_s, str(send)), lambda _: None)
        return send

    async def forget(self, sends: Sequence[SendId]) -> None:
        for send in sends:
            await self._calls.whole(self._ask("forget", member=str(send)), lambda _: None)

    async def throttled(self, wait_s: float | None) -> None:
        wait_s = self.limits.throttle_wait_s if wait_s is None else wait_s
        known_s = _UNKNOWN if wait_s is None else wait_s
        await self._calls.whole(self._ask("throttled", known_s), lambda _: None)

    async def block(self, wait_s: float) -> None:
        await self._calls.whole(self._ask("block", wait_s), lambda _: None)

    async def advertise(self, requests: int, per_s: float) -> None:
        await self._calls.whole(self._ask("advertise", per_s, str(requests)), lambda _: None)

    def owns(self, permit: int) -> bool:
        return self._leases.get(permit, True)

    async def look(self) -> None:
        await self._calls.whole(self._on_permits("look", []), lambda _: None)

    async def try_permit(self) -> int | None:
        return await self._calls.whole(self._try_permit(), self._undo_permit)

    def free_permit(self, permit: int) -> None:
        self._leases.pop(permit, None)
        self._calls.background(self._on_permits("free", [permit]))

    async def _try_permit(self) -> int | None:
        self._serial += 1
        permit = self._serial
        taken = await self._on_permits("take", [permit])
        if not taken:
            return None
        self._leases[permit] = taken == _OWN
        return permit

    def _undo_permit(self, permit: int | None) -> None:
        if permit is not None:
            self.free_permit(permit)

    async def _renew(self) -> None:
        """Keep the leases. A renewal that fails is made up for by the next, in time."""
        while True:
            await asyncio.sleep(LEASE_S / 4)
            if self._leases:
                with suppress(Retryable):
                    await self._on_permits("renew", list(self._leases))

    async def _on_permits(self, step: str, permits: list[int]) -> int:
        limits = (self.limits.in_flight, self.part if self.share < 1 else 0)
        members = [f"{self._token}:{permit}" for permit in permits]
        args = [step, LEASE_S, *limits, reservation.LENT_BACK_S, *members]
        taken, full_seen_s = await self._run(self._permits, self._permit_keys, args)
        self.full_seen_at = monotonic() - float(full_seen_s)
        return int(taken)

    async def _ask(self, step: str, wait_s: float = 0.0, member: str | None = None) -> Reservation:
        """Run a step of the law's script. If other users have set other windows, keep to those."""
        member = self._member if member is None else member
        for _ in range(3):
            windows = " ".join(f"{w.requests}:{w.per_s!r}" for w in self.limits.windows)
            args = [step, windows, member, self.share, wait_s, _CONSTANTS, self.limits.in_flight]
            reply = await self._run(self._slots, self._keys, args)
            if reply[0] != b"windows":
                break
            self._follow(reply[1].decode())
        wait, slot, self.margin, blocked, full_seen_s = map(float, reply)
        self.full_seen_at = monotonic() - full_seen_s
        return Reservation(wait, slot, blocked)

    def _follow(self, text: str) -> None:
        pairs = (pair.split(":") for pair in text.split())
        windows = tuple(RateWindow(int(requests), float(per_s)) for requests, per_s in pairs)
        self.limits = replace(self.limits, windows=windows)

    async def _run(self, script: Any, keys: list[str], args: list[Any]) -> Any:
        until = monotonic() + (
            server.RESPONSE_S if self._renewal else 0
        )  # an opening user learns at once
        while True:
            try:
                return await script(keys=keys, args=args)
            except (self._redis.RedisError, OSError) as error:
                is_lost = isinstance(error, self._redis.ConnectionError)
                if not is_lost or monotonic() > until:
                    raise Retryable(_FAILS.format(type(error).__name__)) from error
            await asyncio.sleep(server.AGAIN_S)

    @classmethod
    def usage(cls, name: str, location: str) -> tuple[float, list[Minute]]:
        with _client(location) as client:
            seconds, micros = client.time()
            now = seconds + micros / 1e6
            minutes = range(int(now // 60) - 59, int(now // 60) + 1)
            keys = [f"headrace:{{{name}}}:minute:{minute}" for minute in minutes]
            parts = [client.mget([key + part for key in keys]) for part in _PARTS]
        columns = [[float(value or 0) for value in part] for part in parts]
        return now, [
            Minute(60.0 * minute, int(requests), int(throttled), waited_s)
            for minute, requests, throttled, waited_s in zip(minutes, *columns, strict=True)
        ]

    @classmethod
    def identity(cls, location: str) -> str:
        with _client(location) as client:
            client.set(_IDENTITY, secrets.token_hex(8), nx=True)
            return str(client.get(_IDENTITY).decode())


@contextmanager
def _client(location: str) -> Iterator[Any]:
    """A client without an event loop.

    :raises ConfigError, Retryable: the store can't be used, or does not answer.
    """
    redis = client_package("redis", "Redis", "redis")
    try:
        client = redis.from_url(location, **_TIMEOUTS)
    except ValueError:  # its text may hold a part of the password
        raise ConfigError(_UNREADABLE) from None
    try:
        with client:
            yield client
    except (redis.RedisError, OSError) as error:
        raise Retryable(_FAILS.format(type(error).__name__)) from error
