"""The first rows of a partition in Dagster: text only, and none where the YAML says so."""

from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from assets.metadata import table
from pipeline.lake.s3 import Lake
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)


def test_cells_are_text_and_control_characters_never_reach_a_terminal() -> None:
    shown = table([{"name": "![](http://evil.test/t.png)"}, {"name": "[x](javascript:1)\x1b"}])
    cells = [record.data["name"] for record in shown.records]
    assert cells == ["![](http://evil.test/t.png)", "[x](javascript:1)\ufffd"], (
        "a table's cells are text"
    )


@pytest.mark.parametrize(
    ("source_says", "endpoint_says", "shown"),
    [("", "", True), ("preview: false", "", False), ("", "preview: false", False),
     ("preview: false", "preview: true", True)],
)  # fmt: skip
def test_the_yaml_says_whether_rows_are_shown(
    lake: Lake, source_says: str, endpoint_says: str, shown: bool
) -> None:
    async def respond(request: Request) -> Response:
        return JSONResponse([{"id": 1}])

    with serving(Starlette(routes=[Route("/things", respond)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            {source_says}
            endpoints:
              things:
                key: [id]
                {endpoint_says}
            """
        )
        outcome, _ = outcome_of(source, lake, "things", ["2026-11-02"], NOW)
    (receipt,) = outcome.results
    assert bool(receipt.preview) is shown
