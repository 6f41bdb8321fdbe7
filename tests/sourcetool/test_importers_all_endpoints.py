"""Every list of a document is an endpoint or is named, whatever the others are called."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sourcetool.importers.documents import import_curl, import_document
from tests.sourcetool.manifests import Data, children, manifest, stream
from tests.sourcetool.test_importers_openapi import answers, document, made, parameter
from tests.support.responses import json_answer
from tests.support.runs import serving

ROWS: Data = {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}


def test_paths_that_are_spelt_alike_are_all_there(tmp_path: Path) -> None:
    spelt = ("/sales-orders", "/sales_orders", "/sales.orders", "/v2/sales/orders")
    found, text = made(document({path: answers(ROWS) for path in spelt}), tmp_path)
    assert {of["path"] for of in found["endpoints"].values()} == {path[1:] for path in spelt}
    assert "4 of 4 endpoints" in text


def test_children_have_the_parents_of_their_own_path(tmp_path: Path) -> None:
    posts = answers(ROWS, parameter("id", "string", place="path", required=True))
    paths = {"/v1/users": answers(ROWS), "/v2/users": answers(ROWS), "/v2/users/{id}/posts": posts}
    endpoints = made(document(paths), tmp_path)[0]["endpoints"]
    parent = endpoints["users_posts"]["parents"]["endpoint"]
    assert endpoints[parent]["path"] == "v2/users"


def test_a_list_whose_rows_are_not_described_is_named(tmp_path: Path) -> None:
    bare = {"type": "array", "items": {"type": "object"}}
    words = {"type": "array", "items": {"type": "string"}}
    paths = {"/things": answers(ROWS), "/a/things": answers(bare), "/words": answers(words)}
    _, text = made(document(paths), tmp_path)
    assert "1 of 2 endpoints" in text
    assert "GET /a/things: the document does not name the members of its rows" in text


def test_parameters_that_an_api_fills_in_are_a_doubt(tmp_path: Path) -> None:
    """GitHub's issues: without ``state=all`` the closed ones are missing, and nothing shows it."""
    state = {"$ref": "#/components/schemas/State"}
    parameters = [
        {"name": "state", "in": "query", "schema": state},
        parameter("filter", "string", default="assigned"),
        parameter("archived", "boolean", default=False),
        {"name": "kinds", "in": "query", "schema": {
            "type": "array", "items": {"type": "string", "default": "a", "enum": ["a", "b"]}}},
        parameter("per_page", default=30, maximum=100),
        parameter("page", default=1),
        parameter("since", "string", format="date-time"),
        parameter("labels", "string"),
        parameter("api_key", "string", default="demo-4f"),
    ]  # fmt: skip
    data = document({"/issues": answers(ROWS, *parameters)})
    data["components"]["schemas"]["State"] = {
        "type": "string", "enum": ["open", "closed", "all"], "default": "open",
    }  # fmt: skip
    found, text = made(data, tmp_path)
    said = " ".join(text.replace("\n  # ", " ").split())
    assert (
        "the API has state=open (of open, closed, all); filter=assigned; archived=false; "
        "kinds=a (of a, b); api_key where a request does not say it: are rows left out so?"
    ) in said
    assert "demo-4f" not in said
    assert set(found["endpoints"]["issues"]["request"]["params"]) == {"per_page", "page", "since"}


def test_parameters_that_have_to_be_there_are_sent_as_json_writes_them(tmp_path: Path) -> None:
    needed: Data = {"required": True}
    parameters = [
        parameter("archived", "boolean", default=False, **needed),
        parameter("most", default=5, **needed),
        parameter("kinds", "array", default=["a", True], **needed),
        parameter("kind", "string", enum=["only"], **needed),
        parameter("account", "string", **needed),
        parameter("api_key", "string", default="s3cret-key", **needed),
        parameter("X-Account", "string", place="header", **needed),
        parameter("X-Full", "boolean", default=True, place="header", **needed),
        parameter("Accept", "string", place="header", **needed),
        parameter("X-Free", "string", place="header"),
        parameter("sid", "string", place="cookie", **needed),
    ]
    found, text = made(document({"/things": answers(ROWS, *parameters)}), tmp_path)
    request = found["endpoints"]["things"]["request"]
    assert request["params"] == {
        "archived": "false", "most": "5", "kinds": ["a", "true"], "kind": "only",
        "account": "${SHOP_ACCOUNT}", "api_key": "${SHOP_API_KEY}",
    }  # fmt: skip
    assert request["headers"] == {"X-Account": "${SHOP_X_ACCOUNT}", "X-Full": "true"}
    assert "the API wants the cookie sid" in text
    assert "s3cret" not in text


def test_the_operations_own_parameter_counts(tmp_path: Path) -> None:
    data = document({"/{version}/things": answers(
        ROWS, parameter("mode", "string", default="new", required=True),
        parameter("version", "string", default="v3", required=True, place="path"))})  # fmt: skip
    data["paths"]["/{version}/things"]["parameters"] = [
        parameter("mode", "string", default="old", required=True)
    ]
    things = made(data, tmp_path)[0]["endpoints"]["things"]
    assert things["request"]["params"] == {"mode": "new"}
    assert things["path"] == "${SHOP_VERSION:-v3}/things"


LIST = {"items": [{"id": n, "name": f"n{n}"} for n in range(3)]}


def har(tmp_path: Path, *requests: tuple[str, str | None]) -> tuple[Data, str]:
    def entry(url: str, post: str | None) -> Data:
        posted = {"postData": {"mimeType": "application/json", "text": post}} if post else {}
        method = "POST" if post else "GET"
        return {
            "request": {"method": method, "url": f"https://a.example.com{url}", **posted},
            "response": {"status": 200, "content": {"text": json.dumps(LIST)}},
        }

    file = tmp_path / "shop.har"
    file.write_text(json.dumps({"log": {"entries": [entry(*request) for request in requests]}}))
    _, text = import_document(file, None, ())
    return dict(yaml.safe_load(text)["endpoints"]), text


def test_requests_whose_paths_end_alike_are_all_there(tmp_path: Path) -> None:
    found, _ = har(
        tmp_path, ("/customers/list", None), ("/invoices/list", None), ("/list?page=2", None),
        ("/invoices/list?page=2", None),
    )  # fmt: skip
    assert {name: of["path"] for name, of in found.items()} == {
        "list": "customers/list", "invoices_list": "invoices/list", "list_2": "list",
    }  # fmt: skip


def test_queries_of_graphql_are_endpoints_each(tmp_path: Path) -> None:
    def query(text: str, **more: Any) -> tuple[str, str]:
        return "/graphql", json.dumps({"query": text, **more})

    found, _ = har(
        tmp_path,
        query("{users}", variables={"first": 3, "after": None}),
        query("{users}", variables={"first": 3, "after": "x"}),
        query("{orders}", variables={"first": 3}),
        query("{bills}", operationName="AllBills"),
    )
    sent = {name: of["request"]["json"]["query"] for name, of in found.items()}
    assert sent == {"graphql": "{users}", "graphql_2": "{orders}", "all_bills": "{bills}"}


def test_other_parameters_of_the_same_path_are_named(tmp_path: Path) -> None:
    found, text = har(
        tmp_path, ("/things?state=open&page=1", None), ("/things?state=closed&page=2", None),
        ("/things?state=open&page=3", None),
    )  # fmt: skip
    assert list(found) == ["things"]
    assert "requested with other values of state too" in text
    assert "closed" not in text


@pytest.mark.parametrize("beside", ["list", "parents"])
def test_an_endpoint_of_a_product_takes_its_parents_along(beside: str, tmp_path: Path) -> None:
    users, teams = stream("users"), stream("teams")
    kinds = {"type": "ListPartitionRouter", "values": ["a", "b"], "cursor_field": "kind"}
    other = kinds if beside == "list" else children(teams, field="kind")
    path = "users/{{ stream_partition.user }}/posts/{{ stream_partition.kind }}"
    posts = stream("posts", path=path, partition_router=[children(users, field="user"), other])
    file = tmp_path / "manifest.yaml"
    file.write_text(yaml.safe_dump(manifest(users, teams, stream("more"), posts)))
    converted, _ = import_document(file, "shop", ["posts"])
    parents = {"users"} if beside == "list" else {"users", "teams"}
    assert set(converted.data["endpoints"]) == {"posts", *parents}


def test_a_parent_that_is_refused_takes_the_endpoints_of_its_products_with_it(
    tmp_path: Path,
) -> None:
    users = stream("users")
    users["schema_loader"]["schema"]["properties"]["_extracted_at"] = {"type": "string"}
    kinds = {"type": "ListPartitionRouter", "values": ["a", "b"], "cursor_field": "kind"}
    path = "users/{{ stream_partition.user }}/posts/{{ stream_partition.kind }}"
    posts = stream("posts", path=path, partition_router=[children(users, field="user"), kinds])
    file = tmp_path / "manifest.yaml"
    file.write_text(yaml.safe_dump(manifest(users, stream("more"), posts)))
    converted, _ = import_document(file, "shop", [])
    assert "the column `_extracted_at`" in converted.left_out["posts"][0].reason


def test_a_curl_command_of_a_named_query(tmp_path: Path) -> None:
    async def graphql(_: Request) -> Response:
        return json_answer(LIST)

    with serving(Starlette(routes=[Route("/graphql", graphql, methods=["POST"])])) as url:
        body = json.dumps({"operationName": "Orders", "query": "{orders}"})
        _, text = import_curl(f"curl {url}/graphql --json '{body}'", "shop")
    assert list(yaml.safe_load(text)["endpoints"]) == ["orders"]
