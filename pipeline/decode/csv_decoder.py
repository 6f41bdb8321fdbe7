"""CSV (RFC 4180) and its cousins with tabs or semicolons: the kind ``csv`` of the decoders.

Cells are text, which fits declared columns of numbers and times (``coerce``); other columns land as
text. An empty cell is null.
"""

import csv
import io
import re
from typing import ClassVar, Final, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from pipeline.decode.base import DECODERS, DecodedPage, Decoder, Format
from pipeline.decode.body_checks import BadBody, ConversionCounts, EmptyBody, clean_utf8
from pipeline.decode.exact_json import shorten
from pipeline.decode.row_selection import Row
from pipeline.decode.shape import Shape
from pipeline.errors import ContractBroken, cut_bytes
from pipeline.messages import Body

_LONGEST_CELL: Final = 16 * 2**20
_TOTAL: Final = re.compile(r"((grand|sub|all)[ -]?)?totals?:?|sum:?|summe|gesamt", re.IGNORECASE)


@DECODERS.register("csv")
class CsvFormat(Format):
    """Pages of CSV: ``format: csv``, or ``format: {kind: csv, delimiter: ";"}``."""

    kind: Literal["csv"] = "csv"
    delimiter: str = Field(",", description='one character; "\\t" is a tab')
    header: bool = Field(
        True,
        description='the first line has the names; else columns are places, with `path: "0"`',
    )
    accept: ClassVar[str] = "text/csv, */*;q=0.1"
    has_paths: ClassVar[bool] = False

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, text: str) -> str:
        text = "\t" if text in ("\\t", "tab") else text
        if len(text) != 1 or text in '"\r\n':
            raise ValueError(f"expected one character between cells, got {text!r}")
        return text

    def check(self, body: Body) -> None:
        """Check that the body is text, and no page of HTML or JSON."""
        start = bytes(body[:256]).lstrip()
        if not start and self.header:
            raise EmptyBody("expected CSV with a line of names, the body is empty")
        if start[:1] in (b"<", b"{", b"[") or b"\x00" in start:
            raise BadBody(f"expected CSV, the body starts with {cut_bytes(body, 80)!r}")

    def value_at(self, body: Body, path: tuple[str, ...]) -> object:
        if path:
            raise KeyError(path[0])
        return str(body, "utf-8").strip()

    def decoder(self, shape: Shape, known: pa.Schema | None = None, *, label: str) -> Decoder:
        return CsvDecoder(self, shape, known, label=label)


class CsvDecoder(Decoder):
    """Decodes the CSV pages of one endpoint."""

    def __init__(
        self, format: CsvFormat, shape: Shape, known: pa.Schema | None = None, *, label: str
    ) -> None:
        super().__init__(format, shape, known, label=label)
        self._delimiter, self._header = format.delimiter, format.header

    def read(self, body: Body) -> DecodedPage:
        counts = ConversionCounts()
        try:
            self.check(body)
            rows = self._rows(str(clean_utf8(body, counts), "utf-8"))
        except BadBody as error:
            raise self.bad(error) from None
        try:
            return self.page_of(rows, conversions=counts)
        except ContractBroken as error:
            raise self._of_total(rows, error) from None

    def _of_total(self, rows: list[Row], error: ContractBroken) -> ContractBroken:
        """The error about rows, if the last one is none: a report may end with its totals."""
        last = rows[-1] if rows else {}
        labels = (name for name, cell in last.items() if _TOTAL.fullmatch(str(cell or "")))
        label = next(labels, None)
        if label is None or f"`{label}`" not in str(error) or len(rows) < 2:
            return error
        return self.broken(
            f"the last line seems to be a total and no row: {shorten(last, 200)}. Check: 1. "
            f"whether the API can leave it out; 2. `columns: {{{label}: string}}` and `where: "
            f"{{{label}: {{not: {last[label]}}}}}` at the endpoint"
        )

    def _rows(self, text: str) -> list[Row]:
        csv.field_size_limit(_LONGEST_CELL)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True)
        try:
            lines = [line for line in reader if line]
        except csv.Error as error:
            raise BadBody(f"not CSV: {error}, in line {reader.line_num:,}") from None
        if not lines:
            return []
        names = lines.pop(0) if self._header else [str(n) for n in range(len(lines[0]))]
        if len({*names}) < len(names):
            raise self.broken(f"the first line has a name twice: {shorten(names, 200)}")
        if self._header:
            self._check_names(names)
        rows: list[Row] = []
        for number, cells in enumerate(lines):
            if len(cells) != len(names):
                # The last line of a body that was cut is short.
                raise BadBody(
                    f"row {number:,} has {len(cells)} cells, expected {len(names)}: "
                    f"{shorten(cells)}. Check: `format.delimiter`"
                )
            if self._header and len(names) > 1 and cells == names:
                continue  # files that were joined have their names again
            rows.append({name: cell or None for name, cell in zip(names, cells, strict=True)})
        return rows

    def _check_names(self, names: list[str]) -> None:
        """:raises ContractBroken: the first line lacks a column that every row has.

        Words in place of a table (an error, another delimiter) look like names above no rows.
        """
        paths = {column.name: column.path[0] for column in self.shape.columns}
        needed = [paths.get(name, name) for name in sorted(self.shape.needed)]
        if missing := next((name for name in needed if name not in names), None):
            raise self.broken(
                f"the first line has no column `{missing}`, expected the names of the columns: "
                f"{shorten(names, 200)}. Check: 1. `format.delimiter`; 2. the `path` of the "
                "column, if its name is written otherwise here; 3. whether these words are an "
                "error; 4. `answers: {empty: [200], empty_text: …}` with this line, if it means no "
                "rows"
            )
