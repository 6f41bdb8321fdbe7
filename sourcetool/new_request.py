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
from sourcetool.query import by_name, single


@dataclass(frozen=True)
class Key:
    """A key that the API wants in a header.

    :ivar setting: the environment variable that holds it. The YAML names it, and never its value.
        For ``Authorization`` it is a bearer's, unless it says another scheme (``token abc``).
    """

    header: str
    setting: str


@dataclass(frozen=True)
class RequestOptions:
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
    form: dict[str, Any] | None = None
    settings: dict[str, str] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)

    def visible(self) -> list[tuple[str, str]]:
        """The parameters and members that may be a page, a limit or a time."""
        # A name that is in the URL and in the body is looked at in the URL.
        parts = dict(leaves(self.json or {})) | (self.form or {}) | self.params
        return [(name, text) for name, text in single(parts).items() if "${" not in text]


def request_of(options: RequestOptions, source: str, env: Mapping[str, str]) -> Proposal:
    """The request to send, and its parts as the YAML has them.

    :raises ConfigError: the URL is none, a setting is missing, the body is no JSON object.
    """
    proposal, names = Proposal(), SettingNames(source)
    parts = _parts(options.url)
    netloc = parts.netloc.rpartition("@")[2]
    _credentials(proposal, options, env)
    if parts.username is not None and not proposal.auth:
        user, password = unquote(parts.username), unquote(parts.password or "")
        proposal.auth = {
            "kind": "basic",
            "username": _setting(proposal, names, "username", user),
            "password": _setting(proposal, names, "password", password),
        }
        proposal.sent_headers["Authorization"] = _basic(user, password)
    path = "/".join(
        _setting(proposal, names, "path_key", unquote(part))
        if looks_secret(unquote(part))
        else part
        for part in parts.path.split("/")
    )
    above, _, last = path.rstrip("/").rpartition("/")
    proposal.base_url = f"{parts.scheme}://{netloc}{above}"
    proposal.path = last + "/" * path.endswith("/")
    pairs: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if is_secret_name(name) and value and not proposal.auth:
            key = _setting(proposal, names, "key", value)
            proposal.auth = {"kind": "api_key", "place": "query", "name": name, "key": key}
        else:
            pairs.append((name, _as_yaml(proposal, names, name, value)))
    proposal.params = by_name(pairs)
    proposal.url = f"{parts.scheme}://{netloc}{parts.path}" + (
        f"?{parts.query}" if parts.query else ""
    )
    _headers(proposal, options, names, env)
    _body(proposal, options, names, env)
    return proposal


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


def _credentials(proposal: Proposal, options: RequestOptions, env: Mapping[str, str]) -> None:
    """Put in the credentials that the options name by their settings."""
    if options.key is not None:
        named = f"${{{options.key.setting}}}"
        value = _filled(proposal, named, env)
        if options.key.header.lower() == "authorization" and " " not in value:
            proposal.auth = {"kind": "bearer", "token": named}
            value = f"Bearer {value}"
        else:
            proposal.auth = {"kind": "api_key", "name": options.key.header, "key": named}
        proposal.sent_headers[options.key.header] = value
    if options.basic is not None:
        settings = options.basic.split(":")
        if len(settings) != 2 or not all(re.fullmatch(r"[A-Za-z_]\w*", name) for name in settings):
            raise ConfigError(
                "--basic: expected the names of two environment variables, as in "
                "--basic SHOP_USER:SHOP_PASSWORD, and got something else"
            )
        user, password = (f"${{{name}}}" for name in settings)
        proposal.auth = {"kind": "basic", "username": user, "password": password}
        pair = [_filled(proposal, text, env) for text in (user, password)]
        proposal.sent_headers["Authorization"] = _basic(*pair)


def _headers(
    proposal: Proposal, options: RequestOptions, names: SettingNames, env: Mapping[str, str]
) -> None:
    for line in options.headers:
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not name:
            raise ConfigError("--header: expected 'Name: value'")
        proposal.headers[name] = _as_yaml(proposal, names, name, value)
        proposal.sent_headers[name] = _filled(proposal, value, env)


def _body(
    proposal: Proposal, options: RequestOptions, names: SettingNames, env: Mapping[str, str]
) -> None:
    proposal.method = (
        options.method or ("POST" if options.json or options.form else "GET")
    ).upper()
    if proposal.method not in ("GET", "POST"):
        raise ConfigError(f"--method: expected GET or POST, got {proposal.method!r}")
    if options.json:
        try:
            body = orjson.loads(options.json)
        except orjson.JSONDecodeError as error:
            raise ConfigError(f"--json: this is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise ConfigError("--json: expected a JSON object")
        proposal.json = _as_yaml_in(proposal, names, body, "")
        proposal.content = orjson.dumps(_filled_in(proposal, body, env))
        proposal.sent_headers.setdefault("Content-Type", "application/json")
    elif options.form:
        pairs = parse_qsl(options.form, keep_blank_values=True)
        proposal.form = by_name((n, _as_yaml(proposal, names, n, value)) for n, value in pairs)
        filled = [(name, _filled(proposal, value, env)) for name, value in pairs]
        proposal.content = urlencode(filled).encode()
        proposal.sent_headers.setdefault("Content-Type", "application/x-www-form-urlencoded")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The scalars of a JSON body, each by its name if no other has it, else by its path."""
    paths = list(_paths(value, path))
    last = [name.rpartition(".")[2] for name, _ in paths]
    for (name, scalar), short in zip(paths, last, strict=True):
        yield (short if last.count(short) == 1 else name), scalar


def with_leaves(value: Any, changed: Mapping[str, str]) -> Any:
    """A JSON body in which the scalars are as ``changed`` has them."""
    by_path = {
        path: changed[name]
        for (path, old), (name, _) in zip(_paths(value, ""), leaves(value), strict=True)
        if name in changed and changed[name] != str(old)
    }

    def put(member: Any, path: str) -> Any:
        if isinstance(member, dict):
            return {k: put(v, f"{path}.{k}" if path else k) for k, v in member.items()}
        return by_path.get(path, member)

    return put(value, "")


def _paths(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _paths(item, f"{path}.{name}" if path else name)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield path, value


def _as_yaml(proposal: Proposal, names: SettingNames, name: str, value: str) -> str:
    """A value as the YAML has it."""
    if names_in(value) or not is_secret(name, value):
        return value
    return _setting(proposal, names, name, value)


def _as_yaml_in(proposal: Proposal, names: SettingNames, value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {k: _as_yaml_in(proposal, names, v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_as_yaml_in(proposal, names, item, name) for item in value]
    scalar = isinstance(value, str | int) and not isinstance(value, bool)
    return (
        _as_yaml(proposal, names, name, str(value))
        if scalar and is_secret(name, str(value))
        else value
    )


def _setting(proposal: Proposal, names: SettingNames, name: str, value: str) -> str:
    variable = names.variable((name,))
    if not value:  # Stripe's password: nothing has to be set for it
        return f"${{{variable}:-}}"
    number = 1
    while proposal.settings.get(variable, value) != value:
        number += 1
        variable = names.variable((name, str(number)))
    proposal.settings[variable] = value
    proposal.secrets.add(value)
    return f"${{{variable}}}"


def _filled(proposal: Proposal, text: str, env: Mapping[str, str]) -> str:
    value = interpolate(text, env)
    proposal.secrets.update(env[name] for name in names_in(text) if env.get(name))
    return value


def _filled_in(proposal: Proposal, value: Any, env: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {k: _filled_in(proposal, v, env) for k, v in value.items()}
    if isinstance(value, list):
        return [_filled_in(proposal, item, env) for item in value]
    return _filled(proposal, value, env) if isinstance(value, str) else value


def _basic(user: str, password: str) -> str:
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
