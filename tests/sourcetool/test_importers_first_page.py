"""A value of a manifest that depends on whether a page follows: no request loses its other half."""

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config.loader import source_of_text
from pipeline.lake.s3 import Lake
from sourcetool.importers.airbyte import convert
from sourcetool.importers.manifest import manifest_of
from sourcetool.importers.trial import tried
from tests.sourcetool.manifests import Data, made, manifest, option, pages, stream
from tests.support.responses import json_answer
from tests.support.runs import extract, serving

TOKEN: Data = {"type": "CursorPagination", "page_size": 10, "cursor_value": "{{ response.next }}"}
BY_TOKEN = pages(TOKEN, option("cursor"))
BY_LINK = pages(TOKEN, {"type": "RequestPath"})
BY_ITSELF = pages(TOKEN)
DAY, NOW = "2026-11-02", datetime(2026, 11, 2, 12, tzinfo=UTC)


def request_of(value: str, paginator: Data = BY_TOKEN, **more: Any) -> Data:
    found = made(stream(request_parameters={"p": value, "q": "x"}, paginator=paginator, **more))
    tried(found, "a manifest")
    things = found.data["endpoints"]["things"]
    return {**things["request"], "doubts": found.doubts["things"], "paging": things["paging"]}


FIRST = ["q", "cursor"]


@pytest.mark.parametrize(
    "value",
    [
        "{{ None if next_page_token else 'all' }}",
        "{{ '' if next_page_token else 'all' }}",
        "{{ 'all' if not next_page_token else '' }}",
        "{{ 'all' if not next_page_token }}",
        "{{ 'all' if next_page_token is none else '' }}",
        "{{ 'all' if next_page_token == None else '' }}",
        "{{ '' if next_page_token is not none else 'all' }}",
        "{{ '' if next_page_token != None else 'all' }}",
        "{% if next_page_token %}{% else %}all{% endif %}",
        "{% if not next_page_token %}all{% endif %}",
    ],
)
def test_a_parameter_of_the_first_page_alone_is_there(value: str) -> None:
    sent = request_of(value)
    assert sent["params"]["p"] == "all"
    assert sent["with_token"] == FIRST
    by_number = pages({"type": "PageIncrement", "page_size": 10, "start_from_page": 1}, option("n"))
    sent = request_of(value, by_number)
    assert sent["params"]["p"] == "all"
    assert "with_token" not in sent
    assert any("sends p with the first page alone" in doubt for doubt in sent["doubts"])
    assert request_of(value, BY_LINK)["params"]["p"] == "all"


@pytest.mark.parametrize(
    "value",
    [
        "{{ 'a' if next_page_token else 'b' }}",
        "{{ 'a' if not next_page_token else 'b' }}",
        "{{ 'a' if next_page_token else '' }}",
        "{{ 'a' if next_page_token and config.region else '' }}",
        "{{ 'a' if next_page_token == 'x' else 'b' }}",
        "{{ 'a' if next_page_token | length > 2 else 'b' }}",
        "{{ 'after:' ~ next_page_token.next_page_token if next_page_token else 'all' }}",
        "{{ 'all' if not stream_partition.of | length else 'b' }}",
    ],
)
def test_pages_with_other_values_are_not_said_by_one(value: str) -> None:
    found = made(stream(request_parameters={"p": value}, paginator=BY_TOKEN))
    assert "computed" in {need.ability for need in found.left_out["things"]}


@pytest.mark.parametrize("place", ["request_headers", "request_body_json", "request_body_data"])
def test_other_places_of_a_request_have_the_first_pages_value_too(place: str) -> None:
    sent: Data = {place: {"p": "{{ 'all' if not next_page_token else '' }}"}}
    found = made(stream(http_method="POST", paginator=BY_TOKEN, **sent))
    tried(found, "a manifest")
    part = {"request_headers": "headers", "request_body_json": "json"}.get(place, "form")
    request = found.data["endpoints"]["things"]["request"]
    assert request[part]["p"] == "all"
    assert request.get("with_token") == (None if part == "headers" else ["cursor"])


def test_a_token_of_the_first_page_is_said() -> None:
    first = "{{ next_page_token.next_page_token or '*' }}"
    for value in (first, "{{ next_page_token.x if next_page_token else '*' }}"):
        sent = request_of(value, BY_ITSELF)
        assert sent["params"]["p"] == "{token}"
        assert sent["paging"]["first"] == "*"
    by_setting = request_of("{{ next_page_token.x or config.region }}", BY_ITSELF)
    assert by_setting["paging"]["first"] == "${SHOP_REGION:-}"
    assert request_of(first, BY_LINK)["params"]["p"] == "*"
    assert request_of("{{ next_page_token.x or '' }}", BY_ITSELF)["paging"].get("first") is None


def test_an_offset_or_a_page_that_begins_elsewhere_is_left_out() -> None:
    offset = {"type": "OffsetIncrement", "page_size": 10}
    number = {"type": "PageIncrement", "page_size": 10, "start_from_page": 1}
    for strategy, fits, other in ((offset, 0, 5), (number, 1, 0)):
        value = "{{ next_page_token.x or %d }}"
        sent = request_of(value % fits, pages(strategy))
        assert sent["params"]["p"] in ("{offset}", "{page}")
        found = made(stream(request_parameters={"p": value % other}, paginator=pages(strategy)))
        assert {need.ability for need in found.left_out["things"]} == {"paging_computed"}


def test_a_path_of_the_first_page() -> None:
    path = "{{ next_page_token.next_page_token if next_page_token else 'things' }}"
    found = made(stream(path=path, paginator=BY_LINK))
    assert found.data["endpoints"]["things"]["path"] == "things"
    found = made(stream(path=path, paginator=BY_TOKEN))
    assert "paging_place" in {need.ability for need in found.left_out["things"]}


def test_a_body_to_which_later_pages_add_the_token_alone() -> None:
    body = {
        "pagination": "{{ {'per_page': 10} if not next_page_token else "
        "{'per_page': 10, 'after': next_page_token.next_page_token} }}"
    }
    found = made(stream(http_method="POST", request_body_json=body, paginator=BY_ITSELF))
    sent = found.data["endpoints"]["things"]["request"]["json"]
    assert sent == {"pagination": {"per_page": 10, "after": "{token}"}}


def test_an_end_of_two_places_is_not_read_in_one() -> None:
    either = {**TOKEN, "cursor_value": "{{ response.next or last_record.id }}"}
    found = made(stream(paginator=pages(either, option("cursor"))))
    assert "paging_computed" in {need.ability for need in found.left_out["things"]}


def test_an_added_column_of_one_branch_is_left_out() -> None:
    def columns(value: str) -> tuple[Data, Data]:
        added = {"type": "AddFields", "fields": [{"path": ["of"], "value": f"{{{{ {value} }}}}"}]}
        found = made(stream(transformations=[added]))
        return found.data["endpoints"]["things"]["columns"], found.omitted.get("things", {})

    for guarded in (
        "record.a.b if record.a else none",
        "record.a.b if 'a' in record else ''",
        "record.a.b if record.a is defined and record.a.b is not none else none",
        "record.get('a', {}).get('b')",
    ):
        assert columns(guarded)[0]["of"]["path"] == "a.b"
    for other in ("record.a.b if record.c else none", "record.a.b if not record.a else none",
                  "record.a[-1].b", "day_delta(-1)"):  # fmt: skip
        assert "of" in columns(other)[1]


def test_every_row_of_an_api_that_wants_a_first_token(lake: Lake) -> None:
    """Crossref's ``cursor=*``: without it a page is an error, or the only one."""
    rows = [{"id": n, "name": "x", "changed": None} for n in range(25)]

    async def things(request: Request) -> Response:
        cursor, sort = request.query_params.get("cursor"), request.query_params.get("sort")
        if cursor is None or (sort == "id") != (cursor == "*"):
            return json_answer({"error": f"{cursor=} {sort=}"}, 400)
        at = 0 if cursor == "*" else int(cursor[1:])
        more = {"next": f"t{at + 10}"} if at + 10 < len(rows) else {}
        return json_answer({"data": rows[at : at + 10], **more})

    parameters = {
        "cursor": "{{ next_page_token.next_page_token or '*' }}",
        "sort": "{{ 'id' if not next_page_token else none }}",
    }
    with serving(Starlette(routes=[Route("/things", things)])) as url:
        of = stream(url_base=url, request_parameters=parameters, paginator=BY_ITSELF)
        text = tried(convert(manifest_of(manifest(of), "shop")), "a manifest")
        source = source_of_text("shop.yaml", text, {"SHOP_START": DAY})
        (landed,) = extract(source, lake, "things", [DAY], NOW)
    assert landed.rows == len(rows)
