"""Members of rows that are called like a column that is added to them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ConfigError, ContractBroken
from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
DAYS = ["2026-11-02"]


@contextmanager
def source_at(member: Mapping[str, Any], more: str = "") -> Iterator[Source]:
    """Things with a member of one's choice, and parts that say whose they are."""

    async def things(_: Request) -> Response:
        return JSONResponse([{"id": n, "at": "2026-11-02T05:00:00Z", **member} for n in (1, 2)])

    async def parts(request: Request) -> Response:
        thing = int(request.query_params["of"])
        return JSONResponse([{"id": 10 * thing, "thing": f"no. {thing}", "name": "a"}])

    routes = [Route("/things", things), Route("/parts", parts)]
    with serving(Starlette(routes=routes)) as url:
        yield source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            endpoints:
              things:
                request: {{params: {{since: "{{start}}", until: "{{end}}"}}}}
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"{more}}}
              parts:
                request: {{params: {{of: "{{parent}}"}}}}
                key: [thing, id]
                columns: {{thing: int64}}
                parents: {{endpoint: things, column_here: thing}}
            """
        )


def test_a_child_may_have_a_member_like_the_column_of_its_parent(lake: Lake) -> None:
    with source_at({}) as source:
        outcome, _ = outcome_of(source, lake, ["things", "parts"], DAYS, NOW)
    assert not outcome.failed
    found = current(lake, "api", "parts", key=["thing", "id"], cursor=None)
    rows = found.select(["id", "thing", "name"]).to_pylist()
    assert rows == [{"id": 10 * n, "thing": n, "name": "a"} for n in (1, 2)]


@pytest.mark.parametrize("name", ["_extracted_at", "_deleted"])
@pytest.mark.parametrize("value", [True, "no", None])
def test_a_member_with_the_name_of_a_column_of_ours_gets_another_one(
    lake: Lake, name: str, value: object
) -> None:
    with source_at({name: value}) as source, pytest.raises(ContractBroken) as refused:
        extract(source, lake, "things", DAYS, NOW)
    assert f"The rows have a member `{name}`" in str(refused.value)
    remedy = f"their{name}: {{type: json, path: {name}}}"
    assert remedy in str(refused.value)
    with source_at({name: value}, f", {remedy}") as source:
        extract(source, lake, "things", DAYS, NOW)
    assert current(lake, "api", "things", key=["id"], cursor="at").num_rows == 2


@pytest.mark.parametrize("name", ["dt", "DT", "Dt"])
def test_a_member_that_is_called_like_the_partitions_folders_gets_another_name(
    lake: Lake, name: str
) -> None:
    """DuckDB and others would show the folder's value in its place."""
    with source_at({name: 1795100001}) as source, pytest.raises(ContractBroken) as refused:
        extract(source, lake, "things", DAYS, NOW)
    assert f"The rows have a member `{name}`, and the folders of partitions" in str(refused.value)
    remedy = f"their_dt: {{type: json, path: {name}}}"
    assert remedy in str(refused.value)
    with source_at({name: 1795100001}, f", {remedy}") as source:
        extract(source, lake, "things", DAYS, NOW)
    found = current(lake, "api", "things")
    assert set(found["their_dt"].to_pylist()) == {"1795100001"}
    assert not {each for each in found.column_names if each.lower() == "dt"}


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("_extracted_at: string", "`_extracted_at` is added to all rows"),
        ("_deleted: string", "`_deleted` is true in a tombstone"),
        ("DT: int64", "has the name of the partitions' folders"),
    ],
)
def test_a_column_of_ours_is_not_declared(declared: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said), source_at({}, f", {declared}"):
        pass
