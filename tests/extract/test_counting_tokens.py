"""Tokens that say of themselves that they count: over a socket, as MLflow's search answers."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ContractBroken
from pipeline.lake.files import key_rows
from pipeline.lake.manifest import Manifest
from pipeline.lake.s3 import Lake
from pipeline.pagination.page import JsonToken, PageToken, token_is_number
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

DAY = "2026-11-02"
DAY_MS = 1_793_577_600_000
NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)


class MLflow:
    """``runs/search``: newest first, pages by an offset in base64, no count, ``{}`` if there is
    nothing, and a metric that is no number as text."""

    def __init__(self, runs: int) -> None:
        self.runs = [run(number) for number in range(runs)]
        self.app = Starlette(routes=[Route("/runs/search", self.search, methods=["POST"])])
        self.before_page: Callable[[int], None] = lambda at: None

    async def search(self, request: Request) -> Response:
        asked = await request.json()
        token = asked.get("page_token")
        at = json.loads(b64decode(token))["offset"] if token else 0
        self.before_page(at)
        bounds = dict(part.split(" ")[1:] for part in asked["filter"].split(" and "))
        low, high = int(bounds.get(">=", 0)), int(bounds["<"])
        found = [r for r in self.runs if low <= r["info"]["start_time"] < high]
        end = at + asked["max_results"]
        body: dict[str, Any] = {"runs": found[at:end]} if found[at:end] else {}
        if end < len(found):
            body["next_page_token"] = b64encode(b'{"offset": %d}' % end).decode()
        return JSONResponse(body)


def run(number: int) -> dict[str, Any]:
    loss = "NaN" if number % 7 == 3 else number / 8
    return {
        "info": {"run_id": f"r{number}", "start_time": DAY_MS + 86_399_000 - number * 1000},
        "data": {"metrics": [{"key": "loss", "value": loss}]},
    }


def source_at(url: str, numbered: str = "") -> Source:
    return source_of(
        f"""
        source: mlflow
        base_url: {url}
        start: 2026-11-01
        safety_margin_s: 0
        endpoints:
          runs:
            path: runs/search
            request:
              method: POST
              json:
                filter: "[[start_time >= {{start}} and ]]start_time < {{end}}"
                max_results: "{{limit}}"
                page_token: "{{token}}"
            window: {{format: epoch_ms}}
            paging: {{kind: token, limit: 10, next: next_page_token{numbered}}}
            rows: runs
            rows_may_lack: true
            key: [run_id]
            cursor: start_time
            columns:
              run_id: {{type: string, path: info.run_id}}
              start_time: {{type: "timestamp[ms]", path: info.start_time}}
              metrics: {{type: "list<struct<key: string, value: double>>", path: data.metrics}}
        """
    )


def committed(lake: Lake, url: str, day: str, numbered: str = "") -> Manifest:
    outcome, _ = outcome_of(source_at(url, numbered), lake, "runs", [day], NOW)
    if outcome.failed:
        raise outcome.failed[0].error
    return outcome.results[0].manifest


def test_a_row_that_an_offset_passed_over_is_not_called_proved(lake: Lake) -> None:
    api = MLflow(35)

    def one_goes(at: int) -> None:
        if at == 20:
            api.runs.pop(0)

    with serving(api.app) as url:
        assert committed(lake, url, "2026-11-01").rows == 0, "it answers {}"
        api.before_page = one_goes
        manifest = committed(lake, url, DAY)
        landed = {row["run_id"] for row in key_rows(lake, manifest.files, ["run_id"]).to_pylist()}
        api.before_page = lambda at: None
        sure = committed(lake, url, DAY, ", numbered: false")
    assert {row["info"]["run_id"] for row in api.runs} - landed == {"r20"}, "the fault is there"
    assert not manifest.proof.contiguous
    assert sure.proof.rests_on == "chain", "who knows better can say so"


def test_a_number_that_json_has_not_is_one_as_text(lake: Lake) -> None:
    with serving(MLflow(10).app) as url:
        manifest = committed(lake, url, DAY)
    rows = key_rows(lake, manifest.files, ["run_id", "metrics"]).to_pylist()
    odd = {row["run_id"] for row in rows for m in row["metrics"] if m["value"] != m["value"]}
    assert odd == {"r3"}


def test_what_is_no_number_inside_of_a_column_says_what_would_take_it(lake: Lake) -> None:
    api = MLflow(10)
    api.runs[4]["data"]["metrics"][0]["value"] = "n/a"
    with serving(api.app) as url, pytest.raises(ContractBroken) as caught:
        committed(lake, url, DAY)
    remedy = "Declare metrics: json, or that part of it string in the YAML of mlflow"
    assert 'has "n/a": expected a number. ' + remedy in str(caught.value)


@pytest.mark.parametrize(
    ("token", "counts"),
    [
        (b64encode(b'{"offset": 3}').decode(), True),
        (b64encode(b'{"offset": 3}').decode().rstrip("="), True),
        (b64encode(b"arrayconnection:99").decode(), True),
        ("offset=20&limit=10", True),
        (JsonToken('{"page": 3}'), True),
        ("20", False),
        (20, False),
        (None, False),
        (JsonToken("[1795219200000, 17]"), False),
        (JsonToken('{"offset": 3, "partition": 2}'), False),
        (JsonToken('{"page": {"N": "3"}}'), False),
        (b64encode(b'{"id": 3}').decode(), False),
        ("2026-11-02T10:00:00Z", False),
        (b64encode(bytes(range(128, 200))).decode(), False),
        ("pageé", False),
    ],
)
def test_what_a_token_says_of_itself(token: PageToken, counts: bool) -> None:
    """What only looks like a number may be the key of a row; check-source asks about it."""
    assert token_is_number(token) is counts
