"""Values of a fan-out whose pages take several attempts, a token that expires, or a long wait."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline import ratelimit
from pipeline.config import Source
from pipeline.errors import RateLimited
from pipeline.extract.position import ExtractionProgress
from pipeline.http.client import open_client
from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.deletions import SweepResult, sweep
from pipeline.run.runner import RunOutcome
from tests.support.clock import at_once
from tests.support.runs import LIMITS, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW, DAY = datetime(2026, 11, 3, 2, tzinfo=UTC), "2026-11-02"
SHOPS, PAGES, PAGE = (1, 2, 3), 6, 10


class Api:
    """Each shop has six pages of orders.

    :ivar left: requests until the quota is used up.
    :ivar dying: how often the token of the second shop's third page expires.
    :ivar waits: requests, by their number, that are answered with a Retry-After of five seconds.
    :ivar token_waits: so many requests for an access token are.
    """

    def __init__(self) -> None:
        self.left, self.dying, self.number, self.waits = 10**6, 0, 0, set[int]()
        self.requested: list[tuple[int, int]] = []
        self.token_waits = 0
        self.app = Starlette(
            routes=[
                Route("/shops", self.shops),
                Route("/orders", self.orders),
                Route("/token", self.token, methods=["POST"]),
            ],
        )

    async def token(self, request: Request) -> Response:
        if self.token_waits:
            self.token_waits -= 1
            return JSONResponse({}, 429, {"retry-after": "5"})
        return JSONResponse({"access_token": "only-for-a-while", "expires_in": 3600})

    async def shops(self, request: Request) -> Response:
        return JSONResponse([{"id": shop} for shop in SHOPS])

    async def orders(self, request: Request) -> Response:
        shop, first = int(request.query_params["shop"]), int(request.query_params.get("token", 0))
        self.number += 1
        if not self.left:
            return JSONResponse({}, 429, {"retry-after": "3600"})
        if self.number in self.waits:
            return JSONResponse({}, 429, {"retry-after": "5"})
        self.left -= 1
        self.requested.append((shop, first))
        if (shop, first) == (2, 2 * PAGE) and self.dying:
            self.dying -= 1
            return JSONResponse({"message": "the token has expired"}, 410)
        own = {"shop": shop} if "own" in request.query_params else {}
        rows = [{"id": 1000 * shop + n, **own} for n in range(first, first + PAGE)]
        last = first + PAGE
        return JSONResponse({"rows": rows, "next": str(last) if last < PAGE * PAGES else None})


ORDERS = {1000 * shop + n for shop in SHOPS for n in range(PAGE * PAGES)}
PARENTS = "parents: {endpoint: shops, column: id, column_here: shop, concurrency: 2%s}"
ALONE = "safety_margin_s: 0"
WITH_TOKEN = (
    "auth: {kind: oauth2_client_credentials, client_id: me-myself, client_secret: only-i-know,"
    " token_url: %s/token}"
)
EACH = "each: {values: [1, 2, 3], column_here: shop, concurrency: 2%s}"


@contextmanager
def source_at(api: Api, values: str, more: str = "", auth: str = "") -> Iterator[Source]:
    own = ", own: 1" if values == ALONE else ""
    shop = {"p": "{parent}", "e": "{each}"}.get(values[0], "2")
    with serving(api.app) as url:
        yield source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            answers: {{dead_page_token: [410]}}
            {auth and auth % url}
            endpoints:
              shops: {{key: [id], columns: {{id: int64}}, whole: true}}
              orders:
                key: [shop, id]
                columns: {{id: int64, shop: int64}}
                {values}
                request: {{params: {{shop: "{shop}"{own}, token: "{{token}}"}}}}
                paging: {{kind: token, limit: 10, next: next, numbered: false}}
                rows: rows
                batch_rows: 10
                {more}
            """
        )


def read(source: Source, lake: Lake) -> RunOutcome:
    return outcome_of(source, lake, "orders", [DAY], NOW)[0]


def swept(source: Source, lake: Lake) -> SweepResult:
    async def run() -> SweepResult:
        budget = ratelimit.open_budget(source.source, LIMITS, "memory")
        async with open_client(source, budget) as client:
            context = RunContext(source, lake, client, "sweep", lambda: NOW, sleep=at_once)
            return await sweep(context, "orders", ExtractionProgress())

    return asyncio.run(run())


def ids(lake: Lake) -> list[int]:
    return sorted(dataset(lake, "api", "orders", DAY).to_table()["id"].to_pylist())


def test_children_of_which_none_may_fail_get_on_however_small_the_quota_is(lake: Lake) -> None:
    """Their rows wait for the end of no parent."""
    api = Api()
    with source_at(api, PARENTS % "") as source:
        outcome_of(source, lake, "shops", [DAY], NOW)
        for _ in range(len(SHOPS) * PAGES):
            api.left = 4
            outcome = read(source, lake)
            if outcome.results:
                break
            assert isinstance(outcome.failed[0].error, RateLimited)
    assert outcome.results[0].manifest.proof.contiguous
    assert ids(lake) == sorted(ORDERS)
    assert len(api.requested) <= 2 * len(SHOPS) * PAGES


@pytest.mark.parametrize(
    "values",
    [
        PARENTS % "",
        PARENTS % ", max_failed_share: 0.5",
        EACH % "",
        EACH % ", max_failed_share: 0.5",
    ],
)
@pytest.mark.parametrize("dying", [1, 3])
def test_the_chain_of_one_value_whose_token_has_expired_begins_anew(
    values: str, dying: int, lake: Lake
) -> None:
    api = Api()
    with source_at(api, values) as source:
        outcome_of(source, lake, "shops", [DAY], NOW)
        api.dying = dying
        outcome = read(source, lake)
        assert not outcome.failed
    assert outcome.results[0].manifest.proof.contiguous
    assert ids(lake) == sorted(ORDERS)
    assert [api.requested.count((shop, 0)) for shop in SHOPS] == [1, 1 + dying, 1]


@pytest.mark.parametrize("values", [PARENTS % "", EACH % ""])
@pytest.mark.parametrize("left", [10**6, 4, 9], ids=["", "before", "behind"])
def test_the_rows_of_a_value_that_is_read_anew_count_once_for_the_most_rows(
    values: str, left: int, lake: Lake
) -> None:
    """Also where the quota ends the attempt before its token expires, or behind that."""
    api = Api()
    with source_at(api, values, f"max_rows: {len(ORDERS)}") as source:
        outcome_of(source, lake, "shops", [DAY], NOW)
        api.left, api.dying = left, 1 if left < 10**6 else 3
        outcomes = [read(source, lake)]
        api.left = 10**6
        outcomes += [read(source, lake) for _ in range(2)]
    errors = [str(failed.error) for outcome in outcomes for failed in outcome.failed]
    assert "max_rows" not in "; ".join(errors)
    assert api.dying == 0
    assert ids(lake) == sorted(ORDERS)


@pytest.mark.parametrize("values", [PARENTS % "", EACH % ""])
def test_the_attempt_behind_one_that_has_read_a_value_anew_commits_its_rows(
    values: str, lake: Lake
) -> None:
    """It knows that the rows of that value were staged twice, and no others."""
    api = Api()
    with source_at(api, values) as source:
        outcome_of(source, lake, "shops", [DAY], NOW)
        api.left, api.dying = 9, 1
        (failed,) = read(source, lake).failed
        assert isinstance(failed.error, RateLimited)
        assert api.dying == 0
        api.left = 10**6
        (result,) = read(source, lake).results
    assert ids(lake) == sorted(ORDERS)
    assert result.manifest.proof.contiguous
    assert len(api.requested) <= len(SHOPS) * PAGES + 4


@pytest.mark.parametrize("values", [PARENTS % "", EACH % ""])
def test_tokens_that_expire_again_and_again_end_the_partition_with_what_to_set(
    values: str, lake: Lake
) -> None:
    api = Api()
    with source_at(api, values) as source:
        outcome_of(source, lake, "shops", [DAY], NOW)
        api.dying = 10**6
        (failed,) = read(source, lake).failed
    assert "The page token expired in 4 readings" in str(failed.error)
    assert "a larger `paging.limit`" in str(failed.error)
    assert api.requested.count((2, 0)) == 4


def test_where_no_value_may_fail_none_has_a_limit_of_time(lake: Lake) -> None:
    api = Api()
    with source_at(api, PARENTS % ", timeout_s: 0.000001") as source:
        outcome_of(source, lake, "shops", [DAY], NOW)
        (result,) = read(source, lake).results
    assert ids(lake) == sorted(ORDERS)
    assert result.manifest.proof.contiguous


@pytest.mark.slow
def test_the_wait_that_the_api_asks_for_is_not_the_time_of_a_value(lake: Lake) -> None:
    api = Api()
    with source_at(api, PARENTS % ", timeout_s: 4, max_failed_share: 0.5") as source:
        outcome_of(source, lake, "shops", [DAY], NOW)
        api.waits = {3}
        (result,) = read(source, lake).results
    assert ids(lake) == sorted(ORDERS)
    assert result.manifest.proof.contiguous


@pytest.mark.slow
def test_the_wait_that_a_token_endpoint_asks_for_is_not_the_time_of_a_value(lake: Lake) -> None:
    """Two values are read side by side: one requests the token, the other waits for it."""
    api = Api()
    each = EACH % ", timeout_s: 4, max_failed_share: 0.5"
    with source_at(api, each, auth=WITH_TOKEN) as source:
        api.token_waits = 1
        (result,) = read(source, lake).results
    assert api.token_waits == 0
    assert ids(lake) == sorted(ORDERS)
    assert result.manifest.proof.contiguous


@pytest.mark.parametrize("values", ["", EACH % ""])
def test_a_sweep_reads_a_chain_whose_token_has_expired_once_more(values: str, lake: Lake) -> None:
    api = Api()
    with source_at(api, values or ALONE, "sweep: true") as source:
        (result,) = read(source, lake).results
        api.dying = 2
        gone = swept(source, lake)
    assert (gone.keys_seen, gone.keys_gone) == (result.manifest.rows, 0)
