"""A next page that is named by several parameters, as MediaWiki's ``continue`` names it.

Where a page's props do not fit into one answer, its ``continue`` has another member than else, and
no ``gapcontinue``: a chain by that one alone ended there, and the day was committed with a part of
the rows.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ApiUnavailable, ContractBroken, HeadraceError
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

DAY = ["2026-11-02"]
NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
ROWS, PAGE = 23, 5


class Wiki:
    """Pages from ``gapcontinue`` on, whose ``continue`` has to come back beside it.

    :ivar fails_at: the place from which on it answers 500.
    :ivar parts: the first rows come in two parts.
    :ivar said: what stands at ``continue`` in place of an object.
    """

    def __init__(self) -> None:
        self.app = Starlette(routes=[Route("/pages", self.answer)])
        self.asked: list[dict[str, str]] = []
        self.fails_at: int | None = None
        self.parts = False
        self.said: Any = None

    async def answer(self, request: Request) -> Response:
        params = dict(request.query_params)
        self.asked.append(params)
        at = int(params.get("gapcontinue", "0"))
        if at and params.get("continue") != "gapcontinue||info":
            return JSONResponse({"error": {"code": "badcontinue"}})
        if self.fails_at is not None and at >= self.fails_at:
            return JSONResponse({}, 500)
        after: Any = {"gapcontinue": at + PAGE, "continue": "gapcontinue||info"}
        if self.parts and not at and "clcontinue" not in params:
            after = {"clcontinue": "0|A", "continue": "||info"}
        rows = [{"id": n} for n in range(at, min(ROWS, at + PAGE))]
        body: dict[str, Any] = {"query": {"pages": rows}}
        if at + PAGE < ROWS:
            body["continue"] = self.said or after
        return JSONResponse(body)


def source_at(url: str) -> Source:
    return source_of(
        f"""
        source: wiki
        base_url: {url}
        start: 2026-11-01
        retries: {{errors: 1, first_wait_s: 0.001, max_wait_s: 0.002}}
        endpoints:
          pages:
            key: [id]
            columns: {{id: int64}}
            request: {{params: {{generator: allpages, gaplimit: "{{limit}}"}}}}
            paging: {{kind: token, next: continue, as_params: true, limit: {PAGE}}}
            rows: query.pages
            errors_at: error
            batch_rows: {2 * PAGE}
        """
    )


def error_of(wiki: Wiki, lake: Lake) -> HeadraceError:
    with serving(wiki.app) as url:
        outcome, _ = outcome_of(source_at(url), lake, "pages", DAY, NOW)
    assert not outcome.results
    return outcome.failed[0].error


def test_all_members_come_back_in_a_later_try_too(lake: Lake) -> None:
    wiki = Wiki()
    with serving(wiki.app) as url:
        source = source_at(url)
        wiki.fails_at = 2 * PAGE
        outcome, _ = outcome_of(source, lake, "pages", DAY, NOW)
        assert isinstance(outcome.failed[0].error, ApiUnavailable)
        wiki.fails_at, wiki.asked = None, []
        (manifest,) = extract(source, lake, "pages", DAY, NOW)
    assert sorted(key_rows(lake, manifest.files, ["id"])["id"].to_pylist()) == [*range(ROWS)]
    assert wiki.asked[0] == {
        "generator": "allpages",
        "gaplimit": str(PAGE),
        "gapcontinue": str(2 * PAGE),
        "continue": "gapcontinue||info",
    }


def test_rows_that_come_in_parts_are_refused_and_not_taken_for_the_last(lake: Lake) -> None:
    wiki = Wiki()
    wiki.parts = True
    error = error_of(wiki, lake)
    assert isinstance(error, ContractBroken)
    assert "A page came again as the page after it" in str(error)
    assert wiki.asked[1]["clcontinue"] == "0|A"


@pytest.mark.parametrize("said", ["20261103|3", 7, ["a"]])
def test_what_is_no_object_has_no_members(said: Any, lake: Lake) -> None:
    wiki = Wiki()
    wiki.said = said
    error = error_of(wiki, lake)
    assert isinstance(error, ContractBroken)
    assert "expected an object at `continue`, whose members are parameters" in str(error)
    assert f"got {str(said)!r}" in str(error)
