"""Authenticators of a manifest: credentials, and the request for a token."""

import pytest

from sourcetool.importers.trial import tried
from tests.sourcetool.manifests import (
    Data,
    made,
    option,
    stream,
)

AUTH: list[tuple[Data, Data]] = [
    (
        {"type": "BearerAuthenticator", "api_token": "{{ config['token'] }}"},
        {"kind": "bearer", "token": "${SHOP_TOKEN}"},
    ),
    (
        {
            "type": "ApiKeyAuthenticator",
            "api_token": "Token {{ config['token'] }}",
            "inject_into": option("Authorization", "header"),
        },
        {
            "kind": "api_key",
            "name": "Authorization",
            "prefix": "Token ",
            "key": "${SHOP_TOKEN}",
        },
    ),
    (
        {
            "type": "ApiKeyAuthenticator",
            "api_token": "{{ config['token'] }}",
            "inject_into": option("key"),
        },
        {"kind": "api_key", "place": "query", "name": "key", "key": "${SHOP_TOKEN}"},
    ),
    (
        {"type": "BasicHttpAuthenticator", "username": "{{ config['token'] }}"},
        {"kind": "basic", "username": "${SHOP_TOKEN}", "password": ""},
    ),
    (
        {
            "type": "OAuthAuthenticator",
            "grant_type": "client_credentials",
            "token_refresh_endpoint": "https://api.example.com/token",
            "client_id": "{{ config['token'] }}",
            "client_secret": "{{ config['secret'] }}",
            "scopes": ["a", "b"],
            "refresh_request_body": {"audience": "x"},
        },
        {
            "kind": "oauth2_client_credentials",
            "token_url": "https://api.example.com/token",
            "client_id": "${SHOP_TOKEN}",
            "client_secret": "${SHOP_SECRET}",
            "scope": "a b",
            "params": {"audience": "x"},
        },
    ),
    (
        {
            "type": "SessionTokenAuthenticator",
            "login_requester": {
                "type": "HttpRequester",
                "url_base": "https://api.example.com",
                "path": "/login",
                "http_method": "POST",
                "request_body_json": {"user": "{{ config['token'] }}"},
            },
            "session_token_path": ["data", "token"],
            "request_authentication": {
                "type": "ApiKey",
                "inject_into": option("X-Session", "header"),
            },
        },
        {
            "kind": "login",
            "token_url": "https://api.example.com/login",
            "body": {"user": "${SHOP_TOKEN}"},
            "token_at": "data.token",
            "name": "X-Session",
            "prefix": "",
        },
    ),
]


@pytest.mark.parametrize(("authenticator", "auth"), AUTH)
def test_credentials(authenticator: Data, auth: Data) -> None:
    found = made(stream(authenticator=authenticator))
    tried(found, "a manifest")
    assert found.data["auth"] == auth


def test_of_several_credentials_one_is_taken_and_the_others_are_named() -> None:
    choices = {
        "own": {"type": "CustomAuthenticator", "class_name": "source_shop.Auth"},
        "key": {"type": "BearerAuthenticator", "api_token": "{{ config['token'] }}"},
    }
    selective = {
        "type": "SelectiveAuthenticator",
        "authenticator_selection_path": ["credentials", "kind"],
        "authenticators": choices,
    }
    found = made(stream(authenticator=selective))
    assert found.data["auth"] == {"kind": "bearer", "token": "${SHOP_TOKEN}"}
    assert "credentials.kind = key; the manifest has others: own" in found.doubts["things"][0]


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
