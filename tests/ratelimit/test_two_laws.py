"""The law in Python and the law in Lua decide the same, to the last bit, on any sequence of steps.

Both keep times as doubles, and compute in the same order: no tolerance is needed. Lua knows a
reservation by its name, Python by its time. So after a clock was set back, and both have dropped
their times, a ticket of before must not be the time of another reservation by chance: the clock of
the test shows no instant twice. Minutes are not compared: no decision rests on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline.ratelimit import Limits, RateWindow, reservation
from pipeline.ratelimit import state_layout as layout
from pipeline.ratelimit.stores import redis as store
from tests.ratelimit.test_reservation import new
from tests.support.thorough import THOROUGH

pytestmark = pytest.mark.slow

CLOCK = "redis.call('TIME')"
WINDOWS = [
    (RateWindow(4, 1.0),),
    (RateWindow(5, 30.0),),
    (RateWindow(3, 0.7), RateWindow(7, 11.0)),
    tuple(RateWindow(10 * n, 1.0 * n) for n in range(1, 9)),
]
SHARES = (1.0, 1.0, 0.5, 0.3)
WAITS = st.sampled_from([0.0, 0.05, 0.2, 0.7, 3.3, 100.0])
CLOCK_STEPS_US = st.one_of(
    st.sampled_from([0, 1, 1_000, 33_333, 260_001]),
    st.sampled_from([0, 1, 1_000, 33_333, 260_001, 1_300_000, 3_100_000, 9_000_000]),
    st.sampled_from([70_000_000, 700_000_000, -2_000_000, -90_000_000_000]),
)
STEPS = st.one_of(
    *[st.sampled_from([("take", 0.0), ("take when due", 0.0)])] * 6,
    st.sampled_from([("give back", 0.0), ("forget", 0.0)]),
    st.tuples(st.just("departed"), WAITS),
    st.tuples(st.just("block"), WAITS),
    st.tuples(st.just("throttled"), st.one_of(WAITS, st.just(-1.0))),
    st.tuples(
        st.sampled_from(["advertise 3", "advertise 11"]), st.sampled_from([0.0, 0.5, 2.0, 9.0])
    ),
)
SEQUENCES = st.lists(
    st.tuples(st.integers(0, len(SHARES) - 1), CLOCK_STEPS_US, STEPS), min_size=40, max_size=120
)


@pytest.fixture(scope="module")
def script(redis_url: str) -> Iterator[Any]:
    """The law in Lua, on a clock that the test says: its last two arguments."""
    law = store._SLOTS.read_text()
    assert law.count(CLOCK) == 1
    client = pytest.importorskip("redis").from_url(redis_url)
    yield client.register_script(law.replace(CLOCK, "{ARGV[#ARGV - 1], ARGV[#ARGV]}"))
    client.close()


class Both:
    """One budget under both laws, and its users, each with one reservation at a time."""

    def __init__(self, script: Any, limits: Limits) -> None:
        script.registered_client.flushall()
        self.script, self.limits, self.row = script, limits, new(limits)
        self.now_us = 1_700_000_000_000_000
        self.serials = [0] * len(SHARES)
        self.tickets: list[float | None] = [None] * len(SHARES)
        self.sent: list[tuple[str, float] | None] = [None] * len(SHARES)
        self.lua("open", "")

    @property
    def now(self) -> float:
        seconds, micros = divmod(self.now_us, 1_000_000)
        return seconds + micros / 1e6

    def lua(self, step: str, member: str, share: float = 1.0, wait_s: float = 0.0) -> list[float]:
        windows = " ".join(f"{w.requests}:{w.per_s!r}" for w in self.limits.windows)
        args = [step, windows, member, share, wait_s, store._CONSTANTS, self.limits.in_flight]
        clock = divmod(self.now_us, 1_000_000)
        keys = [f"{{two-laws}}:{part}" for part in ("state", "all", "low", "minute:")]
        return [float(text) for text in self.script(keys=keys, args=[*args, *clock])]

    def agree(self, in_lua: list[float], in_python: reservation.Reservation | None = None) -> None:
        if in_python is not None:
            assert in_lua[:2] == [in_python.wait_s, in_python.ticket]
        assert in_lua[2] == self.row[layout.MARGIN]
        assert in_lua[3] == max(0.0, self.row[layout.BLOCKED_UNTIL] - self.now)
        assert in_lua[4] == self.now - self.row[layout.FULL_SEEN_AT]

    def take(self, user: int) -> None:
        ticket, share = self.tickets[user], SHARES[user]
        if ticket is None:
            self.serials[user] += 1
        member = f"{user}:{self.serials[user]}"
        taken = reservation.take(self.row, self.limits, self.now, ticket, share)
        self.agree(self.lua("reserve" if ticket is None else "take", member, share), taken)
        self.tickets[user] = taken.ticket if taken.wait_s else None
        if not taken.wait_s:
            self.sent[user] = member, taken.ticket

    def step(self, user: int, step: str, wait_s: float) -> None:
        share, ticket, sent = SHARES[user], self.tickets[user], self.sent[user]
        if step.startswith("take"):
            if ticket is not None and step == "take when due":
                self.now_us = max(self.now_us, int(ticket * 1e6) + 1)
            self.take(user)
        elif step == "give back" and ticket is not None:
            reservation.give_back(self.row, ticket, share)
            self.agree(self.lua("give_back", f"{user}:{self.serials[user]}", share))
            self.tickets[user] = None
        elif step == "departed" and sent is not None:
            departed_at = reservation.departed(self.row, sent[1], wait_s, share)
            self.agree(self.lua("departed", sent[0], share, wait_s))
            self.sent[user] = sent[0], departed_at
        elif step == "forget" and sent is not None:
            reservation.forget(self.row, self.limits, sent[1], share)
            self.agree(self.lua("forget", sent[0], share))
            self.sent[user] = None
        elif step == "block":
            reservation.block(self.row, self.now, wait_s)
            self.agree(self.lua("block", "", wait_s=wait_s))
        elif step == "throttled":
            known_s = None if wait_s < 0 else wait_s
            reservation.throttled(self.row, self.limits, self.now, known_s)
            self.agree(self.lua("throttled", "", wait_s=wait_s))
        elif step.startswith("advertise"):
            requests = step.split()[1]
            reservation.record(self.row, self.now, int(requests), wait_s)
            self.agree(self.lua("advertise", requests, wait_s=wait_s))


@settings(
    max_examples=60 * THOROUGH,
    phases=[Phase.reuse, Phase.generate],  # a server makes shrinking take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(windows=st.sampled_from(WINDOWS), steps=SEQUENCES)
def test_both_laws_decide_the_same(
    script: Any, windows: tuple[RateWindow, ...], steps: list[tuple[int, int, tuple[str, float]]]
) -> None:
    both = Both(script, Limits(windows, 8))
    for number, (user, clock_step_us, (step, wait_s)) in enumerate(steps):
        both.now_us += (
            clock_step_us + number
        )  # no instant comes twice, not after a step back either
        both.step(user, step, wait_s)
