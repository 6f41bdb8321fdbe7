"""The family of decoders: bytes to Arrow, faithful or refused, the same from page to page. No I/O.

In the order in which a body goes: ``base`` (the family: ``Format``, ``Decoder``, the registry),
``shape`` (how an endpoint's pages look), ``row_selection`` (where the rows are, and in which form)
with the errors of ``row_misfits``, ``types`` (declared columns), ``body_checks`` (charsets, bodies
of another format), ``error_words`` (errors beside no rows), ``error_rows`` (errors in the place of
a row), ``json_decoder`` (the kind ``json``) with its ``fast_path``, ``exact_json``, ``exact_path``
and ``coerce`` (the lossless way, cell by cell), ``json_lines`` and ``csv_decoder`` (the kinds
``jsonl`` and ``csv``), ``inferred_columns`` (inferred columns, and the lattice of their types),
``nested_tables`` (the rows of child tables), ``value_text`` (a value as a person writes it).

Importing the package registers the kinds that ship.
"""

from pipeline.decode.base import DECODERS, DecodedPage, Decoder, Format
from pipeline.decode.csv_decoder import CsvFormat
from pipeline.decode.json_decoder import JsonFormat
from pipeline.decode.json_lines import JsonLinesFormat

__all__ = [
    "DECODERS",
    "DEFAULT_FORMAT",
    "CsvFormat",
    "DecodedPage",
    "Decoder",
    "Format",
    "JsonFormat",
    "JsonLinesFormat",
]

DEFAULT_FORMAT: Format = JsonFormat()
"""The format of an endpoint that names none."""
