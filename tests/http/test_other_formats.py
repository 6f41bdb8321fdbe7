"""Bodies of another format: told by name, after one retry, and no sign of an API that is down."""

import base64
import bz2
import gzip
import io
import json
import zipfile
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config.limits import BreakerConfig
from pipeline.errors import ApiUnavailable, ContractBroken
from pipeline.lake.s3 import Lake
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = ["2026-11-02"]
ROWS = [{"id": n, "text": "x" * 50} for n in range(200)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
JSON = json.dumps(ROWS).encode()


class Api:
    def __init__(self, *bodies: bytes, headers: dict[str, str] | None = None) -> None:
        self.bodies, self.headers = list(bodies), headers or {}
        self.requests = 0
        self.app = Starlette(routes=[Route("/things", self.respond)])

    async def respond(self, request: Request) -> Response:
        self.requests += 1
        body = self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]
        return Response(body, headers=self.headers)


def source_at(url: str, more: str = "", format: str = "json") -> Any:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        retries: {{errors: 4, first_wait_s: 0.001, max_wait_s: 0.002}}
        breaker: {{failures: 2}}
        {more}
        endpoints:
          things: {{key: [id], whole: true, format: {format}, columns: {{id: int64}}}}
        """
    )


def zip_of(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("rows.json", data)
    return file.getvalue()


FORMATS = {
    "gzip": (gzip.compress(JSON), "the body is gzip"),
    "zip": (zip_of(JSON), "the body is ZIP"),
    "bzip2": (bz2.compress(JSON), "the body is bzip2"),
    "csv": (b"id,text\n1,a\n2,b\n", "the body is CSV"),
    "csv with a mark": (b"\xef\xbb\xbfid;text\r\n1;a\r\n", "the body is CSV"),
    "lines": (LINES, "the body is JSON Lines (NDJSON)"),
    "sequence": (b"\x1e" + LINES, "a JSON text sequence"),
    "xml": (b"\xef\xbb\xbf<?xml version='1.0'?><rows/>", "HTML or XML"),
    "html": (b"<!DOCTYPE html><title>Log in</title>", "HTML or XML: 'Log in'"),
    "jsonp": (b"callback(" + JSON + b")", "JSONP"),
    "zlib": (zlib.compress(JSON), "the body is zlib (deflate)"),
    "orc": (b"ORC\n\x0b", "the body is ORC"),
    "messagepack": (b"\x92\x81\xa2id\x01\x81\xa2id\x02", "no text, but binary"),
    "yaml": (b"---\n- id: 1\n- id: 2\n", "the body is YAML"),
    "python": (b"[{'id': 1, 'ok': True}]", "a literal of Python or JavaScript"),
    "comments": (b"// rows\n" + JSON, "JSON with comments"),
    "script": (b"var rows = " + JSON, "a script in JavaScript"),
    "multipart": (b"--x\r\nContent-Type: text/plain\r\n\r\n1\r\n--x--", "multipart"),
    "base64": (base64.b64encode(JSON), "the body is base64"),
    "wide": ("id,text\n1,a\n".encode("utf-16"), "the body is CSV"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_another_format_is_told_after_one_retry(lake: Lake, name: str) -> None:
    body, said = FORMATS[name]
    api = Api(body)
    with serving(api.app) as url:
        outcome, _ = outcome_of(source_at(url), lake, "things", DAY, NOW)
    error = outcome.failed[0].error
    assert isinstance(error, ContractBroken)
    assert said in str(error)
    assert "Check: 1. `base_url` and `path`" in str(error)
    assert "seems to be down" not in str(error)
    assert api.requests == 2


def ended(lake: Lake, api: Api) -> str:
    """The sentence of a first run that no rows came in."""
    with serving(api.app) as url:
        outcome, _ = outcome_of(source_at(url), lake, "things", DAY, NOW)
    error = outcome.failed[0].error
    assert isinstance(error, ContractBroken), "Dagster would try again"
    assert "seems to be down" not in str(error)
    return str(error)


@pytest.mark.parametrize(("body", "read_by"), [(b"id,text\n1,a\n2,b\n", "csv"), (LINES, "jsonl")])
def test_a_format_that_can_be_read_is_named(lake: Lake, body: bytes, read_by: str) -> None:
    api = Api(body)
    assert f"`format: {read_by}`" in ended(lake, api)
    with serving(api.app) as url:
        source = source_at(url, format=read_by)
        (manifest,) = extract(source, lake, "things", DAY, NOW)
    assert manifest.rows == len(body.splitlines()) - (read_by == "csv")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_is_not_compressed_as_it_says_is_told_after_one_retry(
    lake: Lake, encoding: str
) -> None:
    api = Api(JSON, headers={"content-encoding": encoding})
    assert "and the body is not compressed so" in ended(lake, api)
    assert api.requests == 2


def test_what_asks_for_no_compression_is_sent(lake: Lake) -> None:
    """The remedy of that refusal: an API that compresses wrongly does so where it is asked to."""

    async def respond(request: Request) -> Response:
        lies = "gzip" in request.headers["accept-encoding"]
        return Response(JSON, headers={"content-encoding": "gzip"} if lies else {})

    with serving(Starlette(routes=[Route("/things", respond)])) as url:
        source = source_at(url, "headers: {Accept-Encoding: identity}")
        (manifest,) = extract(source, lake, "things", DAY, NOW)
    assert manifest.rows == 200


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "expected JSON, the body is empty, after 5 attempts. Check: 1. `base_url`"),
        (b"Overloaded, come back", "the body starts with 'Overloaded, come back'"),
        (b'[{"id": 1}]\n<!-- 3 ms -->', "the JSON is whole after 11 characters, and text follows"),
    ],
)
def test_a_body_that_is_never_read_is_no_api_that_is_down(
    lake: Lake, body: bytes, sentence: str
) -> None:
    api = Api(body)
    with serving(api.app) as url:
        patient = source_at(url).model_copy(update={"breaker": BreakerConfig()})
        outcome, _ = outcome_of(patient, lake, "things", DAY, NOW)
    error = outcome.failed[0].error
    assert isinstance(error, ContractBroken)
    assert sentence in str(error)
    assert api.requests == 5


def test_a_body_that_is_broken_in_its_middle_is_requested_twice(
    lake: Lake,
) -> None:
    api = Api(b'[{"id": 1, "a": tru}, {"id": 2}]')
    said = ended(lake, api)
    assert "not JSON: Expecting value at character 16" in said
    assert "twice in the same body. Check: 1. `base_url`" in said
    assert api.requests == 2
    api = Api(b'[{"id": 1, "a": tru}]', b'[{"id": 1, "b": tru}]', JSON)
    with serving(api.app) as url:
        patient = source_at(url).model_copy(update={"breaker": BreakerConfig()})
        (manifest,) = extract(patient, lake, "things", DAY, NOW)
    assert manifest.rows == 200


def test_a_body_that_is_cut_short_on_its_way_is_an_outage(lake: Lake) -> None:
    """Dagster comes back later: nothing says that the API is wrong."""
    with serving(Api(b'[{"id": 1}, {"id"').app) as url:
        patient = source_at(url).model_copy(update={"breaker": BreakerConfig()})
        outcome, _ = outcome_of(patient, lake, "things", DAY, NOW)
    error = outcome.failed[0].error
    assert isinstance(error, ApiUnavailable)
    assert "the JSON ends early, after 17 bytes" in str(error)
    assert "responds, but with nothing that can be read" in str(error)


def test_a_200_without_a_body_may_mean_no_rows_and_one_with_rows_never_does(lake: Lake) -> None:
    api = Api(b" \n")
    assert "4. `answers: {empty: [200]}`, if no body means no rows" in ended(lake, api)
    for body, rows in ((b" \n", 0), (JSON, 200)):
        with serving(Api(body).app) as url:
            source = source_at(url, "answers: {empty: [200]}")
            outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
        assert [result.manifest.rows for result in outcome.results] == [rows]


def test_an_error_page_in_place_of_rows_that_had_come_before_is_an_outage(lake: Lake) -> None:
    """A retry in minutes may help: so it is no broken contract."""
    days = ["2026-11-02", "2026-11-03"]
    api = Api(JSON, b"<html>down for maintenance</html>")
    with serving(api.app) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            retries: {{errors: 1, first_wait_s: 0.001, max_wait_s: 0.002}}
            endpoints:
              things:
                key: [id]
                columns: {{id: int64}}
                request: {{params: {{page: "{{page}}"}}}}
                paging: {{kind: page, limit: 200}}
            """
        )
        outcome, _ = outcome_of(source, lake, "things", days[:1], NOW)
    assert isinstance(outcome.failed[0].error, ApiUnavailable)


@pytest.mark.parametrize(("cut", "coding"), [(1, "gzip"), (3, "gzip"), (3, "identity, gzip")])
def test_all_members_of_a_gzip_are_read(lake: Lake, cut: int, coding: str) -> None:
    pieces = [JSON[n : n + len(JSON) // cut] for n in range(0, len(JSON), len(JSON) // cut)]
    body = b"".join(gzip.compress(piece) for piece in pieces)
    api = Api(body, headers={"content-encoding": coding})
    with serving(api.app) as url:
        (manifest,) = extract(source_at(url), lake, "things", DAY, NOW)
    assert manifest.rows == 200


def test_how_large_a_body_may_be_is_said_in_the_yaml(lake: Lake) -> None:
    api = Api(JSON)
    with serving(api.app) as url:
        source = source_at(url, "limits: {max_body_mb: 0.01}")
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
        assert "larger than 10,485 bytes" in str(outcome.failed[0].error)
        assert "`limits.max_body_mb`" in str(outcome.failed[0].error)
        (manifest,) = extract(source_at(url, "limits: {max_body_mb: 1}"), lake, "things", DAY, NOW)
    assert manifest.rows == 200
