"""Pages that are not written in UTF-8, and say so: as older APIs do."""

from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.support.runs import extract, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "utf-8", "utf-16-le", "utf-16-be"])
def test_letters_land_as_they_were_meant(lake: Lake, charset: str) -> None:
    """The last two say nothing of it: JSON's first bracket shows them."""
    says = "" if charset.endswith("e") else f"; charset={charset}"

    async def answer(request: Request) -> Response:
        text = '{"count": 1}' if request.url.path == "/count" else '[{"id": 1, "name": "Zoë"}]'
        kind = f"application/json{says}"
        return Response(text.encode(charset), headers={"Content-Type": kind})

    routes = [Route("/things", answer), Route("/count", answer)]
    with serving(Starlette(routes=routes)) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            retries: {{errors: 1, first_wait_s: 0.001}}
            endpoints:
              things: {{key: [id], count: {{path: count}}}}
            """
        )
        (manifest,) = extract(source, lake, "things", ["2026-11-03"], NOW)
    assert key_rows(lake, manifest.files, ["name"]).to_pylist() == [{"name": "Zoë"}]
