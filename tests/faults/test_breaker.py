"""An API that is down is left alone, and one that is sick is given up in time."""

import asyncio
import logging
from collections.abc import Awaitable

import pytest

from emulator.testing import Emulator
from pipeline.config.limits import BreakerConfig, RetriesConfig
from pipeline.errors import ApiUnavailable, Unreachable
from pipeline.http.client import Client
from pipeline.lake.s3 import Lake
from pipeline.messages import HttpRequest, HttpResponse, RequestCounts
from tests.faults.support import Bench, check_rows, igdb

pytestmark = pytest.mark.slow

DOWN = {"kind": "status", "status": 500}
FAILURES = 6


def bench_of(api: Emulator, lake: Lake, *, pack: int = 10, **changes: object) -> Bench:
    breaker = BreakerConfig(failures=FAILURES, open_s=42.0)
    source = igdb(api, pack=pack, only=["platforms", "genres"], breaker=breaker)
    return Bench(source.model_copy(update=changes), lake)


@pytest.mark.parametrize("pack", [10, 1])
def test_an_api_that_is_down_gets_few_requests(
    api: Emulator, lake: Lake, caplog: pytest.LogCaptureFixture, pack: int
) -> None:
    api.faults(DOWN)
    ran = bench_of(api, lake, pack=pack).run()
    assert ran.requests <= FAILURES + 8, "those in flight when it opens still come back"
    assert ran.breaker == "open"
    assert {failed.endpoint for failed in ran.outcome.failed} == {"platforms", "genres"}
    for failed in ran.outcome.failed:
        assert isinstance(failed.error, ApiUnavailable)
        assert failed.error.wait_s == 42.0
        assert "seems to be down or unreachable (breaker open)" in str(failed.error)
    assert ran.outcome.retry_wait_s == 42.0
    (opened,) = [r for r in caplog.records if r.name == "headrace.client"]
    assert opened.levelno == logging.WARNING
    assert opened.getMessage() == "igdb: the breaker is open (6 failures in a row)"


def test_the_next_try_begins_with_one_request_alone(api: Emulator, lake: Lake) -> None:
    bench = bench_of(api, lake)
    api.faults(DOWN)
    assert bench.run().breaker == "open"
    again = bench.run(half_open=True)
    assert (again.requests, again.breaker) == (1, "open"), "still down: no second request"
    api.clear_faults()
    ran = bench.run(half_open=True)
    assert not ran.outcome.failed
    assert ran.breaker == "closed"
    check_rows(lake, api.rows("platforms"), "platforms")
    check_rows(lake, api.rows("genres"), "genres")


def test_half_open_lets_one_through_and_the_others_wait(api: Emulator, lake: Lake) -> None:
    bench = bench_of(api, lake)
    api.config(latency_s=0.3)
    request = HttpRequest("POST", f"{api.base_url}/genres", content=b"fields id; limit 1;")

    requests_by_then: list[int] = []

    async def read(answer: HttpResponse) -> None:
        requests_by_then.append(api.stats()["requests"])

    async def main(client: Client) -> None:
        waits: list[Awaitable[None]] = [
            client.fetch(request, read, "a page", RequestCounts()) for _ in range(5)
        ]
        await asyncio.gather(*waits)

    async def opened() -> None:
        async with bench.client(half_open=True) as client:
            assert client.breaker_state == "half open"
            await main(client)
            assert client.breaker_state == "closed"

    asyncio.run(opened())
    assert requests_by_then[0] == 1, "the others went out after the first response"
    assert requests_by_then[-1] == 5
    assert api.stats()["max_open"] >= 4


def test_a_refusal_is_no_failure_of_the_api(api: Emulator, lake: Lake) -> None:
    """An API that says no is up: 403s never open the breaker."""
    api.faults({"kind": "status", "status": 403, "path": "/v4/platforms"})
    ran = bench_of(api, lake, pack=1).run()
    assert ran.breaker == "closed"
    assert [failed.endpoint for failed in ran.outcome.failed] == ["platforms"]
    assert [receipt.endpoint for receipt in ran.outcome.results] == ["genres"]


@pytest.mark.parametrize("what", ["tries of a page", "sum of the waits"])
def test_a_sick_api_is_given_up_after_a_bounded_number_of_requests(
    api: Emulator, lake: Lake, what: str
) -> None:
    """Every request fails, and the breaker is as good as off."""
    api.faults(DOWN)
    retries = {
        "tries of a page": RetriesConfig(first_wait_s=0.01, max_wait_s=0.02, errors=7),
        "sum of the waits": RetriesConfig(
            first_wait_s=0.2, max_wait_s=0.2, errors=100, total_s=1.5
        ),
    }[what]
    bench = bench_of(api, lake, retries=retries, breaker=BreakerConfig(failures=10_000, open_s=1))
    ran = bench.run()
    assert {type(failed.error) for failed in ran.outcome.failed} == {ApiUnavailable}
    most = {"tries of a page": 8 * 4 * 3, "sum of the waits": 40}[what]
    assert ran.requests <= most


def test_a_token_endpoint_that_never_responded_is_unreachable(api: Emulator, lake: Lake) -> None:
    bench = bench_of(api, lake)
    auth = bench.source.auth.model_copy(update={"token_url": "http://127.0.0.1:1/token"})
    bench.source = bench.source.model_copy(update={"auth": auth})
    ran = bench.run()
    assert {type(failed.error) for failed in ran.outcome.failed} == {Unreachable}
    assert "secret" not in str([failed.error for failed in ran.outcome.failed])
