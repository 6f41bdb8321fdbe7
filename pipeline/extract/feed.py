"""A feed: an endpoint that can't be asked for a window, and sends its latest rows. Pure.

Three things are known of a feed only by watching its rows go by: whether it reaches back to where
the window begins (else rows may have left it unseen), whether an unchanged first page means that
nothing is new, so that its validators (RFC 9110, 8.8: ETag, Last-Modified) may be asked with, and
whether it comes newest first, so that no page behind the window need be read.

A reader records the pages that it takes, in their order (``Feed.record``): a page that is requested
once more, to see whether the API is there or has come to its end, shows nothing of the order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.endpoint import Endpoint
from pipeline.decode.types import INSTANT
from pipeline.errors import ContractBroken, first_of
from pipeline.messages import http_date, server_time
from pipeline.model import fits_header
from pipeline.partitions.window import Window

_LONGEST = 512
_MOST_NAMED = 20
Reach = tuple[str | None, str | None]
"""How far back a feed reached, and how far it had to: ISO 8601; None: the beginning."""


@dataclass(frozen=True, kw_only=True)
class FeedNotes:
    """What a reading has shown of its feed, or of the feed of each value.

    :ivar feed_from: the earliest instant that it reached back to, ISO 8601; None: it is empty.
    :ivar validators: the headers by which the next partition asks whether it has changed; empty:
        none are to be relied on.
    :ivar newest_first: all of its rows came so.
    :ivar feeds: of a feed for each value, its reach by the value.
    """

    feed_from: str | None = None
    validators: Mapping[str, str] = field(default_factory=dict)
    newest_first: bool = False
    feeds: Mapping[str, Reach] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "FeedNotes":
        """The inverse; other members of the data are ignored."""
        return cls(**{each.name: data[each.name] for each in fields(cls) if each.name in data})


NO_FEED: Final = FeedNotes()


@dataclass(frozen=True, kw_only=True)
class FeedPage:
    """What one page shows of its feed.

    :ivar rows: how many came. :ivar undated: one of them has no cursor.
    :ivar first: the cursor of the first row that has one; ``last`` of the last one.
    :ivar oldest: the earliest cursor; ``newest`` the latest one.
    :ivar falls: no row is newer than the one before it.
    :ivar validators: of the response.
    """

    rows: int = 0
    undated: bool = False
    first: datetime | None = None
    last: datetime | None = None
    oldest: datetime | None = None
    newest: datetime | None = None
    falls: bool = True
    validators: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cursors: pa.ChunkedArray, headers: Mapping[str, str]) -> "FeedPage":
        """A page whose rows have these cursors, as they came.

        :param headers: of the response; names in lower case.
        """
        validators, rows = validators_of(headers), len(cursors)
        column = pc.cast(cursors, INSTANT).combine_chunks()
        undated, column = column.null_count > 0, column.drop_null()
        if len(column) == 0:
            return cls(rows=rows, undated=undated, validators=validators)
        ends = pc.min_max(column).as_py()
        return cls(
            rows=rows,
            undated=undated,
            first=column[0].as_py(),
            last=column[-1].as_py(),
            oldest=ends["min"],
            newest=ends["max"],
            falls=pc.all(pc.greater_equal(column[:-1], column[1:]), min_count=0).as_py(),
            validators=validators,
        )


class Feed:
    """Watches the pages of one reading, in order."""

    def __init__(
        self,
        start: datetime | None,
        end: datetime,
        *,
        chain: bool,
        known_newest_first: bool = False,
    ) -> None:
        """:param chain: there may be more pages than the first.
        :param known_newest_first: the YAML says so, or an earlier reading has shown it.
        """
        self._start, self._end = start, end
        self._chain = chain
        self._known_newest_first = known_newest_first
        self.has_pages = False
        self._begin({})
        self._first_page_came = False

    def _begin(self, validators: Mapping[str, str]) -> None:
        self._first_page_came = True
        self._validators = validators
        self._oldest: datetime | None = None
        self._newest: datetime | None = None
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._newest_first = True
        self._beyond = False
        self._rows = 0

    def record(self, page: FeedPage, *, is_first: bool) -> bool:
        """The next page.

        :param is_first: it is the first one of all: what is known of others is forgotten.
        :return: whether it is the last page to read: rows come newest first, and all of these are
            older than the window.
        """
        self.has_pages = True
        if is_first:
            self._begin(page.validators)
        self._rows += page.rows
        self._newest_first = self._newest_first and not page.undated
        if page.first is None or page.oldest is None or page.newest is None:
            return False
        joins = self._last is None or page.first <= self._last
        self._newest_first = self._newest_first and joins and page.falls
        self._first, self._last = self._first or page.first, page.last
        self._oldest = min(self._oldest or page.oldest, page.oldest)
        self._newest = max(self._newest or page.newest, page.newest)
        self._beyond = self._beyond or page.newest >= self._end
        ordered = self.may_end_early and self._newest_first
        return ordered and self._start is not None and page.newest < self._start

    @property
    def may_end_early(self) -> bool:
        """Whether a page may be the last one to read though others follow."""
        return self._known_newest_first

    def notes(self) -> FeedNotes:
        """How far back the feed reached, and validators that will do.

        :raises ContractBroken: rows came, and none of them has a cursor: all would be left out.
        """
        if self._rows and self._oldest is None and self._start is not None:
            raise ContractBroken(
                f"None of the {self._rows:,} rows of the feed has a value of the cursor, so that "
                "no row is known to be new. Check: 1. that `cursor` names the right column; 2. "
                "that the name is spelt as in the rows"
            )
        oldest = self._next_to_leave
        return FeedNotes(
            feed_from=oldest.astimezone(UTC).isoformat() if oldest else None,
            validators=self._validators if self._first_page_tells else {},
            newest_first=self._shows_newest_first,
        )

    def reach(self) -> Reach:
        """:raises ContractBroken: as ``notes``."""
        begins = self._start.astimezone(UTC).isoformat() if self._start else None
        return self.notes().feed_from, begins

    @property
    def _next_to_leave(self) -> datetime | None:
        """The row that leaves the feed next: the last one, or the first if the newest comes last.

        It need not be the oldest one: some feeds begin with old rows that are pinned there.
        """
        return self._first if self._last == self._newest else self._last

    @property
    def is_out_of_order(self) -> bool:
        """Whether a row came behind an older one, or has no cursor."""
        return not self._newest_first

    @property
    def _shows_newest_first(self) -> bool:
        """Of a feed that was resumed, the pages of the earlier attempt are not known."""
        is_known = self._first_page_came or self._known_newest_first
        return self._chain and is_known and self._newest_first and self._oldest != self._newest

    @property
    def _first_page_tells(self) -> bool:
        """True if a later partition is empty for certain while the first page is the same.

        Rows after the window were dropped: they belong to the next partition. Where there are more
        pages, what is new has to come first.
        """
        whole = not self._chain or self._oldest is None
        return not self._beyond and (whole or (self._newest_first and self._oldest != self._newest))


class Feeds:
    """The feeds of an endpoint: its own, or one for each value, by the value's name."""

    def __init__(self, *, chain: bool, known_newest_first: bool) -> None:
        """:param chain: there may be more pages than the first of each."""
        self._chain, self._known_newest_first = chain, known_newest_first
        self._by_value: dict[str | None, Feed] = {}

    @classmethod
    def of(cls, endpoint: Endpoint, *, newest_first: bool | None = None) -> "Feeds | None":
        """None if the endpoint is no feed.

        :param newest_first: an earlier reading has shown that the feed comes so, or that it does
            not; of one value of many it says nothing.
        """
        if not endpoint.feed:
            return None
        of_all = bool(newest_first) and not endpoint.fans_out
        says_so = newest_first is None and endpoint.sort is not None
        return cls(
            chain=not endpoint.paging.one_page,
            known_newest_first=endpoint.may_stop_early and (of_all or says_so),
        )

    def begin(self, value: str | None, window: Window) -> Feed:
        """The feed that is read now, in this window.

        :param value: whose it is; None: the endpoint does not fan out.
        """
        feed = Feed(
            window.start,
            window.end,
            chain=self._chain,
            known_newest_first=self._known_newest_first,
        )
        self._by_value[value] = feed
        return feed

    def notes(self) -> FeedNotes:
        """What the pages have shown of the feed, or of that of each value.

        :raises ContractBroken: as ``Feed.notes``.
        """
        if None in self._by_value:
            return self._by_value[None].notes()
        feeds = {str(name): feed for name, feed in self._by_value.items() if feed.has_pages}
        return FeedNotes(feeds={name: feed.reach() for name, feed in feeds.items()})

    @property
    def out_of_order(self) -> bool:
        """Whether one has shown that it does not come newest first."""
        return any(feed.is_out_of_order for feed in self._by_value.values())


def validators_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The header of a conditional request, by its name; empty if there is none to rely on.

    A date alone tells a change only if nothing could change any more within that same second
    (RFC 9110, 8.8.2.2).
    """
    etag = headers.get("etag", "").strip()
    if etag and _may_be_sent(etag):
        return {"If-None-Match": etag}
    modified = headers.get("last-modified", "").strip()
    changed, responded = http_date(modified), server_time(headers)
    if changed is None or responded is None or responded - changed < timedelta(seconds=1):
        return {}
    return {"If-Modified-Since": modified} if _may_be_sent(modified) else {}


def reaches_back(feed_from: str | None, start: datetime) -> tuple[bool, str]:
    """Whether no row of the window can have left the feed unseen, and the sentence on it."""
    if feed_from is None:
        return False, (
            "the feed is empty: rows that came and left it since the partition before can't be told"
        )
    oldest = datetime.fromisoformat(feed_from)
    if oldest < start:
        return True, f"the feed reaches back to {oldest.isoformat()}, before the window"
    return False, (
        f"the feed reaches back to {oldest.isoformat()} only, and the window begins at "
        f"{start.isoformat()}: rows may have left the feed unseen; materialize more often, or ask "
        "the API for a longer feed"
    )


def all_reach_back(feeds: Mapping[str, Reach]) -> tuple[bool, str]:
    """Whether the feeds of all values reach back far enough, and the sentence on it."""
    short: list[str] = []
    first = ""
    for value, (feed_from, begins) in feeds.items():
        if begins is None:
            continue
        passed, detail = reaches_back(feed_from, datetime.fromisoformat(begins))
        if not passed:
            short.append(value)
            first = first or detail
    if not short:
        return True, f"{len(feeds):,} feeds reach back to before the window"
    names = first_of(short, _MOST_NAMED)
    return False, f"of {len(feeds):,} feeds {len(short):,} may have lost rows: {names}. {first}"


def _may_be_sent(value: str) -> bool:
    return len(value) <= _LONGEST and fits_header(value)
