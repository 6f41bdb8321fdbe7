"""The base of every kind of paging: its YAML, and how its pages follow each other. Pure.

A partition is read in *segments*, one after the other in order, several at the same time. A segment
is a chain of pages that follow each other by ``Paging.next_request``; a *closed* segment is one
page only, planned ahead since its offset or number is known. Whether all rows came is decided
elsewhere (``pipeline.extract``).

===========  ===============================  ==========================================
kind         planned ahead (side by side)     a chain goes on by
===========  ===============================  ==========================================
``offset``   all pages, by the count          offset + limit − 1 (one row of overlap)
``keyset``   ranges of an integer key         key > last key
``page``     all pages, by the count          page + 1
``token``    slices of the window             the token that the page names
``link``     slices of the window             the URL that the page names
``cursor``   –                                cursor ≥ that of the last row
``none``     –                                –
``python``   –                                a function of the user's
===========  ===============================  ==========================================
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, ClassVar, Final, Protocol

from pydantic import Field

from pipeline.decode.exact_json import shorten
from pipeline.decode.shape import NoObject
from pipeline.errors import ContractBroken, cut
from pipeline.kinds import Kinds
from pipeline.messages import CONTENT_RANGE
from pipeline.model import DottedPath, Model, split_path
from pipeline.pagination.more_flag import MORE, More
from pipeline.pagination.page import (
    PageContent,
    PageInfo,
    PageRequest,
    PageSegment,
    PageToken,
)

NEEDS_A_COUNT = (
    "a sweep needs to know that it saw all keys, and of numbered pages only a count tells: "
    "name it as `count` or `paging.total`, or leave `sweep` out"
)
ONE_PLACE = (
    "paging has more than one place of the next page: keep one of `next`, `header` and `last`"
)


class SharedRows(Enum):
    """The rows of a page with which the page after it begins once more."""

    NONE = "none"
    LAST = "the last row"
    SAME_CURSOR = "the rows with the last cursor"


class PagedEndpoint(Protocol):
    """The endpoint that has this paging, as far as the rules of a kind may look at it."""

    @property
    def key_of_rows(self) -> tuple[str, ...]: ...
    @property
    def cursor(self) -> str | None: ...
    @property
    def columns(self) -> Mapping[str, Any]: ...
    @property
    def sweep(self) -> bool: ...
    @property
    def counted(self) -> bool:
        """True if the API says how many rows match."""
        ...

    @property
    def overlaps(self) -> bool:
        """True if each page begins with the last row of the page before it."""
        ...

    @property
    def can_seek(self) -> bool:
        """True if rows after a given key can be requested."""
        ...

    @property
    def placeholders(self) -> frozenset[str] | None:
        """The placeholders in the request; None if its dialect has none."""
        ...


class Paging(Model):
    """How the pages of an endpoint follow each other: the YAML's ``paging``, and all it decides.

    A kind is one class in one file, registered under the name that the YAML calls it by. An
    instance is frozen: a page's request and what the page says go in, the next request comes out.
    An API whose pages are numbered from the oldest rows on, and read from the newest::

        from collections.abc import Iterator, Mapping
        from dataclasses import replace
        from typing import ClassVar, Literal

        from pydantic import Field

        from pipeline.model import DottedPath
        from pipeline.pagination.base import PAGINATION, PagedEndpoint, Paging, whole_total
        from pipeline.pagination.page import PageContent, PageInfo, PageRequest, PageToken


        @PAGINATION.register("countdown")
        class CountdownPaging(Paging):
            '''Numbered pages, from the newest one down to 1.'''

            kind: Literal["countdown"] = "countdown"
            newest: DottedPath = Field(description="where a page says the newest one's number")
            fills: ClassVar[frozenset[str]] = frozenset({"page"})

            def problems(self, endpoint: PagedEndpoint) -> Iterator[str]:
                if "page" not in (endpoint.placeholders or ()):
                    yield "countdown paging needs {page} in the request, e.g. params: {p: '{page}'}"

            def references(self) -> Mapping[str, str]:
                return {"newest": self.newest}

            def token_of(self, content: PageContent) -> PageToken:
                return whole_total(content.members.get("newest"))

            def next_request(self, request: PageRequest, info: PageInfo) -> PageRequest | None:
                number = info.token if request.page is None else request.page
                if not isinstance(number, int) or number <= 1:
                    return None
                return replace(request, page=number - 1)

            def may_shift(self, request: PageRequest) -> bool:
                return False  # new rows get new pages: a page that is there stays as it is

    What completeness rests on is said by ``contiguous``, ``may_shift`` and ``shared_rows``: by
    default pages are a chain, each named by the one before it.

    :ivar fills: the placeholders that get a value from this kind.
    :ivar by_number: pages are places in a list, which move when rows come and go: a count has to
        agree with the rows, or an earlier attempt's position is worth nothing.
    :ivar sorted_by_key: pages come in order of the key, if the endpoint says so.
    :ivar one_page: there is no second page.
    :ivar first_tells_all: nothing is requested beside the first page, so that a first page that is
        unchanged (304) means that nothing has changed.
    :ivar names_next: a page that has a successor names it.
    :ivar holds_limit: a page has at most ``limit`` rows, or the API ignored it.
    :ivar needs_window: each request has the window, or the part of it that is left to read.
    """

    kind: str
    limit: int = Field(gt=0, description="rows a page")
    fills: ClassVar[frozenset[str]] = frozenset()
    by_number: ClassVar[bool] = False
    sorted_by_key: ClassVar[bool] = False
    one_page: ClassVar[bool] = False
    first_tells_all: ClassVar[bool] = False
    names_next: ClassVar[bool] = False
    holds_limit: ClassVar[bool] = True
    needs_window: ClassVar[bool] = False

    # -- rules ------------------------------------------------------------------------------------

    def problems(self, endpoint: PagedEndpoint) -> Iterator[str]:
        """The parts of the endpoint that do not fit this paging, each with its remedy."""
        yield from ()

    def fitted(self, order: str) -> "Paging":
        """This paging as it is read where rows come in this order of the key.

        :raises ConfigError: a function of the user's can't be imported.
        """
        return self

    # -- which pages ------------------------------------------------------------------------------

    def first_request(self) -> PageRequest:
        """The first page of all."""
        return PageRequest(self.limit)

    def before_first(self) -> PageRequest | None:
        """The page that an API has before the first one if it counts from a lower number."""
        return None

    def planned(self, request: PageRequest, info: PageInfo) -> Iterable[PageSegment] | None:
        """The pages that can be requested at once now that the first one is known, in order.

        None if there are none: each page is requested when the one before it has come.
        """
        return None

    def next_request(self, request: PageRequest, info: PageInfo) -> PageRequest | None:
        """The page after this one in its chain, or None at the chain's end."""
        raise NotImplementedError

    def is_first(self, request: PageRequest) -> bool:
        """Whether the reading begins with this page, of the window or a slice of it."""
        return _start_of(request) == _start_of(self.first_request())

    def may_mean(self, request: PageRequest) -> str:
        """What the page before may have meant where the API refuses this one; with a remedy."""
        return ""

    def parameters(self, request: PageRequest) -> Mapping[str, Any]:
        """Query parameters of this page, for what no placeholder can say.

        ``apicalypse`` has none: refuse it in ``problems``.
        """
        return {}

    def extra_rows(self, request: PageRequest) -> int:
        """How many rows a response has besides those requested: of a key that bounds them."""
        return 0

    @property
    def posts_links(self) -> bool:
        """True if the URL of a page is requested by POST, with the request's body once more."""
        return False

    @property
    def window_parts(self) -> int:
        """Into how many slices a window is cut, to be read side by side."""
        return 1

    # -- what a response says ---------------------------------------------------------------------

    def references(self) -> Mapping[str, str]:
        """Members of the body to read beside the rows: dotted paths, by the kind's own names."""
        return {}

    def token_of(self, content: PageContent) -> PageToken:
        """The token of the next page; None at the end, or where there are none."""
        return None

    def url_of(self, content: PageContent) -> str | None:
        """The absolute URL of the next page; None at the end, or where there are none."""
        return None

    def total_of(self, content: PageContent) -> int | None:
        """How many rows match, if the page says so."""
        return None

    def follows(self, content: PageContent) -> bool | None:
        """Whether a page follows, if the page has a flag for it."""
        return None

    def says_last(self, request: PageRequest, info: PageInfo) -> bool:
        """Whether the page says that no page follows."""
        return info.follows is False

    def pages_of(self, content: PageContent) -> int | None:
        """How many pages there are, if the page says so."""
        return None

    def info_of(self, content: PageContent) -> PageInfo:
        """The statement of a page about the pages to come.

        :raises ContractBroken: a token, a link or a total is none, or the way to it leads through
            what is no object.
        """
        for name, path in self.references().items():
            if isinstance(member := content.members.get(name), NoObject):
                raise _no_object(member, path)
        return PageInfo(
            rows=content.table.num_rows,
            token=self.token_of(content),
            url=self.url_of(content),
            total=self.total_of(content),
            follows=self.follows(content),
            pages=self.pages_of(content),
        )

    def token_before_last(self, content: PageContent) -> tuple[PageToken, int]:
        """The token of a row before the last one, and how many rows lie behind it.

        None if no row of the page has another one, or rows are no tokens.
        """
        return None, content.table.num_rows

    @property
    def total_at(self) -> str | None:
        """The path or the header at which a page says how many rows match."""
        return None

    # -- what completeness rests on ---------------------------------------------------------------

    @property
    def contiguous(self) -> bool:
        """True if keys in order prove that no row lies between two pages."""
        return False

    @property
    def shared_rows(self) -> SharedRows:
        """Which rows of a page the page after it begins with once more."""
        return SharedRows.NONE

    @property
    def last_names_none(self) -> bool:
        """Whether only the last page names no other one."""
        return self.names_next

    @property
    def by_row(self) -> bool:
        """True if pages go on behind the last row: once it is deleted an API may send nothing."""
        return False

    @property
    def judged_by_looks(self) -> bool:
        """True if the names in tokens and links decide whether they are numbers in disguise."""
        return False

    def may_shift(self, request: PageRequest) -> bool:
        """Whether rows may be passed over between this page and the one before, if they shift."""
        if self.by_number:
            return not self.is_first(request)
        first = self.first_request()
        return (request.page, request.offset, request.after) != (
            first.page,
            first.offset,
            first.after,
        )

    # -- whether it can be resumed ----------------------------------------------------------------

    def resumes(self, *, proven: bool) -> bool:
        """Whether a later attempt may resume from where this one stopped.

        :param proven: the keys of the pages prove that nothing lies between them.
        """
        return proven or not self.by_number

    @property
    def token_dies(self) -> bool:
        """True if the position of a page dies with the API's state: a later attempt starts over."""
        return False


PAGINATION: Kinds[Paging] = Kinds("paging", Paging)
"""All kinds of paging, by the name that YAML calls them by."""


class CountedPaging(Paging):
    """A kind whose pages may say how many rows match."""

    total: DottedPath | None = Field(None, description="where the page says how many rows match")
    total_header: str | None = Field(None, description="header that says how many rows match")

    @property
    def total_at(self) -> str | None:
        return self.total or self.total_header

    def references(self) -> dict[str, str]:
        return {"total": self.total} if self.total else {}

    def total_of(self, content: PageContent) -> int | None:
        total = content.members.get("total")
        if self.total_header:
            total = _of_range(content.headers.get(self.total_header.lower(), total))
        return whole_total(total)


class CountedNumbers(CountedPaging):
    """Pages by number or offset, which may say whether a page follows, or how many there are."""

    more: More = Field(None, description=MORE)
    pages: DottedPath | None = Field(
        None, description="where the page says how many pages there are"
    )

    def references(self) -> dict[str, str]:
        places = {"more": self.more.at if self.more else None, "pages": self.pages}
        return super().references() | {name: at for name, at in places.items() if at}

    def follows(self, content: PageContent) -> bool | None:
        return self.more.follows(content.members.get("more")) if self.more else None

    def pages_of(self, content: PageContent) -> int | None:
        return whole_total(content.members.get("pages"), "paging.pages", "pages")

    @abstractmethod
    def number_of(self, request: PageRequest) -> int:
        """The number of a page, from 0 on."""

    def says_last(self, request: PageRequest, info: PageInfo) -> bool:
        if info.pages is not None:
            return self.number_of(request) + 1 >= info.pages
        return info.follows is False

    def is_last(self, request: PageRequest, info: PageInfo) -> bool:
        """Whether no page follows.

        What the page says of itself wins over its size: a page whose rows are all filtered out is
        empty, and others follow. But that none follows is not believed of a full page that nothing
        counts: a flag or a number that means something else says so of each page.
        """
        if info.pages is None and info.follows is None:
            return is_short(request, info)
        believed = info.rows < request.limit or info.total is not None
        return believed and self.says_last(request, info)


def places_of(name: str, paths: tuple[str, ...] | None) -> dict[str, str]:
    """The references to a value that may stand at one path or another.

    >>> places_of("url", ("next", "meta.next"))
    {'url': 'next', 'url_2': 'meta.next'}
    """
    numbered = enumerate(paths or (), start=1)
    return {name if number == 1 else f"{name}_{number}": path for number, path in numbered}


def first_there(
    content: PageContent, name: str, paths: tuple[str, ...] | None
) -> tuple[object, str]:
    """The value at the first of some paths that has one, and that path; else those of the first."""
    for reference, path in places_of(name, paths).items():
        if value := content.members.get(reference):
            return value, path
    return content.members.get(name), paths[0] if paths else ""


def _no_object(member: NoObject, path: str) -> ContractBroken:
    steps = split_path(path)[len(member.path) :]
    place = f"`{'.'.join(member.path)}`" if member.path else "the body"
    return ContractBroken(
        f"The path `{path}` of `paging` leads through {place}, which is "
        f"{shorten(member.value)}: expected an object with `{steps[0]}` there, or null or nothing "
        "where no page follows. Check: 1. the path"
        + (f" ({place}, if the value itself is meant)" if member.path else "")
        + "; 2. the format of the response, which may be another one on some pages"
    )


def _of_range(total: Any) -> Any:
    """The total in a ``Content-Range`` (PostgREST: ``0-24/60``; ``0-24/*`` is none)."""
    ranged = CONTENT_RANGE.fullmatch(total) if isinstance(total, str) else None
    if ranged is None:
        return total
    return None if ranged[3] == "*" else ranged[3]


def whole_total(total: Any, where: str = "paging.total", what: str = "matching rows") -> int | None:
    """The API's total; None if it does not say, or says -1 for not knowing.

    :param where: the YAML's key that leads to it. :param what: is counted.
    :raises ContractBroken: it is no number.
    """
    if total is None:
        return None
    try:
        number = int(total)
    except (TypeError, ValueError, OverflowError):
        members = total.items() if isinstance(total, dict) else ()
        inside = [name for name, value in members if isinstance(value, int)]
        further = f", with `.{inside[0]}` behind it" if inside else ""
        raise ContractBroken(
            f"expected the number of {what} at `{where}`, got {cut(str(total), 80)!r}. Check: 1. "
            f"the path{further}; 2. leave it out, if the API has the number in words alone"
        ) from None
    return number if number >= 0 else None


UNTIL_SHORT: Final = (
    "set if the API returns a next {name} even on the last page: a page shorter than the limit is "
    "the last, if paging.total counts the rows; else an empty one is"
)


def is_short(request: PageRequest, info: PageInfo) -> bool:
    """Whether a page is the last by its size: empty, or short where a total holds the rows."""
    return info.rows == 0 or (info.rows < request.limit and info.total is not None)


def is_capped(request: PageRequest, info: PageInfo, rows_left: int) -> bool:
    """Whether the page is shorter than it should be, with ``rows_left`` rows from its first on."""
    return 1 < info.rows < min(request.limit, rows_left)


def single_pages(
    numbers: range, request: Callable[[int], PageRequest]
) -> Iterator[PageSegment] | None:
    """Single pages, the last one open; made when their turn comes: an API may count billions."""
    if not numbers:
        return None
    return (PageSegment(request(number), closed=number != numbers[-1]) for number in numbers)


def _start_of(request: PageRequest) -> tuple[Any, ...]:
    return request.page, request.offset, request.after, request.token, request.url
