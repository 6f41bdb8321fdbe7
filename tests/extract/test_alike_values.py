"""Values that an API ignores: the same rows come for each, and land under all of them."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.lake.s3 import Lake
from tests.run.test_fan_out_values import after
from tests.support.responses import json_answer
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

DAY = "2026-11-01"
ROWS = [{"id": n, "name": f"row {n}"} for n in range(5)]
Rows = Callable[[Mapping[str, str]], "list[dict[str, Any]] | None"]

ONE_LIST = """
  things:
    each: {values: [a, b, c], column_here: shop}
    request: {params: {shop: "{each}"}}
    key: [shop, id]
    columns: {shop: string, id: int64, name: string}
"""
PRODUCT = """
  things:
    each: {shop: {values: [a, b]}, kind: {values: [1, 2]}}
    request: {params: {shop: "{each.shop}", kind: "{each.kind}"}}
    key: [shop, kind, id]
    columns:
      shop: {type: string, from: each.shop}
      kind: {type: int64, from: each.kind}
      id: int64
      name: string
"""
CHILDREN = """
  shops: {key: [id], columns: {id: string}}
  things:
    parents: {endpoint: shops, column_here: shop}
    request: {params: {shop: "{parent}"}}
    key: [shop, id]
    columns: {shop: string, id: int64, name: string}
"""


def same(_: Mapping[str, str]) -> list[dict[str, Any]]:
    return ROWS


def of_known_shops(given: Mapping[str, str]) -> list[dict[str, Any]] | None:
    return ROWS if given["shop"] in ("a", "b", "c") else None


def empty_of_unknown(given: Mapping[str, str]) -> list[dict[str, Any]]:
    return of_known_shops(given) or []


def by_shop(given: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{**row, "name": given["shop"]} for row in ROWS]


def by_kind(given: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{**row, "name": given["kind"]} for row in ROWS]


def none_of_c(given: Mapping[str, str]) -> list[dict[str, Any]]:
    return [] if given["shop"] == "c" else ROWS


def unknown(given: Mapping[str, str]) -> bool:
    return given["shop"] not in ("a", "b", "c") or given.get("kind", "1") not in ("1", "2")


@pytest.mark.parametrize(
    ("endpoints", "rows", "ignored", "asked_once_more"),
    [
        pytest.param(ONE_LIST, same, "each", True, id="a list"),
        pytest.param(
            ONE_LIST, of_known_shops, None, True, id="the same in truth, unknown is refused"
        ),
        pytest.param(
            ONE_LIST, empty_of_unknown, None, True, id="the same in truth, unknown is empty"
        ),
        pytest.param(ONE_LIST, by_shop, None, False, id="rows differ"),
        pytest.param(ONE_LIST, none_of_c, None, False, id="one value has none"),
        pytest.param(ONE_LIST, lambda _: [], None, False, id="no rows"),
        pytest.param(PRODUCT, by_shop, "each.kind", True, id="one list of a product"),
        pytest.param(PRODUCT, by_kind, "each.shop", True, id="the other list"),
        pytest.param(PRODUCT, same, "each.kind}, {each.shop", True, id="both"),
        pytest.param(CHILDREN, same, "parent", True, id="parents"),
    ],
)
def test_a_check_says_that_values_are_ignored(
    lake: Lake, endpoints: str, rows: Rows, ignored: str | None, asked_once_more: bool
) -> None:
    asked: list[dict[str, str]] = []

    async def things(request: Request) -> Response:
        asked.append(dict(request.query_params))
        found = rows(asked[-1])
        return (
            json_answer({"message": "no such shop"}, 404) if found is None else json_answer(found)
        )

    async def shops(_: Request) -> Response:
        return json_answer([{"id": name} for name in "abc"])

    app = Starlette(routes=[Route("/things", things), Route("/shops", shops)])
    with serving(app) as url:
        source = source_of(f"source: api\nbase_url: {url}\nstart: {DAY}\nendpoints:{endpoints}")
        outcome, _ = outcome_of(source, lake, tuple(source.endpoints), (DAY,), after(DAY))
    assert not outcome.failed, outcome.failed[0].error
    checks = {check["name"]: check for check in outcome.results[-1].manifest.checks}
    assert asked_once_more == any(map(unknown, asked))
    if ignored is None:
        assert "values_differ" not in checks
    else:
        assert not checks["values_differ"]["passed"]
        assert f"ignores {{{ignored}}}" in checks["values_differ"]["detail"]
