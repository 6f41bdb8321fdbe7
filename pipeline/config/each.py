"""An endpoint that is read once for each value of a list: repositories, accounts, shops."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
from pydantic import AfterValidator, BeforeValidator, Field

from pipeline.config.request import HttpTemplate
from pipeline.decode.types import parse_type
from pipeline.errors import cut
from pipeline.model import Model, fits_header

if TYPE_CHECKING:
    from pipeline.config.endpoint import Endpoint


def _listed(values: Any) -> Any:
    """A setting is a text: its values are told apart by commas."""
    if isinstance(values, str):
        return [value for value in map(str.strip, values.split(",")) if value]
    for value in values if isinstance(values, list | tuple) else ():
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        if not whole and not (isinstance(value, str) and value):
            raise ValueError(
                f"expected texts and whole numbers, got {cut(repr(value), 60)}: put it into "
                "quotes, or take it away"
            )
    return values


def _different(values: tuple[str | int, ...]) -> tuple[str | int, ...]:
    seen: set[str] = set()
    for text in map(str, values):
        if text in seen:
            raise ValueError(f"{text!r} stands here twice: take one away")
        seen.add(text)
    return values


class EachConfig(Model):
    """The values, each with the window and all pages of its own."""

    values: Annotated[
        tuple[str | int, ...],
        BeforeValidator(_listed, json_schema_input_type=list[str | int] | str),
        AfterValidator(_different),
    ] = Field(min_length=1, description="a list, or a text with commas, such as a setting")
    column_here: str | None = Field(None, description="a column of the rows that gets the value")
    concurrency: int = Field(8, ge=1, description="values that are read side by side")

    def landed(self, kind: pa.DataType) -> pa.Array:
        """The values as ``column_here`` has them."""
        return pa.array([pa.scalar(value).cast(kind) for value in self.values], kind)


def _fits(value: str | int, kind: str) -> bool:
    try:
        pa.scalar(value).cast(parse_type(kind).arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def problems_of_each(endpoint: "Endpoint") -> Iterator[str]:
    """The sentences on what does not fit the other parts of the endpoint."""
    request, each = endpoint.request, endpoint.each
    used = isinstance(request, HttpTemplate) and "{each}" in f"{request.templates}{endpoint.path}"
    if each is None:
        if used:
            yield (
                "the request has {each}, but the endpoint has no `each`: add `each: {values: […]}`"
            )
        return
    if not used:
        yield (
            "`each` requests the same for every value, since the request has no {each}: put it "
            "into `path` or `request`"
        )
    here = endpoint.columns.get(each.column_here or "")
    bad = here and next((value for value in each.values if not _fits(value, here.type)), None)
    if here and bad is not None:
        yield (
            f"column_here `{each.column_here}` is declared as `{here.type}`, which can't hold the "
            f"value {bad!r}: declare `{each.column_here}: string`"
        )
    leads_out = "{each}" in (endpoint.path or "") and next(
        (value for value in each.values if {".", ".."} & {*str(value).split("/")}), None
    )
    if leads_out:
        yield (
            f"the value {leads_out!r} of `each` would lead out of the path `{endpoint.path}`: "
            "write it without . and .. as parts"
        )
    in_header = isinstance(request, HttpTemplate) and "{each}" in str(request.headers)
    unread = in_header and next((v for v in each.values if not fits_header(str(v))), None)
    if unread:
        yield (
            f"the value {unread!r} of `each` would go into a header, and has a line break or a "
            "letter beyond ASCII, which no API can read there: put {each} into `params`"
        )
    if endpoint.sweep and each.column_here is None:
        yield (
            "a sweep needs `each.column_here`, or it would take the rows of a value that is taken "
            "out of the list for deleted: name a column for it, and leave it out of the key if "
            "the API's key is unique by itself"
        )
    if endpoint.parents is not None:
        yield "an endpoint has either `each` or `parents`: leave one of them out"
    if endpoint.feed:
        yield (
            "`each` can't be used with a feed (`window: {start: none, end: none}`), which has to "
            "be seen to reach back for every value: write an endpoint for each"
        )
