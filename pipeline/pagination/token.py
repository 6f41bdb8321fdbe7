"""Pages by a token that each names."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal

import orjson
from pydantic import Field

from pipeline.decode import exact_json
from pipeline.decode.exact_json import ExactFloat
from pipeline.errors import ContractBroken, cut
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
    JsonToken,
    PageContent,
    PageInfo,
    PageRequest,
    PageToken,
    key_as_sent,
    link_is_number,
    token_is_number,
)

_ENDS: Final = frozenset({"-1", "null", "none", "nil", "undefined", "eof", "end", "n/a", "lte="})
"""Tokens by which APIs say that there is no next page."""


@PAGINATION.register("token")
class TokenPaging(CountedPaging):
    """Each page names the next by a token in its body, a header or its last row: a chain.

    A token is taken for a place among the rows, which stays where it is when they shift.
    """

    kind: Literal["token"] = "token"
    limit: int = Field(gt=0, description="rows a page")
    first: str | None = Field(None, description="the token of the first page (Crossref: *)")
    next: DottedPaths | None = Field(
        None,
        description="where the page says the next token; a list: the first of these places that "
        "has one",
    )
    header: str | None = Field(None, description="the header that says it")
    as_params: bool = Field(
        False,
        description="the token is an object, whose members are parameters of the next request "
        "(MediaWiki: continue)",
    )
    last: str | None = Field(
        None,
        description="the column whose value in the last row is the token (Stripe: id; "
        "Elasticsearch: sort)",
    )
    more: More = Field(None, description=MORE)
    until_short: bool = Field(False, description=UNTIL_SHORT.format(name="token"))
    resumable: bool = Field(True, description="false: a token dies with the run (server state)")
    numbered: bool | None = Field(
        None,
        description="the tokens are page numbers or offsets: rows that shift are passed over, so "
        "that only a total that agrees is taken for a proof; default: detected when the token's "
        "text, plain or base64 (MLflow), contains only a page or offset name",
    )
    slices: int = Field(1, ge=1, le=256, description="slices of the window, read side by side")
    fills: ClassVar[frozenset[str]] = frozenset({"token"})
    first_tells_all: ClassVar[bool] = True
    names_next: ClassVar[bool] = True

    def problems(self, endpoint: PagedEndpoint) -> Iterator[str]:
        places = [place for place in (self.next, self.header, self.last) if place]
        if not places:
            yield (
                "token paging needs the place of the next token: `paging.next` (a path in the "
                "body, e.g. `meta.next_cursor`), `paging.header`, or `paging.last` (a column of "
                "the last row, e.g. `id`)"
            )
        if len(places) > 1:
            yield ONE_PLACE
        if self.last and self.last not in endpoint.columns:
            yield (
                f"the token is the last row's `{self.last}`: declare it, e.g. `columns: "
                f"{{{self.last}: string}}`, or `json` for a list"
            )
        if (used := endpoint.placeholders) is None:
            return
        if self.as_params:
            if "token" in used or self.next is None or self.first is not None:
                yield (
                    "`as_params` makes parameters of the object at `paging.next`: name it there, "
                    "and leave {token} and `paging.first` out"
                )
        elif "token" not in used:
            yield "token paging needs {token} in the request, e.g. `params: {cursor: '{token}'}`"

    @property
    def window_parts(self) -> int:
        return self.slices

    def first_request(self) -> PageRequest:
        return PageRequest(self.limit, token=self.first)

    def next_request(self, request: PageRequest, info: PageInfo) -> PageRequest | None:
        if info.token is None or (self.until_short and is_short(request, info)):
            return None
        return replace(request, token=info.token, url=info.url)

    def may_mean(self, request: PageRequest) -> str:
        token = request.token
        one_place = self.next is not None and len(self.next) == 1
        if not one_place or self.more or str(token).lower() not in _ENDS:
            return ""
        ended, (at,) = json.dumps(token), self.next or ("",)
        return (
            f"If the token {ended} means that there is no next page: `more: {{at: {at}, "
            f"ended: {ended}}}` in `paging`"
        )

    def parameters(self, request: PageRequest) -> Mapping[str, Any]:
        """The members of a token, where they are parameters."""
        if not (self.as_params and isinstance(request.token, JsonToken)):
            return {}
        members: dict[str, Any] = orjson.loads(request.token.text)
        return members

    def follows(self, content: PageContent) -> bool | None:
        return self.more.follows(content.members.get("more")) if self.more else None

    def references(self) -> dict[str, str]:
        more = {"more": self.more.at} if self.more else {}
        return super().references() | more | places_of("token", self.next)

    def token_of(self, content: PageContent) -> PageToken:
        """:raises ContractBroken: `as_params` finds no object, or the last row has no token."""
        if self.follows(content) is False:
            return None
        if self.header:
            return _as_it_came(content.headers.get(self.header.lower()))
        if self.last is None:
            token, at = first_there(content, "token", self.next)
            if self.as_params and token is not None and not isinstance(token, dict):
                raise ContractBroken(
                    f"expected an object at `{at}`, whose members are parameters of the "
                    f"next page (`paging.as_params`), got {cut(str(token), 80)!r}"
                )
            return _as_it_came(token)
        if content.table.num_rows == 0:
            return None
        token = _of_row(self.last, content, content.table.num_rows - 1)
        if token is None:
            raise ContractBroken(
                f"the last row of the page has no `{self.last}`, by which the next page is "
                "requested (`paging.last`): name a column that every row has"
            )
        return token

    def token_before_last(self, content: PageContent) -> tuple[PageToken, int]:
        table = content.table
        if self.last is None or table.num_rows == 0:
            return None, table.num_rows
        column = table[self.last]
        for at in range(table.num_rows - 2, -1, -1):
            if column[at] != column[-1]:
                return _of_row(self.last, content, at), table.num_rows - 1 - at
        return None, table.num_rows

    @property
    def last_names_none(self) -> bool:
        return not (self.last or self.until_short)

    @property
    def by_row(self) -> bool:
        return bool(self.last)

    @property
    def judged_by_looks(self) -> bool:
        return self.numbered is None and self.last is None

    def may_shift(self, request: PageRequest) -> bool:
        looks = link_is_number(request.url) or token_is_number(request.token)
        return looks if self.numbered is None else self.numbered

    def resumes(self, *, proven: bool) -> bool:
        return not self.numbered and self.resumable

    @property
    def token_dies(self) -> bool:
        return not self.resumable


def _of_row(name: str, content: PageContent, at: int) -> PageToken:
    """A value of a row; unlike what an API says of the next page, a 0 is one."""
    value, kind = content.key_at(name, at), content.types[name]
    if kind == "json" and value is not None:
        return JsonToken(value)
    words = key_as_sent(value, kind, content.zone)
    return 0 if words == 0 and not isinstance(words, bool) else _as_it_came(words)


def _as_it_came(value: object) -> PageToken:
    """A number stays one, since an API may take no text for it; 0 is none (Twitter)."""
    if not value:
        return None
    is_large = isinstance(value, int) and abs(value) >= 2**63
    if is_large or isinstance(value, list | dict | ExactFloat):
        return JsonToken(exact_json.dump(value))
    return value if isinstance(value, str | int | float) else str(value)
