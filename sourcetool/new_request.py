"""What ``new`` sends, and what the YAML says of it: no credential of the first is in the second.

Each credential that is given by its value (in the URL, a header, a body) becomes a setting. One
that is given as ``${SETTING}`` is read from the environment, and stays a setting.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import orjson

from pipeline.config.settings import interpolate, names_in
from pipeline.errors import ConfigError
from sourcetool.credentials import is_secret, is_secret_name, looks_secret, without_credentials
from sourcetool.importers.settings import SettingNames


@dataclass(frozen=True)
class Key:
    """A key that the API wants in a header.

    :ivar setting: the environment variable that holds it. The YAML names it, and never its value.
        For ``Authorization`` it is a bearer's, unless it says another scheme (``token abc``).
    """

    header: str
    setting: str


@dataclass(frozen=True)
class Given:
    """The request as the command line says it.

    :ivar basic: ``USER_SETTING:PASSWORD_SETTING``: the two environment variables.
    :ivar headers: ``Name: value``; a value may have ``${SETTING}`` in it.
    :ivar json: a JSON object, ``form`` a form (``a=1&b=2``): either makes it a POST.
    """

    url: str
    key: Key | None = None
    basic: str | None = None
    headers: tuple[str, ...] = ()
    json: str | None = None
    form: str | None = None
    method: str | None = None


@dataclass
class Proposal:
    """The request to send, and its parts as the YAML has them.

    :ivar settings: the values of the settings that the YAML names and the environment lacks.
    :ivar secrets: all values that no text may have.
    :ivar params, json, form: with settings in place of credentials.
    """

    method: str = "GET"
    url: str = ""
    sent_headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    base_url: str = ""
    path: str = ""
    auth: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    json: dict[str, Any] | None = None
    form: dict[str, str] | None = None
    settings: dict[str, str] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)

    def visible(self) -> list[tuple[str, str]]:
        """The parameters and members that may be a page, a limit or a time."""
        pairs = [*self.params.items(), *(self.form or {}).items(), *leaves(self.json or {})]
        return [(name, str(value)) for name, value in pairs if "${" not in str(value)]


def request_of(given: Given, source: str, env: Mapping[str, str]) -> Proposal:
    """What to send, and to say.

    :raises ConfigError: the URL is none, a setting is missing, the body is no JSON object.
    """
    found, names = Proposal(), SettingNames(source)
    parts = _parts(given.url)
    netloc = parts.netloc.rpartition("@")[2]
    _credentials(found, given, names, env)
    if parts.username is not None and not found.auth:
        user, password = unquote(parts.username), unquote(parts.password or "")
        found.auth = {
            "kind": "basic",
            "username": _setting(found, names, "username", user),
            "password": _setting(found, names, "password", password),
        }
        found.sent_headers["Authorization"] = _basic(user, password)
    path = "/".join(
        _setting(found, names, "path_key", unquote(part)) if looks_secret(unquote(part)) else part
        for part in parts.path.split("/")
    )
    above, _, last = path.rstrip("/").rpartition("/")
    found.base_url = f"{parts.scheme}://{netloc}{above}"
    found.path = last + "/" * path.endswith("/")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if is_secret_name(name) and value and not found.auth:
            key = _setting(found, names, "key", value)
            found.auth = {"kind": "api_key", "place": "query", "name": name, "key": key}
        else:
            found.params[name] = _said(found, names, name, value)
    found.url = f"{parts.scheme}://{netloc}{parts.path}" + (
        f"?{parts.query}" if parts.query else ""
    )
    _headers(found, given, names, env)
    _body(found, given, names, env)
    return found


def _parts(url: str) -> Any:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - looking at it raises
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"expected a URL that starts with http:// or https://, got {without_credentials(url)!r}"
        )
    return parts


def _credentials(
    found: Proposal, given: Given, names: SettingNames, env: Mapping[str, str]
) -> None:
    """Those that are named by their settings."""
    if given.key is not None:
        named = f"${{{given.key.setting}}}"
        value = _filled(found, named, env)
        if given.key.header.lower() == "authorization" and " " not in value:
            found.auth = {"kind": "bearer", "token": named}
            value = f"Bearer {value}"
        else:
            found.auth = {"kind": "api_key", "name": given.key.header, "key": named}
        found.sent_headers[given.key.header] = value
    if given.basic is not None:
        settings = given.basic.split(":")
        if len(settings) != 2 or not all(re.fullmatch(r"[A-Za-z_]\w*", name) for name in settings):
            raise ConfigError(
                "--basic: expected the names of two environment variables, as in "
                "--basic SHOP_USER:SHOP_PASSWORD, and got something else"
            )
        user, password = (f"${{{name}}}" for name in settings)
        found.auth = {"kind": "basic", "username": user, "password": password}
        pair = [_filled(found, text, env) for text in (user, password)]
        found.sent_headers["Authorization"] = _basic(*pair)


def _headers(found: Proposal, given: Given, names: SettingNames, env: Mapping[str, str]) -> None:
    for line in given.headers:
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not name:
            raise ConfigError("--header: expected 'Name: value'")
        found.headers[name] = _said(found, names, name, value)
        found.sent_headers[name] = _filled(found, value, env)


def _body(found: Proposal, given: Given, names: SettingNames, env: Mapping[str, str]) -> None:
    found.method = (given.method or ("POST" if given.json or given.form else "GET")).upper()
    if found.method not in ("GET", "POST"):
        raise ConfigError(f"--method: expected GET or POST, got {found.method!r}")
    if given.json:
        try:
            body = orjson.loads(given.json)
        except orjson.JSONDecodeError as error:
            raise ConfigError(f"--json: this is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise ConfigError("--json: expected a JSON object")
        found.json = _said_in(found, names, body, "")
        found.content = orjson.dumps(_filled_in(found, body, env))
        found.sent_headers.setdefault("Content-Type", "application/json")
    elif given.form:
        pairs = parse_qsl(given.form, keep_blank_values=True)
        found.form = {name: _said(found, names, name, value) for name, value in pairs}
        filled = [(name, _filled(found, value, env)) for name, value in pairs]
        found.content = urlencode(filled).encode()
        found.sent_headers.setdefault("Content-Type", "application/x-www-form-urlencoded")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The scalars of a JSON body, each by its name if no other has it, else by its path."""
    paths = list(_paths(value, path))
    last = [name.rpartition(".")[2] for name, _ in paths]
    for (name, found), short in zip(paths, last, strict=True):
        yield (short if last.count(short) == 1 else name), found


def with_leaves(value: Any, changed: Mapping[str, str]) -> Any:
    """A JSON body in which the scalars are as ``changed`` has them."""
    by_path = {
        path: changed[name]
        for (path, old), (name, _) in zip(_paths(value, ""), leaves(value), strict=True)
        if name in changed and changed[name] != str(old)
    }

    def put(here: Any, path: str) -> Any:
        if isinstance(here, dict):
            return {k: put(v, f"{path}.{k}" if path else k) for k, v in here.items()}
        return by_path.get(path, here)

    return put(value, "")


def _paths(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _paths(item, f"{path}.{name}" if path else name)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield path, value


def _said(found: Proposal, names: SettingNames, name: str, value: str) -> str:
    """A value as the YAML has it."""
    if names_in(value) or not is_secret(name, value):
        return value
    return _setting(found, names, name, value)


def _said_in(found: Proposal, names: SettingNames, value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {k: _said_in(found, names, v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_said_in(found, names, item, name) for item in value]
    scalar = isinstance(value, str | int) and not isinstance(value, bool)
    return (
        _said(found, names, name, str(value)) if scalar and is_secret(name, str(value)) else value
    )


def _setting(found: Proposal, names: SettingNames, name: str, value: str) -> str:
    variable = names.variable((name,))
    number = 1
    while found.settings.get(variable, value) != value:
        number += 1
        variable = names.variable((name, str(number)))
    found.settings[variable] = value
    found.secrets.add(value)
    return f"${{{variable}}}"


def _filled(found: Proposal, text: str, env: Mapping[str, str]) -> str:
    value = interpolate(text, env)
    found.secrets.update(env[name] for name in names_in(text) if env.get(name))
    return value


def _filled_in(found: Proposal, value: Any, env: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {k: _filled_in(found, v, env) for k, v in value.items()}
    if isinstance(value, list):
        return [_filled_in(found, item, env) for item in value]
    return _filled(found, value, env) if isinstance(value, str) else value


def _basic(user: str, password: str) -> str:
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
