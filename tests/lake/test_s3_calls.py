"""How many requests to S3 a run needs: counted where boto3 sends them, through whole runs."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.services import S3
from pipeline.config import Source
from pipeline.lake.s3 import Lake
from tests.support.responses import json_answer
from tests.support.runs import extract, serving

NOW = datetime(2026, 11, 20, tzinfo=UTC)
BASELINE, SECOND, EMPTY = "2026-11-01", "2026-11-02", "2026-11-17"


class CountedLake:
    """A lake, and the names of the requests that boto3 sends to it."""

    def __init__(self, s3: S3, url: str) -> None:
        client = s3.client()
        self.sent: list[str] = []
        client.meta.events.register("before-send.s3", self._count)
        self.lake = Lake(client, url)

    def _count(self, request: Any, **_: object) -> None:
        path, _, query = request.url.partition("?")
        self.sent.append(f"{request.method} {unquote('/'.join(path.split('/')[-3:]))} {query}")

    def taken(self) -> list[str]:
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
def source() -> Iterator[Source]:
    """A row at noon of each day."""

    async def items(request: Request) -> Response:
        start, end = request.query_params["from"], request.query_params["to"]
        noons = [f"2026-11-{day:02}T12:00:00Z" for day in range(1, 15)]
        rows = [{"id": n, "at": at} for n, at in enumerate(noons) if start <= at < end]
        return json_answer(rows)

    def of(url: str) -> Source:
        endpoint = {
            "path": "items",
            "request": {"params": {"from": "{start}", "to": "{end}"}},
            "window": {"floor": "1970-01-01T00:00:00Z"},
            "key": ["id"],
            "cursor": "at",
            "safety_margin_s": 0,
            "columns": {"id": "int64", "at": "timestamp[iso]"},
        }
        parts = {
            "path": "parts/{parent}",
            "key": ["id", "item"],
            "columns": {"id": "int64", "item": "int64"},
            "parents": {"endpoint": "items", "column": "id", "column_here": "item"},
        }
        return Source.model_validate(
            {
                "source": "shop",
                "base_url": url,
                "start": BASELINE,
                "endpoints": {"items": endpoint, "parts": parts},
            }
        )

    async def parts(_: Request) -> Response:
        return json_answer([{"id": 1}])

    app = Starlette(routes=[Route("/items", items), Route("/parts/{item}", parts)])
    with serving(app) as url:
        yield of(url)


def counted(s3: S3, lake: Lake) -> CountedLake:
    return CountedLake(s3, lake.url())


TRIAL = 1
"""Of conditions: once a process."""


def test_a_first_day_of_one_file(s3: S3, lake: Lake, source: Source) -> None:
    """Two listings, the checkpoint with the rows in it, the file, the decision, the manifest, the
    checkpoint's end."""
    counts = counted(s3, lake)
    [manifest] = extract(source, counts.lake, "items", [BASELINE], NOW)
    sent = counts.taken()
    assert len(manifest.files) == 1
    assert len(sent) == 7 + TRIAL, sent


def test_a_day_after_one_that_another_run_has_committed(s3: S3, lake: Lake, source: Source) -> None:
    """One more: the day before is read to begin."""
    extract(source, lake, "items", [BASELINE], NOW)
    counts = counted(s3, lake)
    [manifest] = extract(source, counts.lake, "items", [SECOND], NOW)
    sent = counts.taken()
    assert len(manifest.files) == 1
    assert len(sent) == 8 + TRIAL, sent


def test_a_day_that_is_replaced(s3: S3, lake: Lake, source: Source) -> None:
    """Two more: its own manifest is read, and its files are removed."""
    extract(source, lake, "items", [BASELINE, SECOND], NOW)
    counts = counted(s3, lake)
    [manifest] = extract(source, counts.lake, "items", [SECOND], NOW)
    sent = counts.taken()
    assert len(manifest.files) == 1
    assert len(sent) == 10 + TRIAL, sent


def test_each_further_day_of_a_range(s3: S3, lake: Lake, source: Source) -> None:
    counts = counted(s3, lake)
    days = [f"2026-11-{day:02}" for day in range(1, 11)]
    manifests = extract(source, counts.lake, "items", days, NOW)
    sent = counts.taken()
    assert [len(each.files) for each in manifests] == [1] * 10
    assert len(sent) == 7 + TRIAL + 9 * 5, sent


def test_a_day_whose_file_is_large(
    s3: S3, lake: Lake, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two more: an upload is begun and completed, and its parts are sent."""
    monkeypatch.setattr("pipeline.lake.attempt.INLINE_BYTES", 0)
    extract(source, lake, "items", [BASELINE], NOW)
    counts = counted(s3, lake)
    extract(source, counts.lake, "items", [SECOND], NOW)
    sent = counts.taken()
    assert len(sent) == 10 + TRIAL, sent


def test_a_day_without_rows(s3: S3, lake: Lake, source: Source) -> None:
    counts = counted(s3, lake)
    [manifest] = extract(source, counts.lake, "items", [EMPTY], NOW)
    sent = counts.taken()
    assert manifest.files == ()
    assert len(sent) <= 7 + TRIAL, sent


def test_the_parents_manifest_is_read_once_a_run(s3: S3, lake: Lake, source: Source) -> None:
    extract(source, lake, "items", [BASELINE, SECOND], NOW)
    counts = counted(s3, lake)
    extract(source, counts.lake, "parts", [BASELINE, SECOND], NOW)
    sent = counts.taken()
    for day in (BASELINE, SECOND):
        assert sum(f"GET items/_manifests/dt={day}.json" in each for each in sent) == 1, sent
