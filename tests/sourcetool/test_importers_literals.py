"""No YAML, no comment and no screen has a credential that a document has as it is."""

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from sourcetool.import_source import import_source
from sourcetool.importers.draft import Draft
from sourcetool.importers.errors import limits
from sourcetool.importers.settings import SettingNames
from sourcetool.importers.trial import tried
from tests.sourcetool.manifests import SPEC, Data, made, manifest, option, stream

SECRET = "sk0live0c2VjcmV0LW9mLWEtbWFuaWZlc3Q"
HEX = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
LOGIN = {
    "type": "SessionTokenAuthenticator",
    "session_token_path": ["token"],
    "request_authentication": {"type": "Bearer"},
}


def login(**requester: Any) -> Data:
    base = {"type": "HttpRequester", "url_base": "https://a.example.com", "http_method": "POST"}
    return stream(authenticator={**LOGIN, "login_requester": {**base, "path": "in", **requester}})


OAUTH = {
    "type": "OAuthAuthenticator",
    "token_refresh_endpoint": "https://a.example.com/token",
    "client_id": "an-app",
    "client_secret": SECRET,
    "refresh_token": HEX,
}
PLACES: dict[str, Data] = {
    "a bearer": stream(authenticator={"type": "BearerAuthenticator", "api_token": SECRET}),
    "a key": stream(
        authenticator={
            "type": "ApiKeyAuthenticator",
            "api_token": SECRET,
            "inject_into": option("X-Key", "header"),
        }
    ),
    "a key in the body": stream(
        http_method="POST",
        authenticator={
            "type": "ApiKeyAuthenticator",
            "api_token": SECRET,
            "inject_into": option("key", "body_json"),
        },
    ),
    "a word as a password": stream(
        authenticator={"type": "BasicHttpAuthenticator", "username": "me", "password": SECRET}
    ),
    "a key as the user": stream(
        authenticator={"type": "BasicHttpAuthenticator", "username": SECRET, "password": "x"}
    ),
    "oauth": stream(authenticator=OAUTH),
    "a token's request": stream(
        authenticator={**OAUTH, "refresh_request_body": {"api_key": SECRET, "x": HEX}}
    ),
    "a login": login(request_body_json={"password": SECRET}, request_headers={"X-Key": HEX}),
    "a login's parameters": login(request_parameters={"key": SECRET}),
    "headers": stream(request_headers={"X-Api-Key": SECRET, "Authorization": "abcd efgh"}),
    "parameters": stream(request_parameters={"api_key": SECRET, "of": HEX}),
    "a text of parameters": stream(request_parameters=f"api_key={SECRET}&x=1"),
    "a body": stream(http_method="POST", request_body_json={"a": {"b": [HEX]}, "token": SECRET}),
    "a form": stream(http_method="POST", request_body_data={"token": SECRET}),
    "a text": stream(http_method="POST", request_body_data=f"<key>{HEX}</key>"),
    "a path": stream(path=f"{HEX}/things?token={SECRET}"),
    "a base": stream(url_base=f"https://me:{SECRET}@api.example.com/{HEX}/"),
    "a default": stream(request_parameters={"a": f"{{{{ config.get('my_key', '{SECRET}') }}}}"}),
    "a computed value": stream(
        request_parameters={"a": f"{{{{ '{HEX}' if config.region == 'x' else '{SECRET}' }}}}"}
    ),
    "a filter": stream(where=f"{{{{ record.a | length == '{HEX}' }}}}"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_literal_credential_becomes_a_setting(place: str, tmp_path: Path) -> None:
    file, console = tmp_path / "shop.yaml", Console(file=io.StringIO(), width=200)
    file.write_text(yaml.safe_dump(manifest(PLACES[place], stream("other"))))
    assert import_source(str(file), None, "shop", str(tmp_path / "out"), (), console) == 0
    assert isinstance(console.file, io.StringIO)
    text = (tmp_path / "out" / "shop.yaml").read_text()
    for secret in (SECRET, HEX, "abcd"):
        assert secret not in text
        assert secret not in console.file.getvalue()


def test_the_same_credential_is_one_setting_and_others_are_their_own() -> None:
    headers = {"X-Key": SECRET, "x_key": SECRET}
    found = made(stream(request_headers=headers), stream("two", request_headers={"X-Key": HEX}))
    tried(found, "a manifest")
    sent = [of["request"]["headers"] for of in found.data["endpoints"].values()]
    assert sent == [
        {"X-Key": "${SHOP_X_KEY}", "x_key": "${SHOP_X_KEY_2}"},
        {"X-Key": "${SHOP_X_KEY_3}"},
    ]


def test_what_is_no_credential_stays() -> None:
    basic = {"type": "BasicHttpAuthenticator", "username": "{{ config.token }}", "password": "x"}
    parameters = {"sort_key": "name", "status_code": "open", "fields": "id,name", "auth": "true"}
    found = made(stream(authenticator=basic, request_parameters=parameters))
    assert found.data["auth"]["password"] == "x"
    assert found.data["endpoints"]["things"]["request"]["params"] == parameters


def test_a_default_of_the_specification_that_is_a_secret_is_not_written() -> None:
    spec = {
        "properties": {
            "seed": {"type": "string", "airbyte_secret": True, "default": "hidden"},
            "size": {"type": "integer", "default": 20},
        }
    }
    names = SettingNames("shop", spec)
    assert names.text(("seed",)) == "${SHOP_SEED:-}"
    assert names.text(("size",)) == "${SHOP_SIZE:-20}"
    assert SPEC["connection_specification"]["properties"]["size"]["default"] == 20


def test_a_doubt_has_no_credential() -> None:
    draft = Draft("a", "a", SettingNames("shop"))
    draft.doubt(f"the manifest has '{HEX}'")
    assert draft.doubts == ["the manifest has '…'"]


@pytest.mark.parametrize(
    ("policy", "windows", "note"),
    [
        ({"rates": [{"limit": "100", "interval": "PT1M"}]}, [(100, 60)], ""),
        ({"rates": [{"limit": 5, "interval": "PT1S"}, {"limit": 90.0, "interval": "PT1H"}]},
         [(5, 1), (90, 3600)], ""),
        ({"rates": [{"limit": "{{ config['rate'] }}", "interval": "PT1M"}]}, [], "config['rate']"),
        ({"rates": [{"limit": 9, "interval": "{{ config.every }}"}]}, [], "config.every"),
        ({"rates": [{"limit": 9, "interval": "PT0.5S"}]}, [], "9 requests in PT0.5S"),
        ({"rates": [{"limit": True, "interval": "PT1S"}]}, [], "True requests"),
        ({"rates": [{"limit": 2.5, "interval": "PT1S"}]}, [], "2.5 requests"),
        ({"rates": []}, [], ""),
        ({"type": "FixedWindowCallRatePolicy", "call_limit": "60", "period": "PT1M"},
         [(60, 60)], ""),
        ({"type": "FixedWindowCallRatePolicy", "call_limit": 60, "period": "{{ config.p }}"},
         [], "60 requests in {{ config.p }}"),
        ({"type": "MoonPolicy"}, [], "the rate limits of single endpoints"),
    ],
)  # fmt: skip
def test_a_rate_limit_is_a_window_or_a_note(policy: Data, windows: list[Any], note: str) -> None:
    budget = {"policies": [{"type": "MovingWindowCallRatePolicy", "matchers": [], **policy}]}
    found, notes = limits([], budget)
    assert found.get("windows", []) == [{"requests": n, "per_s": s} for n, s in windows]
    assert note in " ".join(notes)
    assert bool(note) == bool(notes)


def test_other_words_for_a_limit_are_noted() -> None:
    handler = {
        "type": "DefaultErrorHandler",
        "backoff_strategies": [
            {"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": "{{ config.wait }}"}
        ],
    }
    found, notes = limits([{"error_handler": handler}], {"status_codes_for_ratelimit_hit": [420]})
    assert found == {}
    assert "[420] for too many requests" in notes[0]
    assert "config.wait" in notes[1]
