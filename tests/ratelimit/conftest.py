"""Where the budgets of a test meet: each store, with a server of its own where it needs one."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ratelimit import servers


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with servers.redis_url() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with servers.postgres_url() as url:
        time.sleep(0.2)  # the port is open a moment before it answers
        yield url


@pytest.fixture(params=["memory", "folder", "redis", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Every store in turn."""
    match request.param:
        case "memory":
            return "memory"
        case "folder":
            return str(tmp_path / "budgets")
        case server:
            return str(request.getfixturevalue(f"{server}_url"))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A budget that no other test has."""
    return f"test-{abs(hash(request.node.nodeid)):x}-{time.time_ns()}"
