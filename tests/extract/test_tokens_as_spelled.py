"""A token goes back to the API in the API's own spelling."""

from datetime import UTC, datetime
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.lake.s3 import Lake
from tests.support.runs import extract, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 5, tzinfo=UTC)
TOKENS = ["10.50", "1.0", "1733000000.1234567891", "1e3", '"10.50"', "12345678901234567890123"]
TOKENS += ['[1.50,"a"]', '{"at":2.500}', "7", "8.25", "9.10", "0.30"]


@pytest.mark.parametrize(
    "request_with",
    ['params: {after: "{token}"}', 'method: POST, json: {after: "{token}"}'],
    ids=["params", "json"],
)
def test_a_token_is_sent_as_the_api_spells_it(lake: Lake, request_with: str) -> None:
    """Also on pages behind those that have taught the decoder the token's type."""
    sent: list[str] = []

    async def things(request: Request) -> Response:
        in_body = (await request.body()).decode().removeprefix('{"after":').removesuffix("}")
        sent.append(in_body or unquote(request.url.query).removeprefix("after="))
        page = len(sent) - 1
        token = TOKENS[page] if page < len(TOKENS) else "null"
        return Response(
            f'{{"data": [{{"id": {page}}}], "next": {token}}}', media_type="application/json"
        )

    with serving(Starlette(routes=[Route("/things", things, methods=["GET", "POST"])])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-04
            endpoints:
              things:
                key: [id]
                columns: {{id: int64}}
                rows: data
                request: {{{request_with}}}
                paging: {{kind: token, limit: 1, next: next}}
            """
        )
        (manifest,) = extract(source, lake, "things", ["2026-11-04"], NOW)
    assert manifest.rows == len(TOKENS) + 1
    tokens = TOKENS if "json" in request_with else [token.strip('"') for token in TOKENS]
    assert sent[1 : len(TOKENS) + 1] == tokens
