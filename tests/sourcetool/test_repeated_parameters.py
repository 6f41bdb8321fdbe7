"""A parameter that comes twice in a URL, a form or a manifest is sent twice."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config.loader import source_of_text
from pipeline.lake.s3 import Lake
from sourcetool.importers.documents import import_curl
from sourcetool.importers.trial import tried
from sourcetool.new import new
from sourcetool.new_request import RequestOptions
from sourcetool.query import by_name
from tests.sourcetool.manifests import made, stream
from tests.sourcetool.test_importers_filters import DAY, NOW
from tests.support.responses import json_answer
from tests.support.runs import extract, serving

ROWS = [{"id": n, "state": ("open", "closed")[n % 2]} for n in range(8)]
BOTH = ["open", "closed"]


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    async def issues(request: Request) -> Response:
        sent = request.query_params if request.method == "GET" else await request.form()
        states = sent.getlist("state") or ["open"]
        return json_answer([row for row in ROWS if row["state"] in states])

    async def find(request: Request) -> Response:
        return json_answer({"total": 8, "items": ROWS})

    routes = [
        Route("/v1/issues", issues, methods=["GET", "POST"]),
        Route("/v1/find", find, methods=["POST"]),
    ]
    with serving(Starlette(routes=routes)) as url:
        yield url


@pytest.fixture(autouse=True)
def own_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_BUDGET", str(tmp_path / "budget"))


def proposed(tmp_path: Path, url: str, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    assert new(url, "shop", str(tmp_path), console, RequestOptions(url, **options)) == 0
    return (tmp_path / "shop.yaml").read_text()


def endpoint(text: str) -> dict[str, Any]:
    (only,) = yaml.safe_load(text)["endpoints"].values()
    return dict(only)


def test_a_new_source_reads_the_rows_of_both_values(tmp_path: Path, api: str, lake: Lake) -> None:
    text = proposed(tmp_path, f"{api}/v1/issues?state=open&state=closed&limit=50")
    assert endpoint(text)["request"]["params"]["state"] == BOTH
    source = source_of_text("shop.yaml", text, {})
    (landed,) = extract(source, lake, "issues", [DAY], NOW)
    assert landed.rows == len(ROWS)


def test_a_form_sends_both_values(tmp_path: Path, api: str, lake: Lake) -> None:
    text = proposed(tmp_path, f"{api}/v1/issues", form="state=open&state=closed&x=1")
    assert endpoint(text)["request"]["form"] == {"state": BOTH, "x": "1"}
    source = source_of_text("shop.yaml", text, {})
    (landed,) = extract(source, lake, "issues", [DAY], NOW)
    assert landed.rows == len(ROWS)


@pytest.mark.parametrize(
    ("more", "part"),
    [("?state=open&state=closed", "params"), (" -G -d state=open -d state=closed", "params"),
     (" -d state=open -d state=closed", "form")],
)  # fmt: skip
def test_a_curl_command_sends_both_values(more: str, part: str, api: str) -> None:
    url, blank, options = f"{api}/v1/issues{more}".partition(" ")
    _, text = import_curl(f"curl '{url}'{blank}{options}", "shop")
    assert endpoint(text)["request"][part]["state"] == BOTH


def test_the_query_and_the_body_have_their_own_values(tmp_path: Path, api: str) -> None:
    url, body = f"{api}/v1/find?page=1&kind=a", '{"page": 1, "kind": "b", "q": {"kind": "c"}}'
    _, text = import_curl(f"curl '{url}' --json '{body}'", "shop")
    request = endpoint(text)["request"]
    assert request["params"] == {"page": "{page}", "kind": "a"}
    assert request["json"] == {"page": 1, "kind": "b", "q": {"kind": "c"}}
    assert "# ? page is in the URL and in the body: {page} stands in the URL alone" in text
    request = endpoint(proposed(tmp_path, url, json='{"page": 1, "kind": "b"}'))["request"]
    assert request["params"] == {"page": "{page}", "kind": "a"}
    assert request["json"] == {"page": 1, "kind": "b"}
    _, text = import_curl(f"curl '{api}/v1/find?kind=a' -d 'kind=b&page=1'", "shop")
    request = endpoint(text)["request"]
    assert (request["params"], request["form"]) == ({"kind": "a"}, {"kind": "b", "page": "{page}"})


MANIFEST: list[tuple[dict[str, Any], str, Any]] = [
    ({"path": "things?state=open&state=closed"}, "params", BOTH),
    ({"path": "things?state=open", "request_parameters": {"state": "closed"}}, "params", BOTH),
    ({"url_base": "https://a.example.com/?state=open", "path": "things?state=closed"},
     "params", BOTH),
    ({"request_parameters": "state=open&state=closed"}, "params", BOTH),
    ({"request_parameters": {"state": BOTH}}, "params", BOTH),
    ({"request_parameters": {"state": ["{{ config['region'] }}", "closed", ""]}}, "params",
     ["${SHOP_REGION:-}", "closed"]),
    ({"path": "things?state=open", "request_parameters": {"state": "open"}}, "params", "open"),
    ({"http_method": "POST", "request_body_data": {"state": BOTH}}, "form", BOTH),
]  # fmt: skip


@pytest.mark.parametrize(("requester", "part", "state"), MANIFEST)
def test_a_manifest_sends_both_values(requester: dict[str, Any], part: str, state: Any) -> None:
    found = made(stream(**requester))
    tried(found, "a manifest")
    assert found.data["endpoints"]["things"]["request"][part]["state"] == state


def test_parameters_by_name() -> None:
    pairs = [("a", "1"), ("b", ""), ("a", "2"), ("a", "1")]
    assert by_name(pairs) == {"a": ["1", "2", "1"], "b": ""}
