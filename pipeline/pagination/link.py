"""Pages by the URL that each names, and why a link to elsewhere is never followed.

A link is requested with the source's credentials; one to another host or scheme would give them
away.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal
from urllib.parse import urljoin, urlsplit, urlunsplit

from pydantic import Field

from pipeline.auth.base import NO_URL, check_origin
from pipeline.decode.exact_json import shorten
from pipeline.errors import ContractBroken
from pipeline.messages import without_param
from pipeline.model import DottedPaths
from pipeline.pagination.base import (
    ONE_PLACE,
    PAGINATION,
    UNTIL_SHORT,
    CountedPaging,
    PagedEndpoint,
    first_there,
    is_short,
    places_of,
)
from pipeline.pagination.more_flag import MORE, More
from pipeline.pagination.page import (
    PageContent,
    PageInfo,
    PageRequest,
    link_is_number,
    token_is_number,
)


@PAGINATION.register("link")
class LinkPaging(CountedPaging):
    """Each page gives the URL of the next, in the ``Link`` header, another one, or its body."""

    kind: Literal["link"] = "link"
    limit: int = Field(gt=0, description="rows a page")
    next: DottedPaths | None = Field(
        None,
        description="where the body has the URL; a list: the first of these places that has one; "
        "default: the header Link",
    )
    header: str | None = Field(None, description="another header that has the URL by itself")
    more: More = Field(None, description=MORE)
    until_short: bool = Field(False, description=UNTIL_SHORT.format(name="link"))
    numbered: bool | None = Field(
        None,
        description="the links are page numbers or offsets in disguise; default: if they say so "
        "by a name such as page or offset, and have no cursor",
    )
    post: bool = Field(
        False, description="links are followed by POST, with the request's body once more"
    )
    slices: int = Field(1, ge=1, le=256, description="slices of the window, read side by side")
    first_tells_all: ClassVar[bool] = True
    names_next: ClassVar[bool] = True
    holds_limit: ClassVar[bool] = False

    def problems(self, endpoint: PagedEndpoint) -> Iterator[str]:
        if self.next and self.header:
            yield ONE_PLACE

    @property
    def posts_links(self) -> bool:
        return self.post

    @property
    def window_parts(self) -> int:
        return self.slices

    def follows(self, content: PageContent) -> bool | None:
        return self.more.follows(content.members.get("more")) if self.more else None

    def references(self) -> dict[str, str]:
        more = {"more": self.more.at} if self.more else {}
        return super().references() | more | places_of("url", self.next)

    def url_of(self, content: PageContent) -> str | None:
        """:raises ContractBroken: what stands at ``next`` is no URL, or leads elsewhere."""
        if self.follows(content) is False:
            return None
        if self.next is not None:
            url, at = first_there(content, "url", self.next)
            if url and not isinstance(url, str):
                raise ContractBroken(
                    f"expected the URL of the next page at `{at}` (`paging.next`), got "
                    f"{shorten(url)}. Check: 1. the path, which leads further in where an object "
                    f"has the URL, e.g. `{at}.href`; 2. paging of kind `token` or `page`, "
                    "where a token or a number stands there"
                )
            return followed(url if isinstance(url, str) else None, content)
        if self.header is not None:
            return followed(content.headers.get(self.header.lower()), content)
        return followed(next_target(content.headers.get("link", "")), content)

    def next_request(self, request: PageRequest, info: PageInfo) -> PageRequest | None:
        if info.url is None or (self.until_short and is_short(request, info)):
            return None
        return replace(request, token=info.token, url=info.url)

    @property
    def last_names_none(self) -> bool:
        return not self.until_short

    @property
    def judged_by_looks(self) -> bool:
        return self.numbered is None

    def may_shift(self, request: PageRequest) -> bool:
        looks = link_is_number(request.url) or token_is_number(request.token)
        return looks if self.numbered is None else self.numbered

    def resumes(self, *, proven: bool) -> bool:
        return not self.numbered


def followed(target: str | None, content: PageContent) -> str | None:
    """The absolute URL of a link of a page, or None if there is none.

    Many APIs say the key again in the link. It is taken out, since positions are kept, and put in
    again just before sending.

    :raises ContractBroken: the link leads to another host or scheme, or is no URL.
    """
    if not target:
        return None
    try:
        joined = urljoin(content.url, target)
        url = _without(joined, content.secret_param)
    except ValueError:
        raise ContractBroken(NO_URL) from None
    check_origin(url, content.base_url)
    return url


def next_target(header: str) -> str | None:
    """The target of ``rel=next`` in a ``Link`` header (RFC 8288, 3), read once from left to right.

    httpx's ``Response.links`` cuts a URL at its first ``;``, and loses ``rel`` behind a title with
    a comma, a ``;`` or an ``=`` in it: rows would be lost. Sentry names a next page behind the
    last one, too, and says ``results="false"`` of it.
    """
    at = 0
    while (begin := header.find("<", at)) >= 0:
        end = header.find(">", begin)
        if end < 0:
            return None
        at, parameters = _parameters(header, end + 1)
        values = dict(reversed([_parameter(text) for text in parameters]))
        if "next" in values.get("rel", "").split() and values.get("results") != "false":
            return header[begin + 1 : end]
    return None


def _parameter(parameter: str) -> tuple[str, str]:
    """The name and the value of a parameter of a link."""
    name, _, value = parameter.partition("=")
    return name.strip().lower(), value.strip(' \t"').lower()


def _parameters(header: str, begin: int) -> tuple[int, list[str]]:
    """The parameters of one link, and where the next one begins: behind a comma without quotes."""
    parameters, start, quoted, escaped = list[str](), begin, False, False
    for at in range(begin, len(header)):
        letter = header[at]
        if escaped or (quoted and letter not in '"\\'):
            escaped = False
        elif letter == "\\":
            escaped = quoted
        elif letter == '"':
            quoted = not quoted
        elif letter in ",;":
            parameters.append(header[start:at])
            start = at + 1
            if letter == ",":
                return start, parameters
    return len(header), [*parameters, header[start:]]


def _without(url: str, param: str | None) -> str:
    parts = urlsplit(url)
    if param is None or not parts.query:
        return url
    return urlunsplit(parts._replace(query=without_param(parts.query, param)))
