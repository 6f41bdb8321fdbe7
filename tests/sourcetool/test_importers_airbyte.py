"""A manifest's streams as endpoints, component by component."""

import pytest
import yaml

from pipeline.errors import ConfigError
from sourcetool.importers.abilities import ABILITIES, KNOWN
from sourcetool.importers.trial import tried
from tests.sourcetool.manifests import (
    Data,
    children,
    endpoint,
    made,
    option,
    pages,
    stream,
    window,
)

ALL = frozenset(ABILITIES)


def wanted(one: Data) -> set[str]:
    """The abilities that a stream lacks when the engine has none."""
    found = made(one, known=frozenset())
    return {need.ability for needs in found.left_out.values() for need in needs}


def test_a_plain_stream() -> None:
    sent = {"sort": "id", "deep": "{{ True }}", "in": "['a', 'b']", "not_in": "[see the docs]"}
    assert endpoint(stream(request_parameters=sent)) == {
        "path": "things",
        "request": {"params": {**sent, "deep": "True", "in": ["a", "b"]}},
        "rows": "data",
        "as": "object_or_list",
        "rows_may_lack": True,
        "key": ["id"],
        "columns": {"id": "int64", "name": "string", "changed": "timestamp[iso]"},
    }


def test_a_window_by_options() -> None:
    found = endpoint(stream(incremental_sync=window(step="P30D", lookback_window="P2D")))
    assert found["cursor"] == "changed"
    assert found["columns"]["changed"] == "timestamp[iso]"
    assert found["request"]["params"] == {"from": "{start}", "to": "{end}"}
    assert found["safety_margin_s"] == 2 * 86_400
    assert found["window"] == {
        "format": "%Y-%m-%dT%H:%M:%SZ",
        "start": "exclusive",
        "max_s": 30 * 86_400,
        "floor": "${SHOP_SINCE}",
    }


def test_a_window_in_the_request_in_whole_days_and_in_seconds() -> None:
    days = window(
        datetime_format="%Y-%m-%d", start_time_option=None, end_time_option=None, step="P1D"
    )
    body = {"range": {"from": "{{ stream_interval['start_time'] }}"}}
    path = "things/{{ stream_slice['end_time'] }}"
    one = stream(incremental_sync=days, request_body_json=body, path=path, http_method="POST")
    found = endpoint(one)
    assert found["path"] == "things/{end}"
    assert found["request"] == {"method": "POST", "json": {"range": {"from": "{start}"}}}
    assert found["columns"]["changed"] == "date"
    whole = {"format": "%Y-%m-%d", "resolution_s": 86_400, "start": "inclusive", "end": "inclusive"}
    assert found["window"] == {**whole, "max_s": 86_400, "floor": "${SHOP_SINCE}"}
    seconds = {"q": "changed>{{ format_datetime(stream_interval.start_time, '%s') }}"}
    plain = window(start_time_option=None, end_time_option=None)
    found = endpoint(stream(incremental_sync=plain, request_parameters=seconds))
    assert found["request"]["params"] == {"q": "changed>{start}"}
    assert found["window"]["format"] == "epoch_s"
    assert found["window"]["end"] == "none"


def test_a_cursor_without_a_window_in_the_request_is_a_feed() -> None:
    bare = window(start_time_option=None, end_time_option=None)
    assert endpoint(stream(incremental_sync=bare))["window"] == {"start": "none", "end": "none"}


@pytest.mark.parametrize(
    ("formats", "schema", "kind"),
    [
        (["%s"], "integer", "timestamp[s]"),
        (["%ms"], "integer", "timestamp[ms]"),
        (["%Y-%m-%dT%H:%M:%S.%fZ"], "string", "timestamp[iso]"),
        (["%d/%m/%Y %H:%M"], "string", "timestamp[%d/%m/%Y %H:%M]"),
        (["%ms", "%Y-%m-%dT%H:%M:%S%z"], "string", "timestamp[iso]"),
    ],
)
def test_the_cursors_type(formats: list[str], schema: str, kind: str) -> None:
    one = stream(incremental_sync=window(cursor_datetime_formats=formats))
    one["schema_loader"]["schema"]["properties"]["changed"] = {"type": schema}
    assert endpoint(one)["columns"]["changed"] == kind


def test_children_of_another_stream() -> None:
    parent = stream("teams", rows=["items"])
    selected = [{"path": ["team"], "value": "{{ stream_partition.of }}"}]
    one = stream(
        path="teams/{{ stream_partition['of'] }}/things",
        partition_router=children(parent, "owner.id"),
        transformations=[{"type": "AddFields", "fields": selected}],
    )
    found = made(parent, one)
    tried(found, "a manifest")
    things, teams = found.data["endpoints"]["things"], found.data["endpoints"]["teams"]
    assert things["path"] == "teams/{parent}/things"
    assert things["parents"] == {"endpoint": "teams", "column": "owner_id", "column_here": "team"}
    assert things["columns"]["team"] == "string"
    assert teams["columns"]["owner_id"] == {"type": "string", "path": "owner.id"}


def test_a_parent_that_is_no_stream_of_its_own_becomes_an_endpoint() -> None:
    found = made(stream(partition_router=children(stream("teams"))))
    assert list(found.data["endpoints"]) == ["teams", "things"]
    assert list(found.streams) == ["things"]


def test_a_list_of_values_and_a_setting_that_is_one() -> None:
    router: Data = {"type": "ListPartitionRouter", "values": ["a", "b"], "cursor_field": "kind"}
    one = stream(path="{{ stream_slice.kind }}/things", partition_router=router)
    found = endpoint(one)
    assert (found["path"], found["each"]) == ("{each}/things", {"values": ["a", "b"]})
    router |= {"values": "{{ config['teams'] }}", "request_option": option("team")}
    found = endpoint(stream(partition_router=router))
    assert found["each"] == {"values": "${SHOP_TEAMS}"}
    assert found["request"]["params"] == {"team": "{each}"}


def test_settings_are_named_and_what_may_lack_is_left_out_with_a_comment() -> None:
    params = {
        "region": "{{ config['region'] }}",
        "size": "{{ config['size'] }}",
        "mode": "{{ 'fast' if config['region'] == 'eu' else 'slow' }}",
    }
    without = KNOWN - {"param_optional"}
    found = made(stream(request_parameters=params), known=without)
    text = tried(found, "a manifest")
    assert found.data["endpoints"]["things"]["request"]["params"] == {
        "size": "${SHOP_SIZE:-20}",
        "mode": "${SHOP_THINGS_REQUEST_PARAMETERS:-slow}",
    }
    assert "# ? the optional region of params is left out (setting SHOP_REGION)" in text
    assert "SHOP_THINGS_REQUEST_PARAMETERS: computed by the manifest: {{ 'fast' if" in text
    with_it = made(stream(request_parameters=params))
    params = with_it.data["endpoints"]["things"]["request"]["params"]
    assert params["region"] == "${SHOP_REGION:-}"


def test_base_urls_of_one_host_and_of_two() -> None:
    two = stream("two", url_base="https://api.example.com/v2")
    found = made(stream(), two)
    assert found.data["base_url"] == "https://api.example.com"
    assert [one["path"] for one in found.data["endpoints"].values()] == ["v1/things", "v2/two"]
    of = children(stream("also"))
    two = stream(
        "two", url_base="https://other.example.com/{{ stream_slice.of }}/", partition_router=of
    )
    found = made(
        stream(), stream("also"), two, stream("three", url_base="https://c.example.com/v3/")
    )
    assert found.data["base_url"] == "https://api.example.com/v1"
    one, _, two, three = found.data["endpoints"].values()
    assert "base_url" not in one
    assert (two["base_url"], two["path"]) == ("https://other.example.com", "{parent}/two")
    assert (three["base_url"], three["path"]) == ("https://c.example.com/v3", "three")
    tried(found, "a manifest")
    assert not found.left_out


def test_the_source_s_credentials_go_to_another_host_if_the_manifest_s_do() -> None:
    key = {"type": "BasicHttpAuthenticator", "username": "{{ config['token'] }}"}
    other = stream("two", url_base="https://other.example.com", authenticator=key)
    found = made(stream(authenticator=key), stream("also", authenticator=key), other)
    assert found.doubts["two"] == [
        "the source's credentials go to https://other.example.com as well, as in the manifest"
    ]
    without = stream("two", url_base="https://other.example.com")
    found = made(stream(authenticator=key), stream("also", authenticator=key), without)
    assert [need.ability for need in found.left_out["two"]] == ["auth_per_endpoint"]


def test_a_host_has_a_setting_that_can_t_be_empty_and_no_value_of_a_row() -> None:
    found = made(stream(url_base="https://{{ config['region'] }}.example.com/v1"))
    assert found.data["base_url"] == "https://${SHOP_REGION}.example.com/v1"
    tried(found, "a manifest")
    by_row = stream("two", url_base="https://{{ stream_slice.of }}.example.com/")
    by_row["retriever"]["partition_router"] = children(stream())
    found = made(stream(), by_row)
    assert [need.ability for need in found.left_out["two"]] == ["host_computed"]


def test_errors_and_limits_hold_for_the_source() -> None:
    handler = {
        "type": "DefaultErrorHandler",
        "response_filters": [
            {"type": "HttpResponseFilter", "action": "RETRY", "http_codes": [423, 500]},
            {"type": "HttpResponseFilter", "action": "RATE_LIMITED", "http_codes": [429, 403]},
            {"type": "HttpResponseFilter", "action": "IGNORE", "http_codes": [404]},
        ],
        "backoff_strategies": [
            {"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": 30},
            {"type": "WaitTimeFromHeader", "header": "X-Wait"},
        ],
    }
    found = made(stream(error_handler=handler))
    text = tried(found, "a manifest")
    assert found.data["answers"] == {"retry": [423], "throttled": [403]}
    assert found.data["limits"] == {"throttle_wait_s": 30.0}
    rare = made(stream(error_handler=handler), stream("two"), stream("three"))
    assert "answers" not in rare.data
    assert any("takes 403 for too many requests, in 1 endpoints only" in n for n in rare.notes)
    assert "X-Wait" in text
    assert found.data["endpoints"]["things"]["answers"] == {"empty": [404]}


@pytest.mark.parametrize(
    ("filters", "answers", "doubt"),
    [
        ([{"error_message_contains": "not enabled"}], {"empty_text": "not enabled"}, ""),
        ([{"http_codes": [403, 404]}], {"empty": [403, 404]}, ""),
        ([{"http_codes": [404]}, {"error_message_contains": "x y"}], {"empty": [404]}, "'x y'"),
        ([{"predicate": "{{ response.ok }}"}], None, "response.ok"),
        (
            [{"http_codes": [403], "error_message_contains": "x y", "predicate": "{{ r.a }}"}],
            {"empty": [403]},
            "'x y'",
        ),
    ],
)
def test_what_a_stream_ignores_is_no_rows_at_its_endpoint(
    filters: list[Data], answers: Data | None, doubt: str
) -> None:
    said = [{"type": "HttpResponseFilter", "action": "IGNORE", **one} for one in filters]
    handler = {"type": "DefaultErrorHandler", "response_filters": said}
    found = made(stream(error_handler=handler))
    tried(found, "a manifest")
    assert found.data["endpoints"]["things"].get("answers") == answers
    assert doubt in str(found.doubts["things"])


def _added(path: list[str], value: str) -> list[Data]:
    return [{"type": "AddFields", "fields": [{"path": path, "value": value}]}]


def test_members_of_rows_that_get_another_name() -> None:
    found = endpoint(stream(transformations=_added(["owner"], "{{ record['owner']['id'] }}")))
    assert found["columns"]["owner"] == {"type": "string", "path": "owner.id"}


def test_a_column_that_cannot_be_said_is_left_out_and_named() -> None:
    hashed = _added(["name"], "{{ record['name'] | hash('md5') }}")
    found = made(stream(transformations=hashed))
    text = tried(found, "a manifest")
    assert "name" not in found.data["endpoints"]["things"]["columns"]
    assert "# Left out: the column name: AddFields: the YAML can't say a computed value" in text
    listed = _added(["name"], "{{ record['owners'][0]['name'] }}")
    found = made(stream(transformations=listed))
    assert found.data["endpoints"]["things"]["columns"]["name"]["path"] == "owners.0.name"
    found = made(stream(transformations=hashed, primary_key=["name"]))
    assert found.data["endpoints"]["things"]["key"] == "none"
    assert any("key name is computed" in doubt for doubt in found.doubts["things"])


DOUBLED = {"type": "CursorPagination", "cursor_value": "{{ response.a * 2 }}"}
CANNOT: list[tuple[str, Data]] = [
    ("key_none", stream(primary_key=None)),
    ("rows_nested", stream(rows=["data", "*", "row"])),
    ("exclude", stream(transformations=[{"type": "RemoveFields", "field_pointers": [["a"]]}])),
    ("where", stream(where="{{ record['kind'] == 'file' and record.size > 0 }}")),
    ("now", stream(request_parameters={"to": "{{ now_utc().strftime('%Y-%m-%d') }}"})),
    ("format", stream(decoder={"type": "XmlDecoder"})),
    ("method", stream(http_method="PATCH")),
    ("body_of_get", stream(request_body_json={"a": 1})),
    (
        "body_of_get",
        stream(
            paginator=pages({"type": "PageIncrement", "page_size": 2}, option("p", "body_json"))
        ),
    ),
    ("rename", stream(transformations=[{"type": "KeysToLower"}])),
    (
        "state",
        stream(request_parameters={"q": "{{ stream_state.at }}"}, incremental_sync=window()),
    ),
    ("computed", stream(where="{{ record.a | length > config.size }}")),
    ("component", stream(paginator=pages({"type": "MoonPagination"}))),
    ("paging_computed", stream(paginator=pages(DOUBLED, option("t")))),
    (
        "fanout_cursor",
        stream(
            path="{{ stream_slice.of }}/things",
            incremental_sync=window(),
            partition_router=children(stream("teams")),
        ),
    ),
    (
        "fanout_product",
        stream(
            partition_router=[
                {"type": "ListPartitionRouter", "values": ["a"], "cursor_field": "one"},
                {"type": "ListPartitionRouter", "values": ["b"], "cursor_field": "two"},
            ]
        ),
    ),
    (
        "fanout_grandparents",
        stream(
            path="{{ stream_slice.of }}",
            rows=[],
            paginator=pages({"type": "PageIncrement", "page_size": 2}, option("p")),
            partition_router=children(
                stream("b", partition_router=children(stream("a")), path="{{ stream_slice.of }}/b")
            ),
        ),
    ),
    (
        "auth_rotating",
        stream(
            authenticator={
                "type": "OAuthAuthenticator",
                "token_refresh_endpoint": "https://api.example.com/token",
                "refresh_token": "{{ config['token'] }}",
                "client_id": "a",
                "client_secret": "b",
                "refresh_token_updater": {},
            }
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("ability", "one"), CANNOT, ids=[name for name, _ in CANNOT])
def test_what_cannot_be_said_is_left_out_with_its_reason(ability: str, one: Data) -> None:
    assert wanted(one) == {ability}
    assert not made(one, known=ALL).left_out


@pytest.mark.parametrize(
    "one",
    [
        stream() | {"retriever": {"type": "CustomRetriever", "class_name": "source_shop.Rows"}},
        stream(authenticator={"type": "CustomAuthenticator", "class_name": "source_shop.Auth"}),
        stream(
            incremental_sync={"type": "CustomIncrementalSync", "class_name": "source_shop.Sync"}
        ),
        stream(
            transformations=[{"type": "CustomTransformation", "class_name": "source_shop.Rows"}]
        ),
    ],
)
def test_python_of_its_own_leaves_a_sentence(one: Data) -> None:
    found = made(one)
    (reason,) = found.left_out["things"]
    assert reason.ability == "python"
    assert "source_shop." in reason.reason
    with pytest.raises(ConfigError, match=r"nothing of a manifest can be said .* is Python of"):
        tried(found, "a manifest")


def test_a_child_of_what_is_left_out_is_left_out_with_its_reason() -> None:
    parent = stream("teams", decoder={"type": "XmlDecoder"})
    of = stream(path="{{ stream_partition.of }}/things", partition_router=children(parent))
    found = made(parent, stream("ok"), of)
    assert list(found.streams) == ["ok"]
    assert [need.ability for need in found.left_out["things"]] == ["format"]


def test_the_forms_of_what_the_engine_may_learn() -> None:
    router = [
        {"type": "ListPartitionRouter", "values": ["a"], "cursor_field": "kind"},
        children(stream("teams"), field="team"),
    ]
    found = endpoint(
        stream(
            path="{{ stream_slice.kind }}/{{ stream_slice.team }}/things",
            partition_router=router,
            primary_key=None,
            rows=["list", "*", "row"],
            where="{{ record['kind'] == 'file' and record.size > 0 and not record.gone "
            "and record.of not in ['x'] }}",
            transformations=[{"type": "RemoveFields", "field_pointers": [["a", "b"]]}],
        ),
        known=ALL,
    )
    assert found["each"] == {
        "kind": {"values": ["a"]},
        "team": {"endpoint": "teams", "column": "id"},
    }
    assert found["path"] == "{each.kind}/{each.team}/things"
    assert found["key"] == "none"
    assert found["rows"] == "list.*.row"
    assert found["exclude"] == ["a.b"]
    others = {"gone": {"in": [None, False, 0, "", [], {}]}, "of": {"not": "x"}}
    assert found["where"] == {"kind": "file", "size": {"gt": 0}, **others}


def test_what_the_loader_refuses_is_left_out_with_its_sentence() -> None:
    bad = stream("bad")
    bad["schema_loader"]["schema"]["properties"]["_extracted_at"] = {"type": "string"}
    found = made(stream(), bad)
    text = tried(found, "a manifest")
    assert list(yaml.safe_load(text)["endpoints"]) == ["things"]
    assert "the column `_extracted_at` is added to all rows" in found.left_out["bad"][0].reason


def test_names_that_are_no_names_and_two_that_become_one() -> None:
    found = made(stream("My Things"), stream("myThings"), stream("2nd"))
    assert found.streams == {
        "My Things": "my_things",
        "myThings": "my_things_2",
        "2nd": "x_2nd",
    }


def test_a_stream_in_an_unexpected_form_is_left_out_alone() -> None:
    odd = stream("odd")
    odd["retriever"]["requester"]["request_parameters"] = [1, 2]
    found = made(odd, stream())
    assert list(found.streams) == ["things"]
    assert "in an unexpected form" in found.left_out["odd"][0].reason
