"""JSON lines, one JSON object a line (NDJSON): the kind ``jsonl`` of the decoders.

The lines are read as one list of JSON, by the way of ``json``, so that ``as``, types and inference
mean the same. A body that is cut within a line is refused as ``json``'s is, and requested again.
So is one whose last line is an error: a server that fails on its way has sent a 200 by then.
"""

from collections.abc import Sequence
from typing import ClassVar, Final, Literal

import orjson
import pyarrow as pa

from pipeline.decode.base import DECODERS, DecodedPage, Decoder, Format
from pipeline.decode.body_checks import BOM, BadBody, CutShort
from pipeline.decode.error_words import NoRowsReason, means_error, too_many_requests
from pipeline.decode.exact_json import shorten
from pipeline.decode.json_decoder import JsonDecoder, JsonFormat
from pipeline.decode.shape import Shape
from pipeline.errors import cut_bytes
from pipeline.messages import Body

_BLANK: Final = b" \t\r\n"
_LONGEST_ERROR: Final = 8192
_JSON: Final = JsonFormat()


@DECODERS.register("jsonl")
class JsonLinesFormat(Format):
    """Pages with a JSON object a line (NDJSON, JSON Lines): ``format: jsonl``. No rows is an empty
    body."""

    kind: Literal["jsonl"] = "jsonl"
    accept: ClassVar[str] = "application/x-ndjson, application/jsonl, */*;q=0.1"

    def check(self, body: Body) -> None:
        """Check that the first line begins as JSON does, and that the last one ends so."""
        text = bytes(body[:256]).lstrip(_BLANK + BOM)
        if text and text[:1] not in b"{[":
            raise BadBody(f"expected JSON lines, the body starts with {cut_bytes(body, 80)!r}")
        last = bytes(body[-256:]).rstrip(_BLANK)[-1:]
        if text and last not in b"}]":
            raise CutShort(f"the JSON lines end early, after {len(body):,} bytes")

    def value_at(self, body: Body, path: tuple[str, ...]) -> object:
        return _JSON.value_at(body, path)

    def decoder(self, shape: Shape, known: pa.Schema | None = None, *, label: str) -> Decoder:
        return JsonLinesDecoder(self, shape, known, label=label)


class JsonLinesDecoder(Decoder):
    """Decodes the pages of JSON lines of one endpoint."""

    def __init__(
        self, format: Format, shape: Shape, known: pa.Schema | None = None, *, label: str
    ) -> None:
        super().__init__(format, shape, known, label=label)
        self._lists = JsonDecoder(_JSON, shape, known, label=label)
        self.inferred = self._lists.inferred

    def check(self, body: Body) -> None:
        """As the format does, and that the last line is no error in place of the rows behind it."""
        super().check(body)
        text = bytes(body).strip(_BLANK + BOM)
        last = _object(text.rpartition(b"\n")[2])
        if means_error(last) and last.keys().isdisjoint(self._members_of_rows(text)):
            raise CutShort(
                f"the last line is an error and no row: {shorten(last, 200)}. So rows behind it "
                "may be missing. If it is a row, declare its columns"
            )

    def too_many_requests(self, body: Body) -> NoRowsReason | None:
        """As the last line says it: rows may stand before it."""
        return too_many_requests(_object(bytes(body).strip(_BLANK + BOM).rpartition(b"\n")[2]))

    def _members_of_rows(self, text: bytes) -> set[str]:
        """Those that a row has as far as is known; of the only row ever, its own."""
        declared = {column.path[0] for column in self.shape.columns}
        first, *others = text.split(b"\n", 1)
        if others or not (known := declared | {*self.inferred.settled()}):
            known = declared | _object(first).keys()
        return known

    def read(self, body: Body) -> DecodedPage:
        try:
            self.check(body)
        except BadBody as error:
            raise self.bad(error) from None
        return self._lists.read(as_list(body))

    @property
    def reads_together(self) -> bool:
        return self._lists.reads_together

    def read_together(self, bodies: Sequence[Body]) -> list[DecodedPage] | None:
        try:
            for body in bodies:
                self.check(body)
        except BadBody:
            return None
        return self._lists.read_together([as_list(body) for body in bodies])


def _object(line: bytes) -> dict[str, object]:
    """A short line with an object; empty for any other."""
    try:
        value = orjson.loads(line) if len(line) <= _LONGEST_ERROR else None
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def as_list(body: Body) -> bytes:
    """The lines as a list of JSON; blank ones are passed over.

    A line's end is never inside of a JSON text: there it is written as an escape.
    """
    text = bytes(body).removeprefix(BOM)
    lines = (line.strip(_BLANK) for line in text.split(b"\n"))
    return b"[%b]" % b",".join(line for line in lines if line)
