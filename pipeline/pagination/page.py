"""The page: its request with its keys, its statements about itself, and its response. Pure.

Rows are compared by what the text of a key means, such as a day or an instant; a request has the
text again, as the API's rows have it, which the declared type of the column tells.

A link or a token may be a number in disguise: ``link_is_number`` and ``token_is_number`` look at
the names in it.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa

from pipeline.decode.types import parse_type
from pipeline.timestamps import EPOCH, UNITS, as_iso

Key = int | float | bool | Decimal | str | date | datetime | time | None
Keys = tuple[Key, ...]
"""Of one row: a key of one column, or of several."""


@dataclass(frozen=True)
class JsonToken:
    """A token that is a list, an object or a fraction, as JSON text: an API wants it as it came."""

    text: str


PageToken = str | int | float | JsonToken | None


def key_to_json(key: Key | bytes | PageToken) -> Any:
    """A key or a token as JSON, for a position that is kept; what is no scalar is marked."""
    if isinstance(key, JsonToken):
        return {"json": key.text}
    if isinstance(key, datetime):
        return {"instant": key.isoformat()}
    if isinstance(key, Decimal):
        return {"decimal": str(key)}
    if isinstance(key, bytes):
        return {"hex": key.hex()}
    if isinstance(key, time):
        return {"time": key.isoformat()}
    return {"day": key.isoformat()} if isinstance(key, date) else key


def key_from_json(value: Any) -> Any:
    """The inverse of ``key_to_json``: what is compared with the keys of rows has their type."""
    match value:
        case {"json": text}:
            return JsonToken(text)
        case {"instant": text}:
            return datetime.fromisoformat(text)
        case {"day": text}:
            return date.fromisoformat(text)
        case {"decimal": text}:
            return Decimal(text)
        case {"hex": text}:
            return bytes.fromhex(text)
        case {"time": text}:
            return time.fromisoformat(text)
    return value


_KEPT = ("after", "before", "token")
_SLICES = ("window", "whole_slice")


@dataclass(frozen=True)
class PageRequest:
    """The page to request. A field that is None does not go into the HTTP request.

    :ivar after: rows with a key greater than this.
    :ivar before: rows with a key less than this.
    :ivar window: (start, end) as ISO 8601 text: a slice of the partition's window, or the rest of
        one, from the cursor on that the page begins with; then ``whole_slice`` is all of it.
    :ivar parent: the rows of the parent endpoint, or the value of ``each``, that this page is of.
    :ivar fields: what else is known of that value, by placeholder (``parent.name``); not kept.
    """

    limit: int
    offset: int | None = None
    after: Key = None
    before: Key = None
    page: int | None = None
    token: PageToken = None
    url: str | None = None
    window: tuple[str | None, str] | None = None
    whole_slice: tuple[str | None, str] | None = None
    parent: str | int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def at_cursor(self, cursor: str) -> "PageRequest":
        """The page that begins with a cursor, up to the end of the same slice."""
        assert self.window is not None, "paging by the cursor gives every page its window"
        window = cursor, self.window[1]
        return replace(self, window=window, whole_slice=self.slice, url=None)

    @property
    def slice(self) -> tuple[str | None, str] | None:
        """The slice of the window that the page is of; None: the window is whole."""
        return self.whole_slice or self.window

    @property
    def by_number(self) -> bool:
        """Whether the page is requested by its number or an offset."""
        return self.page is not None or self.offset is not None

    def to_json(self) -> dict[str, Any]:
        keys = {name: key_to_json(getattr(self, name)) for name in _KEPT}
        plain = {name: value for name, value in vars(self).items() if name != "fields"}
        return {n: value for n, value in (plain | keys).items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PageRequest":
        keys = {name: key_from_json(data[name]) for name in _KEPT if name in data}
        slices = {name: (data[name][0], data[name][1]) for name in _SLICES if name in data}
        return cls(**{**data, **keys, **slices})


@dataclass(frozen=True)
class PageInfo:
    """The statements of a page about itself and the pages that follow.

    :ivar first: the key of its first row (None in an empty page); ``last`` of its last,
        ``before_last`` of the one before that.
    :ivar total: how many rows match in all, if the page or a count says so.
    :ivar cursor: the last cursor of its rows as ISO 8601, where pages follow by it;
        ``first_cursor`` the first one.
    :ivar boundary_keys: the keys of the rows that the page after it begins with once more: those
        with the last cursor; the last one, where offsets overlap.
    :ivar first_keys: the key of its first row, where offsets overlap.
    :ivar explicit_empty: the response's status says that there is nothing.
    :ivar follows: whether a page follows, if the page has a flag for it (``paging.more``).
    :ivar pages: how many pages there are in all, if the page says so (``paging.pages``).
    """

    rows: int
    first: Key = None
    last: Key = None
    token: PageToken = None
    url: str | None = None
    total: int | None = None
    cursor: str | None = None
    boundary_keys: tuple[Keys, ...] = ()
    first_keys: Keys | None = None
    first_cursor: str | None = None
    explicit_empty: bool = False
    follows: bool | None = None
    pages: int | None = None
    before_last: Key = None


@dataclass(frozen=True)
class PageContent:
    """A response whose rows are decoded: what a kind of paging reads the next page from.

    :ivar table: the rows, as the API gives them.
    :ivar members: what stands at the paths of ``Paging.references``, by their names.
    :ivar headers: their names are in lower case.
    :ivar url: of the response. :ivar base_url: of the source: no link may lead elsewhere.
    :ivar secret_param: the query parameter that carries the key, if one does.
    :ivar types: the declared type of each column.
    :ivar zone: of times without an offset. :ivar naive_columns: those with such times.
    """

    table: pa.Table
    members: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    base_url: str = ""
    secret_param: str | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    zone: tzinfo = UTC
    naive_columns: frozenset[str] = frozenset()

    def key_at(self, name: str, at: int) -> Any:
        """A value of a row; a time that came without an offset has that of its zone."""
        value = self.table[name][at].as_py()
        if name not in self.naive_columns or not isinstance(value, datetime):
            return value
        return value.astimezone(timezone(value.astimezone(self.zone).utcoffset() or timedelta()))


@dataclass(frozen=True)
class PageSegment:
    """Pages that follow each other by ``Paging.next_request``, from ``request`` on.

    :ivar closed: it is this one page only, since its offset or number is known.
    """

    request: PageRequest
    closed: bool = False


_MICROSECOND = timedelta(microseconds=1)


def with_keys_as_sent(request: PageRequest, kind: str, zone: tzinfo = UTC) -> PageRequest:
    """The page to request, with its keys as the request has them.

    :param kind: the declared type of the key. :param zone: of times without an offset.
    """
    if not {type(request.after), type(request.before)} & {date, datetime, time, Decimal}:
        return request
    after, before = (key_as_sent(key, kind, zone) for key in (request.after, request.before))
    return replace(request, after=after, before=before)


def key_as_sent(key: Key, kind: str, zone: tzinfo = UTC) -> str | int | float | bool | None:
    """A value of a column of this type, as the API's rows have it.

    ISO 8601 has no offset where its rows have none, which a key of another offset than 0 tells.
    """
    if isinstance(key, Decimal):
        return str(key)
    if not isinstance(key, date | time):
        return key
    if not isinstance(key, datetime):
        return key.isoformat()
    declared = parse_type(kind)
    if declared.json == "strptime":
        return key.astimezone(zone).strftime(declared.format)
    if declared.json in UNITS:
        micros, unit_us = (key - EPOCH) // _MICROSECOND, UNITS[declared.json]
        return micros / unit_us if micros % unit_us else micros // unit_us
    return key.astimezone(zone).replace(tzinfo=None).isoformat() if key.utcoffset() else as_iso(key)


_BY_NUMBER = {"page", "pageno", "pagenumber", "pageindex", "offset", "pageoffset", "skip"}
_BY_NUMBER |= {"startindex", "startat", "arrayconnection"}
_SIZES = {"limit", "perpage", "pagesize", "size"}
_BY_PLACE = {"after", "before", "cursor", "pageafter", "pagecursor", "token", "pagetoken"}
_NAMED = re.compile(r"([A-Za-z][\w-]*+)\W*[:=]")
_LOOKED_AT = 500
"""Characters of a token: a number in disguise is short, and tokens of 16 kB are not rare."""


def link_is_number(url: str | None) -> bool:
    """Whether a link is the number of a page, or an offset."""
    plain = {_plain(name): value for name, value in parse_qsl(urlsplit(url or "").query)}
    numbers = [plain[name] for name in _BY_NUMBER & plain.keys()]
    return not _BY_PLACE & plain.keys() and any(map(str.isdigit, numbers))


def token_is_number(token: PageToken) -> bool:
    """Whether a token is a page number or an offset.

    A token with another name in it may be a place: ``{"offset": 7, "partition": 2}`` of a log is
    one.
    """
    if not isinstance(token, str | JsonToken):
        return False
    text = (token.text if isinstance(token, JsonToken) else token)[:_LOOKED_AT]
    with suppress(ValueError):
        text = b64decode(text + "=" * (-len(text) % 4), validate=True).decode("ascii")
    names = {_plain(name) for name in _NAMED.findall(text)}
    return bool(names & _BY_NUMBER) and names <= _BY_NUMBER | _SIZES


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())
