"""A number that only rises: an id, a sequence number, a version."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.bookmarks.base import BOOKMARKS, BookmarkCursor, BookmarkedEndpoint
from pipeline.decode.types import INTEGERS
from pipeline.errors import ContractBroken
from pipeline.partitions.bookmark import BookmarkSpan

_TYPES = sorted(INTEGERS - {"uint64"})


@BOOKMARKS.register("number")
class NumberCursor(BookmarkCursor):
    """Each partition has the rows whose number is greater than the greatest of the one before."""

    kind: Literal["number"] = "number"
    column_name: str = Field(
        alias="column", description="the column with the number, of an integer type"
    )
    safety_margin: int = Field(
        0,
        ge=0,
        description="by how many numbers a partition reaches back before its start: rows whose "
        "number was given before others, and that are shown after them, are found by it",
    )
    start: int | None = Field(
        None, description="the first partition has the rows behind this number; default: all"
    )
    noun: ClassVar[str] = "number"
    in_order: ClassVar[bool] = False
    expires: ClassVar[bool] = False
    shown: ClassVar[bool] = True

    @property
    def of(self) -> str:
        return self.column_name

    @property
    def column(self) -> str | None:
        return self.column_name

    @property
    def margin(self) -> int | None:
        return self.safety_margin

    def problems(self, endpoint: BookmarkedEndpoint) -> Iterator[str]:
        yield from super().problems(endpoint)
        name = self.column_name
        kind = endpoint.columns[name].type if name in endpoint.columns else None
        if kind is None or name in endpoint.context_columns:
            yield (
                f"the cursor `{name}` needs a declared type, and has to be a column of the API's "
                f"rows, e.g. `columns: {{{name}: int64}}`"
            )
        elif kind not in _TYPES:
            yield (
                f"the cursor `{name}` is a number that only rises, and is declared as `{kind}`: "
                f"expected `int64` or another of {', '.join(_TYPES)}"
            )
        if "start" not in (endpoint.placeholders or ()):
            yield (
                "an endpoint whose cursor is a number asks for the rows behind the last one: put "
                "{start} into `params`, e.g. `since_id: '{start}'`, or leave `cursor` out (then it "
                "is a snapshot)"
            )

    def sent(self, span: BookmarkSpan | None) -> int | str | None:
        low = self._low(span)
        return self.start if low is None else low

    def _low(self, span: BookmarkSpan | None) -> int | None:
        """Rows behind this number belong to the partition; None: all do."""
        if span is None or span.start is None or not isinstance(span.start.value, int):
            return self.start
        low = span.start.value - self.safety_margin
        return low if self.start is None else max(low, self.start)

    def inside(self, rows: pa.Table, span: BookmarkSpan | None) -> pa.Table:
        """An API may give the row of the bound itself, which is not of this partition."""
        if not rows.num_rows:
            return rows
        if self.column_name not in rows.column_names or rows[self.column_name].null_count:
            raise ContractBroken(
                f"A row has no `{self.column_name}`, expected a number in each, since the next "
                "partition starts behind the greatest. Check: 1. that `cursor` names the right "
                f"column; 2. its path, e.g. columns: {{{self.column_name}: {{type: int64, path: "
                "…}}"
            )
        numbers, low = rows[self.column_name], self._low(span)
        until = span.until if span else None
        keep = pa.repeat(pa.scalar(True), rows.num_rows)
        if low is not None:
            least = pc.min(numbers).as_py()
            if least < low:
                raise ContractBroken(
                    f"A row has `{self.column_name}` = {least}, expected numbers behind {low}. The "
                    "API seems to ignore the filter. Check: 1. the parameter with {start}; 2. that "
                    f"it is about `{self.column_name}`"
                )
            keep = pc.and_(keep, pc.greater(numbers, low))
        if until is not None:
            # Null, where the later partition started at the beginning: it has all rows.
            within = pc.less_equal(numbers, pa.scalar(until.value, numbers.type))
            keep = pc.and_(keep, pc.fill_null(within, False))
        return rows if pc.all(keep).as_py() else rows.filter(keep)

    def ended(
        self, span: BookmarkSpan | None, *, of_page: str | None, greatest: int | None
    ) -> int | str | None:
        """No smaller than where it started; all up to the start of the next one was read."""
        bounds = (span.start, span.until) if span else ()
        known = [b.value for b in bounds if b is not None and isinstance(b.value, int)]
        known += [number for number in (greatest, self.start) if number is not None]
        return max(known, default=None)
