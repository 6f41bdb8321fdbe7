"""An endpoint that is asked once for each value of a list: repositories, accounts, shops."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
from pydantic import AfterValidator, BeforeValidator, Field

from pipeline.rows.types import parse_type
from pipeline.spec.model import Model
from pipeline.spec.request import Http

if TYPE_CHECKING:
    from pipeline.spec.endpoint import Endpoint


def _listed(values: Any) -> Any:
    """A setting is a text: its values are told apart by commas."""
    if isinstance(values, str):
        return [value for value in map(str.strip, values.split(",")) if value]
    return values


def _different(values: tuple[str | int, ...]) -> tuple[str | int, ...]:
    texts = [str(value) for value in values]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} stands here twice: take one away")
    return values


class Each(Model):
    """The values, each with the window and all pages of its own."""

    values: Annotated[
        tuple[Annotated[str, Field(min_length=1)] | int, ...],
        BeforeValidator(_listed, json_schema_input_type=list[str | int] | str),
        AfterValidator(_different),
    ] = Field(min_length=1, description="a list, or a text with commas, such as a setting")
    column_here: str | None = Field(None, description="a column of the rows that gets the value")
    concurrency: int = Field(8, ge=1, description="values that are read side by side")


def _fits(value: str | int, kind: str) -> bool:
    try:
        pa.scalar(value).cast(parse_type(kind).arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def misfits_of_each(endpoint: "Endpoint") -> Iterator[str]:
    """What does not fit to the other parts of the endpoint."""
    request, each = endpoint.request, endpoint.each
    used = isinstance(request, Http) and "{each}" in f"{request.templates}{endpoint.path}"
    if each is None:
        if used:
            yield "the request has {each}, but the endpoint has no each: add each: {values: […]}"
        return
    if not used:
        yield (
            "each asks for every value the same, since the request has no {each}: put it into path "
            "or request"
        )
    here = endpoint.columns.get(each.column_here or "")
    bad = here and next((value for value in each.values if not _fits(value, here.type)), None)
    if here and bad is not None:
        yield (
            f"column_here {each.column_here!r} is declared as {here.type}, which can't hold the "
            f"value {bad!r}: declare {each.column_here}: string"
        )
    if endpoint.parents is not None:
        yield "an endpoint has either each or parents: leave one of them out"
    if endpoint.feed:
        yield (
            "each can't be used with a feed (window: {start: none, end: none}), which has to be "
            "seen to reach back for every value: write an endpoint for each"
        )
