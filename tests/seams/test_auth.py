"""The seam of auth: a kind that only this file adds signs, resumes, and keeps its secrets."""

import json
import logging
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.auth import AUTH, Auth, AuthContext
from pipeline.config import Source
from pipeline.config.folders import budget_name
from pipeline.errors import ApiUnavailable, ConfigError, RequestRefused
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from pipeline.model import Model
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = ["2026-11-02"]
ROWS, PAGE = 60, 10
SEALS = ["wax-of-the-first-seal/1", "wax+of+the+second=seal"]


class Ring(Model):
    name: str
    wax: SecretStr


class SealedAuth(Auth):
    """Headers with a seal each."""

    kind: Literal["sealed"]
    rings: tuple[Ring, ...]

    def make(self, context: AuthContext) -> httpx.Auth:
        return SealSigner({ring.name: ring.wax.get_secret_value() for ring in self.rings})


class SealSigner(httpx.Auth):
    def __init__(self, seals: dict[str, str]) -> None:
        self._seals = seals

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers.update(self._seals)
        yield request


@pytest.fixture(autouse=True)
def sealed() -> Iterator[None]:
    AUTH.register("sealed")(SealedAuth)
    try:
        yield
    finally:
        AUTH.forget("sealed")


class Api:
    """60 things in a chain of pages, for requests with both seals. Each response repeats them."""

    def __init__(self) -> None:
        self.requested: list[int] = []
        self.ends_at = ROWS
        self.status_at_end = 500
        self.app = Starlette(routes=[Route("/things", self.answer)])

    async def answer(self, request: Request) -> Response:
        seals = [request.headers.get("x-first"), request.headers.get("x-second")]
        first = int(request.query_params.get("token", "0"))
        self.requested.append(first)
        if seals != SEALS:
            return JSONResponse({"message": f"no seals: {seals}"}, 401)
        if first >= self.ends_at:
            return JSONResponse({"message": f"not with {seals}"}, self.status_at_end)
        last = first + PAGE
        token = str(last) if last < ROWS else None
        return JSONResponse({"rows": [{"id": n} for n in range(first, last)], "next": token})


@pytest.fixture
def api() -> Api:
    return Api()


def source_at(url: str, second: str = SEALS[1]) -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        auth:
          kind: sealed
          rings:
            - {{name: x-first, wax: "{SEALS[0]}"}}
            - {{name: x-second, wax: "${{SECOND}}"}}
        retries: {{errors: 1, first_wait_s: 0.001, max_wait_s: 0.002}}
        endpoints:
          things:
            key: [id]
            columns: {{id: int64}}
            request: {{params: {{token: '{{token}}'}}}}
            paging: {{kind: token, next: next, limit: {PAGE}}}
            rows: rows
            batch_rows: {2 * PAGE}
        """,
        {"SECOND": second},
    )


def secrets_shown(*texts: object) -> list[str]:
    whole = " ".join(str(text) for text in texts)
    return [seal for seal in SEALS if seal in whole]


def everything_in(lake: Lake) -> str:
    """All that the lake has, keys included."""
    client = lake.client
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=lake.bucket)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    bodies = [client.get_object(Bucket=lake.bucket, Key=key)["Body"].read() for key in keys]
    return " ".join([*keys, *(body.decode("latin-1") for body in bodies)])


@pytest.mark.slow
def test_a_partition_is_read_and_resumed(
    api: Api, lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api.ends_at = 40
    with serving(api.app) as url:
        source = source_at(url)
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
        (failed,) = outcome.failed
        assert isinstance(failed.error, ApiUnavailable)
        assert set(api.requested) == {0, 10, 20, 30, 40}
        staged = everything_in(lake)
        api.requested.clear()
        api.ends_at = ROWS
        (manifest,) = extract(source, lake, "things", DAY, NOW)
    assert min(api.requested) >= 20, "the next attempt resumes"
    rows = key_rows(lake, manifest.files, ["id"])["id"].to_pylist()
    assert sorted(rows) == list(range(ROWS))
    assert not secrets_shown(staged, everything_in(lake), manifest, caplog.text)


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_no_secret_of_it_is_shown(
    api: Api, lake: Lake, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    api.ends_at, api.status_at_end = 0, status
    with serving(api.app) as url:
        source = source_at(url)
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
    error = outcome.failed[0].error
    assert isinstance(error, ApiUnavailable if status == 500 else RequestRefused)
    assert "not with" not in str(error)
    logged = [f"{record.getMessage()} {record.args!r}" for record in caplog.records]
    shown: list[Any] = [error, repr(error), repr(source), source.model_dump_json(), *logged]
    assert not secrets_shown(*shown)


def test_the_budget_is_named_by_it() -> None:
    name = budget_name(source_at("https://api.test"))
    assert name == budget_name(source_at("https://api.test"))
    assert name != budget_name(source_at("https://api.test", second="another"))
    assert not secrets_shown(name)


def test_a_mistake_in_it_has_its_line() -> None:
    with pytest.raises(ConfigError, match=r"api.yaml:5: .*'rigns' is not a known key"):
        source_of(
            """
            source: api
            base_url: https://api.test
            start: 2026-11-01
            auth: {kind: sealed, rings: [], rigns: []}
            endpoints: {things: {key: [id]}}
            """
        )


def test_the_schema_for_editors_has_it() -> None:
    assert "rings" in json.dumps(Source.model_json_schema())
