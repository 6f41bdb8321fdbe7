"""How the pages of an endpoint follow each other."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.model import DottedPath, Model


class OffsetPaging(Model):
    """``offset`` and ``limit``, sorted by the unique key; pages overlap by one row."""

    kind: Literal["offset"]
    limit: int = Field(gt=1, description="rows a page; the API's maximum is the best choice")
    first: int = Field(0, ge=0, le=1, description="the offset of the first row: 0, or 1 (USGS)")
    overlap: bool = Field(True, description="pages overlap by one row, which proves contiguity")
    total: DottedPath | None = Field(None, description="where the page says how many rows match")
    total_header: str | None = Field(None, description="header that says how many rows match")


class KeysetPaging(Model):
    """``key > last``, sorted by the key: contiguous by construction; key ranges side by side."""

    kind: Literal["keyset"]
    limit: int = Field(gt=0)
    ranges: int = Field(1, ge=1, le=256, description="ranges of an integer key, read side by side")


class NumberedPaging(Model):
    """Numbered pages, which can't overlap: count and rows must agree, else a second pass.

    A count that agrees does not show a row that was passed over while another one was added.
    Without a count nothing shows whether a row was passed over, and a check warns.
    """

    kind: Literal["page"]
    limit: int = Field(gt=0)
    first: int = Field(1, ge=0, le=1, description="the number of the first page")
    total: DottedPath | None = Field(None, description="where the page says how many rows match")
    total_header: str | None = Field(None, description="header that says how many rows match")


class TokenPaging(Model):
    """Each page names the next by a token in its body, a header or its last row: a chain.

    A token is taken for a place among the rows, which stays where it is when they shift.
    """

    kind: Literal["token"]
    limit: int = Field(gt=0)
    first: str | None = Field(None, description="the token of the first page (Crossref: *)")
    next: DottedPath | None = Field(None, description="where the page says the next token")
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
    more: DottedPath | None = Field(
        None, description="where the page says whether there is a next one (has_more): false is no"
    )
    total: DottedPath | None = None
    total_header: str | None = Field(None, description="header that says how many rows match")
    until_short: bool = Field(
        False,
        description="the API names a next page for ever: one shorter than the limit is the last, "
        "if paging.total counts the rows; else an empty one is",
    )
    resumable: bool = Field(True, description="false: a token dies with the run (server state)")
    numbered: bool | None = Field(
        None,
        description="the tokens are page numbers or offsets: rows that shift are passed over, so "
        "that only a total that agrees is taken for a proof; default: if they say so by a name, "
        "plain or in base64 (MLflow), and name nothing else",
    )
    slices: int = Field(1, ge=1, le=256, description="slices of the window, read side by side")


class LinkPaging(Model):
    """Each page gives the URL of the next, in the ``Link`` header, another one, or its body."""

    kind: Literal["link"]
    limit: int = Field(gt=0)
    next: DottedPath | None = Field(None, description="where the body has the URL; default: Link")
    header: str | None = Field(None, description="another header that has the URL by itself")
    more: DottedPath | None = Field(
        None, description="where the page says whether there is a next one (has_more): false is no"
    )
    total: DottedPath | None = None
    total_header: str | None = Field(None, description="header that says how many rows match")
    numbered: bool | None = Field(
        None,
        description="the links are page numbers or offsets in disguise; default: if they say so "
        "by a name such as page or offset, and have no cursor",
    )
    slices: int = Field(1, ge=1, le=256)


class CursorPaging(Model):
    """Rows in order of the cursor; each page asks for what lies from the last row's cursor on.

    Rows that change while they are read move to the end, so that numbered pages behind them shift:
    by the cursor nothing is passed over. A ``Link`` is followed only where more rows than a page
    holds have the same cursor.
    """

    kind: Literal["cursor"]
    limit: int = Field(gt=1)


class SinglePaging(Model):
    """Everything in one answer."""

    kind: Literal["none"]
    limit: int = Field(1_000_000_000, gt=0)


class CustomPaging(Model):
    """A pager of the user's own: ``next(ask, facts) -> ask | None``, by import path."""

    kind: Literal["python"]
    path: str = Field(pattern=r"^[\w.]+:\w+$", description="module:function")
    limit: int = Field(gt=0)
    total: DottedPath | None = None


Paging = Annotated[
    OffsetPaging
    | KeysetPaging
    | NumberedPaging
    | TokenPaging
    | LinkPaging
    | CursorPaging
    | SinglePaging
    | CustomPaging,
    Field(discriminator="kind"),
]
