"""The request of a stream as its manifest has it: what an API can know it by.

Made from the manifest's own components, and from nothing of the importer but its reading of
references and parameters, so that what is read from the API is the same for whoever reads it right.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jinja2 import ChainableUndefined, Environment, TemplateError

from tests.catalogue.rows import first_day, read_as, written_as

_HOLE = "\x00"
_HOST = re.compile(r"^\s*https?://(?:\{\{.*?\}\}|[^/{}])*")
_HOLES = re.compile(f"{_HOLE}+")
_MARK = re.compile("\x01(low|high)\x02([^\x03]*)\x03")


class Unservable(Exception):
    """What of a stream this API can't play."""


class _Hole(ChainableUndefined):
    """Whatever is known at run time only: a value in a path."""

    def __str__(self) -> str:
        return _HOLE

    def __bool__(self) -> bool:
        return True

    def get(self, *_: Any) -> "_Hole":
        return self

    def __getattr__(self, name: str) -> Any:
        if name in ("replace", "split", "strftime", "lower", "upper", "strip"):
            return lambda *_: self
        return super().__getattr__(name)


class _Bound(str):
    """A bound of the window, as a text that says which and in which format."""

    def __new__(cls, side: str, pattern: str) -> "_Bound":
        made = super().__new__(cls, f"\x01{side}\x02{pattern}\x03")
        made.side = side
        return made

    side: str

    def strftime(self, pattern: str) -> "_Bound":
        return _Bound(self.side, pattern)


def _format(value: Any, pattern: str, *_: Any) -> str:
    return value.strftime(pattern) if hasattr(value, "strftime") else str(value)


def _day_delta(days: int, pattern: str = "%Y-%m-%dT%H:%M:%S.%f%z") -> Any:
    return written_as(pattern, first_day())


_ENVIRONMENT = Environment(undefined=_Hole, autoescape=False)  # noqa: S701
_ENVIRONMENT.globals |= {
    "format_datetime": _format,
    "now_utc": lambda: datetime.now(first_day().tzinfo),
    "today_utc": lambda: first_day().date(),
    "day_delta": _day_delta,
    "str_to_datetime": lambda text: text,
    "duration": lambda text: _Hole(),
    "timestamp": lambda text: text,
}
_ENVIRONMENT.filters |= {"string": str, "hash": str, "base64encode": str}


def rendered(
    text: Any,
    config: Mapping[str, Any],
    parameters: Mapping[str, Any],
    more: Mapping[str, Any] | None = None,
) -> str:
    """A text of a manifest with the configuration in it; a hole where a value comes at run time."""
    if not isinstance(text, str):
        return "" if text is None else str(text)
    names = {"config": config, "parameters": parameters, "options": parameters}
    try:
        return str(_ENVIRONMENT.from_string(text).render(names | dict(more or {})))
    except (TemplateError, TypeError, ValueError, AttributeError) as error:
        raise Unservable(f"{text!r}: {error}") from None


def flat(value: Any, path: str = "") -> dict[str, str]:
    """The members of a body under their paths, as texts."""
    found: dict[str, str] = {}
    if isinstance(value, list):
        value = dict(enumerate(value))
    for name, item in value.items() if isinstance(value, dict) else ():
        here = f"{path}.{name}" if path else str(name)
        found |= flat(item, here) if isinstance(item, dict | list) else {here: str(item)}
    return found


@dataclass(frozen=True)
class Wanted:
    """What the request of a stream looks like.

    :ivar path: a pattern of the path, with a group for each value that comes at run time.
    :ivar loose: the same, where a value has slashes of its own.
    :ivar formats: of the bounds that the path has.
    :ivar fixed: parameters and members of the body that are the same in all requests.
    :ivar values: those that name a partition value.
    :ivar bounds: those in which bounds of the window stand: a pattern of the text, with a group for
        each bound; and the formats of the groups.
    """

    method: str
    path: re.Pattern[str]
    loose: re.Pattern[str]
    formats: Mapping[str, str]
    fixed: Mapping[str, str]
    values: tuple[str, ...]
    bounds: Mapping[str, tuple[re.Pattern[str], Mapping[str, str]]]

    def matches(self, method: str, path: str) -> str | None:
        """The partition value in a path; None if the request is another one."""
        found = self.path.fullmatch(path) or self.loose.fullmatch(path)
        if found is None or method != self.method:
            return None
        named = set(found.re.groupindex.values())
        return "/".join(part or "" for n, part in enumerate(found.groups(), 1) if n not in named)

    def agreeing(self, sent: Mapping[str, str]) -> int:
        """How many of its parameters a request has as they are; -1 = it has others."""
        same = [sent.get(name) == text for name, text in self.fixed.items()]
        same += [bool(one.fullmatch(sent.get(name, ""))) for name, (one, _) in self.bounds.items()]
        return sum(same) if all(same) else -1

    def window(self, path: str, sent: Mapping[str, str]) -> Iterator[tuple[str, str, datetime]]:
        """The bounds of a request: which, the format, the instant."""
        in_path = self.path.fullmatch(path) or self.loose.fullmatch(path)
        for side, text in in_path.groupdict().items() if in_path else ():
            if (instant := read_as(self.formats[side], text)) is not None:
                yield side, self.formats[side], instant
        for name, (pattern, formats) in self.bounds.items():
            found = pattern.fullmatch(sent.get(name, ""))
            for side, text in found.groupdict().items() if found else ():
                instant = read_as(formats[side], text) if text else None
                if instant is not None:
                    yield side, formats[side], instant


def wanted_of(stream: Mapping[str, Any], config: Mapping[str, Any]) -> Wanted:
    """The request of a stream. :raises Unservable: it is beyond this API."""
    retriever = stream.get("retriever") or {}
    requester = retriever.get("requester") or {}
    if retriever.get("type") != "SimpleRetriever" or requester.get("type") != "HttpRequester":
        raise Unservable("a component that is no HTTP request")
    parameters = requester.get("$parameters") or {}
    marks = _bounds_of(stream)
    base, path = (
        rendered(_HOST.sub("http://h", str(requester.get(name) or "")), config, parameters, marks)
        for name in ("url_base", "path")
    )
    if not base and requester.get("url"):
        base = rendered(_HOST.sub("http://h", requester["url"]), config, parameters, marks)
    whole = path if path.startswith("http") else f"{base.rstrip('/')}/{path.lstrip('/')}"
    url = urlsplit(whole.strip().replace("#", "%23"))
    pattern, formats = _pattern(re.sub("/+", "/", url.path).rstrip("/"), "[^/]+")
    texts = dict(parse_qsl(url.query, keep_blank_values=True))
    texts |= _texts(requester, config, parameters, marks)
    bounds = {name: _pattern(text) for name, text in texts.items() if _MARK.search(text)}
    for member, side in (("start_time_option", "low"), ("end_time_option", "high")):
        sync = stream.get("incremental_sync") or {}
        if option := option_name(sync.get(member)):
            bounds[option] = (re.compile(f"(?P<{side}>.+)"), {side: str(sync["datetime_format"])})
    headers = _headers(requester, config, parameters)
    values = [name for name, text in {**texts, **headers}.items() if _HOLE in text]
    values = values if routers(stream) else []
    values += [name for router in routers(stream) for name in _options(router)]
    fixed = {
        name: text
        for name, text in texts.items()
        if _HOLE not in text and not _MARK.search(text) and text
    }
    return Wanted(
        str(requester.get("http_method") or "GET").upper(),
        re.compile(f"/*{pattern.pattern.lstrip('/')}/*"),
        re.compile(f"/*{pattern.pattern.lstrip('/')}/*".replace("[^/]+", ".+?")),
        formats,
        fixed,
        tuple(dict.fromkeys(values)),
        bounds,
    )


def _bounds_of(stream: Mapping[str, Any]) -> dict[str, Any]:
    """What stands for the bounds of the window in the Jinja of a request."""
    sync = stream.get("incremental_sync") or {}
    if not sync:
        return {}
    pattern = str(sync.get("datetime_format") or "")
    low = str(sync.get("partition_field_start") or "start_time")
    high = str(sync.get("partition_field_end") or "end_time")
    of = {low: _Bound("low", pattern), high: _Bound("high", pattern)}

    class Slice(dict[str, Any]):
        def __missing__(self, name: str) -> Any:
            return _Hole()

        def get(self, name: str, *_: Any) -> Any:
            return self[name]

    return {name: Slice(of) for name in ("stream_interval", "stream_slice", "stream_partition")}


def _texts(
    requester: Mapping[str, Any],
    config: Mapping[str, Any],
    parameters: Mapping[str, Any],
    bounds: Mapping[str, Any],
) -> dict[str, str]:
    """The parameters and the members of the body, with marks and holes in them."""
    found: dict[str, str] = {}
    for member in ("request_parameters", "request_body_json", "request_body_data"):
        given = requester.get(member)
        if isinstance(given, str):
            text = rendered(given, config, parameters, bounds)
            try:
                given = json.loads(text) if member.endswith("json") else None
            except ValueError:
                continue
            found |= flat(given) if given else dict(parse_qsl(text, keep_blank_values=True))
            continue
        for name, text in flat(given).items():
            try:
                found[name] = rendered(text, config, parameters, bounds).strip()
            except Unservable:
                found[name] = _HOLE
    return found


def _headers(
    requester: Mapping[str, Any], config: Mapping[str, Any], parameters: Mapping[str, Any]
) -> dict[str, str]:
    given = requester.get("request_headers")
    found: dict[str, str] = {}
    for name, text in given.items() if isinstance(given, dict) else ():
        if "stream_" not in str(text):
            continue
        try:
            found[f"header {str(name).lower()}"] = rendered(text, config, parameters)
        except Unservable:
            continue
    return found


def _pattern(text: str, hole: str = ".*?") -> tuple[re.Pattern[str], Mapping[str, str]]:
    """A pattern of a text with marks and holes, and the formats of its bounds."""
    made, formats, at = "", {}, 0
    for mark in _MARK.finditer(text):
        side, pattern = mark.groups()
        epoch = pattern.startswith("%") and "-" not in pattern and ":" not in pattern
        text_of_bound = (
            hole
            if epoch
            else "".join(
                r"[\w.+-]+?" if part.startswith("%") else re.escape(part)
                for part in re.split(r"(%_?[A-Za-z]+?(?=[^A-Za-z]|$)|%[A-Za-z])", pattern)
            )
        )
        group = f"(?P={side})" if side in formats else f"(?P<{side}>{text_of_bound})"
        made += re.escape(text[at : mark.start()]) + group
        formats[side], at = pattern, mark.end()
    made += re.escape(text[at:])
    filled = _HOLES.sub(hole if hole == ".*?" else f"({hole})", made)
    return re.compile(filled.replace("\\ ", r"[\s+]*")), formats


def option_name(option: Any) -> str:
    """The name of what a ``RequestOption`` puts into a request, a path with dots."""
    if not isinstance(option, dict):
        return ""
    return ".".join(map(str, option.get("field_path") or [option.get("field_name") or ""]))


def routers(stream: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The partition routers of a stream."""
    retriever = stream.get("retriever") or {}
    found = retriever.get("partition_router") or retriever.get("stream_slicer") or []
    return found if isinstance(found, list) else [found]


def _options(router: Mapping[str, Any]) -> Iterator[str]:
    options = [router.get("request_option")]
    options += [one.get("request_option") for one in router.get("parent_stream_configs") or []]
    for one in options:
        in_header = one and one.get("inject_into") == "header"
        if one:
            yield f"header {option_name(one).lower()}" if in_header else option_name(one)


def parents(streams: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The parents of streams, and theirs."""
    for stream in streams:
        for router in routers(stream):
            for config in router.get("parent_stream_configs") or []:
                yield config["stream"]
                yield from parents([config["stream"]])


def columns_for_children(streams: list[Mapping[str, Any]]) -> dict[str, set[str]]:
    """The members that children read of their parents, by the parent's name; paths with dots."""
    found: dict[str, set[str]] = {}
    for stream in streams:
        for router in routers(stream):
            for config in router.get("parent_stream_configs") or []:
                named = [str(config.get("parent_key")).replace("/", ".")]
                named += [".".join(map(str, one)) for one in config.get("extra_fields") or []]
                found.setdefault(str(config["stream"].get("name")), set()).update(named)
                for name, more in columns_for_children([config["stream"]]).items():
                    found.setdefault(name, set()).update(more)
    return found
