"""Values of rows inside query languages and paths."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import load_source
from pipeline.config.endpoint import Endpoint
from pipeline.dialects.http_request import build_page_request
from pipeline.errors import ConfigError, ContractBroken, HeadraceError
from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from pipeline.messages import HttpRequest
from pipeline.pagination.page import PageRequest
from pipeline.partitions.window import Window
from tests.support.runs import outcome_of, serving

NOW = datetime(2026, 11, 2, tzinfo=UTC)
WINDOW = Window("snapshot", None, NOW, 0.0)
NAMES = ["plain", "O'Brien", 'the "best"', "x' or '1'='1", "back\\slash", "a\nb", "", "ü & co"]


def request_of(request: dict[str, Any], value: Any, path: str = "rows") -> HttpRequest:
    endpoint = Endpoint.model_validate(
        {
            "path": path,
            "key": ["id"],
            "request": request,
            "parents": {"endpoint": "customers"},
        }
    )
    return build_page_request(
        "http://x/api", "rows", endpoint, WINDOW, PageRequest(10, parent=value)
    )


def param_of(template: str, value: Any, name: str = "filter") -> str:
    (pair,) = request_of({"params": {name: template}}, value).params
    return pair[1]


@pytest.mark.parametrize(
    ("template", "name", "value", "written"),
    [
        ("name eq '{parent|odata}'", "filter", "O'Brien", "name eq 'O''Brien'"),
        ("name eq '{parent}'", "$filter", "O'Brien", "name eq 'O''Brien'"),
        ("name = '{parent|sql}'", "q", "x' or '1'='1", "name = 'x'' or ''1''=''1'"),
        ('name = "{parent|sql}"', "q", 'a"b', 'name = "a""b"'),
        ('name = "{parent|jql}"', "filter", 'a"\\b', 'name = "a\\"\\\\b"'),
        ("name = '{parent}'", "jql", "O'Brien", "name = 'O\\'Brien'"),
        ("name = '{parent|json}'", "filter", 'a"b\\', "name = 'a\\\"b\\\\'"),
        ('{"name":"{parent}"}', "where", 'the "best"', '{"name":"the \\"best\\""}'),
        ('{"f":"name eq \'{parent|odata}\'"}', "where", "O'B\"", '{"f":"name eq \'O\'\'B\\"\'"}'),
        ("name:{parent}", "q", "O'Brien", "name:O'Brien"),
        ("{parent}", "name", "O'Brien", "O'Brien"),
        ("name eq '{parent|raw}'", "filter", "a'b", "name eq 'a'b'"),
        ("id eq {parent} and x", "filter", 7, "id eq 7 and x"),
        ("it's {parent} o'clock", "q", "noon", "it's noon o'clock"),
    ],
)
def test_a_value_is_written_as_its_language_has_it(
    template: str, name: str, value: Any, written: str
) -> None:
    assert param_of(template, value, name) == written


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("name eq '{parent}'", "O'Brien"),
        ('name:"{parent}"', 'a"b'),
        ("name = `{parent}`", "a`b"),
        ("name = '{parent}'", "ends with \\"),
        ('{"f":"name eq \'{parent}\'"}', "O'Brien"),
        ("name = '{parent|sql}'", "ends with \\"),
        ('name = "{parent|odata}"', 'a"b'),
        ("name = '{parent|json}'", "O'Brien"),
        ("id > {parent} and x", "1 or 1=1"),
        ("id > {parent} and x", "f(1)"),
    ],
)
def test_a_value_that_changes_the_query_is_refused(template: str, value: str) -> None:
    with pytest.raises(ConfigError, match=r"the API would read another query.*\{parent\|"):
        param_of(template, value)


def test_bodies_and_headers_are_query_languages_too() -> None:
    graphql = {"json": {"query": '{ rows(of: "{parent}") { id } }'}}
    content = request_of(graphql, 'a"b').content or b""
    assert json.loads(content)["query"] == '{ rows(of: "a\\"b") { id } }'
    for request in (
        {"json": {"sql": "select 1 where a = '{parent}'"}},
        {"text": "select 1 where a = '{parent}'"},
        {"form": {"q": "a = '{parent}'"}},
        {"headers": {"x-filter": "a = '{parent}'"}},
    ):
        with pytest.raises(ConfigError, match="a quote or a backslash"):
            request_of({"method": "POST", **request}, "a'b")


@pytest.mark.parametrize(
    ("path", "value", "url"),
    [
        ("of/{parent}/rows", "acme/rocket", "of/acme%2Frocket/rows"),
        ("of/{parent|path}/rows", "acme/rocket", "of/acme/rocket/rows"),
        ("of/{parent}/rows", "a?b#c&d=%2e e", "of/a%3Fb%23c%26d%3D%252e%20e/rows"),
        ("of/{parent|raw}/rows", "a(1)=%20", "of/a(1)=%20/rows"),
        ("of/{parent}/rows", "1,2", "of/1,2/rows"),
        ("of/{parent}/rows", "...", "of/.../rows"),
        ("of/v{parent}/rows", "1.2", "of/v1.2/rows"),
    ],
)
def test_a_value_is_one_segment_of_the_path(path: str, value: str, url: str) -> None:
    assert request_of({}, value, path).url == f"http://x/api/{url}"


@pytest.mark.parametrize("path", ["of/{parent}/rows", "of/{parent|path}/rows", "of/{parent|raw}/r"])
@pytest.mark.parametrize("value", ["", ".", "..", "../x", "a/../b", "..\\x", " .. "])
def test_no_value_leads_out_of_its_segment(path: str, value: str) -> None:
    with pytest.raises(ContractBroken, match="Check: "):
        request_of({}, value, path)


def test_a_parameter_keeps_its_structure() -> None:
    request = request_of({"params": {"ids": "List({parent|raw})", "q": "a,b"}}, "urn%3Ali&x=1")
    assert request.whole_url == "http://x/api/rows?ids=List(urn%3Ali%26x=1)&q=a%2Cb"


def test_a_quote_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`\{parent\|odate\}` says `odate`.*odata, sql"):
        param_of("a eq '{parent|odate}'", "x")


class Crm:
    """Customers, and orders that a filter asks for: only an exact name has some."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def customers(self, request: Request) -> Response:
        return JSONResponse([{"id": n, "name": name} for n, name in enumerate(NAMES) if name])

    async def orders(self, request: Request) -> Response:
        text = parse_qs(request.url.query)["filter"][0]
        self.asked.append(text)
        prefix, suffix = "customer eq '", "'"
        inner = text.removeprefix(prefix).removesuffix(suffix)
        if "'" in inner.replace("''", ""):
            return JSONResponse({"error": "bad filter"}, 400)
        name = inner.replace("''", "'")
        return JSONResponse([{"order": NAMES.index(name)}])

    def app(self) -> Starlette:
        return Starlette(
            routes=[Route("/customers", self.customers), Route("/orders", self.orders)]
        )


def crm(folder: Path, url: str, placeholder: str) -> Any:
    file = folder / "crm.yaml"
    file.write_text(
        f"""
source: crm
base_url: {url}
start: 2026-11-01
retries: {{errors: 1, first_wait_s: 0.001}}
endpoints:
  customers:
    key: [id]
    columns: {{id: int64, name: string}}
  orders:
    request: {{params: {{filter: "customer eq '{placeholder}'"}}}}
    key: [of, order]
    columns: {{order: int64, of: string}}
    parents: {{endpoint: customers, column: name, column_here: of, max_failed_share: 0.9}}
"""
    )
    return load_source(file, {})


@pytest.mark.slow
def test_each_child_lands_under_its_own_parent(lake: Lake, tmp_path: Path) -> None:
    api = Crm()
    with serving(api.app()) as url:
        source = crm(tmp_path, url, "{parent|odata}")
        outcome, _ = outcome_of(source, lake, ["customers", "orders"], ["2026-11-01"], NOW)
    assert not outcome.failed
    rows = current(lake, "crm", "orders").to_pylist()
    assert {(row["of"], row["order"]) for row in rows} == {
        (name, n) for n, name in enumerate(NAMES) if name
    }


@pytest.mark.slow
def test_a_filter_that_says_no_quoting_fails_the_run(lake: Lake, tmp_path: Path) -> None:
    """However many parents may fail: it is the YAML that is wrong, and not a parent."""
    api = Crm()
    with serving(api.app()) as url:
        source = crm(tmp_path, url, "{parent}")
        outcome, _ = outcome_of(source, lake, ["customers", "orders"], ["2026-11-01"], NOW)
    (failed,) = outcome.failed
    error: HeadraceError = failed.error
    assert "`{parent|odata}`" in str(error)
    assert not any("or '1'" in unquote(text) for text in api.asked)
