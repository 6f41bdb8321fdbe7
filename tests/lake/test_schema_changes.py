"""Columns that appear, change and go are told, in the manifest and in words."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assets.metadata import metadata_of
from pipeline.config import Source
from pipeline.errors import ContractBroken
from pipeline.lake.manifest import SchemaChange, schema_changes
from pipeline.lake.s3 import Lake
from tests.support.responses import json_answer
from tests.support.runs import extract, outcome_of, serving

NOW = datetime(2026, 11, 3, tzinfo=UTC)


def columns(**kinds: str) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in kinds.items()]


def test_what_changed() -> None:
    before = columns(id="int64", size="int64", gone="string", _extracted_at="timestamp[us, UTC]")
    after = columns(id="int64", size="double", new="bool")
    changes = schema_changes(before, after)
    assert changes == (
        SchemaChange("size", "int64", "double"),
        SchemaChange("new", None, "bool"),
        SchemaChange("gone", "string", None),
    )
    assert [str(change) for change in changes] == [
        "size was int64, is double",
        "new is new (bool)",
        "gone is gone (was string)",
    ]


def test_a_first_partition_changes_nothing() -> None:
    assert schema_changes([], columns(id="int64")) == ()
    assert schema_changes(columns(id="int64"), columns(id="int64", _deleted="bool")) == ()


def source_at(url: str, contract: str, key: tuple[str, ...] = ("id",), **more: Any) -> Source:
    endpoint: dict[str, Any] = {
        "path": "items",
        "request": {"params": {"from": "{start}", "to": "{end}"}},
        "key": key,
        "cursor": "at",
        "columns": {"at": "timestamp[iso]"},
        "contract": contract,
        **more,
    }
    return Source.model_validate(
        {"source": "shop", "base_url": url, "start": "2026-11-01", "endpoints": {"items": endpoint}}
    )


def api(at: str = "2026-11-02T12:00:00Z") -> Starlette:
    """On the second day a column is new, and a whole number has become a fraction."""

    async def items(request: Request) -> Response:
        first = "from" not in request.query_params
        row = {"id": 1, "at": "2026-11-01T12:00:00Z", "size": 3}
        later = {"id": 2, "at": at, "size": 2.5, "colour": "red"}
        return json_answer([row] if first else [later])

    return Starlette(routes=[Route("/items", items)])


def test_cells_that_do_not_come_in_their_types_are_told_by_column(lake: Lake) -> None:
    """And those of an earlier try are among them."""
    asked = count(1)

    async def items(request: Request) -> Response:
        if "page" not in request.query_params:
            rows = [{"id": n, "at": "2026-11-01T12:00:00Z", "size": str(n)} for n in (1, 2)]
            return json_answer({"rows": rows, "next": "?page=2"})
        if next(asked) == 1:
            return json_answer({"error": "out of order"}, 400)
        return json_answer({"rows": [{"id": 3, "at": "2026-11-01T13:00:00Z", "size": "3"}]})

    with serving(Starlette(routes=[Route("/items", items)])) as url:
        source = source_at(
            url,
            "evolve",
            rows="rows",
            paging={"kind": "link", "next": "next", "limit": 2},
            columns={"at": "timestamp[iso]", "size": "int64"},
            batch_rows=1,
        )
        first, _ = outcome_of(source, lake, "items", ["2026-11-01"], NOW, "a")
        assert first.failed
        again, _ = outcome_of(source, lake, "items", ["2026-11-01"], NOW, "a")
    manifest = again.results[0].manifest
    assert manifest.rows == 3
    assert manifest.resumed_pages == 1
    assert manifest.notes.converted == {"size": 3}
    assert metadata_of(again.results[0], source)["converted_cells"] == {"size": 3}


def test_evolve_takes_the_change_and_tells_it(lake: Lake) -> None:
    with serving(api()) as url:
        source = source_at(url, "evolve")
        first = extract(source, lake, "items", ["2026-11-01"], NOW)[0]
        second = extract(source, lake, "items", ["2026-11-02"], NOW)[0]
    assert not first.notes.schema_changes
    assert second.notes.schema_changes == (
        SchemaChange("colour", None, "string"),
        SchemaChange("size", "int64", "double"),
    )


@pytest.mark.parametrize("day", ["2026-11-02"])
def test_freeze_refuses_the_change(lake: Lake, day: str) -> None:
    with serving(api()) as url:
        source = source_at(url, "freeze")
        extract(source, lake, "items", ["2026-11-01"], NOW)
        outcome, _ = outcome_of(source, lake, "items", [day], NOW)
    assert isinstance(outcome.failed[0].error, ContractBroken)
    assert "colour" in str(outcome.failed[0].error)


@pytest.mark.parametrize("key", [("colour",), ("id", "colour")])
def test_the_day_after_a_change_of_the_key_is_committed(lake: Lake, key: tuple[str, ...]) -> None:
    """The day before has no such column: its rows can't be held against those of the margin."""
    with serving(api(at="2026-11-01T23:30:00Z")) as url:
        extract(source_at(url, "evolve"), lake, "items", ["2026-11-01"], NOW)
        (manifest,) = extract(source_at(url, "evolve", key), lake, "items", ["2026-11-02"], NOW)
    assert (manifest.margin_rows, manifest.late_rows) == (1, 0)
