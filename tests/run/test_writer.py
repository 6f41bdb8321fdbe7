"""A file grows by row groups while pages come: it has one schema, whatever the API adds, and what
was staged by a try that ended in the middle is not asked for again."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import LakeRefused
from pipeline.lake.attempt import Attempt
from pipeline.lake.files import key_rows
from pipeline.lake.parquet import ParquetBuffer
from pipeline.lake.s3 import Lake
from pipeline.run import writer
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
DAY = ["2026-11-02"]
ROWS = 400
PAGE = 20


def things(number: int) -> dict[str, Any]:
    """From the 150th row on they have a colour, from the 290th on a size as well."""
    row: dict[str, Any] = {"id": number, "name": f"thing {number}"}
    if number >= 150:
        row["colour"] = "blue"
    if number >= 290:
        row["size"] = number / 2
    return row


class Api:
    """400 things, by their ids; from the page that starts after ``ends`` on it is out of order."""

    def __init__(self) -> None:
        self.ends = ROWS + 1
        self.after: list[int] = []
        self.app = Starlette(routes=[Route("/things", self.answer)])

    async def answer(self, request: Request) -> Response:
        after = int(request.query_params.get("after") or 0)
        self.after.append(after)
        if after >= self.ends:
            return JSONResponse({"error": "out of order"}, 500)
        return JSONResponse([things(n) for n in range(after + 1, min(ROWS, after + PAGE) + 1)])


def source_at(url: str) -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        retries: {{errors: 1, first_wait_s: 0.001, max_wait_s: 0.002}}
        limits: {{in_flight: 4}}
        endpoints:
          things:
            key: [id]
            columns: {{id: int64}}
            infer: true
            request: {{params: {{sort: id, after: "{{after}}", limit: "{{limit}}"}}}}
            batch_rows: 100
            paging: {{kind: keyset, limit: {PAGE}}}
        """
    )


def test_every_file_has_one_schema(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "GROUP_BYTES", 1_000)  # a page or two
    api = Api()
    with serving(api.app) as url:
        source = source_at(url)
        api.ends = 220
        outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
        assert "500" in str(outcome.failed[0].error)
        before = len(api.after)
        api.ends = ROWS + 1
        (manifest,) = extract(source, lake, "things", DAY, NOW)
    assert min(api.after[before:]) >= 100, "what was staged is not asked for again"
    read = key_rows(lake, manifest.files, ["id", "name", "colour", "size"]).to_pylist()
    wanted = [{"colour": None, "size": None, **things(n)} for n in range(1, ROWS + 1)]
    assert sorted(read, key=lambda row: int(row["id"])) == wanted
    groups = 0
    for file in manifest.files:
        found = pq.ParquetFile(lake.filesystem().open_input_file(lake.arrow_path(file.path)))
        groups += found.metadata.num_row_groups
        assert found.metadata.num_rows == file.rows < 100 + PAGE, "it ends with a page"
    assert groups > len(manifest.files), "or nothing was held as Parquet"


AHEAD = 3
"""Pages that may come though nobody takes them: two wait, and one is handed on."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "group_bytes"), [(ParquetBuffer, "add", 4_000), (Attempt, "stage", 10**9)]
)
def test_pages_come_while_the_ones_before_are_written(
    owner: type, name: str, group_bytes: int, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the quota would lie idle, half a second for a row group, more for a file to S3."""
    monkeypatch.setattr(writer, "GROUP_BYTES", group_bytes)  # five pages; a file has as many
    api, plain = Api(), getattr(owner, name)
    came = []

    def slow(*args: Any, **kwargs: Any) -> Any:
        asked, until = len(api.after), time.monotonic() + 2.0
        while len(api.after) <= asked + AHEAD and time.monotonic() < until:
            time.sleep(0.01)
        came.append(len(api.after) - asked)
        return plain(*args, **kwargs)

    monkeypatch.setattr(owner, name, slow)
    with serving(api.app) as url:
        (manifest,) = extract(source_at(url), lake, "things", DAY, NOW)
    assert manifest.rows == ROWS
    assert max(came) > AHEAD


def test_what_cannot_be_staged_fails_the_partition_and_an_api_that_fails_loses_nothing_staged(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both happen behind the pages that come."""
    monkeypatch.setattr(writer, "GROUP_BYTES", 1_000)
    api = Api()
    with serving(api.app) as url:
        source = source_at(url)
        with monkeypatch.context() as patch:
            patch.setattr(Attempt, "stage", refuse)
            outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
            assert "the bucket is full" in str(outcome.failed[0].error)
            assert len(api.after) < ROWS / PAGE, "it is not asked on for what can't land"
        api.ends = 120
        for stage, said in ((refuse, "the bucket is full"), (Attempt.stage, "500")):
            with monkeypatch.context() as patch:
                patch.setattr(Attempt, "stage", late(stage))
                outcome, _ = outcome_of(source, lake, "things", DAY, NOW)
            assert said in str(outcome.failed[0].error)
        before, api.ends = len(api.after), ROWS + 1
        (manifest,) = extract(source, lake, "things", DAY, NOW)
    assert manifest.rows == ROWS
    assert min(api.after[before:]) >= 100


def late(stage: Callable[..., None]) -> Callable[..., None]:
    """By then the API has failed."""

    def staged(*args: Any, **kwargs: Any) -> None:
        time.sleep(0.3)
        stage(*args, **kwargs)

    return staged


def refuse(*args: Any, **kwargs: Any) -> None:
    raise LakeRefused("the bucket is full")
