"""A Redis that forgets over a restart is said, where a quota could be given out anew by it."""

import asyncio

import pytest
import redis as client

from pipeline.ratelimit import Limits, RateWindow, open_budget

pytestmark = pytest.mark.slow
A_DAY = Limits((RateWindow(1000, 86_400.0),), 4)
A_SECOND = Limits((RateWindow(4, 1.0),), 4)


@pytest.mark.parametrize(
    ("limits", "appendonly", "said"),
    [(A_DAY, "no", True), (A_DAY, "yes", False), (A_SECOND, "no", False)],
)
def test_a_redis_without_persistence_is_said_for_a_quota_of_a_day(
    name: str,
    redis_url: str,
    caplog: pytest.LogCaptureFixture,
    limits: Limits,
    appendonly: str,
    said: bool,
) -> None:
    with client.Redis.from_url(redis_url) as server:
        server.config_set("appendonly", appendonly)

        async def test() -> None:
            async with open_budget(name, limits, redis_url) as budget, budget.request():
                pass

        try:
            asyncio.run(asyncio.wait_for(test(), 60))
        finally:
            server.config_set("appendonly", "no")
    assert ("keeps nothing over a restart" in caplog.text) is said
