"""What an API says of its own limit, over a real socket: read, followed down, and up again."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from pipeline.config.limits import RateHeadersConfig
from pipeline.http.client import open_client
from pipeline.http.rate_limit_headers import advertised_limit, odd_unit, quota_left, unread
from pipeline.messages import RequestCounts
from pipeline.ratelimit import Limits, RateWindow, open_budget
from tests.support.wire import Seen, answer, read_json, serving, things
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("limit", "interval", "told"),
    [
        ("50", "1s", (50, 1.0)),
        ("50", "1", (50, 1.0)),
        ("100", "5m", (100, 300.0)),
        ("5", "1500 ms", (5, 1.5)),
        ("5000", "1h", (5000, 3600.0)),
        ("0", "1s", None),
        ("-3", "1s", None),
        ("many", "1s", None),
        ("inf", "1s", None),
        ("50", "soon", None),
        ("50", "0s", None),
        ("50", "9999d", None),
        ("50", "", None),
    ],
)
def test_the_limit_that_the_api_says(
    limit: str, interval: str, told: tuple[int, float] | None
) -> None:
    headers = {"x-limit": limit, "x-interval": interval}
    assert (
        advertised_limit(headers, RateHeadersConfig(limit="X-Limit", interval="X-Interval")) == told
    )


@pytest.mark.parametrize("name", ["X-Reset-Ms", "x_reset_millis", "X-RESET-MILLISECONDS"])
@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("4000", 4.0),
        ("2592000000", 2_592_000.0),
        (f"{NOW.timestamp() * 1000 + 4000:.0f}", 4.0),
        ("4000ms", 4.0),
        ("1.5s", 1.5),
        ("1m30s", 90.0),
    ],
)
def test_a_header_whose_name_says_milliseconds(name: str, text: str, wait_s: float) -> None:
    rate = RateHeadersConfig(remaining="x-left", reset=name, limit="x-limit", interval=name)
    headers = {"x-left": "0", name.lower(): text, "x-limit": "100"}
    left, reset_s = quota_left(headers, rate, lambda: NOW)
    assert left == 0
    assert reset_s == pytest.approx(wait_s)
    assert odd_unit(headers, rate) is None
    if wait_s < 1000 and len(text) < 12:
        assert advertised_limit(headers, rate) == (100, wait_s)
    seconds = RateHeadersConfig(reset="x-items")
    assert quota_left({"x-items": "40"}, seconds, lambda: NOW) == (None, 40.0)


@pytest.mark.parametrize(
    ("text", "left", "reset_s"),
    [
        ('"default";r=0;t=4', 0, 4.0),
        ('"burst";r=9;t=1, "day";r=3;t=3600', 3, 3600.0),
        ("limit=100, remaining=7, reset=30", 7, 30.0),
        ('"default";r=50', 50, None),
    ],
)
def test_the_quota_in_the_forms_of_ietf(text: str, left: int, reset_s: float | None) -> None:
    rate = RateHeadersConfig(remaining="RateLimit", reset="RateLimit", reset_is="seconds")
    headers = {"ratelimit": text}
    assert quota_left(headers, rate, lambda: NOW) == (left, reset_s)
    assert unread(headers, rate, lambda: NOW) == []
    assert odd_unit(headers, rate) is None


def test_the_limit_without_a_header_for_its_interval() -> None:
    rate = RateHeadersConfig(limit="x-limit", interval_s=3600)
    assert advertised_limit({"x-limit": "60"}, rate) == (60, 3600.0)
    assert advertised_limit({}, rate) is None
    assert advertised_limit({"x-limit": "60"}, RateHeadersConfig()) is None
    assert advertised_limit({"x-limit": "60"}, None) is None
    for odd in (
        {"limit": "a"},
        {"interval": "b"},
        {"limit": "a", "interval": "b", "interval_s": 1},
    ):
        with pytest.raises(ValueError, match="set `limit`, and one of `interval`"):
            RateHeadersConfig.model_validate(odd)


@pytest.mark.slow
def test_an_api_that_lowers_its_limit_is_followed_and_back_again() -> None:
    """40 a second are configured; after 30 answers the API allows 8, after 46 its 40 again."""
    came: list[float] = []
    refused = 0

    def answering(number: int, seen: Seen) -> bytes:
        nonlocal refused
        allowed = 8 if 30 <= number < 46 else 40
        came.append(time.monotonic())
        # What was on its way when the limit fell is no fault of the client.
        since_fell = came[-1] - came[29] if number > 30 else 0.0
        if 30 < number < 46 and since_fell > 1.2:
            # A busy machine brings one late, and so near to the next: 0.2 s are allowed for that.
            refused += sum(at > came[-1] - 0.8 for at in came) > allowed
        return answer([], head=f"X-Limit: {allowed}\nX-Interval: 1s")

    async def main() -> None:
        async with serving(answering) as wire:
            more = "limits: {in_flight: 4, headers: {limit: x-limit, interval: x-interval}}"
            source = source_of(
                f"""
                source: api
                base_url: {wire.url}
                start: 2026-11-01
                {more}
                endpoints: {{things: {{key: [id]}}}}
                """
            )
            limits = Limits((RateWindow(40, 1.0),), 4)
            async with open_client(source, open_budget("told", limits, None)) as client:
                pages = (
                    client.fetch(things(source), read_json, "p", RequestCounts()) for _ in range(90)
                )
                await asyncio.gather(*pages)

    asyncio.run(main())
    assert refused == 0
    falls, lifted = came[29], came[45]
    assert lifted - falls >= 1.4  # 16 requests at 8 a second, of which 4 may have been on their way
    assert came[-1] - lifted <= 4.0  # 1.1 s at 40 a second, and not those 5.5 s that 8 would take
