"""Authenticators: who asks. Settings are named; what one says beside them is never filled."""

from collections.abc import Sequence
from typing import Any

from sourcetool.credentials import SHORTEST
from sourcetool.importers.components import note_unread
from sourcetool.importers.draft import EMPTY, Draft, needed
from sourcetool.importers.literals import is_filled, literal
from sourcetool.importers.manifest import Component
from sourcetool.importers.moments import seconds
from sourcetool.importers.pagination import dotted
from sourcetool.importers.templates import read_template
from sourcetool.importers.texts import text_of
from sourcetool.importers.values import Applied, Choice, Joined, Literal, Setting, Value

_AUTHENTICATOR = "authenticator"


def authenticate(draft: Draft, authenticator: Component | None) -> None:
    """``auth`` of the source, as one endpoint has it."""
    if not authenticator or (
        authenticator.get("type") in (None, "NoAuth") and not authenticator.get("class_name")
    ):
        return
    if "class_name" in authenticator:
        draft.need("python", _AUTHENTICATOR, authenticator["class_name"])
        return
    converter = _KINDS.get(str(authenticator["type"]))
    if converter is None:
        draft.need("component", _AUTHENTICATOR, authenticator["type"])
        return
    converter(draft, authenticator)


def spread(drafts: list[Draft]) -> None:
    """Keys that differ between endpoints go into their headers, where all of them are such keys."""
    headers = [_as_header(keyed.auth) for keyed in drafts]
    several = len({repr(keyed.auth) for keyed in drafts}) > 1
    if not several or any(
        keyed.auth and header is None for keyed, header in zip(drafts, headers, strict=True)
    ):
        return
    for draft, header in zip(drafts, headers, strict=True):
        if header is not None:
            draft.put("headers", [header[0]], header[1])
            draft.auth = {}
            draft.doubt("endpoints have keys of their own, in their headers: all share one budget")


def _as_header(auth: dict[str, Any]) -> tuple[str, str] | None:
    """The header of a bearer token or a key; None if there is none."""
    if auth.get("kind") == "bearer":
        return "Authorization", f"Bearer {needed(str(auth['token']))}"
    if auth.get("kind") == "api_key" and auth.get("place", "header") == "header":
        return str(auth["name"]), f"{auth.get('prefix', '')}{needed(str(auth['key']))}"
    return None


def _text(draft: Draft, component: Component, member: str) -> str:
    return str(text_of(draft, component.get(member), f"{component.get('type')}.{member}") or "")


def _credential(draft: Draft, component: Component, member: str) -> str:
    """A credential: a setting, whatever the manifest has in its place.

    One of fewer than four characters stays: Basic auth wants one of its parts as ``x``.
    """
    text = _text(draft, component, member)
    if is_filled(text) or len(text) < SHORTEST:
        return text
    return draft.settings.literal(member, text)


def _needed(draft: Draft, component: Component, member: str) -> str:
    """A credential that can't lack, whatever the specification says."""
    return needed(_credential(draft, component, member))


def _user(draft: Draft, component: Component) -> str:
    """A user's name: some APIs want a constant there, and others the key."""
    return literal("username", _text(draft, component, "username"), draft.settings)


def _api_key(draft: Draft, component: Component) -> None:
    option = component.get("inject_into") or {}
    place = option.get("inject_into", "header")
    name = option.get("field_name") or component.get("header") or "Authorization"
    if place in ("body_data", "body_json"):
        _key_in_body(draft, component, place, str(name))
        return
    if place not in ("header", "request_parameter"):
        draft.need("auth_place", "ApiKeyAuthenticator.inject_into", place)
        return
    token = _credential(draft, component, "api_token")
    named = str(text_of(draft, name, "ApiKeyAuthenticator"))
    auth: dict[str, Any] = {"kind": "api_key"}
    if place == "request_parameter":
        auth["place"] = "query"
    auth["name"] = named
    prefix, dollar, rest = token.partition("${")
    if dollar and prefix:
        auth["prefix"] = prefix
        token = dollar + rest
    auth["key"] = token
    draft.auth = auth


def _key_in_body(draft: Draft, component: Component, place: str, name: str) -> None:
    """A key that the request's body carries: settings in a request are as secret as in ``auth``."""
    key = _needed(draft, component, "api_token")
    named = str(text_of(draft, name, "ApiKeyAuthenticator"))
    draft.put("json" if place == "body_json" else "form", [named], key)
    draft.doubt("the key is in the body: all accounts of this API share one budget")


def _bearer(draft: Draft, component: Component) -> None:
    draft.auth = {"kind": "bearer", "token": _credential(draft, component, "api_token")}


def _basic(draft: Draft, component: Component) -> None:
    draft.auth = {
        "kind": "basic",
        "username": _user(draft, component),
        "password": _credential(draft, component, "password"),
    }
    if EMPTY.fullmatch(draft.auth["password"]) and not draft.can("param_optional"):
        draft.doubt(f"the password is empty: {draft.auth['password'][2:-3]} is optional")
        draft.auth["password"] = ""
    if not draft.auth["username"]:
        draft.need("auth_computed", "BasicHttpAuthenticator", "an empty user name")


def _oauth(draft: Draft, component: Component) -> None:
    grant = str(component.get("grant_type") or "refresh_token")
    client = grant != "refresh_token"
    rotates = False
    if component.get("refresh_token_updater") is not None:
        draft.need("auth_rotating", "OAuthAuthenticator.refresh_token_updater")
        rotates = not client
    name = component.get("access_token_name") or "access_token"
    if name != "access_token":
        draft.need("auth_token_name", "OAuthAuthenticator", name)
    _check_oauth_names(draft, component)
    auth: dict[str, Any] = {
        "kind": "oauth2_client_credentials" if client else "oauth2_refresh_token",
        "token_url": _text(draft, component, "token_refresh_endpoint"),
    }
    for member in ("client_id", "client_secret") + (() if client else ("refresh_token",)):
        auth[member] = _needed(draft, component, member)
    if rotates:
        how = "a folder of this user alone: each refresh token is good once, the next is kept there"
        auth["token_folder"] = draft.settings.derived("token_folder", how)
    if scopes := component.get("scopes"):
        joined = " ".join(
            str(text_of(draft, scope, "OAuthAuthenticator.scopes")) for scope in scopes
        )
        auth["scope"] = joined
    params = {
        str(name): _literal_of(draft, name, raw, "OAuthAuthenticator.refresh_request_body")
        for name, raw in (component.get("refresh_request_body") or {}).items()
    }
    if client and grant != "client_credentials":
        params["grant_type"] = str(text_of(draft, grant, "OAuthAuthenticator.grant_type"))
    if params:
        auth["params"] = params
    if headers := component.get("refresh_request_headers"):
        _client_in_header(draft, component, auth, headers)
    draft.auth = auth


_FORM = "application/x-www-form-urlencoded"


def _client_in_header(
    draft: Draft, component: Component, auth: dict[str, Any], headers: Component
) -> None:
    """``client_auth: basic``: the client's id and secret in a header."""
    client = [
        read_template(component.get(member), draft.parameters)
        for member in ("client_id", "client_secret")
    ]
    both = (client[0], Literal(":"), client[1])
    for name, raw in headers.items():
        value, low = read_template(raw, draft.parameters), str(name).lower()
        if low == "authorization" and _is_basic(value, both):
            auth["client_auth"] = "basic"
        elif low != "accept" and (low, value) != ("content-type", Literal(_FORM)):
            draft.need("auth_computed", "OAuthAuthenticator.refresh_request_headers", name)


def _is_basic(value: Value, both: Sequence[Value]) -> bool:
    """Whether a header is ``Basic`` and the client, in base64."""
    parts = value.values if isinstance(value, Joined) else ()
    if len(parts) != 2 or parts[0] != Literal("Basic ") or not isinstance(parts[1], Applied):
        return False
    encoded = parts[1].name in ("|base64encode", "base64encode") and parts[1].values
    plain = parts[1].values[0] if encoded else None
    of = plain.values if isinstance(plain, Joined) else ()
    return len(of) == len(both) and all(map(_same, of, both))


def _same(first: Value, second: Value) -> bool:
    """Whether two values are one: a choice of two settings by the first, or by what has it."""
    if not (isinstance(first, Choice) and isinstance(second, Choice)):
        return first == second
    alike = (first.then, first.otherwise) == (second.then, second.otherwise)
    return first == second or (alike and _by_its_first(first) and _by_its_first(second))


def _by_its_first(choice: Choice) -> bool:
    test, then = choice.test, choice.then
    if not (isinstance(test, Setting) and isinstance(then, Setting)):
        return False
    return then.path[: len(test.path)] == test.path


_OAUTH_NAMES = {
    "client_id_name": "client_id",
    "client_secret_name": "client_secret",
    "refresh_token_name": "refresh_token",
    "grant_type_name": "grant_type",
}


def _check_oauth_names(draft: Draft, component: Component) -> None:
    """Parameters of the token's request under other names than the standard's, and other places."""
    for member, standard in _OAUTH_NAMES.items():
        if (name := component.get(member) or standard) != standard:
            draft.need("auth_token_name", f"OAuthAuthenticator.{member}", name)
    if component.get("use_profile_assertion") or component.get("profile_assertion"):
        draft.need("auth_jwt", "OAuthAuthenticator.profile_assertion")
    if component.get("send_refresh_request_as_query_params"):
        draft.need("auth_computed", "OAuthAuthenticator.send_refresh_request_as_query_params")


def _login(draft: Draft, component: Component) -> None:
    requester = component.get("login_requester") or {}
    method = str(requester.get("http_method") or "GET").upper()
    sent = _sent_by_login(draft, requester)
    if method not in ("GET", "POST") or (method == "GET" and {"body", "form"} & set(sent)):
        draft.need("auth_login", "SessionTokenAuthenticator.login_requester", method)
        return
    base = str(text_of(draft, requester.get("url_base") or "", "login_requester")).strip()
    path = str(text_of(draft, requester.get("path") or "", "login_requester")).strip()
    at = [str(part) for part in component.get("session_token_path") or []]
    if (decoder := (component.get("decoder") or {}).get("type", "JsonDecoder")) != "JsonDecoder":
        draft.need("auth_login", "SessionTokenAuthenticator.decoder", decoder)
    draft.auth = {
        "kind": "login",
        "token_url": "/".join(part for part in (base.rstrip("/"), path.lstrip("/")) if part),
        **({"method": method} if method != "POST" else {}),
        **sent,
        "token_at": dotted(at),
    }
    if lifetime_s := seconds(component.get("expiration_duration")):
        draft.auth["lifetime_s"] = lifetime_s
    into = component.get("request_authentication") or {}
    if into.get("type") == "ApiKey":
        option = into.get("inject_into") or {}
        if option.get("inject_into") != "header":
            draft.need("auth_place", "SessionTokenAuthenticator", option.get("inject_into"))
        draft.auth |= {"name": str(option.get("field_name")), "prefix": ""}


_SENT = (
    ("request_body_json", "body"),
    ("request_body_data", "form"),
    ("request_parameters", "params"),
    ("request_headers", "headers"),
)


def _sent_by_login(draft: Draft, requester: Component) -> dict[str, Any]:
    """The parts of the request of a login, by the YAML's names."""
    request: dict[str, Any] = {}
    for member, part in _SENT:
        member_value = requester.get(member)
        if member_value and not isinstance(member_value, dict):
            draft.need("auth_login", "SessionTokenAuthenticator.login_requester", member)
        elif member_value:
            request[part] = {
                str(name): _literal_of(draft, name, raw, "login_requester")
                for name, raw in member_value.items()
            }
    inner = requester.get("authenticator") or {}
    kind = inner.get("type", "NoAuth")
    if kind == "BasicHttpAuthenticator":
        request["username"] = needed(_user(draft, inner))
        request["password"] = _credential(draft, inner, "password")
    elif kind == "BearerAuthenticator":
        token = _needed(draft, inner, "api_token")
        request.setdefault("headers", {})["Authorization"] = f"Bearer {token}"
    elif kind == "ApiKeyAuthenticator" and (inner.get("inject_into") or {}).get(
        "inject_into", "header"
    ) in ("header", "request_parameter"):
        option = inner.get("inject_into") or {}
        part = "params" if option.get("inject_into") == "request_parameter" else "headers"
        name = str(option.get("field_name") or inner.get("header") or "Authorization")
        request.setdefault(part, {})[name] = _needed(draft, inner, "api_token")
    elif kind != "NoAuth":
        draft.need("auth_login", "SessionTokenAuthenticator.login_requester", kind)
    return request


def _literal_of(draft: Draft, name: Any, raw: Any, component: str) -> str:
    """A member of a request for a token; a literal that is a credential becomes a setting."""
    return literal(str(name), str(text_of(draft, raw, component)), draft.settings)


def _legacy_login(draft: Draft, component: Component) -> None:
    base = draft.base_url.rstrip("/")
    draft.auth = {
        "kind": "login",
        "token_url": f"{base}/{_text(draft, component, 'login_url').lstrip('/')}",
        "body": {
            "username": needed(_user(draft, component)),
            "password": _needed(draft, component, "password"),
        },
        "token_at": dotted([_text(draft, component, "session_token_response_key")]),
        "name": _text(draft, component, "header"),
        "prefix": "",
    }


def _selective(draft: Draft, component: Component) -> None:
    """The first of several that the YAML can say; the others are named."""
    choices = component.get("authenticators") or {}
    path = ".".join(map(str, component.get("authenticator_selection_path") or []))
    best: Draft | None = None
    chosen = ""
    for name, choice in choices.items():
        trial = Draft(
            draft.name,
            draft.component,
            draft.settings,
            parameters=draft.parameters,
            known=draft.known,
        )
        trial.base_url = draft.base_url
        authenticate(trial, choice)
        if best is None or len(trial.needs) < len(best.needs):
            best, chosen = trial, str(name)
    if best is None:
        return
    others = ", ".join(str(name) for name in choices if str(name) != chosen)
    draft.auth = best.auth
    draft.needs += best.needs
    note_unread(draft, choices[chosen])
    draft.doubt(f"auth is that of {path} = {chosen}; the manifest has others: {others}")


def _jwt(draft: Draft, component: Component) -> None:
    draft.need("auth_jwt", "JwtAuthenticator")


_KINDS = {
    "ApiKeyAuthenticator": _api_key,
    "BearerAuthenticator": _bearer,
    "BasicHttpAuthenticator": _basic,
    "OAuthAuthenticator": _oauth,
    "SessionTokenAuthenticator": _login,
    "LegacySessionTokenAuthenticator": _legacy_login,
    "SelectiveAuthenticator": _selective,
    "JwtAuthenticator": _jwt,
}
