"""The values that a partition is read for: of lists in the YAML, or from rows of other endpoints.

=================  ===============================================================================
list               its values
=================  ===============================================================================
``each``           those written down, or of the newest committed rows of another endpoint; of
                   several lists the product
``parents``        of the parent's same partition: the rows that changed in its window, which
                   the children have as well
``parents`` with   of the newest committed rows of all parents: a child may change while its parent
a ``cursor``       does not
=================  ===============================================================================

Rows of other endpoints are those that are committed when the first partition of the run looks; all
of its partitions go by the same.

Each value of a fan-out with a cursor has a watermark, from which on it is read.

The manifest of a partition lists its values. The rows of each are complete up to the manifest's
watermark, but for those *behind*, which are listed with a watermark of their own:

- a value that failed keeps the watermark that it had, so that the partition commits without it;
- a value that is new, and failed at once, has none.

So the next partition reads further back for these, and from the beginning for values that the
manifest before does not list. ``from`` in the manifest says for which values that was done: a later
attempt at the partition before may leave a value behind again, and nobody would read its rows.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

import pyarrow as pa

from pipeline.config.columns import meets, member, rows_of
from pipeline.config.each import ValueList, lists_of, used_columns
from pipeline.config.endpoint import Endpoint
from pipeline.config.source import Source
from pipeline.errors import ContractBroken, ReadRefused, WindowRefused, cut
from pipeline.extract.partition_values import PartitionValue, Value, product_of, written_values
from pipeline.lake.files import again_if_vanished, files_of, key_rows
from pipeline.lake.manifest import Manifest
from pipeline.lake.read import current
from pipeline.partitions.window import Window, begin_of
from pipeline.run.context import RunContext
from pipeline.timestamps import as_iso

_VERSION: Final = 1
Instants = Mapping[str, datetime | None]
"""By the value's name; None: from the beginning."""


@dataclass(frozen=True)
class ValueWatermarks:
    """Up to where the values of a committed partition have been read.

    :ivar names: of all its values.
    :ivar behind: those that have been read less far than the partition.
    :ivar begin: those that were read from further back than the partition.
    """

    names: frozenset[str]
    behind: Instants
    begin: Instants

    @classmethod
    def of(cls, manifest: Manifest) -> "ValueWatermarks":
        """As a manifest has them; one from before there were any has none behind."""
        notes = manifest.notes.values
        lists = notes if notes.get("version") == _VERSION else {}
        return cls(
            frozenset(map(str, manifest.notes.each or ())),
            _from_json(lists.get("behind", ())),
            _from_json(lists.get("from", ())),
        )

    def behind_now(self, names: Iterable[str]) -> dict[str, datetime | None]:
        """The values of the partition after it that have to be read from further back."""
        return {
            name: self.behind.get(name)
            for name in names
            if name in self.behind or name not in self.names
        }


def windows_of(
    values: Sequence[PartitionValue],
    behind: Instants,
    window: Window,
    *,
    safety_margin_s: float,
    step_s: float,
    zone: tzinfo = UTC,
) -> tuple[PartitionValue, ...]:
    """The values with their windows: those of values behind begin earlier."""

    def begins(watermark: datetime | None) -> datetime | None:
        if watermark is None or window.start is None:
            return None
        return min(begin_of(watermark, safety_margin_s, step_s, zone), window.start)

    return tuple(
        replace(value, window=replace(window, start=begins(behind[value.name])))
        if value.name in behind
        else value
        for value in values
    )


def widest(values: Sequence[PartitionValue], window: Window) -> Window:
    """The window that has the rows of all values."""
    starts = [value.window.start for value in values if value.window is not None]
    if window.start is None or None in starts:
        return replace(window, start=None)
    return replace(window, start=min([window.start, *(s for s in starts if s is not None)]))


def noted(
    values: Sequence[PartitionValue], failed: Collection[str], behind: Instants, window: Window
) -> dict[str, Any]:
    """For the manifest: which values were left behind, and which were read from further back.

    :param failed: the names of values that were passed over.
    """
    left_behind = {name: behind.get(name, window.start) for name in sorted(failed)}
    begin = {
        member: value.window.start
        for value in values
        if value.window is not None
        for member in value.members
        if member not in left_behind
    }
    lists = {"behind": _to_json(left_behind), "from": _to_json(begin)}
    return {"version": _VERSION, **{name: instants for name, instants in lists.items() if instants}}


def value_gaps(first: Manifest, second: Manifest) -> list[str]:
    """The values that the first of two partitions left behind, and the next one did not read from
    there on. Those that have left the list are not missed.
    """
    before, after = ValueWatermarks.of(first), ValueWatermarks.of(second)
    return [
        name
        for name, watermark in before.behind.items()
        if name in after.names and not _reads(after, name, watermark)
    ]


def _reads(after: ValueWatermarks, name: str, watermark: datetime | None) -> bool:
    for instants in (after.behind, after.begin):
        if name in instants:
            since = instants[name]
            return since is None or (watermark is not None and since <= watermark)
    return False


def _to_json(instants: Instants) -> list[list[Any]]:
    """The names by instant: few instants have many names."""
    names: dict[str | None, list[str]] = defaultdict(list)
    for name, instant in instants.items():
        names[None if instant is None else as_iso(instant)].append(name)
    return [[instant, group] for instant, group in names.items()]


def _from_json(data: Iterable[Any]) -> dict[str, datetime | None]:
    return {
        str(name): None if instant is None else datetime.fromisoformat(instant)
        for instant, names in data
        for name in names
    }


_LONGEST_QUOTE: Final = 60


@dataclass(frozen=True)
class ValueSelection:
    """The values that a partition is made from.

    :ivar values: one by one; ``grouped`` puts several into a request.
    :ivar window: of children without a cursor: that of their parents' partition.
    :ivar origin: a checkpoint that was made from another one is void.
    :ivar behind: by name, the watermark of each value whose rows are not read up to where the
        partition begins; None: nothing of it was read yet.
    """

    values: tuple[PartitionValue, ...]
    window: Window | None = None
    origin: str = ""
    behind: Mapping[str, datetime | None] = field(default_factory=dict)


def names_of(values: Sequence[PartitionValue]) -> tuple[Value, ...]:
    """The values as a manifest lists them: a number stays one."""
    return tuple(v.value if str(v.value) == v.name else v.name for v in values)


def digest_of(parts: object) -> str:
    """A short text that differs where these JSON values do."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


# ---- which values


def parents_of(run: RunContext, name: str, partition: str) -> ValueSelection:
    """The parents of a partition of children without a cursor, as they are committed.

    :raises WindowRefused: the parent's partition is not committed.
    :raises ContractBroken: its rows have no such column, or no values that can be requested.
    :raises LakeUnavailable: its files can't be read.
    """
    (parents,) = lists_of(run.source.endpoints[name])
    above = str(parents.endpoint)
    look = run.index.get_then_fresh(run.source.source, above, partition)
    reading: list[Manifest] = []

    def read() -> ValueSelection:
        manifest = look()
        reading[:] = [manifest] if manifest else []
        if manifest is None:
            raise WindowRefused(
                f"The parent `{above}` is not committed for {partition}. Materialize "
                f"`{run.source.source}/{above}` first, or both together"
            )
        values = _of_partition(run, name, parents, manifest)
        return ValueSelection(tuple(values), manifest.window, manifest.generation)

    return again_if_vanished(run.lake, read, lambda: files_of(reading))


def _of_partition(
    run: RunContext, name: str, parents: ValueList, manifest: Manifest
) -> list[PartitionValue]:
    """The manifest knows columns that no row of this one partition has: then it has no values."""
    if not manifest.files:
        return []
    columns = _wanted(run.source.endpoints[name], parents)
    names = [str(column["name"]) for column in manifest.columns]
    for column in columns:
        check_column(run.source.source, parents, column, names)
    rows = key_rows(run.lake, manifest.files, columns)
    return values_of(run.source, name, parents, rows)


def listed_values(run: RunContext, name: str) -> tuple[PartitionValue, ...]:
    """The values of ``each``, or all parents, of the newest committed rows: once in a run.

    :raises WindowRefused: nothing of another endpoint is committed.
    :raises ContractBroken: its rows have no such column, or no values that can be requested.
    """
    with run.values_lock:
        if name not in run.values:
            endpoint = run.source.endpoints[name]
            lists = [list(_list(run, name, value_list)) for value_list in lists_of(endpoint)]
            run.values[name] = tuple(lists[0] if len(lists) == 1 else product_of(lists))
        return run.values[name]


def _list(run: RunContext, name: str, value_list: ValueList) -> Iterator[PartitionValue]:
    if value_list.endpoint is None:
        yield from written_values(value_list)
        return
    source, above = run.source.source, value_list.endpoint
    if not run.index.partitions(source, above):
        raise WindowRefused(
            f"`{above}`, whose rows are the values of `{value_list.prefix}`, is not committed yet. "
            f"Materialize `{source}/{above}` first, or both together"
        )
    endpoint = run.source.endpoints[above]
    try:
        rows = current(run.lake, source, above, key=endpoint.key, cursor=endpoint.latest_by)
    except ReadRefused as error:
        raise ContractBroken(str(error)) from None
    if rows.num_rows:
        for column in _wanted(run.source.endpoints[name], value_list):
            check_column(source, value_list, column, rows.column_names)
    yield from values_of(run.source, name, value_list, rows)


# ---- from rows to values


def _wanted(endpoint: Endpoint, value_list: ValueList) -> list[str]:
    """The columns of another endpoint's rows that are needed."""
    paths = [
        value_list.column,
        *used_columns(endpoint, value_list.prefix),
        *(value_list.where or {}),
    ]
    return list(dict.fromkeys(path.partition(".")[0] for path in paths))


def check_column(source: str, value_list: ValueList, column: str, names: Sequence[str]) -> None:
    """:raises ContractBroken: the rows have no such column."""
    if column in names:
        return
    key = "parents" if value_list.prefix == "parent" else value_list.prefix
    is_value = column == value_list.column
    clause = f"{key}.column is `{column}`" if is_value else f"`{key}` uses `{column}`"
    raise ContractBroken(
        f"{clause}, expected a column of `{source}/{value_list.endpoint}`: "
        f"one of {', '.join(names)}"
    )


def values_of(
    source: Source, name: str, value_list: ValueList, rows: pa.Table
) -> list[PartitionValue]:
    """Each different value of the rows once, in order, with the other columns that are used.

    Rows without a value are left out.

    :raises ContractBroken: no values that can be requested.
    """
    if not rows.num_rows:
        return []
    endpoint = source.endpoints[name]
    column = rows[value_list.column]
    _check_values(source, endpoint, value_list, column)
    rows = rows.filter(column.is_valid())
    declared = source.endpoints[str(value_list.endpoint)].columns
    if value_list.where:
        matches = [meets(row, value_list.where) for row in rows_of(rows, declared)]
        rows = rows.filter(pa.array(matches, pa.bool_()))
    paths = used_columns(endpoint, value_list.prefix)
    if not paths:
        plain = _ordered(rows[value_list.column])
        return [_value(value_list, value, {}, (value,)) for value in plain]
    names = list(dict.fromkeys(path.partition(".")[0] for path in (value_list.column, *paths)))
    told_apart = _told_apart(source.endpoints[str(value_list.endpoint)], value_list, paths)
    by_identity: dict[tuple[Any, ...], PartitionValue] = {}
    rows = rows.select(names)
    for row, parsed in zip(rows.to_pylist(), rows_of(rows, declared), strict=True):
        fields = {path: member(row if path in row else parsed, path) for path in paths}
        value = _plain(row[value_list.column])
        identity = (value, *(fields[path] for path in told_apart))
        by_identity.setdefault(
            tuple(map(str, identity)), _value(value_list, value, fields, identity)
        )
    return sorted(by_identity.values(), key=lambda each: (_order(each.value), each.name))


def _told_apart(above: Endpoint, value_list: ValueList, paths: Sequence[str]) -> tuple[str, ...]:
    """The other columns by which two rows with one value are two: those of the key, if all of it is
    used, since then the rest follows from it.
    """
    by_key = set(above.key) <= {value_list.column, *paths}
    return tuple(n for n in paths if n != value_list.column and (n in above.key or not by_key))


def _value(
    value_list: ValueList, value: Value, fields: Mapping[str, Any], identity: Sequence[Any]
) -> PartitionValue:
    name = str(value) if len(identity) == 1 else json.dumps([str(part) for part in identity])
    fields_by_name = {
        value_list.prefix: value,
        **{f"{value_list.prefix}.{n}": v for n, v in fields.items()},
    }
    return PartitionValue(name, value, fields_by_name, (name,))


def _check_values(
    source: Source, endpoint: Endpoint, value_list: ValueList, column: pa.ChunkedArray
) -> None:
    prefix, name = value_list.prefix, value_list.column
    above = f"{source.source}/{value_list.endpoint}"
    key = "parents" if prefix == "parent" else prefix
    if pa.types.is_nested(column.type):
        raise ContractBroken(
            f"{key}.column `{name}` of `{above}` is "
            f"{column.type}, expected single values. Declare the member that goes into "
            f"{{{prefix}}} as a column, e.g. {name}_id: {{type: int64, path: "
            f"{name}.id}}"
        )
    group = endpoint.parents.group if endpoint.parents else endpoint.each and endpoint.each.group
    if not group or group == 1 or pa.types.is_integer(column.type):
        return
    texts = (str(value) for value in column.drop_null().unique().to_pylist())
    split = next((text for text in texts if "," in text), None)
    if split is not None:
        raise ContractBroken(
            f"{key}.group joins the values of `{above}.{name}` by "
            f"commas, and {cut(split, _LONGEST_QUOTE)!r} has one, so that the API would read "
            "two values. Set one: 1. group: 1; 2. a column without commas"
        )


def _ordered(column: pa.ChunkedArray) -> list[Value]:
    return [_plain(value) for value in sorted(column.drop_null().unique().to_pylist())]


def _plain(value: Any) -> Value:
    return value if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _order(value: Value) -> tuple[bool, Any]:
    return isinstance(value, str), value


def requested_values(
    run: RunContext, endpoint: str, selection: ValueSelection | None, window: Window
) -> tuple[PartitionValue, ...]:
    """The values that a partition is read for, each from its watermark on, in groups."""
    if selection is None:
        return ()
    spec = run.source.endpoints[endpoint]
    values = windows_of(
        selection.values,
        selection.behind,
        window,
        safety_margin_s=run.source.margin_s(endpoint),
        step_s=spec.window.resolution_s,
        zone=spec.window.zone,
    )
    of = spec.parents or spec.each
    return grouped(values, of.group if of else 1)


def grouped(values: Sequence[PartitionValue], size: int) -> tuple[PartitionValue, ...]:
    """Groups of values for one request each, joined by commas: only those of one window."""
    if size == 1:
        return tuple(values)
    groups: list[PartitionValue] = []
    by_window: dict[Window | None, list[PartitionValue]] = {}
    for value in values:
        by_window.setdefault(value.window, []).append(value)
    for window, alike in by_window.items():
        for at in range(0, len(alike), size):
            group = alike[at : at + size]
            joined = ",".join(str(value.value) for value in group)
            members = tuple(value.name for value in group)
            groups.append(PartitionValue(joined, joined, {}, members, window))
    return tuple(groups)
