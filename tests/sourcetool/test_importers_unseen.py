"""Forms that manifests beside the catalogue's have, in our own words."""

import pytest

from sourcetool.importers.trial import tried
from tests.sourcetool.manifests import Data, option, pages, stream, window
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
    found = endpoint(stream(path=path))
    assert (found["path"], found.get("request", {}).get("params")) == (text, params)


def test_a_next_page_of_null_is_none() -> None:
    def one(end: str) -> Data:
        strategy = {
            "type": "CursorPagination",
            "cursor_value": "{{ response.data.next }}",
            "stop_condition": f"{{{{ response.data.next == '{end}' }}}}",
        }
        return stream(paginator=pages(strategy, option("after")))

    assert endpoint(one("null"))["paging"]["next"] == "data.next"
    assert {need.ability for need in made(one("x")).left_out["things"]} == {"paging_stop"}


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
