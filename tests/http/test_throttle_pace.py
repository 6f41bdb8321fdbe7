"""Waits after refusals: what a header says in any form, and what holds where it says nothing."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.config.limits import RateHeadersConfig
from pipeline.http.rate_limit_headers import (
    RateLimitListener,
    ThrottlePace,
    advertised_limit,
    quota_left,
    retry_after_s,
)
from pipeline.messages import RequestCounts
from tests.support.wire import Seen, answer, client_of, http_date, read_json, serving, things
from tests.support.yaml_sources import quick

NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize("ahead_s", [-3600, -3, 0, 3, 3600])
def test_a_date_is_read_by_the_clock_of_the_api(ahead_s: int) -> None:
    there = NOW + timedelta(seconds=ahead_s)
    headers = {"date": http_date(there), "retry-after": http_date(there + timedelta(seconds=9))}
    assert retry_after_s(headers, lambda: NOW) == 10.0
    reset = {"date": http_date(there), "x-ratelimit-reset": str(int(there.timestamp()) + 9)}
    _, reset_s = quota_left(reset, RateHeadersConfig(), lambda: NOW)
    assert reset_s in (9.0, 10.0)


@pytest.mark.parametrize(
    ("text", "reset_s"),
    [
        ("17s", 17.0),
        ("6m0s", 360.0),
        ("2026-11-05T12:00:17Z", 17.0),
        ("PT17S", 17.0),
        ("17;w=60", 17.0),
        ("-5", 0.0),
        ("0:00:17", 17.0),
        ("06:00", 360.0),
        (str(int((NOW.timestamp() + 17) * 1e6)), 17.0),
        (str(int(NOW.timestamp() + 17) * 10**9), 17.0),
        ("soon", None),
    ],
)
def test_a_reset_in_any_form(text: str, reset_s: float | None) -> None:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": text}
    assert quota_left(headers, RateHeadersConfig(), lambda: NOW) == (0, reset_s)


def test_half_a_request_a_second_is_one_in_two() -> None:
    rate = RateHeadersConfig(limit="x-limit", interval_s=1)
    assert advertised_limit({"x-limit": "0.5"}, rate) == (1, 2.0)
    assert advertised_limit({"x-limit": "100, 100;w=60"}, rate) == (100, 1.0)


def refusals_until(room_s: float, said_s: float | None, bursts: int = 1) -> list[int]:
    """How many refusals there are in each burst, of an API that has no room for that long."""
    pace, now, counts = ThrottlePace(), 0.0, []
    for _ in range(bursts):
        began, count = now, 0
        while now < began + room_s:
            count += 1
            pace, wait_s = pace.refused(now, now - 0.01, said_s, None)
            now += 0.25 if wait_s is None else wait_s
            now += 0.02
        pace = pace.passed(now, now - 0.01)
        counts.append(count)
    return counts


@pytest.mark.parametrize("said_s", [None, 0.001, 0.5])
def test_an_api_that_refuses_for_long_gets_few_requests(said_s: float | None) -> None:
    (ten_s,) = refusals_until(10, said_s)
    assert ten_s <= 6
    (an_hour,) = refusals_until(3600, said_s)
    assert an_hour <= 16


def test_how_long_a_burst_took_is_remembered() -> None:
    first, *others = refusals_until(10, None, bursts=4)
    assert first > 3
    assert all(count <= 3 for count in others)


def test_a_hiccup_teaches_nothing() -> None:
    pace, wait_s = ThrottlePace().refused(0.0, -0.1, None, None)
    assert wait_s is None
    assert pace.passed(5.0, 4.9) == ThrottlePace()


def test_refusals_of_requests_that_had_left_before_the_pause_are_one() -> None:
    pace, _ = ThrottlePace().refused(0.0, -0.1, 5.0, None)
    for _ in range(50):
        pace, wait_s = pace.refused(0.1, -0.05, 5.0, None)
        assert wait_s == 5.0
    assert pace.refusals == 1


@pytest.mark.parametrize(
    "head", ["Retry-After: 0", "Retry-After: -7", "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT"]
)
def test_a_wait_that_is_over_is_no_wait_and_warned_of_once(
    head: str, caplog: pytest.LogCaptureFixture
) -> None:
    def answering(number: int, seen: Seen) -> bytes:
        return answer([{"id": 1}]) if number > 4 else answer([], 429, head=head)

    async def run() -> int:
        sent = RequestCounts()
        async with serving(answering) as wire:
            source = quick(wire.url)
            async with client_of(source) as client:
                await client.fetch(things(source), read_json, "api/things, page", sent)
            return len(wire.seen)

    with caplog.at_level(logging.WARNING, "headrace.client"):
        assert asyncio.run(run()) == 5
    assert caplog.text.count("which is no time to come") == 1


def test_nothing_left_and_no_reset_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    class Nothing:
        throttle_wait_s = None

        def observed(self, *_: object) -> None: ...

    source = quick("http://127.0.0.1:1")
    limits = source.limits.model_copy(update={"headers": RateHeadersConfig()})
    listener = RateLimitListener(source.model_copy(update={"limits": limits}), Nothing())  # type: ignore[arg-type]
    for _ in range(3):
        listener.observed({"x-ratelimit-remaining": "0"})
    assert caplog.text.count("names no time to come") == 1
