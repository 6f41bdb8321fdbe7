"""A request that somebody made, and its response, become an endpoint (curl commands, HAR files).

No value of a credential is written: each becomes a setting. What the response shows (rows, key,
types, the next page) is read as ``new`` reads a page.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from sourcetool.credentials import is_secret, is_secret_name, looks_secret
from sourcetool.importers.abilities import Need
from sourcetool.importers.converted import Converted
from sourcetool.importers.draft import plain
from sourcetool.importers.settings import SettingNames
from sourcetool.infer import guess

_NOISE = re.compile(
    r"^(:.*|user-agent|accept-.*|content-length|host|connection|sec-.*|origin|referer|pragma|"
    r"cache-control|dnt|te|priority|upgrade-insecure-requests|if-.*|content-type|x-requested-with)$",
    re.IGNORECASE,
)
_PLAIN_ACCEPT = ("", "*/*", "application/json", "application/json, text/plain, */*")


@dataclass
class RequestSample:
    """A request and what came back.

    :ivar json: the JSON body; ``form`` a form; ``text`` any other.
    :ivar body: the response's JSON; None if there was none.
    """

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    json: Any = None
    form: list[tuple[str, str]] | None = None
    text: str | None = None
    body: Any = None
    response_headers: dict[str, str] = field(default_factory=dict)
    missing: str = ""

    @property
    def origin(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def from_samples(samples: Sequence[RequestSample], name: str) -> Converted:
    """The source of some requests to one host."""
    settings = SettingNames(name)
    converted = Converted(name, {"source": name}, settings)
    first = samples[0]
    converted.data["base_url"] = first.origin
    converted.data["start"] = f"${{{settings.variable(('start',))}}}"
    auth, sent = _auth(first, settings)
    if auth:
        converted.data["auth"] = auth
    endpoints: dict[str, Any] = {}
    converted.data["endpoints"] = endpoints
    for sample in samples:
        parts = urlsplit(sample.url)
        endpoint = plain(unquote(parts.path.rstrip("/").rpartition("/")[2].split(".")[0]) or "rows")
        if endpoint in endpoints:
            continue
        if sample.origin != first.origin:
            need = Need("host_per_endpoint", "request", sample.origin)
            converted.left_out.setdefault(endpoint, []).append(need)
            continue
        endpoints[endpoint], converted.doubts[endpoint] = _endpoint(sample, settings, sent)
        converted.streams[endpoint] = endpoint
    converted.notes.append(
        "how fast may it be asked? Add limits: {windows: [{requests: 10, per_s: 1}]}"
    )
    return converted


def _endpoint(
    sample: RequestSample, settings: SettingNames, sent: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    parts = urlsplit(sample.url)
    path = "/".join(
        settings.text(("path_key",)) if looks_secret(unquote(part)) else part
        for part in parts.path.split("/")
    )
    draft: dict[str, Any] = {"path": path.lstrip("/")}
    query = {k: v for k, v in parse_qsl(parts.query, keep_blank_values=True) if k not in sent}
    request: dict[str, Any] = {"method": "POST"} if sample.method == "POST" else {}
    headers = _headers(sample, settings, sent)
    body = _without_secrets(sample.json, settings) if isinstance(sample.json, dict) else {}
    form = dict(sample.form or [])
    shown = {**query, **{k: str(v) for k, v in body.items() if _is_scalar(v)}, **form}
    doubts: list[str] = []
    try:
        if sample.missing:
            raise ValueError(sample.missing)
        inferred = guess(sample.body, sample.response_headers, list(shown.items()))
    except ValueError as error:
        doubts.append(f"{error}: rows, key, paging and types are not known")
        draft |= {"key": ["id"]}
        changed: Mapping[str, str] = shown
    else:
        doubts += inferred.doubts
        draft |= {"window": inferred.window} if inferred.window else {}
        draft["paging"] = inferred.paging
        draft |= {"rows": inferred.rows_path} if inferred.rows_path else {}
        draft["key"] = [inferred.key or next(iter(inferred.columns))]
        draft |= {"cursor": inferred.cursor} if inferred.cursor else {}
        draft |= {"order": "none"} if inferred.paging["kind"] == "offset" else {}
        draft["columns"] = {
            name: {"type": kind, "path": inferred.paths[name]} if name in inferred.paths else kind
            for name, kind in inferred.columns.items()
        }
        changed = inferred.params
    params = {
        k: _setting(k, v, settings) for k, v in changed.items() if k not in body and k not in form
    }
    if params:
        request["params"] = params
    if headers:
        request["headers"] = headers
    if body:
        request["json"] = {k: changed[k] if _is_new(changed, k, v) else v for k, v in body.items()}
    if form:
        request["form"] = {k: _setting(k, changed.get(k, v), settings) for k, v in form.items()}
    if sample.text:
        request["text"] = _text_without_secrets(sample.text, settings)
        doubts.append("the body is sent as it is: has it the window, the page or a secret in it?")
    if request:
        draft = {"path": draft.pop("path"), "request": request, **draft}
    return draft, doubts


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_new(changed: Mapping[str, str], name: str, value: Any) -> bool:
    return name in changed and changed[name] != str(value)


def _setting(name: str, value: str, settings: SettingNames) -> str:
    secret = not value.startswith("{") and is_secret(name, value)
    return settings.text((name,)) if secret else value


def _without_secrets(value: Any, settings: SettingNames) -> Any:
    if isinstance(value, dict):
        return {
            k: settings.text((k,))
            if _is_scalar(v) and is_secret(k, str(v))
            else _without_secrets(v, settings)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(item, settings) for item in value]
    return value


def _text_without_secrets(text: str, settings: SettingNames) -> str:
    """A body that is no JSON object, with settings in place of what looks like credentials."""
    try:
        return orjson.dumps(_without_secrets(orjson.loads(text), settings)).decode()
    except orjson.JSONDecodeError:
        return _WORD.sub(
            lambda word: settings.text(("body_key",)) if looks_secret(word[0]) else word[0], text
        )


_WORD = re.compile(r"[A-Za-z0-9_\-+/=~:.]{20,}")


def _auth(sample: RequestSample, settings: SettingNames) -> tuple[dict[str, Any], list[str]]:
    """``auth``, and the headers and parameters that it takes the place of."""
    parts = urlsplit(sample.url)
    headers = {name.lower(): (name, value) for name, value in sample.headers.items()}
    if parts.username is not None:
        return _basic(settings), ["authorization"]
    if "authorization" in headers:
        scheme, _, rest = headers["authorization"][1].strip().partition(" ")
        if scheme.lower() == "bearer":
            return {"kind": "bearer", "token": settings.text(("token",))}, ["authorization"]
        if scheme.lower() == "basic" and _is_basic(rest):
            return _basic(settings), ["authorization"]
        prefix = {"prefix": f"{scheme} "} if rest else {}
        key = {"kind": "api_key", "name": "Authorization", **prefix}
        return {**key, "key": settings.text(("key",))}, ["authorization"]
    for name, (spelt, _) in headers.items():
        if is_secret_name(name) and name != "cookie":
            return {"kind": "api_key", "name": spelt, "key": settings.text(("key",))}, [name]
    for name, _ in parse_qsl(parts.query):
        if is_secret_name(name):
            key = {"kind": "api_key", "place": "query", "name": name}
            return {**key, "key": settings.text(("key",))}, [name]
    return {}, []


def _basic(settings: SettingNames) -> dict[str, Any]:
    user, password = settings.text(("username",)), settings.text(("password",))
    return {"kind": "basic", "username": user, "password": password}


def _is_basic(text: str) -> bool:
    try:
        return b":" in base64.b64decode(text, validate=True)
    except binascii.Error:
        return False


def _headers(sample: RequestSample, settings: SettingNames, sent: Sequence[str]) -> dict[str, str]:
    headers = {}
    for name, value in sample.headers.items():
        low = name.lower()
        if low in sent or (low == "accept" and value in _PLAIN_ACCEPT):
            continue
        if low == "content-type" and sample.text is not None:
            headers[name] = value
        elif _NOISE.match(low):
            continue
        elif is_secret(name, value):
            headers[name] = settings.text((name,))
        else:
            headers[name] = value
    return headers


def with_body(sample: RequestSample, text: str | None, kind: str) -> None:
    """Put a request's body into a sample, as JSON, a form or a text."""
    if not text:
        return
    if "json" in kind or (not kind and text.lstrip()[:1] in "{["):
        try:
            sample.json = orjson.loads(text)
        except orjson.JSONDecodeError:
            sample.text = text
        else:
            if isinstance(sample.json, list):
                sample.text, sample.json = text, None
    elif "form-urlencoded" in kind or not kind:
        sample.form = parse_qsl(text, keep_blank_values=True)
    else:
        sample.text = text
