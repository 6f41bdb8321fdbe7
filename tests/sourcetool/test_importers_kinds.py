"""What manifests say in ways of their own becomes what the YAML has for it, with a comment."""

from typing import Any

import pytest

from sourcetool.importers.trial import tried
from tests.sourcetool.manifests import (
    LINK,
    SPEC,
    Data,
    children,
    endpoint,
    made,
    option,
    pages,
    stream,
    window,
)

LINE = {"type": "JsonlDecoder"}


def doubts(one: Data) -> str:
    return " ".join(made(one).doubts["things"])


@pytest.mark.parametrize(
    ("decoder", "format"),
    [
        (LINE, "jsonl"),
        ({"type": "CsvDecoder"}, "csv"),
        ({"type": "CompositeRawDecoder", "parser": {"type": "JsonLineParser"}}, "jsonl"),
        ({"type": "CsvDecoder", "delimiter": ";"}, {"kind": "csv", "delimiter": ";"}),
    ],
)
def test_formats_that_are_not_json(decoder: Data, format: object) -> None:
    found = endpoint(stream(decoder=decoder, rows=[]))
    assert found["format"] == format
    assert "rows" not in found


@pytest.mark.parametrize("kind", ["GzipDecoder", "CompositeRawDecoder"])
def test_a_gzip_decoder_is_the_one_inside_it(kind: str) -> None:
    decoder: Data = {"type": "GzipDecoder", "decoder": {"type": "CsvDecoder", "delimiter": ";"}}
    if kind != "GzipDecoder":
        decoder = {"type": kind, "parser": {"type": "GzipParser", "inner_parser": LINE}}
    one = stream(decoder=decoder, rows=[])
    assert endpoint(one)["format"] == (
        "jsonl" if "parser" in decoder else {**CSV, "delimiter": ";"}
    )
    assert "a gzip file is refused here" in doubts(one)


CSV = {"kind": "csv"}


def test_members_that_a_pattern_names_are_kept_and_said() -> None:
    remove = {"type": "RemoveFields", "field_pointers": [["a", "*"], ["b"], ["**", "c"]]}
    one = stream(transformations=[remove])
    assert endpoint(one)["exclude"] == ["b"]
    assert "RemoveFields keeps a.* here" in doubts(one)
    assert "RemoveFields keeps **.c here" in doubts(one)
    remove["field_pointers"] = [["**", "c"]]
    assert "exclude" not in endpoint(stream(transformations=[remove]))


def test_a_setting_that_the_manifest_makes_itself_says_how() -> None:
    added = {"path": ["host"], "value": "{{ 'eu' if config.region == 'EU' else 'us' }}"}
    rules = {
        "type": "ConfigNormalizationRules",
        "config_migrations": [
            {
                "type": "ConfigMigration",
                "transformations": [
                    {"type": "ConfigRemapField", "map": {"EU": "e"}, "field_path": ["region"]}
                ],
            }
        ],
        "transformations": [
            {"type": "ConfigAddFields", "fields": [added]},
            {"type": "CustomConfigTransformation", "class_name": "source_shop.Change"},
        ],
    }
    one = stream(path="{{ config['host'] }}/{{ config['region'] }}")
    found = made(one, spec={**SPEC, "config_normalization_rules": rules})
    assert found.settings.used["SHOP_HOST"].startswith("computed by the manifest: {{ 'eu' if")
    assert found.settings.used["SHOP_REGION"] == "region (as the manifest maps it: {'EU': 'e'})"
    assert any("source_shop.Change" in note for note in found.notes)


def test_a_variable_that_a_branch_sets_has_the_value_of_that_branch() -> None:
    sets = "{% if X %}{% set a = 'x' %}{% else %}{% set a = 'y' %}{% endif %}{{ a }}"
    by_setting = made(stream(path=sets.replace("X", "config.region == 'eu'")))
    assert by_setting.data["endpoints"]["things"]["path"] == "${SHOP_THINGS_PATH:-y}"
    known = made(stream(path=sets.replace("X", "none"))).data["endpoints"]["things"]
    assert known["path"] == "y"
    chain = "{% if none %}{% set a = 1 %}{% elif true %}{% set a = 2 %}{% endif %}{{ a }}"
    assert made(stream(path=chain)).data["endpoints"]["things"]["path"] == "2"


def test_a_text_that_is_another_one_each_time_is_no_setting() -> None:
    found = made(stream(request_headers={"X-Id": "{{ generate_uuid() }}"}))
    assert [need.ability for need in found.left_out["things"]] == ["computed"]


def test_a_column_with_the_name_of_the_partitions_folders_gets_another() -> None:
    one = stream(primary_key=["dt"])
    one["schema_loader"]["schema"]["properties"]["dt"] = {"type": "string"}
    found = endpoint(one)
    assert found["columns"]["their_dt"] == {"type": "string", "path": "dt"}
    assert found["key"] == ["their_dt"]
    assert "dt" not in found["columns"]


def test_a_path_that_is_a_url_of_the_same_host() -> None:
    one = stream(path="https://api.example.com/v1/all/things")
    found = made(stream("teams"), one)
    assert found.data["base_url"] == "https://api.example.com"
    assert found.data["endpoints"]["things"]["path"] == "v1/all/things"
    assert found.data["endpoints"]["teams"]["path"] == "v1/teams"
    other = made(stream("teams"), stream(path="https://elsewhere.example.com/things"))
    things = other.data["endpoints"]["things"]
    assert (things["base_url"], things["path"]) == ("https://elsewhere.example.com", "things")


def test_pages_whose_name_goes_nowhere_are_one_page_that_may_not_be_full() -> None:
    one = stream(paginator=pages({"type": "PageIncrement", "page_size": 50}, size=option("n")))
    found = endpoint(one)
    assert found["paging"] == {"kind": "none", "limit": 50}
    assert found["request"]["params"] == {"n": "{limit}"}
    assert "the first page alone is read, and a check fails if it is full" in doubts(one)
    unknown = made(stream(paginator=pages({"type": "PageIncrement", "page_size": 50})))
    assert [need.ability for need in unknown.left_out["things"]] == ["paging_place"]


def test_a_next_page_that_rows_do_not_have_is_the_responses() -> None:
    strategy = {"type": "CursorPagination", "cursor_value": "{{ last_record['next_page'] }}"}
    one = stream(paginator=pages(strategy, LINK))
    assert endpoint(one)["paging"] == {"kind": "link", "limit": 100, "next": "next_page"}
    assert "rows have no next_page" in doubts(one)


def test_a_parameter_that_is_cut_out_of_a_link_is_the_link() -> None:
    strategy = {
        "type": "CursorPagination",
        "page_size": 9,
        "cursor_value": "{{ response.next | regex_search('after=([0-9a-f]+)') }}",
    }
    one = stream(paginator=pages(strategy, option("after")))
    assert endpoint(one)["paging"] == {"kind": "link", "limit": 9, "next": "next"}
    assert "the link is taken" in doubts(one)
    other = stream(paginator=pages(strategy, option("page")))
    assert [n.ability for n in made(other).left_out["things"]] == ["paging_computed"]


def test_a_list_whose_default_stands_for_all_is_none() -> None:
    path = "{{ 'all/things' if stream_partition['of'] == 'all' else 'teams/' ~ stream_slice.of }}"
    router = {
        "type": "ListPartitionRouter",
        "values": "{{ config['teams'] if config['teams'] else ['all'] }}",
        "cursor_field": "of",
    }
    one = stream(path=path, partition_router=router)
    found = endpoint(one)
    assert (found["path"], "each" in found) == ("all/things", False)
    assert "the setting of of is left out" in doubts(one)
    of_teams = [router, children(stream("teams"), field="team")]
    both = stream(
        path=path.replace("'all/things'", "'teams/' ~ stream_slice.team ~ '/things'"),
        partition_router=of_teams,
    )
    found = endpoint(stream("teams"), both)
    assert (found["path"], found["parents"]["endpoint"]) == ("teams/{parent}/things", "teams")


def test_a_path_by_a_value_of_a_written_list_is_not_guessed() -> None:
    router = {"type": "ListPartitionRouter", "values": ["all", "x"], "cursor_field": "of"}
    path = "{{ 'all/things' if stream_partition['of'] == 'all' else 'teams/' ~ stream_slice.of }}"
    found = made(stream(path=path, partition_router=router))
    assert [n.ability for n in found.left_out["things"]] == ["computed"]


def test_a_setting_in_place_of_all_parents_is_left_out() -> None:
    path = "teams/{{ config.team or stream_partition.of }}/things"
    one = stream(path=path, partition_router=children(stream("teams")))
    found = endpoint(stream("teams"), one)
    assert found["path"] == "teams/{parent}/things"
    assert "the manifest's setting team, in place of all values, is left out" in " ".join(
        made(stream("teams"), one).doubts["things"]
    )


def test_a_list_of_one_value_in_the_body() -> None:
    body = {"teams": "{{ [ stream_partition.of ] }}"}
    one = stream(
        partition_router=children(stream("teams")), request_body_json=body, http_method="POST"
    )
    assert endpoint(stream("teams"), one)["request"]["json"] == {"teams": ["{parent}"]}


@pytest.mark.parametrize(("place", "part"), [("body_data", "form"), ("body_json", "json")])
def test_a_key_in_the_body_is_a_setting_of_the_request(place: str, part: str) -> None:
    auth = {
        "type": "ApiKeyAuthenticator",
        "api_token": "{{ config['token'] }}",
        "inject_into": option("key", place),
    }
    found = made(stream(authenticator=auth, http_method="POST"))
    tried(found, "a manifest")
    assert found.data["endpoints"]["things"]["request"][part] == {"key": "${SHOP_TOKEN}"}
    assert "auth" not in found.data


@pytest.mark.parametrize(
    ("login", "auth"),
    [
        ({"request_body_data": {"k": "{{ config['token'] }}"}}, {"form": {"k": "${SHOP_TOKEN}"}}),
        ({"request_parameters": {"k": "x"}}, {"params": {"k": "x"}}),
        ({"request_headers": {"K": "x"}, "http_method": "GET"}, {"method": "GET"}),
        (
            {
                "authenticator": {
                    "type": "BasicHttpAuthenticator",
                    "username": "{{ config['token'] }}",
                    "password": "p",
                }
            },
            {"username": "${SHOP_TOKEN}", "password": "p"},
        ),
    ],
)
def test_logins(login: Data, auth: Data) -> None:
    requester = {
        "type": "HttpRequester",
        "url_base": "https://api.example.com",
        "path": "/login",
        "http_method": "POST",
        **login,
    }
    one: Data = {
        "type": "SessionTokenAuthenticator",
        "login_requester": requester,
        "session_token_path": ["token"],
        "expiration_duration": "PT8H",
        "request_authentication": {"type": "Bearer"},
    }
    found = made(stream(authenticator=one))
    tried(found, "a manifest")
    assert auth.items() <= found.data["auth"].items()
    assert found.data["auth"]["lifetime_s"] == 8 * 3600


def test_a_refresh_token_that_is_good_once_has_a_folder() -> None:
    one = {
        "type": "OAuthAuthenticator",
        "token_refresh_endpoint": "https://api.example.com/token",
        "client_id": "{{ config['token'] }}",
        "client_secret": "{{ config['secret'] }}",
        "refresh_token": "{{ config['refresh'] }}",
        "refresh_token_updater": {"refresh_token_name": "refresh_token"},
    }
    found = made(stream(authenticator=one))
    assert "SHOP_TOKEN_FOLDER" in tried(found, "a manifest")
    assert found.data["auth"]["token_folder"] == "${SHOP_TOKEN_FOLDER}"


@pytest.mark.parametrize(
    ("header", "basic"),
    [
        ("Basic {{ (config['token'] ~ ':' ~ config['secret']) | base64encode }}", True),
        ("Basic {{ [config['token'], config['secret']] | join(':') | base64encode }}", True),
        ("Basic {{ (config['secret'] ~ ':' ~ config['token']) | base64encode }}", False),
        ("Bearer {{ config['token'] }}", False),
    ],
)
def test_a_client_in_the_header_of_the_request_for_a_token(header: str, basic: bool) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    one = {
        "type": "OAuthAuthenticator",
        "token_refresh_endpoint": "https://api.example.com/token",
        "client_id": "{{ config['token'] }}",
        "client_secret": "{{ config['secret'] }}",
        "refresh_token": "{{ config['refresh'] }}",
        "refresh_request_headers": {"Authorization": header, **form},
    }
    found = made(stream(authenticator=one))
    if basic:
        assert found.data["auth"]["client_auth"] == "basic"
        tried(found, "a manifest")
    else:
        assert [need.ability for need in found.left_out["things"]] == ["auth_computed"]


NOW: list[tuple[str, str, Data]] = [
    ("{{ now_utc().strftime('%Y-%m-%d') }}", "{now}", {"format": "%Y-%m-%d"}),
    ("{{ today_utc() }}", "{now}", {"format": "%Y-%m-%d"}),
    ("{{ day_delta(-7, format='%Y-%m-%d') }}", "{now-7d}", {"format": "%Y-%m-%d"}),
    (
        "{{ format_datetime(now_utc() - duration('PT90M'), '%Y-%m-%dT%H:%M:%SZ') }}",
        "{now-90m}",
        {"format": "%Y-%m-%dT%H:%M:%SZ"},
    ),
    (
        "{{ config['to'].split('T')[0] if config['to'] else "
        "day_delta(-1, format='%Y-%m-%dT%H:%M:%SZ').split('T')[0] }}",
        "{now-1d}",
        {"format": "%Y-%m-%d"},
    ),
    (
        "{{ config['region'] or 'x' }},{{ today_utc() }}",
        "${SHOP_REGION:-x},{now}",
        {"format": "%Y-%m-%d"},
    ),
]


@pytest.mark.parametrize(("jinja", "text", "window"), NOW)
def test_times_before_now(jinja: str, text: str, window: Data) -> None:
    found = endpoint(stream(request_parameters={"q": jinja}))
    assert found["request"]["params"] == {"q": text}
    assert window.items() <= found["window"].items()


@pytest.mark.parametrize(
    ("sent", "ability"),
    [
        ({"a": "{{ day_delta(7) }}"}, "now_computed"),
        ({"a": "{{ now_utc() - duration(config['x']) }}"}, "now_computed"),
        ({"a": "{{ today_utc() }}", "b": "{{ now_utc().strftime('%s') }}"}, "window_formats"),
        ({"a": "{{ stream_interval['start_time'] }}"}, "window_alone"),
    ],
)
def test_times_that_the_yaml_cannot_say(sent: Data, ability: str) -> None:
    found = made(stream(request_parameters=sent))
    assert ability in {need.ability for need in found.left_out["things"]}


def test_a_link_that_is_followed_by_post() -> None:
    strategy = {"type": "CursorPagination", "page_size": 5, "cursor_value": "{{ response.next }}"}
    one = stream(http_method="POST", request_body_json={"a": "b"}, paginator=pages(strategy, LINK))
    assert endpoint(one)["paging"] == {"kind": "link", "limit": 5, "next": "next", "post": True}


def test_a_list_that_the_request_does_not_name_is_read_once() -> None:
    router: Data = {"type": "ListPartitionRouter", "values": ["a", "b"], "cursor_field": "kind"}
    one = stream(partition_router=router)
    assert "each" not in endpoint(one)
    assert "the same for each value of a list: it is read once" in doubts(one)


def test_a_partition_value_that_no_router_gives_is_a_setting() -> None:
    one = stream(path="{{ stream_partition.team }}/things")
    found = made(one)
    assert found.data["endpoints"]["things"]["path"] == "${SHOP_TEAM}/things"
    assert "no router gives team" in doubts(one)


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        (
            "{% set since = stream_state.get('changed', config.get('since')) %}"
            "{{ since and record.changed > since or not since }}",
            "keeps rows by the window",
        ),
        (
            "{{ record.id in config.teams or not config.teams }}",
            "the manifest's setting teams keeps some rows: all are kept",
        ),
    ],
)
def test_filters_that_are_left_out(condition: str, said: str) -> None:
    one = stream(where=condition)
    assert "where" not in endpoint(one)
    assert said in doubts(one)


def test_keys_that_differ_between_endpoints_stand_in_their_headers() -> None:
    def key(setting: str) -> Data:
        value = f"{{{{ config['{setting}'] }}}}"
        return {
            "type": "ApiKeyAuthenticator",
            "api_token": value,
            "inject_into": option("X-Key", "header"),
        }

    two = [stream("teams", authenticator=key("token")), stream(authenticator=key("other"))]
    found = made(*two)
    tried(found, "a manifest")
    assert "auth" not in found.data
    sent = [one["request"]["headers"] for one in found.data["endpoints"].values()]
    assert sent == [{"X-Key": "${SHOP_TOKEN}"}, {"X-Key": "${SHOP_OTHER}"}]
    basic = {"type": "BasicHttpAuthenticator", "username": "a", "password": "b"}
    mixed = made(two[0], stream("more", authenticator=key("token")), stream(authenticator=basic))
    assert mixed.data["auth"]["kind"] == "api_key"
    assert [need.ability for need in mixed.left_out["things"]] == ["auth_per_endpoint"]


def test_names_in_snake_case() -> None:
    one = stream(transformations=[{"type": "KeysToSnakeCase"}])
    one["schema_loader"]["schema"]["properties"]["made_by"] = {"type": "string"}
    found = endpoint(one)
    assert found["names"] == "snake_case"
    assert "made_by" not in found["columns"]
    assert found["columns"]["name"] == "string"
    assert "inferred: rows have other names" in doubts(one)
    moved = stream(
        transformations=[{"type": "KeysToSnakeCase"}],
        incremental_sync=window(cursor_field="changed_at"),
    )
    assert [need.ability for need in made(moved).left_out["things"]] == ["rename"]


def _counting(**changes: Any) -> Data:
    cursor = {
        "type": "IncrementingCountCursor",
        "cursor_field": "number",
        "start_value": 100,
        "start_value_option": option("since_id"),
    }
    return {name: value for name, value in (cursor | changes).items() if value is not None}


def test_a_number_that_only_rises_is_a_bookmark() -> None:
    converted = endpoint(stream(incremental_sync=_counting()))
    assert converted["cursor"] == "number"
    assert converted["columns"]["number"] == "int64"
    assert converted["request"]["params"]["since_id"] == "{start}"
    assert "begins with the number 100" in doubts(stream(incremental_sync=_counting()))
    unasked = made(stream(incremental_sync=_counting(start_value_option=None)))
    assert [need.ability for need in unasked.left_out["things"]] == ["cursor_number"]


def test_a_body_keeps_what_options_put_into_it() -> None:
    router = {
        "type": "ListPartitionRouter",
        "values": ["a", "b"],
        "cursor_field": "kind",
        "request_option": option("kind", "body_json"),
    }
    found = endpoint(
        stream(
            http_method="POST",
            request_body_json={"user": 1, "filter": {"x": 2}},
            partition_router=router,
            incremental_sync=window(
                start_time_option={
                    "type": "RequestOption",
                    "inject_into": "body_json",
                    "field_path": ["filter", "from"],
                }
            ),
        )
    )
    body = {"user": 1, "filter": {"x": 2, "from": "{start}"}, "kind": "{each}"}
    assert found["request"]["json"] == body
    assert found["each"] == {"values": ["a", "b"]}


def test_a_text_that_is_an_object_with_bounds_in_it_is_sent_as_an_object() -> None:
    """Intercom's search: as a text in the body the API would not know it."""
    query = (
        '{"field": "at", "value": {{ stream_interval.start_time }}, "to": "{{ config.region }}"}'
    )
    one = stream(
        http_method="POST",
        request_body_json={"query": query, "word": "{{ stream_interval.end_time }}"},
        incremental_sync=window(start_time_option=None, end_time_option=None),
    )
    sent = endpoint(one)["request"]["json"]
    assert sent["query"] == {"field": "at", "value": "{start}", "to": "${SHOP_REGION:-}"}
    assert sent["word"] == "{end}"


def test_values_that_no_request_has_are_not_requested_for_each() -> None:
    teams = stream("teams")
    unused = made(teams, stream(partition_router=children(teams)))
    assert "parents" not in unused.data["endpoints"]["things"]
    assert "the same for each of its parents" in " ".join(unused.doubts["things"])
    kinds = {"type": "ListPartitionRouter", "values": ["a", "b"], "cursor_field": "kind"}
    path = "teams/{{ stream_partition.of }}/things"
    both = made(teams, stream(path=path, partition_router=[children(teams), kinds]))
    tried(both, "a manifest")
    of = both.data["endpoints"]["things"]
    assert list(of["each"]) == ["of"]
    assert of["path"] == "teams/{each.of}/things"
    key = {"type": "BearerAuthenticator", "api_token": "{{ stream_partition.of }}"}
    by_key = made(teams, stream(partition_router=children(teams), authenticator=key))
    assert by_key.data["endpoints"]["things"]["parents"]["endpoint"] == "teams"


HASHED = {"path": ["email"], "value": "{{ record['email'] | hash('md5') }}"}


@pytest.mark.parametrize(
    ("added", "condition", "excluded"),
    [
        (HASHED, "", ["email"]),
        ({"path": ["owner", "email"], "value": "hidden"}, "", ["owner.email"]),
        ({"path": ["email"], "value": "hidden"}, "{{ record['secret'] }}", ["email"]),
    ],
)
def test_a_column_that_is_left_out_is_in_no_row(
    added: Data, condition: str, excluded: list[str]
) -> None:
    transformation: Data = {"type": "AddFields", "fields": [added]}
    if condition:
        transformation["condition"] = condition
    found = made(stream(transformations=[transformation]))
    tried(found, "a manifest")
    assert found.data["endpoints"]["things"]["exclude"] == excluded
    assert found.omitted["things"]


def test_a_column_that_is_made_of_an_added_one_has_its_path() -> None:
    fields = [
        {"path": ["owner_key"], "value": "{{ record['owner']['key'] }}"},
        {"path": ["uid"], "value": "{{ record['owner_key'] }}"},
        {"path": ["site"], "value": "{{ record['owner_key']['site'] }}"},
    ]
    columns = endpoint(stream(transformations=[{"type": "AddFields", "fields": fields}]))["columns"]
    assert columns["uid"]["path"] == "owner.key"
    assert columns["site"]["path"] == "owner.key.site"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("{{ record['changed'] }}", {"changed": {"not": {"in": [None, ""]}}}),
        ("{{ not record['id'] }}", {"id": {"in": [None, 0]}}),
        ("{{ record['a']['b'] }}", {"a.b": {"not": {"in": [None, False, 0, "", [], {}]}}}),
        ("{{ record['a'] is none }}", {"a": None}),
    ],
)
def test_a_value_alone_is_a_condition_as_jinja_has_it(condition: str, expected: Data) -> None:
    assert endpoint(stream(where=condition))["where"] == expected


def test_no_two_settings_have_one_name() -> None:
    """The source has a start of its own, and a manifest may call a setting so."""
    sync = window(start_datetime={"type": "MinMaxDatetime", "datetime": "{{ config['start'] }}"})
    headers = {"a": "{{ config['apiKey'] }}", "b": "{{ config['api_key'] }}"}
    found = made(stream(incremental_sync=sync, request_headers=headers))
    tried(found, "a manifest")
    things = found.data["endpoints"]["things"]
    assert found.data["start"] == "${SHOP_START}"
    assert things["window"]["floor"] == "${SHOP_START_2}"
    assert things["request"]["headers"] == {"a": "${SHOP_API_KEY}", "b": "${SHOP_API_KEY_2}"}


def test_a_removed_member_is_no_column_though_others_are_made_of_it() -> None:
    made_of = {"type": "AddFields", "fields": [{"path": ["uid"], "value": "{{ record.owner.id }}"}]}
    removed = {"type": "RemoveFields", "field_pointers": [["name"], ["owner"]]}
    found = made(stream(transformations=[made_of, removed]))
    tried(found, "a manifest")
    things = found.data["endpoints"]["things"]
    assert things["exclude"] == ["name", "owner"]
    assert set(things["columns"]) == {"id", "changed", "uid"}


def test_credentials_that_are_not_chosen_leave_no_stream_out() -> None:
    choices = {
        "signed": {"type": "JwtAuthenticator", "secret_key": "a", "algorithm": "HS256"},
        "token": {"type": "BearerAuthenticator", "api_token": "{{ config['token'] }}"},
    }
    several = {
        "type": "SelectiveAuthenticator",
        "authenticator_selection_path": ["credentials", "kind"],
        "authenticators": choices,
    }
    found = made(stream(authenticator=several))
    assert found.left_out == {}
    assert found.data["auth"] == {"kind": "bearer", "token": "${SHOP_TOKEN}"}


def test_a_member_that_a_key_or_a_token_is_inside_of_stays_a_column() -> None:
    token = {
        "type": "CursorPagination",
        "cursor_value": "{{ last_record['page']['after'] }}",
        "page_size": 3,
    }
    one = stream(primary_key=["meta.id"], paginator=pages(token, option("after")))
    columns = endpoint(one)["columns"]
    assert columns["meta"] == columns["page"] == "json"
    assert columns["meta_id"]["path"] == "meta.id"
