"""The parents of a child's partition: an endpoint whose requests are made from the rows of another
one.

They are the rows of the parent endpoint's partition of that day: those that changed in its window.
``extract.fan_out`` reads the children of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from pipeline.config.endpoint import ParentsConfig
from pipeline.errors import ContractBroken, WindowRefused, cut
from pipeline.lake.manifest import Manifest
from pipeline.lake.read import again_if_vanished, files_of, key_rows
from pipeline.partitions.window import Window
from pipeline.run.context import RunContext

_LONGEST_QUOTE: Final = 60


@dataclass(frozen=True)
class ParentSelection:
    """The parents that a child's partition is made from.

    :ivar groups: one request's parents each: a value (a number stays one, as in any ``json``), or
        several joined by commas.
    :ivar generation: of the parent's partition; a checkpoint made from another one is void.
    """

    window: Window
    groups: tuple[str | int, ...]
    generation: str


def parents_of(run: RunContext, children: ParentsConfig, partition: str) -> ParentSelection:
    """The parents of a child's partition, as they are committed.

    :raises WindowRefused: the parent's partition is not committed.
    :raises ContractBroken: its rows have no such column, or no values that can be requested.
    :raises LakeUnavailable: its files can't be read.
    """
    look = run.index.get_then_fresh(run.source.source, children.endpoint, partition)
    reading: list[Manifest] = []

    def read() -> ParentSelection:
        found = look()
        reading[:] = [found] if found else []
        return _parents(run, children, partition, found)

    return again_if_vanished(run.lake, read, lambda: files_of(reading))


def _parents(
    run: RunContext, children: ParentsConfig, partition: str, found: Manifest | None
) -> ParentSelection:
    if found is None:
        raise WindowRefused(
            f"The parent `{children.endpoint}` is not committed for {partition}. Materialize "
            f"`{run.source.source}/{children.endpoint}` first, or both together"
        )
    values = _values(run, children, found)
    return ParentSelection(found.window, _groups(values, children), found.generation)


def _groups(values: list[str | int], children: ParentsConfig) -> tuple[str | int, ...]:
    size, texts = children.group, [str(value) for value in values]
    joined = (",".join(texts[i : i + size]) for i in range(0, len(texts), size))
    return tuple(values if size == 1 else joined)


def _values(run: RunContext, children: ParentsConfig, parent: Manifest) -> list[str | int]:
    """The values that go into {parent}.

    The manifest knows columns that no row of this one partition has: then there are no values.
    """
    if not parent.files:
        return []
    known = [str(column["name"]) for column in parent.columns]
    check_column(run.source.source, children, known)
    column = key_rows(run.lake, parent.files, [children.column])[children.column]
    return values_of(run.source.source, children, column)


def check_column(source: str, children: ParentsConfig, known: Sequence[str]) -> None:
    """:raises ContractBroken: the parent's rows have no such column."""
    if children.column not in known:
        raise ContractBroken(
            f"parents.column is `{children.column}`, expected a column of "
            f"`{source}/{children.endpoint}`: one of {', '.join(known)}"
        )


def values_of(source: str, children: ParentsConfig, column: pa.ChunkedArray) -> list[str | int]:
    """Each value of the parent's column once, in order.

    :raises ContractBroken: no values that can be requested.
    """
    name = children.column
    if pa.types.is_nested(column.type):
        raise ContractBroken(
            f"parents.column `{name}` of `{source}/{children.endpoint}` is "
            f"{column.type}, expected single values. Declare the member that goes into {{parent}} "
            f"as a column, e.g. {name}_id: {{type: int64, path: {name}.id}}"
        )
    found = sorted(column.drop_null().unique().to_pylist())
    values = found if pa.types.is_integer(column.type) else [str(value) for value in found]
    split = next((value for value in values if "," in str(value)), None)
    if children.group > 1 and split is not None:
        raise ContractBroken(
            f"parents.group joins the values of `{source}/{children.endpoint}.{name}` by "
            f"commas, and {cut(str(split), _LONGEST_QUOTE)!r} has one, so that the API would read "
            "two values. Set one: 1. group: 1; 2. a column without commas"
        )
    return values
