"""A page token that expires in the middle of its chain: the chain begins anew, a few times."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import RequestRefused
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
DAY = "2026-11-03"
ROWS = [{"id": number, "n": str(number), "ok": number % 10 < 6} for number in range(60)]


class Expiring:
    """Each chain has tokens of its own, of which so many chains die after three pages."""

    def __init__(self, dying: int, status: int = 410) -> None:
        self.dying, self.status, self.chains, self.requests = dying, status, 0, 0

    async def things(self, request: Request) -> Response:
        self.requests += 1
        token = request.query_params.get("token")
        if token is None:
            self.chains += 1
            token = f"{self.chains}:0"
        chain, at = map(int, token.split(":"))
        if at >= 30 and chain <= self.dying:
            return JSONResponse({"error": "Cursor has EXPIRED"}, self.status)
        rows = ROWS[at : at + 10]
        following = f"{chain}:{at + 10}" if at + 10 < len(ROWS) else None
        return JSONResponse({"data": rows, "next": following})

    @contextmanager
    def source(self, answers: str, more: str = "") -> Iterator[Source]:
        with serving(Starlette(routes=[Route("/things", self.things)])) as url:
            yield source_of(
                f"""
                source: api
                base_url: {url}
                start: 2026-11-01
                {answers}
                endpoints:
                  things:
                    request: {{params: {{token: "{{token}}"}}}}
                    paging: {{kind: token, limit: 10, next: next}}
                    rows: data
                    key: [id]
                    batch_rows: 20
                    columns: {{id: int64, n: int64}}
                    {more}
                    errors_at: error
                """
            )


@pytest.mark.parametrize(
    ("status", "answers"),
    [
        (410, "answers: {dead_page_token: [410]}"),
        (400, "answers: {dead_page_token_text: cursor has expired}"),
        (200, "answers: {dead_page_token_text: cursor has expired}"),
    ],
)
def test_a_chain_whose_token_has_expired_begins_anew(lake: Lake, status: int, answers: str) -> None:
    api = Expiring(dying=3, status=status)
    with api.source(answers) as source:
        outcome, _ = outcome_of(source, lake, "things", [DAY], NOW)
    assert not outcome.failed
    (manifest,) = [receipt.manifest for receipt in outcome.results]
    keys = key_rows(lake, manifest.files, ["id"])["id"].to_pylist()
    assert sorted(keys) == [row["id"] for row in ROWS]
    assert api.chains == 4


def test_tokens_that_always_expire_are_given_up_with_a_remedy(lake: Lake) -> None:
    api = Expiring(dying=100)
    with api.source("answers: {dead_page_token: [410]}") as source:
        outcome, _ = outcome_of(source, lake, "things", [DAY], NOW)
    (failed,) = outcome.failed
    assert isinstance(failed.error, RequestRefused)
    assert "expired in 4 readings of this partition" in str(failed.error)
    assert api.chains == 4


def test_a_refusal_that_is_no_dead_token_says_how_to_call_it_one(lake: Lake) -> None:
    api = Expiring(dying=100)
    with api.source("") as source:
        outcome, _ = outcome_of(source, lake, "things", [DAY], NOW)
    (failed,) = outcome.failed
    assert "answers: {dead_page_token: [410]}" in str(failed.error)
    assert api.chains == 1


@pytest.mark.parametrize("dying", [0, 1, 3])
def test_the_rows_of_a_chain_that_has_expired_are_counted_no_more(lake: Lake, dying: int) -> None:
    api = Expiring(dying=dying)
    with api.source("answers: {dead_page_token: [410]}", "where: {ok: true}") as source:
        outcome, _ = outcome_of(source, lake, "things", [DAY], NOW)
    assert not outcome.failed
    (manifest,) = [receipt.manifest for receipt in outcome.results]
    assert manifest.rows == 36
    assert manifest.notes.filtered_rows == 24
    assert manifest.notes.converted == {"n": 60}
    assert manifest.requests == api.requests == 6 + 4 * dying
