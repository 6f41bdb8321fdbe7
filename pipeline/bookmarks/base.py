"""The base of every kind of bookmark: its YAML, and how a partition starts and ends by it. Pure.

============  ==========================================  ==========================================
kind          a partition starts with                     and ends with
============  ==========================================  ==========================================
``number``    the number, less the safety margin          the greatest number of its rows
``token``     the token, as ``{start}``                   the token that its last page has
``link``      the URL, as its first page                  the URL that its last page has
============  ==========================================  ==========================================
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from pipeline.kinds import Kinds
from pipeline.model import Model
from pipeline.pagination.page import PageContent
from pipeline.partitions.bookmark import Bookmark, BookmarkSpan


class BookmarkedEndpoint(Protocol):
    """The endpoint that has this cursor, as far as the rules of a kind may look at it."""

    @property
    def key(self) -> tuple[str, ...]: ...
    @property
    def columns(self) -> Mapping[str, Any]: ...
    @property
    def context_columns(self) -> tuple[str, ...]: ...
    @property
    def fans_out(self) -> bool: ...
    @property
    def proven(self) -> bool: ...
    @property
    def paging(self) -> Any: ...
    @property
    def window(self) -> Any: ...
    @property
    def placeholders(self) -> frozenset[str] | None: ...


class BookmarkCursor(Model):
    """How partitions follow each other by a bookmark: ``cursor: {kind: …}`` of an endpoint's YAML.

    A kind is one class, registered under the name that the YAML calls it by. An API that counts its
    changes, and says in a header how far it has come::

        from typing import Literal

        from pipeline.bookmarks.base import BOOKMARKS, BookmarkCursor
        from pipeline.pagination.page import PageContent
        from pipeline.partitions.bookmark import BookmarkSpan


        @BOOKMARKS.register("revision")
        class RevisionCursor(BookmarkCursor):
            kind: Literal["revision"] = "revision"
            header: str

            @property
            def of(self) -> str:
                return self.header

            def of_page(self, content: PageContent) -> str | None:
                return content.headers.get(self.header.lower())

            def ended(
                self, span: BookmarkSpan | None, *, of_page: str | None, greatest: int | None
            ) -> int | str | None:
                return of_page

    :ivar noun: what the value is called in sentences.
    :ivar in_order: pages bring changes in the order in which they happened: of rows with one key
        the one that comes last is the latest.
    :ivar expires: an API may forget a bookmark: all is read then, and what is gone is deleted.
    :ivar shown: the value may be told in sentences: it opens nothing.
    """

    kind: str
    noun: ClassVar[str] = "bookmark"
    in_order: ClassVar[bool] = True
    expires: ClassVar[bool] = True
    shown: ClassVar[bool] = False

    @property
    def of(self) -> str:
        """The column, the member or the header that the value is read from."""
        raise NotImplementedError

    @property
    def column(self) -> str | None:
        """The column of the rows that has the value; None if the rows do not show it."""
        return None

    @property
    def margin(self) -> int | None:
        """By how much a partition reaches back before its start; None if it can't."""
        return None

    # -- rules ------------------------------------------------------------------------------------

    def problems(self, endpoint: BookmarkedEndpoint) -> Iterator[str]:
        """The parts of the endpoint that do not fit this cursor, each with its remedy."""
        this = f"`cursor` of kind `{self.kind}`"
        if endpoint.placeholders is None:
            yield f"IGDB's dialect filters by a time, and {this} is none: name a column as `cursor`"
            return
        if endpoint.fans_out:
            yield (
                f"`each` and `parents` read an endpoint once a value, and {this} has one bookmark "
                "for all: leave one of them out, or write an endpoint for each value"
            )
        if times := sorted(endpoint.window.model_fields_set - {"timezone"}):
            yield (
                f"`window.{times[0]}` is about times, and {this} is none: leave it out, or name a "
                "column with a time as `cursor`"
            )
        if "end" in endpoint.placeholders:
            yield (
                f"the request has {{end}}, and {this} has no end before all is read: take it out, "
                "or name a column with a time as `cursor`"
            )
        if endpoint.paging.needs_window or endpoint.paging.window_parts > 1:
            key = "slices" if endpoint.paging.window_parts > 1 else f"kind: {endpoint.paging.kind}"
            yield (
                f"`paging.{key}` cuts a window of time, and {this} has none: leave it out, or use "
                "paging of kind `token`, `link` or `page`"
            )

    # -- the request ------------------------------------------------------------------------------

    def sent(self, span: BookmarkSpan | None) -> int | str | None:
        """The value of ``{start}`` in a request; None: it has none."""
        return span.start.value if span and span.start and not span.expired else None

    def url(self, span: BookmarkSpan | None) -> str | None:
        """The URL of the first page, where the bookmark is one."""
        return None

    # -- what a response says ---------------------------------------------------------------------

    def references(self) -> Mapping[str, str]:
        """Members of the body to read beside the rows: ``bookmark`` → its path."""
        return {}

    def of_page(self, content: PageContent) -> str | None:
        """The bookmark that a page has, if it has one.

        :raises ContractBroken: it is none.
        """
        return None

    def inside(self, rows: pa.Table, span: BookmarkSpan | None) -> pa.Table:
        """The rows of a page that belong to the partition.

        :raises ContractBroken: the API seems to ignore ``{start}``.
        """
        return rows

    # -- the end ----------------------------------------------------------------------------------

    def ended(
        self, span: BookmarkSpan | None, *, of_page: str | None, greatest: int | None
    ) -> int | str | None:
        """The value of the bookmark that the partition ends with.

        :param of_page: what ``of_page`` says of the last page.
        :param greatest: of the values in ``column``, as they were read back.
        :raises ContractBroken: there is none, and the next partition could not start.
        """
        raise NotImplementedError

    def in_words(self, bookmark: Bookmark | None) -> str:
        """A bookmark in a sentence, without a value that may open something."""
        if bookmark is None or bookmark.value is None:
            return "the beginning"
        if self.shown:
            return f"`{self.of}` = {bookmark.value}"
        return f"the {self.noun} of {bookmark.at:%Y-%m-%d %H:%M:%S} UTC"


BOOKMARKS: Kinds[BookmarkCursor] = Kinds("cursor", BookmarkCursor)
"""All kinds of bookmarks, by the name that YAML calls them by."""
