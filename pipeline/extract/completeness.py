"""Completeness: why no row is missing, what that rests on, and when a reader has to stop. Pure.

*Coverage* proves pages in the order of a unique key. Let pages be slices of the rows sorted by that
key, each taken at its own time. A page taken from ``first`` to ``last`` holds *every* row that was
there at that time with a key between the two. So if each page begins at or before the last key of
the pages before it, their key intervals join without a gap, and every row that was there throughout
has been read, whatever came or went meanwhile. The last page must be shorter than requested: then
it reaches to the end. A range of keys is not covered to its end by a short page, but by one that
holds no row of it. One row of overlap makes pages join when nothing moves; deleted rows open a gap,
which is seen and fetched again; inserted rows widen the overlap. Rows at or below what is covered
are dropped, so that none comes twice.

*CountReconciliation* proves all other pages: the API's numbers and the rows that came have to
agree. A count that agrees shows that no page was left out. It does not show that no row was: one
that is deleted behind the reader shifts another past it, and one that is inserted makes the number
right.

*LoopGuard* and the functions behind it stop an extraction whose pages bring nothing, go round in a
circle, or lie behind the end. That they stop proves nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa

from pipeline.errors import ContractBroken, RequestRefused
from pipeline.extract.pages import ParsedPage
from pipeline.pagination.page import Key, PageInfo, PageRequest

CAP: Final = 10_000
"""Elasticsearch counts no further, and gives no row beyond: such a total agrees with itself."""
REACHES: Final = frozenset({1_000, 5_000, CAP, 20_000, 50_000, 100_000})
"""Rows beyond which APIs often give none by an offset."""
NO_SUCH_PAGE: Final = (400, 404, 416, 422)
"""The status that APIs send for a page behind the last one (WordPress: 400)."""
_MOST_OF_KIND: Final = {
    ("other", True): 200,
    ("other", False): 10_000,
    ("repeated", True): 20,
    ("repeated", False): 20,
    ("empty", True): 20,
    ("empty", False): 1_000,
}
"""Consecutive pages of one kind without a new key, by number and by name: those with new versions
of rows, or rows outside the window; those whose rows all came before; empty ones. Some APIs send
many empty pages, each with a new token; a token that comes again goes round in a circle, and is
noticed at once. Pages of several kinds in turn are as many together as of the first kind."""
MOST_EMPTY: Final = 20
"""Consecutive numbered pages that are empty: the total that they are planned by is too high."""


class ProofBasis(StrEnum):
    """The bases of a proof of completeness, the strongest first. The values stand in manifests."""

    ONE_PAGE = "one page"
    KEYS = "keys"
    CHAIN = "chain"
    COUNT = "count"

    @property
    def claim(self) -> str:
        """The sentence about a partition whose proof rests on this."""
        return _CLAIMS[self]

    def weaker(self, other: "ProofBasis") -> "ProofBasis":
        """The basis of a whole whose parts rest on these two."""
        return max(self, other, key=[*ProofBasis].index)


_CLAIMS: Final[Mapping[ProofBasis, str]] = {
    ProofBasis.ONE_PAGE: "all rows came in one page",
    ProofBasis.KEYS: "no row can lie between two pages",
    ProofBasis.CHAIN: "each page named the next one; this relies on the API's tokens or links not "
    "moving when rows change",
    ProofBasis.COUNT: "as many rows came as the API counts, before and after; one that was passed "
    "over while another was added would not show",
}


@dataclass(frozen=True)
class Coverage:
    """How far the pages handed on have come. Where the API sorts descending, all comparisons turn
    around.

    :ivar covered: every row there throughout with a key up to this one has been read.
    :ivar ended: a page reached to the end of the rows.
    :ivar confirmations: so many consecutive pages say that there is no more: a page that is short,
        also beside those before it, since an API may cap its pages; then each that brings nothing.
    :ivar most_rows: of a page.
    """

    covered: Key = None
    ended: bool = False
    confirmations: int = 0
    most_rows: int = 0
    descending: bool = False

    def joins(self, request: PageRequest, info: PageInfo, first_offset: int = 0) -> bool:
        """True if no row can lie between what is covered and this page."""
        if request.offset is None or request.offset <= first_offset:
            return request.after is None or self._before(request.after, self.covered)
        # An empty page does not: it lacks the row of overlap, so that rows before it are gone.
        return info.rows > 0 and self.covered is not None and self._before(info.first, self.covered)

    def extended(self, request: PageRequest, info: PageInfo) -> "Coverage":
        """The coverage after a page that joins."""
        covered = self.covered
        if info.rows and not self._before(info.last, covered):
            covered = info.last
        if info.rows == 0 and isinstance(request.before, int) and not self.descending:
            last = request.before - 1
            covered = covered if self._before(last, covered) else last
        short = info.rows < request.limit
        confirmations = self.confirmations
        if self.brings(info):
            confirmations = int(short and not 0 < self.most_rows <= info.rows)
        elif request.before is None:
            confirmations += self.ends_with(request, info)
        return replace(
            self,
            covered=covered,
            ended=short and request.before is None,
            confirmations=confirmations,
            most_rows=max(self.most_rows, info.rows),
        )

    def brings(self, info: PageInfo) -> bool:
        """True if the page reaches beyond what is covered."""
        return info.rows > 0 and not self._before(info.last, self.covered)

    def ends_with(self, request: PageRequest, info: PageInfo) -> bool:
        """True if a page that brings nothing shows the end: it has fewer rows than a page can have.

        How many that is, pages have shown. Before any came, it is one row, which both pages have.
        """
        return info.rows < max(2, min(request.limit, self.most_rows))

    def within(self, request: PageRequest, info: PageInfo) -> bool:
        """True if a page's rows lie between the keys that were requested."""
        too_low = self._before(info.first, request.after)
        return not (too_low or self._before(request.before, info.last))

    def _before(self, a: Key, b: Key) -> bool:
        """``a`` comes before ``b`` or is the same; nothing comes before None, the very start."""
        if b is None or a is None:
            return False
        if isinstance(a, str) != isinstance(b, str):
            raise ContractBroken(
                f"Keys {a!r} and {b!r} are of two types, expected one type for all keys of an "
                "endpoint. Check: the type of the key in `columns`"
            )
        return bool(a >= b if self.descending else a <= b)  # type: ignore[operator]


def earlier_request(request: PageRequest, attempt: int, first_offset: int) -> PageRequest:
    """The request for the page from further back, twice as far each time; no key can be sought."""
    distance = max(1, request.limit // 2) << attempt
    return replace(request, offset=max(first_offset, (request.offset or 0) - distance))


@dataclass
class CountReconciliation:
    """The counts of one pass over the pages, slice by slice of the window.

    :ivar counted: rows in all slices by the API's count; None if it has none.
    :ivar received: rows of each slice, those included that were dropped since they lie outside.
    :ivar totals: rows of each slice by the total on its pages.
    :ivar blind: slices with a page by number, which nothing joins to the one before it.
    :ivar chained: pages were named by the one before them.
    :ivar joined: pages began with the last row of the one before them.
    :ivar steady: no page has contradicted another one.
    :ivar total_rose: a page had a higher total than one before it.
    """

    counted: int | None = None
    received: dict[int, int] = field(default_factory=dict)
    totals: dict[int, int] = field(default_factory=dict)
    blind: set[int] = field(default_factory=set)
    chained: bool = False
    joined: bool = False
    steady: bool = True
    total_rose: bool = False

    @property
    def grew(self) -> bool:
        """True if rows came while they were read, for all that the API's numbers show."""
        return self.total_rose or (self.counted is not None and self.rows > self.counted)

    @property
    def rows(self) -> int:
        return sum(self.received.values())

    @property
    def expected(self) -> int | None:
        """The rows of all slices by the API's count, or by the totals on the pages."""
        return sum(self.totals.values()) or None if self.counted is None else self.counted

    @property
    def shifts(self) -> bool:
        """True if rows may have moved past the reader, for all that the pages show."""
        return bool(self.blind) or self.chained

    @property
    def capped(self) -> bool:
        """True if there may be more rows than the numbered pages reach."""
        if self.at_reach is not None:
            return True
        return bool(self.blind) and CAP in (self.counted, *self.totals.values())

    @property
    def at_reach(self) -> int | None:
        """A slice's rows, where they agree with a total that many APIs count up to, and no further.

        A count of its own request is an API's aggregate, and not looked at.
        """
        if self.counted is not None:
            return None
        totals = self.totals.items()
        return next((t for i, t in totals if t in REACHES and self.received.get(i, 0) == t), None)

    @property
    def proof_basis(self) -> ProofBasis:
        """The basis of this pass's completeness, if it agrees."""
        if self.blind:
            return ProofBasis.COUNT
        if self.chained:
            return ProofBasis.CHAIN
        return ProofBasis.KEYS if self.joined else ProofBasis.ONE_PAGE

    def record_rows(self, index: int, rows: int) -> None:
        """Rows of a slice came."""
        self.received[index] = self.received.get(index, 0) + rows

    def record_total(self, index: int, total: int) -> None:
        """A page of a slice says that the slice has so many rows."""
        self.steady &= self.totals.get(index, total) == total
        self.total_rose |= total > self.totals.get(index, total)
        self.totals[index] = total

    def agrees(self, counted_after: int | None) -> bool | None:
        """Whether as many rows came as the API says; None if nothing tells.

        A slice whose pages have no total is held against nothing; the others are.
        """
        if not self.steady:
            return False
        if self.counted is not None and self.counted != CAP:
            return self.rows == self.counted == counted_after
        totals = {index: t for index, t in self.totals.items() if not self._is_capped(index, t)}
        if any(self.received.get(index, 0) != total for index, total in totals.items()):
            return False
        if self.at_reach is not None:
            return None
        return None if self.blind - totals.keys() else True

    def _is_capped(self, index: int, total: int) -> bool:
        """Whether a total is where the API stops counting: it tells nothing of the rows beyond."""
        return total == CAP or (total in REACHES and self.received.get(index, 0) > total)

    def snapshot(self) -> "CountReconciliation":
        """As it is now: a copy that further pages do not change."""
        return replace(
            self, received={**self.received}, totals={**self.totals}, blind={*self.blind}
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "counted": self.counted,
            "received": sorted(self.received.items()),
            "totals": sorted(self.totals.items()),
            "blind": sorted(self.blind),
            "chained": self.chained,
            "joined": self.joined,
            "steady": self.steady,
            "total_rose": self.total_rose,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "CountReconciliation":
        """The inverse. :raises KeyError, TypeError, ValueError: another version wrote it."""
        return cls(
            counted=data["counted"],
            received=dict(data["received"]),
            totals=dict(data["totals"]),
            blind=set(data["blind"]),
            chained=data["chained"],
            joined=data["joined"],
            steady=data["steady"],
            total_rose=data["total_rose"],
        )


@dataclass
class LoopGuard:
    """A guard over the pages of one pass: each has to bring something.

    :ivar useful: pages that brought a new row.
    """

    useful: int = 0
    _slice: int = -1
    _empty: int = 0
    _idle: set[PageRequest] = field(default_factory=set)
    _kind: str = ""
    _of_kind: int = 0

    @property
    def beyond_all_rows(self) -> bool:
        return self._empty >= MOST_EMPTY

    def record(
        self, index: int, request: PageRequest, info: PageInfo, new_keys: int, new_rows: int
    ) -> None:
        """Note what a page brought.

        :param index: of the slice: many of them may be empty.
        :param new_keys: rows with a key that no page had.
        :param new_rows: rows that are not known to have come before: new versions of rows, too, and
            rows outside the window.
        :raises ContractBroken: too many pages brought nothing, or one came again.
        """
        self.useful += new_keys > 0
        is_empty = request.by_number and info.rows == 0
        self._empty = self._empty + 1 if is_empty and index == self._slice else int(is_empty)
        if new_keys or index != self._slice:
            self._slice = index
            self._idle.clear()
            self._kind, self._of_kind = "", 0
            return
        kind = "other" if new_rows else "repeated" if info.rows else "empty"
        self._of_kind = self._of_kind + 1 if kind == self._kind else 1
        self._kind = kind
        self._refuse_if_vain(request)
        self._idle.add(request)

    def _refuse_if_vain(self, request: PageRequest) -> None:
        """:raises ContractBroken: the page came before, or one too many brought nothing."""
        pages, by_number = len(self._idle), request.by_number
        checks = _CIRCLE_BY_NUMBER if by_number else _CIRCLE
        if request in self._idle:
            raise ContractBroken(
                f"A page was named a second time after {pages} pages in a row brought no new row: "
                f"the pages go round in a circle. {checks}"
            )
        most_of_kind = _MOST_OF_KIND[self._kind, by_number]
        if self._of_kind > most_of_kind or pages >= _MOST_OF_KIND["other", by_number]:
            raise ContractBroken(
                f"{pages} pages in a row brought no new row, and none of them says that it is the "
                f"last one. {checks}"
            )


_CIRCLE_BY_NUMBER: Final = (
    "Check: 1. the paging parameter; 2. `paging.more`: leave it out if the API says on each page "
    "that another one follows, and an empty page is the end, or name the value that says so, as "
    "in {at: more, value: Y}; 3. `paging.pages`: leave it out if it is no number of pages"
)
_CIRCLE: Final = (
    "Check: 1. the path to the next token or link; 2. `paging.more`, which has to name a member "
    "that is there on each page; 3. `until_short: true` in `paging`, if the API names a next page "
    "for ever: then an empty page is the end; 4. `window.max_s`, if a filter leaves many pages "
    "empty: then each part has fewer"
)


def is_end(
    error: RequestRefused,
    first: PageRequest,
    request: PageRequest,
    total: int | None,
    *,
    says_end: bool = False,
) -> bool:
    """Whether a refusal says that a page by number lies behind as many rows as there are.

    That page is requested all the same: rows may have come meanwhile. Some APIs have no such page.

    :param says_end: the page before says that none follows.
    :raises RequestRefused: nothing counts the rows, so this can't be told from a wrong request.
    """
    if error.status not in NO_SUCH_PAGE or not request.by_number:
        return False
    if says_end:
        return True
    if total is None:
        hint = (
            "If this is the page behind the last one, name the count (paging.total), or say "
            f"`answers: {{empty: [{error.status}]}}` at the endpoint, if the API has none"
        )
        raise RequestRefused(f"{str(error).rstrip('.')}. {hint}", error.status) from None
    return rows_before(first, request) >= total


def rows_before(first: PageRequest, request: PageRequest) -> int:
    """How many rows lie before a page by number."""
    if request.page is not None:
        return (request.page - (first.page or 0)) * request.limit
    return (request.offset or 0) - (first.offset or 0)


def goes_back(previous: PageInfo, request: PageRequest) -> bool:
    """Whether a page has to begin with rows of the one before it: pages go by the cursor."""
    return previous.cursor is not None and request.url is None


def has_same_rows(previous: ParsedPage | None, page: ParsedPage) -> bool:
    """Whether a page has the rows of the one before it, though it should have others.

    All columns are compared: pages may hold versions of the same rows. A page of one row that a
    page names may be equal to the one before; that it goes round in a circle ``LoopGuard`` sees.
    """
    if previous is None or goes_back(previous.info, page.request):
        return False
    rows, by_token = page.table.num_rows, not page.request.by_number
    if rows == 0 or rows != previous.table.num_rows or (rows == 1 and by_token):
        return False
    return bool(_rows_of(page).equals(_rows_of(previous)))


def _rows_of(page: ParsedPage) -> pa.Table:
    """As the API sent them."""
    return page.table.select(page.own_columns)


def has_same_keys(previous: PageInfo, info: PageInfo) -> bool:
    """Whether a page by key looks like the one before it."""
    return info.rows > 1 and (previous.first, previous.last) == (info.first, info.last)


def unchanged_pages(page: ParsedPage) -> ContractBroken:
    """The error of a page by key that comes again and again."""
    return ContractBroken(
        f"The page with keys {page.info.first} to {page.info.last} came again and again in place "
        "of the pages after it. Check: that the API knows the paging parameter"
    )
