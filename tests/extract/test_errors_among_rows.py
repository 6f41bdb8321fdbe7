"""An error in the place of a row: refused by its words, never a row of nulls."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.lake.s3 import Lake
from tests.support.responses import json_answer
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 5, tzinfo=UTC)
ERROR = {"error": "internal", "code": 500}
AMONG = {"data": [{"id": 1, "name": "a"}, ERROR, {"id": 3, "name": "c"}]}
TYPED = "columns: {id: int64, name: string}"


def came(body: Any, yaml: str, lake: Lake) -> tuple[int, str]:
    """The rows that are committed, and what is said."""

    async def things(request: Request) -> Response:
        return json_answer(body)

    with serving(Starlette(routes=[Route("/things", things)])) as url:
        lines = "".join(f"    {line}\n" for line in yaml.splitlines())
        source = source_of(
            f"source: api\nbase_url: {url}\nstart: 2026-11-04\n"
            "retries: {errors: 0, first_wait_s: 0.001}\n"
            f"endpoints:\n  things:\n    whole: true\n{lines}"
        )
        done, _ = outcome_of(source, lake, "things", ["2026-11-04"], NOW)
    return (
        sum(result.manifest.rows for result in done.results),
        str(done.failed[0].error) if done.failed else "",
    )


@pytest.mark.parametrize(
    ("body", "yaml", "remedy", "rows"),
    [
        (AMONG, f"rows: data\nkey: [id]\n{TYPED}", 'rows: "jmespath: data[?id]"', 2),
        (AMONG, f"rows: data\nkey: none\n{TYPED}", 'rows: "jmespath: data[?id]"', 2),
        (AMONG, "rows: data\nkey: none", "columns: {error: json}", 3),
        (AMONG["data"], f"key: none\n{TYPED}", 'rows: "jmespath: [?id]"', 2),
        (ERROR, f"as: object\nkey: none\n{TYPED}", "columns: {error: json}", 1),
    ],
    ids=["key", "no key", "inferred", "a list alone", "an object"],
)
def test_an_error_in_the_place_of_a_row_is_refused_and_its_remedy_works(
    body: Any, yaml: str, remedy: str, rows: int, new_lake: Callable[[], Lake]
) -> None:
    landed, said = came(body, yaml, new_lake())
    assert (landed, "is an error and no row: " in said) == (0, True), said
    assert f"`{remedy}`" in said
    if remedy.startswith("rows"):
        yaml = "\n".join(line for line in yaml.splitlines() if line != "rows: data")
    elif TYPED in yaml:
        yaml, remedy = yaml.replace(TYPED, "columns: {id: int64, name: string, error: json}"), ""
    assert came(body, f"{yaml}\n{remedy}", new_lake()) == (rows, "")


def test_an_error_alone_is_no_row_of_a_map(lake: Lake) -> None:
    body = {"error": {"code": 500, "message": "internal"}}
    landed, said = came(body, "as: map\nkey: [name]\nkey_column: name", lake)
    assert landed == 0
    assert "the body is an error and no rows" in said


@pytest.mark.parametrize(
    ("body", "yaml"),
    [
        ([{"error": None, "name": None}, {"error": None, "name": "b"}], "key: none"),
        ([{"code": 404, "message": "Not found"}], "key: [code]"),
        ({"error": {"count": 4}, "warn": {"count": 9}}, "as: map\nkey: [of]\nkey_column: of"),
        ([{"id": 1, "error": "internal", "code": 500}], "key: none"),
        ([{"status": "active"}, {"status": "closed"}], "key: none"),
    ],
    ids=["nulls", "a key", "levels", "a log", "a status"],
)
def test_a_row_with_an_error_s_words_is_a_row(body: Any, yaml: str, lake: Lake) -> None:
    assert came(body, yaml, lake) == (len(body), "")
