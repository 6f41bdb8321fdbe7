"""A manifest's record filters as `where`: the same rows are kept, or the stream is left out."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config.loader import source_of_text
from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from sourcetool.importers.airbyte import convert
from sourcetool.importers.manifest import manifest_of
from sourcetool.importers.trial import tried
from tests.sourcetool.manifests import Data, made, manifest, stream, window
from tests.support.responses import json_answer
from tests.support.runs import extract, serving

DAY, NOW = "2026-11-02", datetime(2026, 11, 2, 12, tzinfo=UTC)
TYPES = {
    "id": "integer", "kind": "string", "size": "integer", "gone": "boolean", "tags": "array",
}  # fmt: skip
SCHEMA = {
    "type": "InlineSchemaLoader",
    "schema": {
        "properties": {
            **{name: {"type": kind} for name, kind in TYPES.items()},
            "changed": {"type": "string", "format": "date-time"},
        }
    },
}


def one(condition: str, **more: Any) -> Data:
    return stream(where=f"{{{{ {condition} }}}}", schema_loader=SCHEMA, **more)


SAID: list[tuple[str, Data]] = [
    ("record.kind == 'a'", {"kind": "a"}),
    ("'a' == record['kind']", {"kind": "a"}),
    ("record.kind != 'a' and record.kind != 'b'", {"kind": {"not": {"in": ["a", "b"]}}}),
    ("record.kind == 'a' or record.kind == 'b'", {"kind": {"in": ["a", "b"]}}),
    ("record.kind in ['a', 'b'] and record.kind in ['b', 'c']", {"kind": "b"}),
    ("not (record.kind == 'a')", {"kind": {"not": "a"}}),
    ("record.kind is eq('a')", {"kind": "a"}),
    ("record.size > 1 and record.size < 5", {"size": {"gt": 1, "lt": 5}}),
    ("1 < record.size <= 5", {"size": {"gt": 1, "lte": 5}}),
    ("5 >= record.size", {"size": {"lte": 5}}),
    ("record.size > 1 and record.size > 3", {"size": {"gt": 3}}),
    ("not (record.size > 1 and record.size < 5)", {"size": {"not": {"gt": 1, "lt": 5}}}),
    ("record.size != 3 and record.size > 1", {"size": {"not": 3, "gt": 1}}),
    ("record.size == true", {"size": 1}),
    ("record.gone == 1", {"gone": True}),
    ("record.gone is false", {"gone": False}),
    ("record.other == true", {"other": {"in": [True, 1]}}),
    ("record.size | int == 5", {"size": 5}),
    ("record.kind | string == '5'", {"kind": "5"}),
    ("record.get('gone', false) == true", {"gone": True}),
    ("not record.get('gone', false)", {"gone": {"not": True}}),
    ("'kind' in record", {"kind": {"not": None}}),
    ("'kind' not in record", {"kind": None}),
    ("record.kind is defined", {"kind": {"not": None}}),
    ("record.kind is not none", {"kind": {"not": None}}),
    ("record.changed > '2026-01-01T00:00:00Z'", {"changed": {"gt": "2026-01-01T00:00:00+00:00"}}),
    ("record.changed >= stream_interval.start_time and record.kind == 'a'", {"kind": "a"}),
    ("stream_interval.start_time <= record.changed and record.kind == 'a'", {"kind": "a"}),
]


@pytest.mark.parametrize(("condition", "where"), SAID)
def test_a_condition_that_where_says(condition: str, where: Data) -> None:
    found = made(one(condition))
    tried(found, "a manifest")
    assert found.data["endpoints"]["things"]["where"] == where


@pytest.mark.parametrize(
    "condition",
    [
        "record.kind == config.region",
        "record.kind != config['region']",
        "record.changed >= config['since']",
        "record.kind in config['teams']",
        "record.kind not in config['teams']",
        "record.kind in [config.region, 'a']",
        "record.id == stream_partition.id",
        "record.id == stream_slice['id']",
        "record.kind == record.other",
        "record.changed < stream_slice['start_time']",
        "record.changed > now_utc()",
        "record.kind == 'a' and record.id == stream_partition.id",
        "'x' in record.tags",
        "'x' not in record.tags",
        "record.kind in 'abc'",
        "record.tags[0] == 'x'",
        "record.tags[-1] == 'x'",
        "record == 'x'",
        "record.kind | lower == 'a'",
        "record.kind | trim == 'a'",
        "record.size | string == '5'",
        "record.kind | int == 5",
        "record.tags | length > 0",
        "record.kind.startswith('a')",
        "record.get('kind', 'a') == 'a'",
        "(record.kind or 'a') == 'a'",
        "record.kind | default('a') == 'a'",
        "record.kind == 'a' or record.size > 1",
        "not (record.kind == 'a' and record.size > 1)",
        "record.kind == 'a' if config.region else record.size > 1",
        "record.changed > 5",
        "record.size + 1 > 5",
        "config.region",
    ],
)
def test_a_condition_that_where_cannot_say_leaves_the_stream_out(condition: str) -> None:
    found = made(one(condition))
    assert "things" not in found.data["endpoints"]
    assert {need.ability for need in found.left_out["things"]} == {"computed"}


def test_a_column_that_is_compared_with_another_type_has_the_type_of_its_rows() -> None:
    """Its text would equal no number, and no row would be kept."""
    things = made(one("record.kind == 5")).data["endpoints"]["things"]
    assert things["where"] == {"kind": 5}
    assert "kind" not in things["columns"]
    assert things["columns"]["size"] == "int64"


def test_a_filter_by_a_removed_member_is_left_out() -> None:
    removed = [{"type": "RemoveFields", "field_pointers": [["kind"]]}]
    found = made(one("record.kind == 'a'", transformations=removed))
    assert "by kind, made here" in found.left_out["things"][0].what


def test_rows_that_lack_a_member_and_those_where_it_is_null_are_a_doubt() -> None:
    doubts = made(one("'kind' in record")).doubts["things"]
    assert "the filter takes rows that lack kind for rows where it is null" in doubts
    doubts = made(one("false")).doubts["things"]
    assert any("the manifest keeps no row at all" in doubt for doubt in doubts)


ROWS: list[Data] = [
    {"id": n, "kind": "ab"[n % 2], "size": n % 7, "gone": n % 3 == 0, "changed": None}
    for n in range(23)
]
KEPT: dict[str, Callable[[Data], bool]] = {
    "record.size > 1 and record.size < 5": lambda row: 1 < row["size"] < 5,
    "not (record.size > 1 and record.size < 5)": lambda row: not 1 < row["size"] < 5,
    "5 > record.size and record.kind == 'a'": lambda row: row["size"] < 5 and row["kind"] == "a",
    "record.gone == 0": lambda row: not row["gone"],
    "record.size == 1 or record.size == 3": lambda row: row["size"] in (1, 3),
}


@pytest.mark.parametrize("condition", KEPT)
def test_the_rows_that_a_manifest_keeps_land(condition: str, lake: Lake) -> None:
    async def things(_: Request) -> Response:
        return json_answer({"data": ROWS})

    with serving(Starlette(routes=[Route("/things", things)])) as url:
        found = convert(manifest_of(manifest(one(condition, url_base=url)), "shop"))
        source = source_of_text("shop.yaml", tried(found, "a manifest"), {"SHOP_START": DAY})
        extract(source, lake, "things", [DAY], NOW)
    kept = dataset(lake, source.source, "things").to_table()["id"].to_pylist()
    assert sorted(kept) == [row["id"] for row in ROWS if KEPT[condition](row)]


def test_a_window_in_a_filter_is_the_endpoints_own() -> None:
    sync = window(start_time_option=None, end_time_option=None)
    found = made(one("record.changed >= stream_slice.start_time", incremental_sync=sync))
    assert "where" not in found.data["endpoints"]["things"]
    assert any("keeps rows by the window" in doubt for doubt in found.doubts["things"])


@pytest.mark.parametrize(
    ("condition", "where"),
    [
        ("not config.get('teams') or record.get('of', {}).get('id') in config['teams']", None),
        ("record.id in config['teams'] or not config['teams']", None),
        ("record.kind == 'a' and (not config.teams or record.id in config.teams)", {"kind": "a"}),
        ("record.id in config.teams if config.get('teams') else True", None),
    ],
)
def test_a_condition_that_an_empty_setting_switches_off_is_left_out(
    condition: str, where: Data | None
) -> None:
    found = made(one(condition))
    assert found.data["endpoints"]["things"].get("where") == where
    assert "the manifest's setting teams keeps some rows: all are kept" in found.doubts["things"]
