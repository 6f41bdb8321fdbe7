"""Of each series of ``query_range`` a row a value."""

import json

import pyarrow as pa


def points(table: pa.Table) -> pa.Table:
    """``{"metric": {"instance": …}, "values": [[1793491200, "1"], …]}`` as rows.

    The column ``values`` is declared as json, and ``at`` as timestamp[s], which lands in
    microseconds.
    """
    rows = [
        {**row, "at": int(at * 1_000_000), "value": float(value), "values": None}
        for row in table.to_pylist()
        for at, value in json.loads(row["values"])
    ]
    return pa.Table.from_pylist(rows, schema=table.schema)
