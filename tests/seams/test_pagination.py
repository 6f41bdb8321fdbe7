"""A kind of paging that only a test knows: read from YAML, run into S3, resumed, and checked.

The kind is the example of ``Paging``'s own docstring, as somebody would paste it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from inspect import cleandoc
from textwrap import dedent

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.config.json_schema import source_schema
from pipeline.errors import ApiUnavailable, ConfigError
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from pipeline.pagination import PAGINATION, Paging
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = ["2026-03-01"]
ROWS, LIMIT = 38, 5
NEWEST = -(-ROWS // LIMIT)


@pytest.fixture(autouse=True)
def countdown() -> Iterator[None]:
    """The example is registered while a test runs."""
    text = cleandoc(Paging.__doc__ or "")  # its indentation is kept up to Python 3.12 only
    example = text.partition("::\n")[2].partition("\nWhat completeness")[0]
    exec(compile(dedent(example), "example", "exec"), {"__name__": "example"})  # noqa: S102
    yield
    PAGINATION.forget("countdown")


class Archive:
    """Pages of ``LIMIT`` rows, page 1 the oldest; without a number the newest."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.refuses_below = 0
        self.app = Starlette(routes=[Route("/entries", self.entries)])

    def entries(self, request: Request) -> Response:
        number = int(request.query_params.get("p", NEWEST))
        self.asked.append(number)
        if number < self.refuses_below:
            return Response(status_code=503)
        ids = range((number - 1) * LIMIT, min(number * LIMIT, ROWS))
        return JSONResponse({"entries": [{"id": n} for n in ids], "meta": {"pages": NEWEST}})


def source_at(url: str, params: str = "{p: '{page}'}") -> Source:
    return source_of(
        f"""
        source: archive
        base_url: {url}
        start: 2026-03-01
        safety_margin_s: 0
        retries: {{errors: 1, first_wait_s: 0.001, max_wait_s: 0.002}}
        endpoints:
          entries:
            request: {{params: {params}}}
            paging: {{kind: countdown, limit: {LIMIT}, newest: meta.pages}}
            rows: entries
            key: [id]
            columns: {{id: int64}}
            batch_rows: {2 * LIMIT}
        """
    )


def test_a_kind_that_only_this_file_has_is_read_and_resumed(lake: Lake) -> None:
    api = Archive()
    with serving(api.app) as url:
        source = source_at(url)
        api.refuses_below = 3
        outcome, _ = outcome_of(source, lake, "entries", DAY, NOW)
        assert isinstance(outcome.failed[0].error, ApiUnavailable)
        api.refuses_below, api.asked = 0, []
        (manifest,) = extract(source, lake, "entries", DAY, NOW)
    assert manifest.resumed_pages > 0
    assert NEWEST not in api.asked, "what was staged is not requested again"
    ids = key_rows(lake, manifest.files, ["id"])["id"].to_pylist()
    assert sorted(ids) == list(range(ROWS))
    assert manifest.proof.rests_on == "chain"


def test_its_rules_and_its_keys_are_known_like_those_of_any_other() -> None:
    with pytest.raises(ConfigError, match=r"countdown paging needs \{page\} in the request"):
        source_at("https://api.test", "{q: x}")
    with pytest.raises(ConfigError, match=r"paging\.newset: 'newset' is not a known key: did you"):
        source_of(
            """
            source: archive
            base_url: https://api.test
            start: 2026-03-01
            endpoints:
              entries: {key: [id], paging: {kind: countdown, limit: 5, newset: meta.pages}}
            """
        )
    assert "CountdownPaging" in source_schema()["$defs"]


def test_a_kind_that_is_not_registered_names_those_that_are() -> None:
    PAGINATION.forget("countdown")
    with pytest.raises(ConfigError, match="paging has no kind `countdown`: expected one of `off"):
        source_at("https://api.test")
