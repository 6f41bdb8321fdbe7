"""Components that newer manifests have, and members that change rows or requests."""

from datetime import UTC, date, datetime, timedelta
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
from sourcetool.importers.converted import Converted
from sourcetool.importers.manifest import manifest_of
from sourcetool.importers.trial import tried
from tests.sourcetool.manifests import Data, children, manifest, option, pages, stream, window
from tests.support.responses import json_answer
from tests.support.runs import extract, serving

ONE_MORE = {"type": "CursorPagination", "cursor_value": "{{ last_record['id'] + 1 }}"}


def made(*streams: Data, **more: Any) -> Converted:
    converted = convert(manifest_of(manifest(*streams, **more), "shop"))
    if converted.data["endpoints"]:
        tried(converted, "a manifest")
    return converted


def endpoint(*streams: Data) -> Data:
    """The last stream's endpoint, after the whole source was loaded."""
    converted = made(*streams)
    assert converted.left_out == {}
    return dict(list(converted.data["endpoints"].values())[-1])


def test_a_whole_url_is_base_and_path() -> None:
    one = stream(url="https://api.example.com/v2/things?kind=a", path=None, url_base=None)
    converted = made(one)
    assert converted.data["base_url"] == "https://api.example.com"
    assert converted.data["endpoints"]["things"]["path"] == "v2/things"
    assert converted.data["endpoints"]["things"]["request"] == {"params": {"kind": "a"}}


BODIES: list[tuple[Data, Data]] = [
    ({"type": "RequestBodyJsonObject", "value": {"a": 1}}, {"json": {"a": 1}}),
    ({"type": "RequestBodyUrlEncodedForm", "value": {"a": "b"}}, {"form": {"a": "b"}}),
    ({"type": "RequestBodyPlainText", "value": "a=b"}, {"text": "a=b"}),
    (
        {
            "type": "RequestBodyGraphQL",
            "value": {"type": "RequestBodyGraphQlQuery", "query": "query { a }"},
        },
        {"json": {"query": "query { a }"}},
    ),
]


@pytest.mark.parametrize(("body", "said"), BODIES, ids=[one[0]["type"] for one in BODIES])
def test_a_body_by_its_kind(body: Data, said: Data) -> None:
    request = endpoint(stream(http_method="POST", request_body=body))["request"]
    assert request == {"method": "POST", **said}


def test_query_properties_that_are_listed_are_one_parameter() -> None:
    listed = {"type": "QueryProperties", "property_list": ["a", "b"]}
    always = listed | {"always_include_properties": ["id"]}
    assert endpoint(stream(request_parameters={"fields": always}))["request"] == {
        "params": {"fields": "id,a,b"}
    }
    made_of_a_response = listed | {"property_list": {"type": "PropertiesFromEndpoint"}}
    left_out = made(stream(request_parameters={"fields": made_of_a_response})).left_out
    assert [need.ability for need in left_out["things"]] == ["computed"]


def test_rows_that_are_the_items_of_a_list_in_each_row() -> None:
    one = stream()
    expander: Data = {"type": "RecordExpander", "expand_records_from_field": ["lines", "data"]}
    one["retriever"]["record_selector"]["extractor"]["record_expander"] = expander
    assert endpoint(one)["rows"] == "data.*.lines.data"
    expander["remain_original_record"] = True
    (need,) = made(one).left_out["things"]
    assert need.ability == "expanded"


def test_an_extractor_of_another_kind_is_no_path_to_the_rows() -> None:
    one = stream()
    one["retriever"]["record_selector"]["extractor"] = {"type": "CombinedExtractor"}
    assert [need.component for need in made(one).left_out["things"]] == ["extractor"]


def test_a_condition_on_added_or_removed_members_is_not_taken_for_none() -> None:
    added = {
        "type": "AddFields",
        "condition": "{{ record.kind == 'a' }}",
        "fields": [{"path": ["mark"], "value": "{{ record.b }}"}],
    }
    removed = {"type": "RemoveFields", "condition": "{{ x }}", "field_pointers": [["name"]]}
    converted = made(stream(transformations=[added, removed]))
    assert converted.omitted["things"]["mark"].component == "AddFields.condition"
    assert converted.data["endpoints"]["things"]["exclude"] == ["mark"]
    assert any("RemoveFields" in doubt for doubt in converted.doubts["things"])


@pytest.mark.parametrize(
    ("value", "first"), [("{{ record.a.kind }}", False), ("{{ record.a.kind ~ 'x' }}", True)]
)
def test_a_filter_by_a_member_that_is_another_here_is_left_out(value: str, first: bool) -> None:
    """``where`` looks at columns: the member of that name is not among them."""
    added = {"type": "AddFields", "fields": [{"path": ["kind"], "value": value}]}
    one = stream(where="{{ record.kind == 'a' }}", transformations=[added])
    one["retriever"]["record_selector"]["transform_before_filtering"] = first
    assert [need.component for need in made(one).left_out["things"]] == ["RecordFilter"]


def test_a_filter_looks_at_what_transformations_before_it_have_made() -> None:
    added = {"type": "AddFields", "fields": [{"path": ["kind"], "value": "{{ record.a.kind }}"}]}
    one = stream(where="{{ record.kind == 'a' }}", transformations=[added])
    one["retriever"]["record_selector"]["transform_before_filtering"] = True
    assert made(one).data["endpoints"]["things"]["where"] == {"kind": "a"}


def test_a_member_that_a_column_reads_from_inside_stays_a_column() -> None:
    added = {"type": "AddFields", "fields": [{"path": ["of"], "value": "{{ record.owner.id }}"}]}
    columns = endpoint(stream(transformations=[added]))["columns"]
    assert columns["owner"] == "json"
    assert columns["of"] == {"type": "string", "path": "owner.id"}


@pytest.mark.parametrize("value", ["{{ now_utc() }}", "everything"])
def test_a_key_that_is_the_same_for_all_rows_is_none(value: str) -> None:
    added = {"type": "AddFields", "fields": [{"path": ["uid"], "value": value}]}
    converted = made(stream(primary_key=["uid"], transformations=[added]))
    assert converted.data["endpoints"]["things"]["key"] == "none"
    assert any("identifies no row" in doubt for doubt in converted.doubts["things"])


def test_a_value_of_the_grandparents_is_a_column_of_the_parents() -> None:
    teams = stream("teams")
    members = stream(
        "members", path="{{ stream_slice.team }}/m", partition_router=children(teams, field="team")
    )
    path = "{{ stream_slice.parent_slice.team }}/{{ stream_slice.member }}/things"
    things = stream(path=path, partition_router=children(members, field="member"))
    endpoints = made(teams, members, things).data["endpoints"]
    assert endpoints["members"]["parents"]["column_here"] == "team"
    assert endpoints["things"]["path"] == "v1/{parent.team}/{parent}/things".removeprefix("v1/")


@pytest.mark.parametrize("in_the_schema", [True, False])
def test_a_value_of_the_grandparents_under_the_name_of_the_childs_own(in_the_schema: bool) -> None:
    """``id`` is the member's in ``stream_slice``, and the team's in its ``parent_slice``."""
    teams, members = stream("teams"), stream("members")
    members["retriever"]["requester"]["path"] = "{{ stream_slice.id }}/m"
    members["retriever"]["partition_router"] = children(teams, field="id")
    if not in_the_schema:
        members["schema_loader"] = {"type": "JsonFileSchemaLoader"}
    path = "{{ stream_slice.parent_slice.id }}/{{ stream_slice['id'] }}/things"
    value = "{{ stream_slice['parent_slice']['id'] }}"
    added = {"type": "AddFields", "fields": [{"path": ["team"], "value": value}]}
    things = stream(path=path, partition_router=children(members, field="id"))
    things["transformations"] = [added]
    converted = made(teams, members, things)
    endpoints = converted.data["endpoints"]
    assert endpoints["members"]["parents"]["column_here"] == "parent_id"
    assert endpoints["things"]["path"] == "{parent.parent_id}/{parent}/things"
    assert endpoints["things"]["columns"]["team"] == {"type": "string", "from": "parent.parent_id"}
    tried(converted, "a manifest")
    members["transformations"] = [{**added, "fields": [{"path": ["of"], "value": value}]}]
    members["transformations"][0]["fields"][0]["value"] = "{{ stream_slice.id }}"
    path_of = made(teams, members, things).data["endpoints"]["things"]["path"]
    assert path_of == "{parent.of}/{parent}/things"


def test_a_value_of_the_grandparents_parents() -> None:
    teams = stream("teams")
    members = stream("members", path="{{ stream_slice.id }}/m")
    members["retriever"]["partition_router"] = children(teams, field="id")
    things = stream(path="x/{{ stream_slice.id }}", partition_router=children(members, field="id"))
    up = "stream_slice.parent_slice"
    path = f"{{{{ {up}.parent_slice.id }}}}/{{{{ {up}.id }}}}/{{{{ stream_slice.id }}}}"
    parts = stream("parts", path=path, partition_router=children(things, field="id"))
    converted = made(teams, members, things, parts)
    endpoints = converted.data["endpoints"]
    assert endpoints["parts"]["path"] == "{parent.parent_parent_id}/{parent.parent_id}/{parent}"
    of = {"type": "string", "from": "parent.parent_id"}
    assert endpoints["things"]["columns"]["parent_parent_id"] == of
    assert endpoints["members"]["parents"]["column_here"] == "parent_id"
    tried(converted, "a manifest")


def test_of_a_stream_that_takes_changes_from_elsewhere_the_one_with_all_rows_is_read() -> None:
    """Events say what changed lately: the rows of before are in none."""
    delegating = {
        "type": "StateDelegatingStream",
        "name": "things",
        "incremental_stream": stream(path="events", incremental_sync=window()),
        "full_refresh_stream": stream(incremental_sync=window()),
    }
    converted = made(delegating)
    found = converted.data["endpoints"]["things"]
    assert (found["path"], found.get("cursor"), found.get("request")) == ("things", None, None)
    assert any("all rows are read every time" in one for one in converted.doubts["things"])


@pytest.mark.parametrize(("of_changes", "path"), [("events", "things"), ("things", "things")])
def test_one_text_of_two_paths_is_two_addresses(of_changes: str, path: str) -> None:
    shared = "{{ parameters['path'] }}"
    delegating = {
        "type": "StateDelegatingStream",
        "name": "things",
        "incremental_stream": stream(path=shared, incremental_sync=window())
        | {"$parameters": {"path": of_changes}},
        "full_refresh_stream": stream(path=shared) | {"$parameters": {"path": "things"}},
    }
    found = made(delegating).data["endpoints"]["things"]
    assert (found["path"], "cursor" in found) == (path, of_changes == path)


@pytest.mark.parametrize(
    ("size", "value", "parents"),
    [
        (1, "{{ stream_partition['team'][0] }}", {}),
        (1, "{{ stream_partition.team | join(',') }}", {}),
        (20, "{{ stream_slice['team'] | join(',') }}", {"group": 20}),
        (20, "{{ ','.join(stream_partition['team']) }}", {"group": 20}),
        (20, "{{ stream_partition['team'][0] }}", None),
        (20, "{{ stream_partition['team'] | join(';') }}", None),
        (20, "{{ stream_partition['team'] }}", None),
    ],
)
def test_values_in_groups(size: int, value: str, parents: Data | None) -> None:
    teams = stream("teams")
    inner = {"underlying_partition_router": children(teams, field="team")}
    router = {"type": "GroupingPartitionRouter", "group_size": size, **inner}
    converted = made(teams, stream(partition_router=router, request_parameters={"of": value}))
    if parents is None:
        assert [need.ability for need in converted.left_out["things"]] == ["computed"]
        return
    found = converted.data["endpoints"]["things"]
    assert found["parents"] == {"endpoint": "teams", "column": "id", **parents}
    assert found["request"]["params"] == {"of": "{parent}"}
    tried(converted, "a manifest")


@pytest.mark.parametrize(
    ("part", "ability"),
    [
        ({"path": "of/{{ stream_interval['start_time'].year }}"}, "computed"),
        ({"paginator": pages(ONE_MORE, option("since_id"))}, "paging_computed"),
        (
            {"incremental_sync": window(datetime_format="%epoch_microseconds")},
            "window_microseconds",
        ),
        ({"incremental_sync": window(datetime_format="%Y-%m")}, "window_months"),
    ],
)
def test_what_would_be_another_request_leaves_its_stream_out(part: Data, ability: str) -> None:
    bounds: Data = {"incremental_sync": window(start_time_option=None, end_time_option=None)}
    converted = made(stream(**(bounds | part)))
    assert ability in {need.ability for need in converted.left_out["things"]}


def test_steps_that_a_request_names_by_their_start_alone_are_requested_each(lake: Lake) -> None:
    days = [date(2026, 10, 28) + timedelta(days=n) for n in range(6)]
    rows = [{"id": n, "changed": day.isoformat()} for n, day in enumerate(days)]

    async def things(request: Request) -> Response:
        of = request.query_params["of"]
        return json_answer({"data": [row for row in rows if row["changed"] == of]})

    sync = window(datetime_format="%Y-%m-%d", step="P1D", end_time_option=None)
    sync |= {"cursor_datetime_formats": ["%Y-%m-%d"], "start_time_option": option("of")}
    sync["start_datetime"] = {"type": "MinMaxDatetime", "datetime": "2026-10-28"}
    schema = {"properties": {"id": {"type": "integer"}, "changed": {"type": "string"}}}
    with serving(Starlette(routes=[Route("/things", things)])) as url:
        one = stream(url_base=url, incremental_sync=sync)
        one["schema_loader"]["schema"] = schema
        text = tried(made(one), "a manifest")
        source = source_of_text("shop.yaml", text, {"SHOP_START": "2026-11-02"})
        extract(source, lake, "things", ["2026-11-02"], datetime(2026, 11, 3, 12, tzinfo=UTC))
    kept = dataset(lake, source.source, "things").to_table()["id"].to_pylist()
    assert sorted(kept) == [row["id"] for row in rows]


def test_an_address_of_computed_parts_is_one_setting() -> None:
    parts = "{{ 'by/' ~ config['region'][:2] ~ '/' ~ config['region'][2:4] }}"
    assert endpoint(stream(path=parts))["path"] == "${SHOP_THINGS_PATH}"


def test_parameters_of_slices_go_with_the_first_page_alone() -> None:
    strategy = {"type": "CursorPagination", "cursor_value": "{{ response.next }}"}
    one = stream(paginator=pages(strategy, option("t")), incremental_sync=window())
    assert "with_token" not in endpoint(one)["request"]
    one["retriever"]["ignore_stream_slicer_parameters_on_paginated_requests"] = True
    assert endpoint(one)["request"]["with_token"] == ["t"]


def test_an_end_of_the_rows_before_now_has_a_comment() -> None:
    ends = {"{{ now_utc().strftime('%Y-%m-%d') }}": False, "{{ day_delta(-2) }}": True}
    for end, doubtful in ends.items():
        doubts = made(stream(incremental_sync=window(end_datetime=end))).doubts["things"]
        assert any("reads rows up to" in doubt for doubt in doubts) == doubtful


def test_a_stream_that_is_chosen_says_among_which() -> None:
    delegating = {
        "type": "StateDelegatingStream",
        "name": "things",
        "incremental_stream": stream(incremental_sync=window()),
        "full_refresh_stream": stream(),
        "api_retention_period": "P30D",
    }
    conditional = {
        "type": "ConditionalStreams",
        "condition": "{{ config['region'] }}",
        "streams": [stream("teams")],
    }
    doubts = made(delegating, conditional).doubts
    assert any("full_refresh_stream" in one and "P30D" in one for one in doubts["things"])
    assert not any("$" in one for one in [*doubts["things"], *doubts["teams"]])
    assert any("only where" in one for one in doubts["teams"])


def test_names_and_places_of_a_tokens_request_that_the_yaml_has_no_word_for() -> None:
    oauth = {
        "type": "OAuthAuthenticator",
        "token_refresh_endpoint": "https://api.example.com/token",
        "client_id": "{{ config['token'] }}",
        "client_secret": "{{ config['token'] }}",
        "refresh_token": "{{ config['token'] }}",
    }
    assert made(stream(authenticator=oauth)).left_out == {}
    for more in ({"client_id_name": "app"}, {"send_refresh_request_as_query_params": True}):
        assert made(stream(authenticator=oauth | more)).left_out.keys() == {"things"}


def test_a_fixed_rate_window_is_a_limit_and_errors_in_responses_have_a_comment() -> None:
    policy = {"type": "FixedWindowCallRatePolicy", "call_limit": 60, "period": "PT1M"}
    look = {"action": "FAIL", "predicate": "{{ response.bad }}"}
    odd = {"action": {}, "http_codes": "{{ x }}"}
    handler = {"type": "DefaultErrorHandler", "response_filters": [look, odd, None]}
    converted = made(stream(error_handler=handler), api_budget={"policies": [policy]})
    assert converted.data["limits"] == {"windows": [{"requests": 60, "per_s": 60.0}]}
    assert any("response.bad" in note for note in converted.notes)


@pytest.mark.parametrize(
    ("member", "remedy"), [("lookback_window", "safety_margin_s"), ("step", "window.max_s")]
)
def test_a_length_of_time_that_a_setting_decides_has_a_comment(member: str, remedy: str) -> None:
    said = made(stream(incremental_sync=window(**{member: "P{{ config.get('size', 7) }}D"})))
    doubts = [doubt for doubt in said.doubts["things"] if remedy in doubt]
    assert doubts == [doubt for doubt in doubts if f"the manifest's {member} is P{{{{" in doubt]
    assert len(doubts) == 1
    known = made(stream(incremental_sync=window(**{member: "P7D"})))
    assert not any(remedy in doubt for doubt in known.doubts["things"])


@pytest.mark.parametrize("action", ["RETRY", "RATE_LIMITED"])
def test_a_text_by_which_a_response_is_tried_again_has_a_comment(action: str) -> None:
    of_text = {"action": action, "error_message_contains": "busy now"}
    handler = {"type": "DefaultErrorHandler", "response_filters": [of_text]}
    notes = made(stream(error_handler=handler)).notes
    assert any("looks for errors in responses ('busy now')" in note for note in notes)
