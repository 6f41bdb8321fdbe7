"""The limiter, the fault rules and the tokens, with the clock as an argument."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulator.auth import MAX_LIVE_TOKENS, Tokens
from emulator.faults import Faults, Rule
from emulator.limits import EmulatedLimits
from emulator.settings import EmulatorSettings
from emulator.stats import most_in_window


@given(
    st.lists(st.floats(0, 0.5), max_size=60),
    st.integers(1, 5),
    st.floats(0.1, 2),
)
@settings(max_examples=100)
def test_no_window_ever_holds_more_and_none_is_refused_in_vain(
    gaps: list[float], rate: int, per_s: float
) -> None:
    limits = EmulatedLimits(EmulatorSettings(rate=rate, per_s=per_s, in_flight=0))
    now, accepted = 0.0, list[float]()
    for gap in gaps:
        now += gap
        recent = [time for time in accepted if time > now - per_s]
        assert limits.enter(now) == (len(recent) < rate)
        if len(recent) < rate:
            accepted.append(now)
    assert most_in_window(accepted, per_s) <= rate


def test_a_refused_request_does_not_count() -> None:
    limits = EmulatedLimits(EmulatorSettings(rate=2, in_flight=0))
    assert [limits.enter(t) for t in (0.0, 0.5, 0.9, 0.99)] == [True, True, False, False]
    assert limits.enter(1.0)
    assert not limits.enter(1.49)
    assert limits.enter(1.5)


def test_open_requests() -> None:
    limits = EmulatedLimits(EmulatorSettings(rate=0, in_flight=2))
    assert [limits.enter(0.0) for _ in range(3)] == [True, True, False]
    limits.leave()
    assert limits.enter(0.0)
    unlimited = EmulatedLimits(EmulatorSettings(rate=0, in_flight=0))
    assert all(unlimited.enter(0.0) for _ in range(100))


def test_most_in_window_is_half_open() -> None:
    assert most_in_window([0.0, 0.5, 1.0], 1.0) == 2
    assert most_in_window([0.0, 0.5, 0.999], 1.0) == 3
    assert most_in_window([], 1.0) == 0


def fired(rule: dict[str, object], times: int) -> list[bool]:
    faults = Faults()
    faults.set([Rule.read(rule)])
    return [faults.choose("/v4/games", "fields *;").fault is not None for _ in range(times)]


def test_when_a_rule_fires() -> None:
    assert fired({"kind": "drop"}, 3) == [True] * 3
    assert fired({"kind": "drop", "next": 2}, 3) == [True, True, False]
    assert fired({"kind": "drop", "next": 1, "after": 2}, 4) == [False, False, True, False]
    assert fired({"kind": "drop", "every": 3}, 6) == [False, False, True] * 2
    assert fired({"kind": "drop", "path": "/v4/covers"}, 2) == [False] * 2
    assert fired({"kind": "drop", "contains": "offset 499"}, 2) == [False] * 2
    half = fired({"kind": "drop", "probability": 0.5, "seed": 3}, 200)
    assert 70 < sum(half) < 130
    assert half == fired({"kind": "drop", "probability": 0.5, "seed": 3}, 200)


def test_latencies_add_up_and_the_first_other_fault_counts() -> None:
    faults = Faults()
    rules: list[dict[str, object]] = [
        {"kind": "latency", "latency_s": 0.5},
        {"kind": "drop", "next": 1},
        {"kind": "status", "status": 503},
        {"kind": "latency", "latency_s": 0.25},
    ]
    faults.set([Rule.read(rule) for rule in rules])
    chosen = faults.choose("/v4/games", "")
    assert chosen.latency_s == 0.75
    assert [r and r.kind for r in (chosen.fault, faults.choose("/v4/games", "").fault)] == [
        "drop",
        "status",
    ]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"kind": "explode"}, "fault kind 'explode'"),
        ({"kind": "drop", "nth": 3}, "unknown in a fault rule"),
        ({"kind": "drop", "every": 3, "next": 1}, "one of probability"),
        ({"kind": "change_rows"}, "has a change"),
    ],
)
def test_wrong_rules(rule: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rule.read(rule)


def test_tokens_expire_and_the_oldest_of_too_many_dies() -> None:
    now = [0.0]
    tokens = Tokens("id", "secret", EmulatorSettings(expires_in_s=10), lambda: now[0])
    first = tokens.mint()
    assert tokens.allows("id", f"Bearer {first}")
    assert not tokens.allows("id", f"bearer {first}")
    assert not tokens.allows("other", f"Bearer {first}")
    assert not tokens.allows("id", None)
    others = [tokens.mint() for _ in range(MAX_LIVE_TOKENS)]
    assert not tokens.allows("id", f"Bearer {first}")
    assert all(tokens.allows("id", f"Bearer {token}") for token in others)
    now[0] = 10.0
    assert not any(tokens.allows("id", f"Bearer {token}") for token in others)
