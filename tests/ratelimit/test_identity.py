"""What a store of budgets says of itself."""

import asyncio
from pathlib import Path

from pipeline import ratelimit
from pipeline.ratelimit import Limits, RateWindow, open_budget

LIMITS = Limits((RateWindow(4, 1.0),), 4)


def opened(name: str, where: str) -> None:
    async def use() -> None:
        async with open_budget(name, LIMITS, where):
            pass

    asyncio.run(asyncio.wait_for(use(), 60))


def test_all_users_of_a_store_are_told_one_identity(name: str, where: str) -> None:
    opened(name, where)
    first = ratelimit.identity(where)
    opened(f"{name}-2", where)
    assert ratelimit.identity(where) == first
    assert bool(first) is (where != "memory")


def test_two_folders_have_two_identities(name: str, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        opened(name, str(tmp_path / folder))
    identities = {ratelimit.identity(str(tmp_path / folder)) for folder in ("a", "b")}
    assert len(identities) == 2


def test_one_redis_is_one_under_every_name(name: str, redis_url: str) -> None:
    opened(name, redis_url)
    assert ratelimit.identity(redis_url) == ratelimit.identity(
        redis_url.replace("127.0.0.1", "localhost")
    )
