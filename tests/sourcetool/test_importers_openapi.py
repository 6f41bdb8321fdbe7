"""OpenAPI documents: lists become endpoints."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import ConfigError
from sourcetool.__main__ import main
from sourcetool.importers.documents import import_document

Data = dict[str, Any]
ROW: Data = {
    "allOf": [
        {"type": "object", "properties": {"id": {"type": "integer"}}},
        {
            "properties": {
                "name": {"type": "string"},
                "updated_at": {"type": "string", "format": "date-time"},
                "tags": {"$ref": "#/components/schemas/Tags"},
            }
        },
    ]
}

Names = tuple[str, ...]
SERVER = {"url": "https://{region}.example.com/v1", "variables": {"region": {"default": "eu"}}}


def parameter(name: str, kind: str = "integer", **more: Any) -> Data:
    place = {"in": more.pop("place", "query"), "required": more.pop("required", False)}
    return {"name": name, **place, "schema": {"type": kind, **more}}


def answers(schema: Data, *parameters: Data, **headers: Data) -> Data:
    said = {"headers": headers, "content": {"application/json": {"schema": schema}}}
    return {"get": {"parameters": list(parameters), "responses": {"200": said}}}


def listed(name: str, **more: Data) -> Data:
    rows = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    return {"type": "object", "properties": {"data": rows, **more}}


def document(paths: Data, **more: Any) -> Data:
    return {
        "openapi": "3.0.3",
        "info": {"title": "Shop"},
        "servers": [SERVER],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": {"Thing": ROW, "Tags": {"type": "array", "items": {"type": "string"}}},
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}},
        },
        **more,
    }  # fmt: skip


def made(data: Data, tmp_path: Path, *only: str) -> tuple[Data, str]:
    file = tmp_path / "shop.json"
    file.write_text(json.dumps(data))
    _, text = import_document(file, None, only)
    return dict(yaml.safe_load(text)), text


def test_a_list_with_numbered_pages_a_count_and_a_window(tmp_path: Path) -> None:
    total = {"type": "object", "properties": {"total": {"type": "integer"}}}
    operation = answers(
        listed("Thing", meta=total),
        parameter("per_page", maximum=200),
        parameter("page"),
        parameter("updated_since", "string", format="date-time"),
        parameter("updated_until", "string", format="date-time"),
        parameter("account", "string", required=True),
    )
    found, text = made(document({"/things": operation}), tmp_path)
    assert found["base_url"] == "https://${SHOP_REGION:-eu}.example.com/v1"
    assert found["auth"] == {"kind": "api_key", "name": "X-Key", "key": "${SHOP_API_KEY}"}
    assert found["endpoints"]["things"] == {
        "path": "things",
        "request": {
            "params": {
                "per_page": "{limit}",
                "page": "{page}",
                "updated_since": "{start}",
                "updated_until": "{end}",
                "account": "${SHOP_ACCOUNT}",
            }
        },
        "window": {"start": "exclusive"},
        "paging": {"kind": "page", "limit": 200, "total": "meta.total"},
        "rows": "data",
        "key": ["id"],
        "cursor": "updated_at",
        "columns": {
            "id": "int64",
            "name": "string",
            "updated_at": "timestamp[iso]",
            "tags": "json",
        },
    }
    assert "# ? does updated_since filter by updated_at" in text


@pytest.mark.parametrize(
    ("parameters", "more", "paging"),
    [
        (
            [parameter("limit"), parameter("cursor", "string")],
            {"next_cursor": {"type": "string"}, "has_more": {"type": "boolean"}},
            {"kind": "token", "limit": 100, "next": "next_cursor", "more": "has_more"},
        ),
        (
            [parameter("limit", default=20)],
            {"links": {"type": "object", "properties": {"next": {"type": "string"}}}},
            {"kind": "link", "limit": 20, "next": "links.next"},
        ),
        (
            [parameter("limit"), parameter("offset")],
            {"count": {"type": "integer"}},
            {"kind": "offset", "limit": 100, "overlap": False, "total": "count"},
        ),
        ([], {}, {"kind": "none"}),
    ],
)
def test_pages(parameters: list[Data], more: Data, paging: Data, tmp_path: Path) -> None:
    found, _ = made(document({"/things": answers(listed("Thing", **more), *parameters)}), tmp_path)
    assert found["endpoints"]["things"]["paging"] == paging


TIME = {"type": "string", "format": "date-time"}


def of_times(*columns: str) -> Data:
    rows = {"properties": {"id": {"type": "integer"}, **dict.fromkeys(columns, TIME)}}
    return {"type": "array", "items": rows}


def times(*names: str) -> list[Data]:
    return [parameter(name, "string", format="date-time") for name in names]


@pytest.mark.parametrize(
    ("columns", "filters", "cursor", "params"),
    [
        (
            ("created_at", "modified_at"),
            ("created_at_start", "created_at_end", "modified_at_start", "modified_at_end"),
            "modified_at",
            ("modified_at_start", "modified_at_end"),
        ),
        (
            ("created_at", "modified_at"),
            ("created_at_start", "modified_at_end"),
            "created_at",
            ("created_at_start",),
        ),
        (("created_at",), ("ship_date_start", "ship_date_end"), None, ()),
        (("created_at", "updated_at"), ("since",), "updated_at", ("since",)),
        (("updatedAt",), ("from", "to"), "updatedAt", ("from", "to")),
    ],
)
def test_a_window_is_of_the_column_that_its_parameter_filters_by(
    columns: Names, filters: Names, cursor: str | None, params: Names, tmp_path: Path
) -> None:
    operation = answers(of_times(*columns), *times(*filters))
    found, text = made(document({"/things": operation}), tmp_path)
    things = found["endpoints"]["things"]
    sent = things.get("request", {}).get("params", {})
    assert things.get("cursor") == cursor
    assert sent == dict(zip(params, ("{start}", "{end}"), strict=False))
    assert things["paging"] == {"kind": "none"}
    assert ("is not read again" in text) == (cursor == "created_at")


def test_rows_are_the_list_that_the_path_names_and_errors_are_none(tmp_path: Path) -> None:
    lists = ("errors", "shops", "things")
    schema = {"type": "object", "properties": {name: of_times() for name in lists}}
    paths = {f"/{path}": answers(schema) for path in ("things", "more", "things/errors")}
    found, _ = made(document(paths), tmp_path)
    rows = [found["endpoints"][name]["rows"] for name in ("things", "more", "things_errors")]
    assert rows == ["things", "shops", "errors"]


@pytest.mark.parametrize(
    ("more", "first", "doubtful"),
    [
        ({"default": 0}, 0, False),
        ({"minimum": 0}, 0, False),
        ({"default": 1}, None, False),
        ({}, None, True),
    ],
)
def test_the_first_page_has_the_number_that_the_document_says(
    more: Data, first: int | None, doubtful: bool, tmp_path: Path
) -> None:
    operation = answers(listed("Thing"), parameter("page", **more))
    found, text = made(document({"/things": operation}), tmp_path)
    assert found["endpoints"]["things"]["paging"].get("first") == first
    assert ("is the first page 1?" in text) == doubtful


def test_a_key_is_no_column_that_all_rows_of_a_path_share(tmp_path: Path) -> None:
    rows = {"batch_id": {"type": "string"}, "box_id": {"type": "string"}}
    schema = {"type": "array", "items": {"properties": rows}}
    of = parameter("batch_id", "string", place="path", required=True)
    paths = {"/batches": answers(schema), "/{batch_id}/batches": answers(schema, of)}
    found, _ = made(document(paths), tmp_path)
    assert [one["key"] for one in found["endpoints"].values()] == [["batch_id"], "none"]


def test_children_come_from_the_list_above_and_others_from_a_setting(tmp_path: Path) -> None:
    plain = {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}
    of = parameter("thing_id", "string", place="path", required=True)
    paths = {
        "/things/{thing_id}/parts": answers(plain, of),
        "/things": answers(plain),
        "/shops/{shop}/staff": answers(plain, parameter("shop", "string", place="path")),
        "/things/{thing_id}": answers(ROW, of),
        "/a/{b}/c/{d}/things": answers(plain),
    }
    found, text = made(document(paths), tmp_path)
    assert found["endpoints"]["things_parts"]["path"] == "things/{parent}/parts"
    assert found["endpoints"]["things_parts"]["parents"] == {"endpoint": "things", "column": "id"}
    assert found["endpoints"]["shops_staff"]["path"] == "shops/${SHOP_SHOP}/staff"
    assert sorted(found["endpoints"]) == ["a_c_things", "shops_staff", "things", "things_parts"]
    assert found["endpoints"]["a_c_things"]["path"] == "a/${SHOP_B}/c/${SHOP_D}/things"
    assert "{d} of the path is a setting" in text
    found, _ = made(document(paths), tmp_path, "things_parts")
    assert sorted(found["endpoints"]) == ["things", "things_parts"]


def test_rows_without_a_key_are_kept_and_two_names_stay_apart(tmp_path: Path) -> None:
    rates = {"type": "array", "items": {"properties": {"day": {"type": "string"}}}}
    plain = {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}
    paths = {"/rates": answers(rates), "/v1/things": answers(plain), "/v2/things": answers(plain)}
    found, text = made(document(paths), tmp_path)
    assert sorted(found["endpoints"]) == ["rates", "things", "v2_things"]
    assert found["endpoints"]["rates"]["key"] == "none"
    assert "which columns identify a row?" in text


def test_schemas_of_openapi_3_1_that_may_be_null(tmp_path: Path) -> None:
    thing = {
        "type": ["object", "null"],
        "properties": {
            "id": {"type": ["integer", "null"]},
            "at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
        },
    }
    rows = {"type": ["array", "null"], "items": {"oneOf": [thing, {"type": "null"}]}}
    found, _ = made(document({"/things": answers(rows)}) | {"openapi": "3.1.0"}, tmp_path)
    columns = found["endpoints"]["things"]["columns"]
    assert columns == {"id": "int64", "at": "timestamp[iso]"}


def test_a_swagger_2_document(tmp_path: Path) -> None:
    swagger = {
        "swagger": "2.0",
        "host": "api.example.com",
        "basePath": "/v1",
        "schemes": ["http", "https"],
        "securityDefinitions": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}},
        "definitions": {"Thing": {"type": "object", "properties": {"id": {"type": "integer"}}}},
        "parameters": {"page": {"name": "page", "in": "query", "type": "integer"}},
        "paths": {
            "/things": {
                "parameters": [{"$ref": "#/parameters/page"}],
                "get": {
                    "parameters": [
                        {"name": "per_page", "in": "query", "type": "integer", "maximum": 50}
                    ],
                    "responses": {
                        "200": {
                            "schema": {"type": "array", "items": {"$ref": "#/definitions/Thing"}}
                        }
                    },
                },
            }
        },
    }
    found, _ = made(swagger, tmp_path)
    assert found["base_url"] == "https://api.example.com/v1"
    assert found["auth"] == {"kind": "api_key", "name": "X-Key", "key": "${SHOP_API_KEY}"}
    things = found["endpoints"]["things"]
    assert things["paging"] == {"kind": "page", "limit": 50}
    assert things["request"] == {"params": {"per_page": "{limit}", "page": "{page}"}}
    assert things["key"] == ["id"]


NOWHERE = "#/components/schemas/Gone"
THINGS = answers({"type": "array", "items": ROW})


@pytest.mark.parametrize(
    ("item", "reference"),
    [
        ({"$ref": NOWHERE}, NOWHERE),
        ({"$ref": "paths/teams.yaml#/teams"}, "paths/teams.yaml#/teams"),
        ({"get": {"responses": {"200": {"$ref": NOWHERE}}}}, NOWHERE),
        (answers({"$ref": NOWHERE}), NOWHERE),
        (answers(listed("Gone")), NOWHERE),
        (answers({"type": "array", "items": {"allOf": [{"$ref": NOWHERE}]}}), NOWHERE),
        (answers({"$ref": "#/components/schemas/Circle"}), "#/components/schemas/Circle"),
    ],
)
def test_an_operation_whose_reference_leads_nowhere_is_named(
    item: Data, reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = document({"/things": THINGS, "/teams": item, "/teams/{id}": answers(ROW)})
    data["components"]["schemas"]["Circle"] = {"$ref": "#/components/schemas/Circle"}
    found, text = made(data, tmp_path)
    reason = f"GET /teams: the reference {reference} leads nowhere in the document."
    plain = " ".join(" ".join(line.removeprefix("# ") for line in text.splitlines()).split())
    assert list(found["endpoints"]) == ["things"]
    assert "1 of 2 endpoints" in plain
    assert f"Left out: teams: {reason}" in plain
    assert main(["new", "--from", str(tmp_path / "shop.json"), "--folder", str(tmp_path)]) == 0
    assert reason in " ".join(capsys.readouterr().out.split())
    data["paths"].pop("/things")
    with pytest.raises(ConfigError, match="returns a list of objects; GET /teams: the reference"):
        made(data, tmp_path)


def test_a_reference_beside_the_rows_that_leads_nowhere_is_doubtful(tmp_path: Path) -> None:
    row = {"properties": {"id": {"type": "integer"}, "of": {"$ref": NOWHERE}}}
    operation = answers({"type": "array", "items": row}, {"$ref": "#/components/parameters/Page"})
    found, text = made(document({"/things": operation}), tmp_path)
    assert list(found["endpoints"]) == ["things"]
    for reference in (NOWHERE, "#/components/parameters/Page"):
        assert f"? the reference {reference} leads nowhere in the document" in text


@pytest.mark.parametrize(
    "reference", ["#/paths/~1x/get/parameters/0/schema", "#/paths/%7E1x/get/parameters/0/schema"]
)
def test_a_reference_leads_through_items_of_lists(reference: str, tmp_path: Path) -> None:
    x = answers({}, {"name": "x", "in": "query", "schema": {"type": "array", "items": ROW}})
    found, text = made(document({"/x": x, "/things": answers({"$ref": reference})}), tmp_path)
    assert list(found["endpoints"]) == ["things"]
    assert "leads nowhere" not in text


def test_operations_of_swagger_2_may_share_a_response(tmp_path: Path) -> None:
    shared = {"schema": {"type": "array", "items": ROW}}
    of = {"get": {"responses": {"200": {"$ref": "#/responses/Things"}}}}
    swagger = {"swagger": "2.0", "host": "api.example.com", "responses": {"Things": shared}}
    found, _ = made({**swagger, "paths": {"/things": of}}, tmp_path)
    assert found["endpoints"]["things"]["key"] == ["id"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"swagger": "1.2"}, "expected an OpenAPI 3 or Swagger 2 document, found version 1.2"),
        ({"swagger": "2.0"}, "no GET of the OpenAPI document returns a list"),
        (document({"/x": answers(ROW)}), "no GET of the OpenAPI document returns a list"),
        ({"a": 1}, "expected a declarative manifest .* found a"),
        ([], "found no mapping"),
        (
            document({"/things": answers({"type": "array", "items": ROW})}) | {"only": ["nothing"]},
            "expected one of things, got 'nothing'",
        ),
    ],
)
def test_what_is_no_such_document_is_one_sentence(data: Any, said: str, tmp_path: Path) -> None:
    only = data.pop("only", ()) if isinstance(data, dict) else ()
    with pytest.raises(ConfigError, match=said) as error:
        made(data, tmp_path, *only)
    assert "\n" not in str(error.value)
