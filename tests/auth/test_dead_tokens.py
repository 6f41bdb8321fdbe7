"""A token that an API calls dead by another status than 401, or in a 200: it is renewed once."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import AuthError
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
DAY = ["2026-11-03"]


class Short:
    """Tokens that are dead after so many pages."""

    def __init__(
        self, pages: int, status: int, words: str = "Session EXPIRED, please log in"
    ) -> None:
        self.pages, self.status, self.words = pages, status, words
        self.tokens, self.used = 0, 0

    async def token(self, request: Request) -> Response:
        self.tokens, self.used = self.tokens + 1, 0
        return JSONResponse({"access_token": f"secret-{self.tokens:08}", "expires_in": 3600})

    async def things(self, request: Request) -> Response:
        newest = request.headers["authorization"] == f"Bearer secret-{self.tokens:08}"
        self.used += newest
        if not newest or self.used > self.pages:
            to_login = {"Location": "/login?from=things"} if self.status == 302 else {}
            return JSONResponse({"error": self.words, "data": []}, self.status, headers=to_login)
        page = int(request.query_params["page"])
        return JSONResponse({"data": [{"id": page * 2 + n} for n in range(2)] if page < 9 else []})

    @contextmanager
    def source(self, answers: str, errors_at: str = "errors_at: error") -> Iterator[Source]:
        routes = [Route("/things", self.things), Route("/token", self.token, methods=["POST"])]
        with serving(Starlette(routes=routes)) as url:
            yield source_of(
                f"""
                source: api
                base_url: {url}
                start: 2026-11-03
                auth: {{kind: oauth2_client_credentials, token_url: "{url}/token",
                        client_id: me-and-myself, client_secret: only-i-know-this}}
                {answers}
                retries: {{errors: 2, first_wait_s: 0.001, max_wait_s: 0.002}}
                endpoints:
                  things:
                    request: {{params: {{page: "{{page}}"}}}}
                    paging: {{kind: page, limit: 2, first: 0}}
                    rows: data
                    key: [id]
                    {errors_at}
                """
            )


@pytest.mark.parametrize(
    ("status", "answers"),
    [
        (403, "answers: {dead_token: [403]}"),
        (400, "answers: {dead_token_text: session expired}"),
        (200, "answers: {dead_token_text: session expired}"),
    ],
)
def test_a_dead_token_is_renewed(lake: Lake, status: int, answers: str) -> None:
    api = Short(pages=4, status=status)
    with api.source(answers) as source:
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
    assert not outcome.failed
    (manifest,) = [receipt.manifest for receipt in outcome.results]
    assert sorted(key_rows(lake, manifest.files, ["id"])["id"].to_pylist()) == [*range(18)]
    assert 3 <= api.tokens <= 4


@pytest.mark.parametrize("status", [403, 200])
def test_a_new_token_that_is_dead_as_well_is_an_error_and_no_loop(lake: Lake, status: int) -> None:
    api = Short(pages=0, status=status)
    with api.source("answers: {dead_token: [403], dead_token_text: session expired}") as source:
        outcome, requests = outcome_of(source, lake, "things", DAY, NOW)
    (failed,) = outcome.failed
    assert isinstance(failed.error, AuthError)
    assert "secret-" not in str(failed.error)
    assert api.tokens == 2
    assert requests <= 4


@pytest.mark.parametrize(
    ("status", "words", "remedy"),
    [
        (403, "The access token expired", "answers: {dead_token_text: access token expired}"),
        (400, "invalid_token", "answers: {dead_token_text: invalid_token}"),
        (302, "", "answers: {dead_token: [302]}"),
        (200, "token is expired", "answers: {dead_token_text: token is expired}"),
    ],
)
def test_a_refusal_that_sounds_like_a_dead_token_names_what_renews_it(
    lake: Lake, status: int, words: str, remedy: str
) -> None:
    """And the line that it names brings the rows."""
    with Short(pages=4, status=status, words=words).source("", errors_at="") as source:
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
    (failed,) = outcome.failed
    beside = "`errors_at`, the path to it, and " if status == 200 else ""
    assert f"If the token has run out: {beside}`{remedy}` renews it." in str(failed.error)

    with Short(pages=4, status=status, words=words).source(remedy) as source:
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
    assert not outcome.failed
    assert sum(receipt.manifest.rows for receipt in outcome.results) == 18
