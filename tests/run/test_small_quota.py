"""A quota that is used up after a few pages: each attempt begins where the one before it ended.

So it does behind pages that brought no row, whether it is the quota that ends it or a kill.
"""

import re
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ApiUnavailable, ContractBroken, RateLimited
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from pipeline.run import writer
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = ["2026-11-02"]
ROWS, PAGE, QUOTA = 90, 10, 2


class Api:
    """Two pages an hour.

    :ivar empty: the first rows of pages that a filter has emptied.
    :ivar odd: the response at these first rows, in place of a page.
    """

    def __init__(self, *empty: int, quota: int = QUOTA) -> None:
        self.empty, self.left = empty, quota
        self.given: list[int] = []
        self.odd: dict[int, Response] = {}
        self.app = Starlette(routes=[Route("/things", self.respond)])

    async def respond(self, request: Request) -> Response:
        if not self.left:
            return JSONResponse({}, 429, {"retry-after": "3600"})
        self.left -= 1
        first = int(request.query_params.get("token", 0))
        self.given.append(first)
        if first in self.odd:
            return self.odd[first]
        last = min(ROWS, first + PAGE)
        ids = [] if first in self.empty else range(first, last)
        value = request.query_params.get("of", "")
        rows = [{"id": f"{value}{n}", "kept": n < PAGE or n >= ROWS - PAGE} for n in ids]
        following = f"t{last}"[1:] if last < ROWS else None
        total = ROWS - PAGE * len(self.empty)
        return JSONResponse({"rows": rows, "next": following, "total": total})


def source_at(url: str, more: str = "", of: str = "", paging: str = "") -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        retries: {{errors: 1, first_wait_s: 0.001, max_wait_s: 0.002}}
        endpoints:
          things:
            key: [id]
            columns: {{id: string, kept: bool}}
            request: {{params: {{token: '{{token}}'{of}}}}}
            paging: {{kind: token, next: next, limit: {PAGE}, numbered: false{paging}}}
            rows: rows
            {more}
        """
    )


MIDDLE = range(PAGE, ROWS - PAGE, PAGE)
"""The first rows of all pages but the first and the last."""


@pytest.mark.parametrize("total", ["", ", total: total"])
@pytest.mark.parametrize(
    ("empty", "more", "rows"),
    [((), "", ROWS), ((), "where: {kept: true}", 2 * PAGE), (MIDDLE, "", 2 * PAGE)],
    ids=["rows", "rows that are left out", "empty pages"],
)
def test_a_partition_gets_on_however_small_the_quota_is(
    empty: tuple[int, ...], more: str, rows: int, total: str, lake: Lake
) -> None:
    api = Api(*empty)
    with serving(api.app) as url:
        source = source_at(url, more, paging=total)
        for _ in range(ROWS // PAGE):
            outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
            if outcome.results:
                break
            assert isinstance(outcome.failed[0].error, RateLimited)
            api.left = QUOTA
    (receipt,) = outcome.results
    manifest = receipt.manifest
    found = key_rows(lake, manifest.files, ["id"])["id"].to_pylist()
    assert len(found) == len(set(found)) == rows
    assert api.given == list(range(0, ROWS, PAGE))
    assert manifest.proof.contiguous, "its total counts what was left out in earlier attempts, too"
    assert manifest.proof.pages == ROWS // PAGE
    assert manifest.notes.filtered_rows == (ROWS - rows if more else None)


def test_so_does_each_value(lake: Lake) -> None:
    api = Api(*MIDDLE)
    with serving(api.app) as url:
        source = source_at(url, "each: {values: [a, b]}", of=", of: '{each}'")
        for _ in range(ROWS // PAGE + 1):
            outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
            if outcome.results:
                break
            api.left = QUOTA
    assert outcome.results[0].manifest.rows == 4 * PAGE
    assert sorted(api.given) == sorted([*range(0, ROWS, PAGE)] * 2)


@pytest.mark.parametrize("more", ["", "max_rows: 25", "where: {kept: true}"])
@pytest.mark.parametrize(
    ("odd", "error", "resumed_at"),
    [
        (JSONResponse({}, 503), ApiUnavailable, 60),
        (JSONResponse({"rows": "?"}), ContractBroken, PAGE),
    ],
)
def test_pages_without_rows_that_took_long_are_not_requested_twice(
    odd: Response,
    error: type[Exception],
    resumed_at: int,
    more: str,
    lake: Lake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if each had taken five minutes. Of an API that is sick their end is not trusted."""
    monkeypatch.setattr(writer, "MAX_S", 0.0)
    api = Api(*([] if "where" in more else MIDDLE), quota=1_000)
    api.odd = {60: odd}
    with serving(api.app) as url:
        source = source_at(url, more)
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
        assert isinstance(outcome.failed[0].error, error)
        api.odd, api.given = {}, []
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
    assert not outcome.failed
    manifest = outcome.results[0].manifest
    assert (manifest.rows, manifest.resumed_pages) == (2 * PAGE, resumed_at // PAGE)
    assert api.given == [*range(resumed_at, ROWS, PAGE)]


def test_rows_that_were_left_out_count_for_the_most_rows_and_then_nothing_is_resumed(
    lake: Lake,
) -> None:
    api = Api()
    with serving(api.app) as url:
        source = source_at(url, f"where: {{kept: false}}\n            max_rows: {4 * PAGE}")
        for _ in range(3):
            outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
            api.left = QUOTA
        error = str(outcome.failed[0].error)
        assert re.search(f"more than {4 * PAGE} rows came", error)
        api.given = []
        outcome_of(source, lake, "things", DAY, NOW)
    assert api.given == [0, PAGE]
