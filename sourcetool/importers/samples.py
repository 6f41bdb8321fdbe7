"""A request that somebody made, and its response, become an endpoint (curl commands, HAR files).

No value of a credential is written: each becomes a setting. What the response shows (rows, key,
types, the next page) is read as ``new`` reads a page.
"""

import base64
import binascii
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from sourcetool.credentials import is_secret_name, looks_secret
from sourcetool.importers.abilities import Need
from sourcetool.importers.converted import Converted
from sourcetool.importers.draft import free_name, plain
from sourcetool.importers.literals import (
    literal,
    path_without_secrets,
    text_without_secrets,
    without_secrets,
)
from sourcetool.importers.settings import SettingNames
from sourcetool.infer import LIMITS, NUMBERS, OFFSETS, TOKENS, guess
from sourcetool.query import Parameters, by_name, in_query, single

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
    samples_of: dict[str, RequestSample] = {}
    for sample in samples:
        if sample.origin != first.origin:
            need = Need("host_of_samples", "request", sample.origin)
            other = free_name(_name(sample), endpoints)
            if need not in converted.left_out.setdefault(other, []):
                converted.left_out[other].append(need)
            continue
        same = next((name for name, of in samples_of.items() if _is_same(of, sample)), None)
        if same is not None:
            _note_other(samples_of[same], sample, converted.doubts[same])
            continue
        endpoint = _free_name(sample, endpoints)
        samples_of[endpoint] = sample
        endpoints[endpoint], converted.doubts[endpoint] = _endpoint(sample, settings, sent)
        converted.streams[endpoint] = endpoint
    converted.notes.append(
        "how fast may it be asked? Add limits: {windows: [{requests: 10, per_s: 1}]}"
    )
    return converted


_PAGING = frozenset((*LIMITS, *OFFSETS, *NUMBERS, *TOKENS, "first", "last", "before"))
"""Names of parameters and members that say which page is requested."""


def _name(sample: RequestSample) -> str:
    """The name of an endpoint: GraphQL's operation, else the last part of the path."""
    operation = sample.json.get("operationName") if isinstance(sample.json, dict) else None
    last = urlsplit(sample.url).path.rstrip("/").rpartition("/")[2].split(".")[0]
    return plain(str(operation or unquote(last) or "rows"))


def _free_name(sample: RequestSample, taken: Collection[str]) -> str:
    """The name of an endpoint that no other one has: with more of its path, if it has to be."""
    if (name := _name(sample)) not in taken:
        return name
    parts = [part for part in unquote(urlsplit(sample.url).path).split("/") if part]
    shown = ["x" if looks_secret(part) else part for part in parts]
    return free_name(plain("_".join(shown)) if len(parts) > 1 else name, taken)


def _is_same(first: RequestSample, other: RequestSample) -> bool:
    """Whether two requests are for pages of the same collection."""
    paths = [urlsplit(sample.url).path.rstrip("/") for sample in (first, other)]
    if first.method != other.method or paths[0] != paths[1] or first.text != other.text:
        return False
    forms = [_without_paging(by_name(sample.form or [])) for sample in (first, other)]
    bodies = [_without_paging(sample.json) for sample in (first, other)]
    return forms[0] == forms[1] and bool(bodies[0] == bodies[1])


def _without_paging(value: Any) -> Any:
    """A body without the members that say which page is requested."""
    if isinstance(value, dict):
        return {
            name: _without_paging(item)
            for name, item in value.items()
            if str(name).lower() not in _PAGING
        }
    return [_without_paging(item) for item in value] if isinstance(value, list) else value


def _note_other(taken: RequestSample, other: RequestSample, doubts: list[str]) -> None:
    """Name the parameters in which a request differs from the one that the endpoint is made of."""
    mine, others = (in_query(urlsplit(sample.url).query) for sample in (taken, other))
    different = [
        name
        for name in sorted({*mine, *others})
        if mine.get(name) != others.get(name) and name.lower() not in _PAGING
    ]
    text = f"it was requested with other values of {', '.join(different)} too: which rows are all?"
    if different and text not in doubts:
        doubts.append(text)


def _endpoint(
    sample: RequestSample, settings: SettingNames, sent: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    parts = urlsplit(sample.url)
    path = path_without_secrets(parts.path, settings)
    draft: dict[str, Any] = {"path": path.lstrip("/")}
    query = {k: v for k, v in in_query(parts.query).items() if k not in sent}
    request: dict[str, Any] = {"method": "POST"} if sample.method == "POST" else {}
    headers = _headers(sample, settings, sent)
    body = without_secrets(sample.json, settings) if isinstance(sample.json, dict) else {}
    form = by_name(sample.form or [])
    scalars = {k: v for k, v in body.items() if _is_scalar(v)}
    # A name that is in two places is looked at in the first one: the others stay as they are.
    shown = single({**form, **scalars, **query})
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
    new = {name: value for name, value in changed.items() if name not in shown}
    request |= _filled(query, scalars, form, changed, new)
    if headers:
        request["headers"] = headers
    if body:
        request["json"] = body | request.get("json", {})
    for part in ("params", "form"):
        if part in request:
            request[part] = without_secrets(request[part], settings)
    doubts += _in_two_places(query, scalars, form, changed)
    if sample.text:
        request["text"] = text_without_secrets(sample.text, settings)
        doubts.append("the body is sent as it is: has it the window, the page or a secret in it?")
    if request:
        draft = {"path": draft.pop("path"), "request": request, **draft}
    return draft, doubts


def _filled(
    query: Parameters,
    scalars: Parameters,
    form: Parameters,
    changed: Mapping[str, str],
    new: Mapping[str, str],
) -> dict[str, Parameters]:
    """The parts of a request with the placeholders that were found in them, each by itself."""
    params = {name: changed.get(name, value) for name, value in query.items()}
    of_json = {
        name: changed[name]
        for name, value in scalars.items()
        if name not in query and changed.get(name, str(value)) != str(value)
    }
    of_form = {
        name: value if name in query or name in scalars else changed.get(name, value)
        for name, value in form.items()
    }
    parts = {"params": {**params, **new}, "json": of_json, "form": of_form}
    return {name: members for name, members in parts.items() if members}


def _in_two_places(
    query: Parameters, scalars: Parameters, form: Parameters, changed: Mapping[str, str]
) -> list[str]:
    """Doubts on placeholders in the URL whose parameter the body has, too."""
    return [
        f"{name} is in the URL and in the body: {changed[name]} stands in the URL alone"
        for name, value in query.items()
        if name in {*scalars, *form} and changed.get(name, value) != value
    ]


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


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
        else:
            headers[name] = literal(name, value, settings)
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
