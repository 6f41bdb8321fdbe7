"""What is kept of rows that came: ``hash`` of a page's, ``where`` of those that are complete. Pure.

Pages are held against each other, and counted, with all their rows: ``where`` comes behind that.
"""

import hashlib
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.row_filter import meets
from pipeline.errors import ContractBroken


def hashed(rows: pa.Table, columns: Mapping[str, str], salt: str) -> pa.Table:
    """The rows with the values of these columns as ``sha256(salt + value)``, in hex; null stays."""
    for name in columns:
        at = rows.schema.get_field_index(name)
        if at < 0:
            continue
        coded = rows.column(at).combine_chunks().dictionary_encode()
        digests = [_digest(salt, value) for value in coded.dictionary.to_pylist()]
        values = pc.take(pa.array(digests, pa.string()), coded.indices)
        rows = rows.set_column(at, rows.schema.field(at), values)
    return rows


def _digest(salt: str, value: str | None) -> str | None:
    return None if value is None else hashlib.sha256(f"{salt}{value}".encode()).hexdigest()


def kept(rows: pa.Table, where: Mapping[str, object], declared: Mapping[str, object]) -> pa.Table:
    """The rows that meet ``where``.

    :param declared: the columns that rows may lack: they are null then.
    :raises ContractBroken: no row has a column that ``where`` looks at: is its name misspelt?
    """
    if not where or not rows.num_rows:
        return rows
    names = {path if path in rows.column_names else path.split(".")[0] for path in where}
    for name in sorted(names - {*rows.column_names} - {*declared}):
        raise ContractBroken(
            f"`where` looks at `{name}`, and none of the {rows.num_rows:,} rows of a page has it. "
            f"Check: 1. its name in `where` (the rows have {', '.join(rows.column_names[:20])}); "
            f"2. where rows may lack it, declare its type, e.g. `columns: {{{name}: string}}`"
        )
    there = [name for name in rows.column_names if name in names]
    mask = [meets(row, where) for row in rows.select(there).to_pylist()]
    if not there:
        mask = [meets({}, where)] * rows.num_rows
    return rows if all(mask) else rows.filter(pa.array(mask, pa.bool_()))
