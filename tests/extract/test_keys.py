"""Keys of every type. Days and instants are compared as what they mean, kept in a checkpoint, and
asked for as the API writes them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ApiUnavailable, ContractBroken
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = ["2026-11-02"]
ROWS, PAGE = 50, 10
FIRST = datetime(2026, 1, 28, 22, 30, tzinfo=UTC)
"""Half past: so that an hour is no number of days, and hundreds of microseconds are below a ms."""

KINDS: dict[str, Callable[[datetime], Any]] = {
    "date": lambda at: at.date().isoformat(),
    "timestamp[s]": lambda at: int(at.timestamp()),
    "timestamp[ms]": lambda at: int(at.timestamp()) * 1000 + 7,
    "timestamp[us]": lambda at: int(at.timestamp()) * 1_000_000 + 7,
    "timestamp[iso]": lambda at: at.isoformat().replace("+00:00", "Z"),
    "timestamp[%d.%m.%Y %H:%M]": lambda at: at.strftime("%d.%m.%Y %H:%M"),
}
PAGINGS = {
    "offset": '{offset: "{offset}", sort: "{sort}", limit: "{limit}"}',
    "keyset": '{after: "{after}", sort: "{sort}", limit: "{limit}"}',
}


class Rates:
    """One rate a day, in the order of its day; with ``after``, those behind the row of that text.

    It looks for the very text that it has written: any other is refused.
    """

    def __init__(self, kind: str, order: str) -> None:
        texts = [KINDS[kind](FIRST + timedelta(days=n)) for n in range(ROWS)]
        self.texts = texts if order == "ascending" else texts[::-1]
        self.ends = ROWS + 1
        self.asked: list[int] = []
        self.app = Starlette(routes=[Route("/rates", self.answer), Route("/count", self.count)])

    def _begins(self, request: Request) -> int:
        after = request.query_params.get("after")
        if after is not None:
            return [str(text) for text in self.texts].index(after) + 1
        return int(request.query_params.get("offset", "0"))

    async def answer(self, request: Request) -> Response:
        first = self._begins(request)
        self.asked.append(first)
        if first >= self.ends:
            return JSONResponse({"message": "out of order"}, 500)
        rows = [{"at": text, "rate": n} for n, text in enumerate(self.texts)]
        return JSONResponse(rows[first : first + PAGE])

    async def count(self, request: Request) -> Response:
        return JSONResponse({"count": ROWS - self._begins(request)})


def source_at(url: str, kind: str, paging: str, order: str, counts: bool) -> Source:
    count = "count: {path: count}" if counts else ""
    return source_of(
        f"""
        source: bank
        base_url: {url}
        start: 2026-11-01
        retries: {{errors: 1, first_wait_s: 0.001, max_wait_s: 0.002}}
        endpoints:
          rates:
            key: [at]
            columns: {{at: "{kind}"}}
            request: {{params: {PAGINGS[paging].replace("{sort}", order)}}}
            paging: {{kind: {paging}, limit: {PAGE}}}
            order: {order}
            batch_rows: {2 * PAGE}
            {count}
        """
    )


@pytest.mark.slow
@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("paging", PAGINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_is_a_time_is_gone_on_with(
    kind: str, paging: str, order: str, lake: Lake
) -> None:
    api = Rates(kind, order)
    with serving(api.app) as url:
        source = source_at(url, kind, paging, order, counts=paging == "keyset")
        api.ends = 30
        outcome, _ = outcome_of(source, lake, "rates", DAY, NOW)
        assert isinstance(outcome.failed[0].error, ApiUnavailable)
        api.ends, api.asked = ROWS + 1, []
        (manifest,) = extract(source, lake, "rates", DAY, NOW)
    assert min(api.asked) >= 2 * PAGE - 2, "what was staged is not asked for again"
    assert manifest.resumed_pages > 0
    read = key_rows(lake, manifest.files, ["at", "rate"])
    assert sorted(read["rate"].to_pylist()) == list(range(ROWS))
    wanted = {KINDS["date"](FIRST + timedelta(days=n)) for n in range(ROWS)}
    assert {str(at)[:10] for at in read["at"].to_pylist()} == wanted


def test_a_key_of_whole_days_lands_in_a_checkpoint_as_iso_text(lake: Lake) -> None:
    api = Rates("date", "ascending")
    with serving(api.app) as url:
        api.ends = 30
        outcome_of(source_at(url, "date", "offset", "ascending", False), lake, "rates", DAY, NOW)
    found = lake.get(f"bank/rates/_checkpoints/dt={DAY[0]}.json")
    assert found is not None
    position = json.loads(found.body)["batches"][-1]["progress"]
    assert position["position"]["covered"]["day"].startswith("2026-02-")


@pytest.mark.parametrize("ref", [{"id": 1}, [1]])
@pytest.mark.parametrize("key", ["[ref]", "[ref, name]"])
def test_a_key_that_is_found_to_be_no_single_value_is_said(ref: Any, key: str, lake: Lake) -> None:
    async def answer(request: Request) -> Response:
        return JSONResponse([{"ref": ref, "name": "a"}, {"ref": ref, "name": "b"}])

    with serving(Starlette(routes=[Route("/things", answer)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            retries: {{errors: 0}}
            endpoints: {{things: {{key: {key}}}}}
            """
        )
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
    [failed] = outcome.failed
    assert isinstance(failed.error, ContractBroken)
    assert "The key `ref` is " in str(failed.error)
    assert "expected single values. Check: 1. `key`" in str(failed.error)
