"""Stale rows: the rows of the previous partition, which stand in for a lane that can't be read.

A lane that fails or is denied shows nothing of its rows. If they were left out, they would look
deleted. So the partition repeats them, with ``_stale`` true and the ``_extracted_at`` at which they
were read. When the lane can be read again, its new rows replace them.
"""

from collections.abc import Callable, Iterable
from functools import cache, reduce
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.aws.regions import EVERY
from pipeline.config.columns import STALE
from pipeline.extract.partition_values import PartitionValue
from pipeline.lake.files import again_if_vanished, of_manifests
from pipeline.lake.manifest import Manifest
from pipeline.run.context import RunContext

_NOTHING: Final = pa.table({})


GONE_LANES: Final = (
    "no longer among the lanes: {}. Their rows are not in this partition. Has the account left, or "
    "has it switched the region off?"
)


def without_unknown_regions(names: Iterable[str], listed: Iterable[object]) -> list[str]:
    """The lanes without those of accounts whose regions are not known: one stands in their place.

    :param listed: the lanes that there are.
    """
    every = f"/{EVERY}"
    unknown = tuple(name.removesuffix(EVERY) for name in map(str, listed) if name.endswith(every))
    return [name for name in names if not name.startswith(unknown)]


def keeper_of(
    run: RunContext, endpoint: str, partition: str
) -> Callable[[PartitionValue], pa.Table] | None:
    """The reader of the rows that a value had in the newest partition before; None: no rows stay.

    The rows of values that no column tells apart can't be found again, and are not kept.
    """
    spec = run.source.endpoints[endpoint]
    if spec.each is None or not spec.each.in_lanes or spec.incremental:
        return None

    @cache
    def before_this() -> Manifest | None:
        name = run.source.source
        earlier = [key for key in run.index.partitions(name, endpoint) if key < partition]
        return run.index.get(name, endpoint, earlier[-1]) if earlier else None

    def keep(value: PartitionValue) -> pa.Table:
        columns = {column: value.fields.get(of) for column, of in spec.value_columns.items()}
        # A name may have changed since, and a region may not be known.
        columns = {column: of for column, of in columns.items() if of not in (None, EVERY)}
        columns.pop("account_name", None)
        if spec.each and spec.each.endpoint and "each" not in spec.value_columns.values():
            return _NOTHING
        before = before_this()
        if before is None or not before.files:
            return _NOTHING
        newest: Manifest = before
        return again_if_vanished(
            run.lake, lambda: _rows(run, newest, columns), lambda: newest.files
        )

    return keep


def _rows(run: RunContext, before: Manifest, columns: dict[str, object]) -> pa.Table:
    dataset = of_manifests(run.lake, [before])
    if not columns or not {*columns} <= {*dataset.schema.names}:
        return _NOTHING
    conditions = [pc.field(column) == pa.scalar(value) for column, value in columns.items()]
    rows = dataset.to_table(filter=reduce(lambda a, b: a & b, conditions))
    if STALE in rows.column_names:
        rows = rows.drop_columns([STALE])
    stale = pa.repeat(pa.scalar(True), rows.num_rows)
    return rows.append_column(pa.field(STALE, pa.bool_()), stale)
