"""A change token: the API says on its last page how to ask for what changes from then on."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.bookmarks.base import BOOKMARKS, BookmarkCursor, BookmarkedEndpoint
from pipeline.errors import ContractBroken
from pipeline.model import DottedPath
from pipeline.pagination.link import followed
from pipeline.pagination.page import PageContent
from pipeline.partitions.bookmark import BookmarkSpan


class ChangeToken(BookmarkCursor):
    """What the two kinds share: where the last page has it, and that it may expire."""

    at: DottedPath | None = Field(
        None, description=r"where the last page has it, e.g. nextSyncToken or '@odata\.deltaLink'"
    )
    header: str | None = Field(None, description="the header that has it, in place of at")
    noun: ClassVar[str] = "change token"

    @property
    def of(self) -> str:
        return self.at or self.header or ""

    def problems(self, endpoint: BookmarkedEndpoint) -> Iterator[str]:
        yield from super().problems(endpoint)
        if bool(self.at) == bool(self.header):
            yield (
                f"`cursor` of kind `{self.kind}` needs one place of the change token, and has "
                f"{'two' if self.at else 'none'}: `at` (a path in the body of the last page, e.g. "
                "nextSyncToken), or `header`"
            )
        if not endpoint.key:
            yield (
                f"`cursor` of kind `{self.kind}` brings changes of rows, and `key: none` says that "
                "nothing tells which row has changed: name the key"
            )
        if endpoint.proven:
            yield (
                f"`cursor` of kind `{self.kind}` brings changes in the order in which they "
                f"happened, and paging of kind `{endpoint.paging.kind}` goes by the key: use "
                "`token` or `link`, or say `order: none`"
            )

    def references(self) -> dict[str, str]:
        return {"bookmark": self.at} if self.at else {}

    def of_page(self, content: PageContent) -> str | None:
        value = content.members.get("bookmark")
        if self.header:
            value = content.headers.get(self.header.lower())
        return None if value in (None, "") else str(value)

    def ended(
        self, span: BookmarkSpan | None, *, of_page: str | None, greatest: int | None
    ) -> int | str | None:
        if of_page is None:
            place = f"at `{self.at}`" if self.at else f"in the header `{self.header}`"
            raise ContractBroken(
                f"The last page has no change token {place}, with which the next partition would "
                "start. Check: 1. the place, in `cursor`; 2. that `paging` reads up to the last "
                "page; 3. whether the API gives it only without some parameter (a sort, a filter)"
            )
        return of_page


@BOOKMARKS.register("token")
class TokenCursor(ChangeToken):
    """A token that goes into the request as ``{start}`` (Google's syncToken, Plaid's cursor)."""

    kind: Literal["token"] = "token"
    start: str | None = Field(
        None, description="the token of the first partition, where the API wants one (CouchDB: 0)"
    )

    def problems(self, endpoint: BookmarkedEndpoint) -> Iterator[str]:
        yield from super().problems(endpoint)
        if "start" not in (endpoint.placeholders or ()):
            yield (
                "an endpoint whose cursor is a change token sends the token of the partition "
                "before: put {start} into the request, e.g. `params: {syncToken: '{start}'}`, or "
                "say `kind: link` if it is a URL"
            )

    def sent(self, span: BookmarkSpan | None) -> int | str | None:
        token = super().sent(span)
        return self.start if token is None else token


@BOOKMARKS.register("link")
class LinkCursor(ChangeToken):
    """A URL that is the first page of the next partition (Microsoft Graph's deltaLink)."""

    kind: Literal["link"] = "link"

    def problems(self, endpoint: BookmarkedEndpoint) -> Iterator[str]:
        yield from super().problems(endpoint)
        if "start" in (endpoint.placeholders or ()):
            yield (
                "the request has {start}, and with `cursor` of kind `link` the first page of a "
                "partition is the URL that the one before it ended with: take {start} out, or say "
                "`kind: token`"
            )

    def sent(self, span: BookmarkSpan | None) -> int | str | None:
        return None

    def url(self, span: BookmarkSpan | None) -> str | None:
        link = super().sent(span)
        return link if isinstance(link, str) else None

    def of_page(self, content: PageContent) -> str | None:
        """As an absolute URL, without the key; one that leads elsewhere is refused."""
        return followed(super().of_page(content), content)
