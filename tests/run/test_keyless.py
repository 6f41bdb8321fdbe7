"""`key: none`: all rows are kept, partitions are replaced whole, and `max_rows` bounds them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ApiUnavailable, ConfigError, ContractBroken
from pipeline.lake.drop import states
from pipeline.lake.read import current, dataset
from pipeline.lake.s3 import Lake
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
LATER = datetime(2026, 11, 3, 12, tzinfo=UTC)
PAGE = 10


class Log:
    """Lines of a log, many of them alike."""

    def __init__(self, rows: int = 57) -> None:
        self.rows: list[dict[str, Any]] = [
            {"text": f"line {n % 3}", "n": n % 5} for n in range(rows)
        ]
        self.ends, self.asked, self.endless = 10**9, list[int](), False
        self.total: int | None = None
        self.app = Starlette(routes=[Route("/lines", self.answer)])

    async def answer(self, request: Request) -> Response:
        given = request.query_params
        first = int(given.get("token", given.get("offset", PAGE * (int(given.get("page", 1)) - 1))))
        self.asked.append(first)
        if first >= self.ends:
            return JSONResponse({"message": "out of order"}, 500)
        rows = self.rows[first : first + PAGE]
        if self.endless:
            rows = [{"text": "again", "n": first + n} for n in range(PAGE)]
        more = self.endless or first + PAGE < len(self.rows)
        body = {"rows": rows, "next": str(first + PAGE) if more else None}
        return JSONResponse(body | ({"total": self.total} if self.total is not None else {}))


PAGINGS = {
    "token": ("{kind: token, limit: 10, next: next, numbered: false}", 'token: "{token}"'),
    "page": ("{kind: page, limit: 10, total: total}", 'page: "{page}"'),
    "offset": ("{kind: offset, limit: 10, total: total}", 'offset: "{offset}"'),
}


def source_at(url: str, kind: str = "token", more: str = "") -> Source:
    paging, params = PAGINGS[kind]
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-02
        retries: {{errors: 1, first_wait_s: 0.001, max_wait_s: 0.002}}
        endpoints:
          lines:
            key: none
            request: {{params: {{{params}}}}}
            paging: {paging}
            rows: rows
            batch_rows: 20
            {more}
        """
    )


def multiset(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return sorted((row["text"], row["n"]) for row in rows)


@pytest.mark.parametrize("kind", PAGINGS)
def test_all_rows_are_kept_also_those_that_are_alike(kind: str, lake: Lake) -> None:
    api = Log()
    api.total = len(api.rows)
    with serving(api.app) as url:
        (manifest,) = extract(source_at(url, kind), lake, "lines", ["2026-11-02"], NOW)
    assert multiset(dataset(lake, "api", "lines").to_table().to_pylist()) == multiset(api.rows)
    assert manifest.proof.rests_on == ("chain" if kind == "token" else "count")
    assert manifest.notes.duplicate_rows == 0


def test_a_partition_is_replaced_and_the_current_state_is_the_newest(lake: Lake) -> None:
    api = Log()
    with serving(api.app) as url:
        source = source_at(url)
        extract(source, lake, "lines", ["2026-11-02"], NOW)
        extract(source, lake, "lines", ["2026-11-02"], NOW)
        assert dataset(lake, "api", "lines").count_rows() == 57
        api.rows = api.rows[:30]
        extract(source, lake, "lines", ["2026-11-03"], LATER)
    assert multiset(current(lake, "api", "lines").to_pylist()) == multiset(api.rows)
    assert current(lake, "api", "lines", columns=["n"]).column_names == ["n"]


def test_it_is_resumed_by_its_position(lake: Lake) -> None:
    api = Log()
    with serving(api.app) as url:
        source = source_at(url)
        api.ends = 40
        outcome, _ = outcome_of(source, lake, "lines", ["2026-11-02"], NOW)
        assert isinstance(outcome.failed[0].error, ApiUnavailable)
        api.ends, api.asked = 10**9, []
        (manifest,) = extract(source, lake, "lines", ["2026-11-02"], NOW)
    assert min(api.asked) == 40
    assert manifest.resumed_pages == 4
    assert multiset(dataset(lake, "api", "lines").to_table().to_pylist()) == multiset(api.rows)


def test_a_count_that_does_not_agree_is_said(lake: Lake) -> None:
    api = Log()
    api.total = 60
    with serving(api.app) as url:
        outcome, _ = outcome_of(source_at(url, "page"), lake, "lines", ["2026-11-02"], NOW)
    (receipt,) = outcome.results
    assert receipt.manifest.rows == 57
    assert not receipt.manifest.proof.contiguous


def test_a_chain_without_an_end_is_bounded(lake: Lake) -> None:
    api = Log()
    api.endless = True
    with serving(api.app) as url:
        source = source_at(url, more="max_rows: 200")
        outcome, _ = outcome_of(source, lake, "lines", ["2026-11-02"], NOW)
    error = outcome.failed[0].error
    assert isinstance(error, ContractBroken)
    assert "more than 200 rows came, the most that `max_rows` allows. Check: 1." in str(error)
    assert len(api.asked) < 40


def test_what_an_earlier_attempt_has_staged_counts_for_the_most_rows(lake: Lake) -> None:
    """A chain that breaks, then has no end, then ends behind what is allowed."""
    api = Log(rows=460)
    with serving(api.app) as url:
        source = source_at(url, more="max_rows: 100")
        api.ends = 60
        outcome_of(source, lake, "lines", ["2026-11-02"], NOW)
        assert [each.staged_rows for each in states(lake, "api", "lines")] == [60]
        api.ends, api.endless = 10**9, True
        for _ in range(2):
            api.asked.clear()
            outcome, _ = outcome_of(source, lake, "lines", ["2026-11-02"], NOW)
            assert "more than 100 rows came" in str(outcome.failed[0].error)
            assert len(api.asked) < 20
            assert [each.staged_rows for each in states(lake, "api", "lines")] == [0]
        api.endless = False
        outcome, _ = outcome_of(source, lake, "lines", ["2026-11-02"], NOW)
    assert isinstance(outcome.failed[0].error, ContractBroken)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("sweep: true", "take one of them out"),
        ("deleted: gone", "take one of them out"),
        ("sort: newest_first", "`sort` is about a feed"),
    ],
)
def test_what_needs_a_key_is_refused_beside_none(more: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        source_at("http://api", more=more)
