"""Which pages to ask for. Pagers are immutable: what has been seen goes in, the next question comes
out.

A partition is read in *segments*, one after the other in order, several at the same time. A segment
is a chain of pages that follow each other by ``Pager.after``; a *closed* segment is one page only,
planned ahead since its offset or number is known. What is certain is decided elsewhere
(``coverage``).

===========  ===============================  ==========================================
pager        planned ahead (side by side)     a chain goes on by
===========  ===============================  ==========================================
``offset``   all pages, by the count          offset + limit − 1 (one row of overlap)
``keyset``   ranges of an integer key         key > last key
``page``     all pages, by the count          page + 1
``token``    slices of the window             the token that the page names
``link``     slices of the window             the URL that the page names
``cursor``   –                                cursor ≥ that of the last row (``by_cursor``)
``none``     –                                –
===========  ===============================  ==========================================
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any, Protocol

_MOST_INT32, _MOST_INT64 = 2**31 - 1, 2**63 - 1
"""What an API may keep an integer key in: a bound beyond that may be refused."""

Key = int | str | float | bool | date | datetime | None
Keys = tuple[Key, ...]
"""Of one row: a key of one column, or of several."""


@dataclass(frozen=True)
class JsonToken:
    """A token that is a list or an object, as JSON text: an API wants it back as it came."""

    text: str


PageToken = str | int | float | JsonToken | None


def key_to_json(key: Key | PageToken) -> Any:
    """A key or a token as JSON, for a position that is kept; what is no scalar is marked."""
    if isinstance(key, JsonToken):
        return {"json": key.text}
    if isinstance(key, datetime):
        return {"instant": key.isoformat()}
    return {"day": key.isoformat()} if isinstance(key, date) else key


def key_from_json(value: Any) -> Any:
    """The inverse of `kept`: what is compared with the keys of rows has to be of their type."""
    match value:
        case {"json": text}:
            return JsonToken(text)
        case {"instant": text}:
            return datetime.fromisoformat(text)
        case {"day": text}:
            return date.fromisoformat(text)
    return value


_KEPT = ("after", "before", "token")


@dataclass(frozen=True)
class PageRequest:
    """One page to ask for. What is None does not go into the request.

    :ivar after: rows with a key greater than this.
    :ivar before: rows with a key less than this.
    :ivar window: (start, end) as ISO 8601 text: a slice of the partition's window.
    :ivar parent: the rows of the parent endpoint, or the value of ``each``, that this page is of.
    """

    limit: int
    offset: int | None = None
    after: Key = None
    before: Key = None
    page: int | None = None
    token: PageToken = None
    url: str | None = None
    window: tuple[str | None, str] | None = None
    parent: str | int | None = None

    def to_json(self) -> dict[str, Any]:
        keys = {name: key_to_json(getattr(self, name)) for name in _KEPT}
        return {n: value for n, value in (asdict(self) | keys).items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "PageRequest":
        window = data.get("window")
        keys = {name: key_from_json(data[name]) for name in _KEPT if name in data}
        return cls(**{**data, **keys, "window": (window[0], window[1]) if window else None})


@dataclass(frozen=True)
class PageInfo:
    """What one page says of itself and of what follows.

    :ivar first: the key of its first row (None in an empty page); ``last`` of its last.
    :ivar total: how many rows match in all, if the page or a count says so.
    :ivar cursor: the last cursor of its rows as ISO 8601, where pages follow by it; ``since`` the
        first one.
    :ivar again: the keys of the rows that the page after it begins with once more: those
        with the last cursor; the last one, where offsets overlap.
    :ivar begins: the key of its first row, where offsets overlap.
    :ivar told_empty: the answer's status says that there is nothing.
    """

    rows: int
    first: Key = None
    last: Key = None
    token: PageToken = None
    url: str | None = None
    total: int | None = None
    cursor: str | None = None
    again: tuple[Keys, ...] = ()
    begins: Keys | None = None
    since: str | None = None
    told_empty: bool = False


@dataclass(frozen=True)
class PageSegment:
    """A chain of pages; closed: the one page ``ask`` only."""

    ask: PageRequest
    closed: bool = False


class Pager(Protocol):
    """How an endpoint's pages follow each other."""

    def first(self) -> PageRequest:
        """The first page of all."""
        ...

    def planned(self, ask: PageRequest, facts: PageInfo) -> Iterable[PageSegment] | None:
        """What can be asked for at once, now that the first page is known, in order; or None."""
        ...

    def after(self, ask: PageRequest, facts: PageInfo) -> PageRequest | None:
        """The page after this one in its chain, or None at the chain's end."""
        ...


@dataclass(frozen=True)
class OffsetPager:
    """``step`` rows from page to page; with overlap that is one less than the page holds."""

    limit: int
    first_offset: int = 0
    overlap: bool = True

    def _step(self, ask: PageRequest) -> int:
        return max(1, ask.limit - 1) if self.overlap else ask.limit

    def first(self) -> PageRequest:
        return PageRequest(self.limit, offset=self.first_offset)

    def planned(self, ask: PageRequest, facts: PageInfo) -> Iterable[PageSegment] | None:
        """A page shorter than asked for, while more rows match, is a silently capped page size."""
        if facts.total is None or facts.rows == 0:
            return None
        start = self.first_offset
        left = facts.total - (ask.offset or start) + start
        fitted = replace(ask, limit=facts.rows) if _capped(ask, facts, left) else ask
        step = self._step(fitted)
        end = start + facts.total - (1 if self.overlap else 0)
        offsets = range((ask.offset or start) + step, end, step)
        return _pages(offsets, lambda offset: replace(fitted, offset=offset))

    def after(self, ask: PageRequest, facts: PageInfo) -> PageRequest | None:
        if facts.rows == 0 or (facts.rows < ask.limit and facts.total is not None):
            return None
        if facts.rows == 1 and self.overlap and (ask.offset or 0) > self.first_offset:
            return None
        seen = facts.rows - 1 if self.overlap and facts.rows > 1 else facts.rows
        return replace(ask, offset=(ask.offset or 0) + seen)


@dataclass(frozen=True)
class KeysetPager:
    """``key > last``; integer keys are read in ranges side by side once the density is known."""

    limit: int
    ranges: int = 1

    def first(self) -> PageRequest:
        return PageRequest(self.limit)

    def planned(self, ask: PageRequest, facts: PageInfo) -> Iterable[PageSegment] | None:
        first, last, total = facts.first, facts.last, facts.total
        if not (isinstance(first, int) and isinstance(last, int) and total) or facts.rows == 0:
            return None
        fitted = replace(ask, limit=facts.rows) if _capped(ask, facts, total) else ask
        rest = total - facts.rows
        parts = min(self.ranges, -(-rest // fitted.limit))
        if parts < 2:
            return None
        room = (_MOST_INT32 if last < _MOST_INT32 else _MOST_INT64) - last - 1
        width = min((last - first + 1) * rest // facts.rows // parts, room // (parts - 1))
        if width < 1:
            return None
        bounds = [last + width * i for i in range(parts)]
        inner = [PageSegment(replace(fitted, after=a, before=a + width + 1)) for a in bounds[:-1]]
        return (*inner, PageSegment(replace(fitted, after=bounds[-1])))

    def after(self, ask: PageRequest, facts: PageInfo) -> PageRequest | None:
        """A short page of a range is followed too: beyond the last range no other page looks."""
        if ask.before is None:
            at_end = facts.rows < ask.limit and facts.total is not None
        else:
            at_end = isinstance(facts.last, int) and facts.last + 1 == ask.before
        return None if facts.rows == 0 or at_end else replace(ask, after=facts.last)


@dataclass(frozen=True)
class NumberedPager:
    """Numbered pages."""

    limit: int
    first_page: int = 1

    def first(self) -> PageRequest:
        return PageRequest(self.limit, page=self.first_page)

    def planned(self, ask: PageRequest, facts: PageInfo) -> Iterable[PageSegment] | None:
        if facts.total is None or facts.rows == 0:
            return None
        first = ask.page == self.first_page
        size = facts.rows if first and _capped(ask, facts, facts.total) else ask.limit
        pages = range((ask.page or 0) + 1, self.first_page + -(-facts.total // size))
        return _pages(pages, lambda page: replace(ask, page=page))

    def after(self, ask: PageRequest, facts: PageInfo) -> PageRequest | None:
        if facts.rows == 0 or (facts.rows < ask.limit and facts.total is not None):
            return None
        return replace(ask, page=(ask.page or 0) + 1)


@dataclass(frozen=True)
class ChainPager:
    """Tokens and links: each page names the next.

    :ivar until_short: the API names a next one for ever: a page shorter than asked for is the last,
        if there is a total to hold the rows against; else an empty one is.
    """

    limit: int
    until_short: bool = False
    first_token: str | None = None

    def first(self) -> PageRequest:
        return PageRequest(self.limit, token=self.first_token)

    def planned(self, ask: PageRequest, facts: PageInfo) -> Iterable[PageSegment] | None:
        return None

    def after(self, ask: PageRequest, facts: PageInfo) -> PageRequest | None:
        short = facts.rows == 0 or (facts.rows < ask.limit and facts.total is not None)
        if self.until_short and short:
            return None
        if facts.token is None and facts.url is None:
            return None
        return replace(ask, token=facts.token, url=facts.url)


@dataclass(frozen=True)
class CustomPager:
    """A user's function in place of a chain's rule."""

    limit: int
    function: Callable[[PageRequest, PageInfo], PageRequest | None]

    def first(self) -> PageRequest:
        return PageRequest(self.limit)

    def planned(self, ask: PageRequest, facts: PageInfo) -> Iterable[PageSegment] | None:
        return None

    def after(self, ask: PageRequest, facts: PageInfo) -> PageRequest | None:
        return self.function(ask, facts)


def _pages(numbers: range, ask: Callable[[int], PageRequest]) -> Iterator[PageSegment] | None:
    """Single pages, the last one open; made when their turn comes: an API may count billions."""
    if not numbers:
        return None
    return (PageSegment(ask(number), closed=number != numbers[-1]) for number in numbers)


def _capped(ask: PageRequest, facts: PageInfo, left: int) -> bool:
    """True if the page is shorter than it should be, with ``left`` rows from its first row on."""
    return 1 < facts.rows < min(ask.limit, left)
