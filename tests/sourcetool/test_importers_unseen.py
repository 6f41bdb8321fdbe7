"""Forms that manifests beside the catalogue's have, in our own words."""

import pytest

from sourcetool.importers.trial import tried
from tests.sourcetool.manifests import Data, children, option, pages, stream, window
from tests.sourcetool.test_importers_airbyte import endpoint, made

CLIENT = "{{{{ config.get('app', {{}}).get('{0}', config['{0}']) }}}}"
BASIC = (
    "Basic {{ ((config.get('app') or config).get('a') ~ ':' ~ "
    "(config.get('app') or config).get('b')) | base64encode }}"
)


@pytest.mark.parametrize(
    ("header", "basic"),
    [(BASIC, True), (BASIC.replace("'b'", "'c'"), False), (BASIC.replace("app", "old"), False)],
)
def test_a_client_of_old_and_new_settings_is_one_client(header: str, basic: bool) -> None:
    oauth = {
        "type": "OAuthAuthenticator",
        "token_refresh_endpoint": "https://api.example.com/token",
        "client_id": CLIENT.format("a"),
        "client_secret": CLIENT.format("b"),
        "refresh_token": CLIENT.format("c"),
        "refresh_request_headers": {"Authorization": header},
    }
    found = made(stream(authenticator=oauth), stream("two", authenticator=oauth))
    if not basic:
        assert {need.ability for need in found.left_out["two"]} == {"auth_computed"}
        return
    tried(found, "a manifest")
    own = stream(authenticator=oauth | {"refresh_request_headers": {"X-Client": header}})
    assert {need.ability for need in made(own).left_out["things"]} == {"auth_computed"}
    assert found.data["auth"]["client_auth"] == "basic"
    assert found.data["auth"]["client_id"] == "${SHOP_CLIENT_ID}"
    assert list(found.streams) == ["things", "two"]


def test_a_computed_address_of_a_token_is_one_setting_of_all_endpoints() -> None:
    oauth = {
        "type": "OAuthAuthenticator",
        "token_refresh_endpoint": "{{ 'https://a.example.com' if config['region'] == 'a' else "
        "'https://b.example.com' }}",
        "client_id": "{{ config['token'] }}",
        "client_secret": "{{ config['token'] }}",
        "refresh_token": "{{ config['token'] }}",
    }
    found = made(*(stream(name, authenticator=oauth) for name in ("one", "two", "three")))
    tried(found, "a manifest")
    assert (
        found.data["auth"]["token_url"] == "${SHOP_TOKEN_REFRESH_ENDPOINT:-https://b.example.com}"
    )
    assert not found.left_out


@pytest.mark.parametrize(
    ("path", "text", "params"),
    [
        ("{{ 'a?of=' + config['region'] if config.get('region') else 'a' }}", "a",
         {"of": "${SHOP_REGION:-}"}),
        ("{{ 'a?of=' + config['token'] if config.get('token') else 'a' }}", "a",
         {"of": "${SHOP_TOKEN:-}"}),
        ("{{ 'a?of=' + config['region'] if config.get('region') else 'b' }}",
         "${SHOP_THINGS_PATH:-b}", None),
        ("{{ 'a?of=' + config['region'] if config.get('token') else 'a' }}",
         "${SHOP_THINGS_PATH:-a}", None),
    ],
)  # fmt: skip
def test_a_query_that_is_there_if_its_setting_is(path: str, text: str, params: Data | None) -> None:
    converted = made(stream(path=path))
    found = converted.data["endpoints"]["things"]
    assert (found["path"], found.get("request", {}).get("params")) == (text, params)
    assert [name for name in converted.settings.used if f"${{{name}" not in str(found)] == []


@pytest.mark.parametrize(
    ("end", "more"),
    [
        ("response.data.next == 'null'", {"at": "data.next", "ended": "null"}),
        ("-1 == response.data.next", {"at": "data.next", "ended": -1}),
        ("response.state == 'done'", {"at": "state", "ended": "done"}),
        ("response.state == 1", {"at": "state", "ended": 1}),
        ("response.last == true", "!last"),
    ],
)
def test_a_value_that_means_the_end(end: str, more: Data | str) -> None:
    strategy = {
        "type": "CursorPagination",
        "cursor_value": "{{ response.data.next }}",
        "stop_condition": f"{{{{ {end} }}}}",
    }
    paging = endpoint(stream(paginator=pages(strategy, option("after"))))["paging"]
    assert (paging["next"], paging["more"]) == ("data.next", more)


def test_a_member_that_is_named_by_one_of_several_parameters() -> None:
    added = {
        "type": "AddFields",
        "fields": [
            {
                "path": ["url"],
                "value": "{{ record['urls'].get(parameters.get('x') or parameters['name']) }}",
            }
        ],
    }
    one = stream(transformations=[added]) | {"$parameters": {"name": "media"}}
    assert endpoint(one)["columns"]["url"] == {"type": "string", "path": "urls.media"}


FEED = {"start_time_option": None, "end_time_option": None, "step": "P30D"}
SINCE = "config['since']"
NOT_BEYOND = "(stream_state.changed if stream_state.changed < now_utc() else now_utc())"
ISO = "%Y-%m-%dT%H:%M:%SZ"
DAY = "%Y-%m-%d"


@pytest.mark.parametrize(
    ("jinja", "sent", "floor", "format"),
    [
        ("{{ stream_state['changed'] }}", "{start}", None, ISO),
        ("{{ stream_state.changed if stream_state else '' }}", "{start}", None, ISO),
        (f"{{{{ stream_state.get('changed', {SINCE}) }}}}", "{start}", "${SHOP_SINCE}", ISO),
        (f"{{{{ stream_state.changed or {SINCE} }}}}", "{start}", "${SHOP_SINCE}", ISO),
        (
            f"{{{{ format_datetime(({SINCE} if stream_state['changed'] is not defined else "
            f"{NOT_BEYOND}), '{DAY}') }}}}",
            "{start}",
            "${SHOP_SINCE}",
            DAY,
        ),
        ("changed > '{{ stream_state.changed }}'", "changed > '{start}'", "${SHOP_SINCE}", ISO),
    ],
)
def test_the_state_of_the_cursor_is_where_the_window_starts(
    jinja: str, sent: str, floor: str | None, format: str
) -> None:
    found = endpoint(stream(request_parameters={"q": jinja}, incremental_sync=window(**FEED)))
    assert found["request"]["params"] == {"q": sent}
    assert (found["window"].get("floor"), found["window"]["format"]) == (floor, format)
    assert found["window"]["end"] == "none"
    assert "max_s" not in found["window"]


@pytest.mark.parametrize(
    "jinja",
    [
        "{{ stream_state.id }}",
        f"{{{{ stream_state.changed if stream_state.id else {SINCE} }}}}",
        f"{{{{ {SINCE} if stream_state.changed > {SINCE} else stream_state.changed }}}}",
        f"{{{{ {NOT_BEYOND.replace('<', '>')} }}}}",
    ],
)
def test_a_state_that_is_more_than_the_cursors_is_left_out(jinja: str) -> None:
    found = made(stream(request_parameters={"q": jinja}, incremental_sync=window(**FEED)))
    assert {need.ability for need in found.left_out["things"]} == {"state"}


def test_a_state_in_a_path_is_no_lower_bound() -> None:
    found = made(stream(path="on/{{ stream_state.changed }}", incremental_sync=window(**FEED)))
    assert {need.ability for need in found.left_out["things"]} == {"state"}


def test_a_stream_without_a_cursor_has_no_state() -> None:
    sent = {"q": "{{ stream_state.changed }}", "of": "{{ stream_state.at or config['token'] }}"}
    found = endpoint(stream(request_parameters=sent))
    assert found["request"]["params"] == {"of": "${SHOP_TOKEN}"}
    assert "window" not in found


def test_a_setting_of_several_types_has_a_sample() -> None:
    spec: Data = {"properties": {"size": {"type": ["null", "integer"]}}}
    found = made(
        stream(request_parameters={"n": "{{ config['size'] }}"}),
        spec={"connection_specification": spec},
    )
    assert found.settings.samples["SHOP_SIZE"] == "1"
    assert not found.left_out


def _added(path: str, value: str, **more: str) -> list[Data]:
    return [{"type": "AddFields", "fields": [{"path": [path], "value": value, **more}]}]


def test_a_child_takes_members_of_an_object_that_its_parent_adds() -> None:
    def votes(team: str) -> Data:
        pair = _added("pair", f"{{{{ {{'team': {team}, 'comment': record['id']}} }}}}")
        return stream(
            path="{{ stream_partition.at.team }}/{{ stream_partition.at.comment }}",
            partition_router=children(stream("comments", transformations=pair), "pair", "at"),
        )

    found = endpoint(votes("record['owner']['team']"))
    assert found["path"] == "{parent.owner_team}/{parent.id}"
    assert found["parents"] == {"endpoint": "comments", "column": "owner_team"}
    computed = made(votes("record['owner'] + 1"))
    assert {need.ability for need in computed.left_out["things"]} == {"computed"}


@pytest.mark.parametrize(
    ("value", "column"),
    [
        ("{{ stream_slice.of }}", "int64"),
        ("{{ stream_slice.parent_slice.top }}", {"type": "int64", "from": "parent.top"}),
    ],
)
def test_a_column_from_the_partition_value_has_the_type_that_is_said(
    value: str, column: Data | str
) -> None:
    inner = stream("inner", partition_router=children(stream("outer"), field="top"),
                   path="{{ stream_slice.top }}/inner")  # fmt: skip
    one = stream(
        transformations=_added("screen", value, value_type="integer"),
        partition_router=children(inner),
        path="{{ stream_slice.of }}/things",
    )
    assert endpoint(one)["columns"]["screen"] == column


def test_a_bound_without_a_name_is_in_no_request() -> None:
    bare = window(end_time_option=None, start_time_option=option("{{ parameters['since'] }}"))
    one = stream(incremental_sync=bare)
    assert endpoint(one)["window"] == {"start": "none", "end": "none"}
    assert "no request has its {start}" in str(made(one).doubts["things"])
    unnamed = pages({"type": "PageIncrement", "page_size": 2}, option("{{ parameters['page'] }}"))
    found = made(stream(paginator=unnamed))
    assert {need.ability for need in found.left_out["things"]} == {"paging_place"}


def test_a_token_in_the_place_of_a_bound_is_said() -> None:
    strategy = {"type": "CursorPagination", "cursor_value": "{{ response.end }}"}
    one = stream(
        incremental_sync=window(end_time_option=None), paginator=pages(strategy, option("from"))
    )
    assert endpoint(one)["request"]["params"] == {"from": "{token}"}
    assert "from is {start} in the manifest's first request" in str(made(one).doubts["things"])
    inner = {"type": "RequestOption", "inject_into": "body_json", "field_path": ["filter", "from"]}
    nested = stream(
        http_method="POST",
        incremental_sync=window(start_time_option=inner, end_time_option=None),
        paginator=pages(strategy, inner),
    )
    assert "from is {start} in the manifest's first request" in str(made(nested).doubts["things"])


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("response.page >= response.pages", True),
        ("response.rows | length < 5", True),
        ("not response.more", False),
        ("not response.rows", False),
    ],
)
def test_an_end_of_numbers_that_is_left_out_is_a_doubt(end: str, said: bool) -> None:
    strategy = {
        "type": "CursorPagination",
        "cursor_value": "{{ response.page + 1 }}",
        "stop_condition": f"{{{{ {end} }}}}",
    }
    doubts = made(stream(paginator=pages(strategy, option("page")))).doubts["things"]
    assert any("stop_condition is left out" in doubt for doubt in doubts) is said


def test_a_member_that_only_the_parents_value_could_have_is_computed() -> None:
    one = stream(
        path="{{ stream_slice.parent_slice.id }}/{{ stream_slice.id }}",
        partition_router=children(stream("teams"), field="team"),
    )
    assert {need.ability for need in made(one).left_out["things"]} == {"computed"}


def test_groups_whose_size_is_a_setting_are_left_out_with_the_reason() -> None:
    router = {
        "type": "GroupingPartitionRouter",
        "group_size": "{{ config['region'] }}",
        "underlying_partition_router": children(stream("teams"), field="team"),
    }
    found = made(stream(partition_router=router, request_parameters={"of": "x"}))
    assert "fanout_group" in {need.ability for need in found.left_out["things"]}


@pytest.mark.parametrize(
    ("value", "column", "said"),
    [
        ("format_datetime(record['at'].replace('Z', ''), '%Y-%m-%dT%H:%M:%SZ')",
         {"type": "timestamp[iso]", "path": "at"}, "the manifest writes it as %Y-%m-%dT%H"),
        ("format_datetime(record.get('at', config['since']), '%Y-%m-%dT%H:%M:%SZ')",
         {"type": "timestamp[iso]", "path": "at"}, "made is null in rows that lack it"),
        ("format_datetime(record['at'], '%Y-%m-%d')", None, ""),
        ("format_datetime(record['at'] + record['zone'], '%Y-%m-%dT%H:%M:%SZ')", None, ""),
    ],
)  # fmt: skip
def test_a_time_that_is_written_otherwise_is_that_time(
    value: str, column: Data | None, said: str
) -> None:
    found = made(stream(transformations=_added("made", f"{{{{ {value} }}}}")))
    tried(found, "a manifest")
    assert found.data["endpoints"]["things"]["columns"].get("made") == column
    assert said in str(found.doubts["things"])


def test_a_bound_as_a_number_of_milliseconds() -> None:
    jql = "updated >= {{ (timestamp(stream_slice.start_time) * 1000)|int }}"
    bare = window(start_time_option=None, end_time_option=None)
    found = endpoint(stream(request_parameters={"jql": jql}, incremental_sync=bare))
    assert found["request"]["params"] == {"jql": "updated >= {start}"}
    assert found["window"]["format"] == "epoch_ms"


@pytest.mark.parametrize("alone", ["", " if next_page_token is none else ''"])
def test_a_parameter_that_is_a_list_of_both_bounds(alone: str) -> None:
    both = f"{{{{ [stream_interval['start_time'], stream_interval['end_time']]{alone} }}}}"
    bare = window(start_time_option=None, end_time_option=None)
    strategy = {"type": "CursorPagination", "cursor_value": "{{ response.next }}"}
    one = stream(
        request_parameters={"at[]": both, "sort": "at"},
        incremental_sync=bare,
        paginator=pages(strategy, option("after")),
    )
    found = endpoint(one)["request"]
    assert found["params"] == {"at[]": ["{start}", "{end}"], "sort": "at", "after": "{token}"}
    assert found.get("with_token") == (["sort", "after"] if alone else None)


@pytest.mark.parametrize(
    ("member", "paging"), [("nextPageToken", {"next": "nextPageToken"}), ("at", {"last": "at"})]
)
def test_a_token_that_rows_do_not_have_is_the_responses(member: str, paging: Data) -> None:
    strategy = {"type": "CursorPagination", "cursor_value": f"{{{{ last_record['{member}'] }}}}"}
    found = endpoint(stream(paginator=pages(strategy, option("after"))))["paging"]
    assert paging.items() <= found.items()


def test_rows_at_a_path_that_is_no_member_are_a_doubt() -> None:
    one = stream(rows=['"response", "hooks"\n'])
    assert "rows would always be none" in str(made(one).doubts["things"])
    assert "always be none" not in str(made(stream()).doubts["things"])
