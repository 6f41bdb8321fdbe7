"""Deletes, where an API has no tombstones: read only the keys, and record which are gone.

A key is gone if the lake's current state has it, from a row extracted before the sweep began, and
the sweep did not see it. The keys come under the same proof as rows do. Where that is not by the
keys themselves, rows may shift past the reader: all keys are read again until a pass has every key
of the one before it, and a key is gone only if every pass missed it. The record is a Parquet file
beside the partitions,

    {lake}/{source}/{endpoint}/_sweeps/{instant}.parquet    the key columns, ``_swept_at``

which ``read.current`` leaves out. A row that is extracted again after the sweep is back, and so is
a key that a later sweep sees: that one's record has it with ``_back``. A sweep that misses more
than a tenth of the keys reads all of them again minutes later. ``take_back`` removes a record.
"""

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config.columns import EXTRACTED_AT
from pipeline.config.each import lists_of
from pipeline.config.endpoint import Endpoint
from pipeline.config.source import Source
from pipeline.decode.types import INSTANT
from pipeline.errors import ContractBroken, PageTokenDead, ReadRefused
from pipeline.extract.completeness import CAP
from pipeline.extract.confirmation import pause_of
from pipeline.extract.fetcher import PageFetcher
from pipeline.extract.pages import ContextColumns
from pipeline.extract.plan import reader_of, shape_of
from pipeline.extract.position import MOST_READINGS, ExtractionProgress, expired_again
from pipeline.lake.current_rows import BACK, SWEPT_AT, comparable
from pipeline.lake.parquet import encode
from pipeline.lake.paths import sweeps_folder
from pipeline.lake.read import current, gone_keys
from pipeline.lake.stores.base import ObjectStore, StoredObject, compare_and_swap
from pipeline.messages import RequestCounts
from pipeline.partitions.window import Window
from pipeline.run.context import RunContext

log = logging.getLogger("headrace.run")

_LONGEST = timedelta(days=366)
"""A row that changes while the sweep runs must not leave the window that the API is asked for."""
MOST_GONE = 0.1
"""The part of the living keys that one reading may miss: more of them look like a sick API."""
FEW_GONE = 10
"""So few keys may be missing in any collection, however small it is."""
SECOND_READING_S = 180.0
_SMALLER = 4
"""Pages of keys are small, so more of them may be on their way: enough to fill several packs."""


@dataclass(frozen=True)
class SweepResult:
    """The result of a sweep of one endpoint."""

    endpoint: str
    swept_at: datetime
    keys_seen: int
    keys_gone: int
    keys_back: int
    requests: int


def keys_only(endpoint: Endpoint) -> Endpoint:
    """The endpoint cut down to its keys, all of them, whatever their cursor.

    Where the API can be asked for single fields, only the keys travel. A user's function may make
    the key from any column, so it is given them all.
    """
    changes: dict[str, Any] = {"cursor_spec": None}
    changes["cache"] = None  # a key that is gone shows in a new response only
    if endpoint.transform:
        return endpoint.model_copy(update=changes)
    changes |= {"infer": False, "deleted": None}
    changes["columns"] = {name: endpoint.columns[name] for name in endpoint.key}
    changes |= {"exclude": (), "names": None, "where": {}}
    if endpoint.each and endpoint.each.column_here not in endpoint.key:
        changes["each"] = endpoint.each.model_copy(update={"column_here": None})
    changes["request"] = endpoint.request.with_fields(endpoint.key)
    return endpoint.model_copy(update=changes)


def too_many_gone(missing: int, living: int) -> bool:
    """Whether so many keys are missing that the API may be sick."""
    return missing > max(FEW_GONE, MOST_GONE * living)


async def sweep(run: RunContext, name: str, progress: ExtractionProgress) -> SweepResult:
    """Read all keys of an endpoint, and record those of the lake that the API no longer has.

    :raises ContractBroken: the keys can't be trusted to be complete; nothing is recorded.
    """
    at = run.now().astimezone(UTC)
    spec = keys_only(run.source.endpoints[name])
    source = run.source.model_copy(update={"endpoints": {**run.source.endpoints, name: spec}})
    sent = RequestCounts()
    api_keys = await _read_keys(run, source, name, at, sent, progress)
    comparison = await asyncio.to_thread(_compared, run, name, api_keys, at)
    if too_many_gone(comparison.deleted.num_rows, comparison.living):
        log.warning(
            "%s/%s: the sweep misses %s of %s keys, more than a tenth: the API may be sick; all "
            "keys are read again in %.0f s, and only those missing then, too, are recorded",
            source.source,
            name,
            f"{comparison.deleted.num_rows:,}",
            f"{comparison.living:,}",
            SECOND_READING_S,
        )
        await run.sleep(SECOND_READING_S)
        second = await _read_keys(run, source, name, at, sent, ExtractionProgress())
        api_keys = (
            pa.concat_tables([api_keys, second]).group_by(api_keys.column_names).aggregate([])
        )
        comparison = await asyncio.to_thread(_compared, run, name, api_keys, at)
    await asyncio.to_thread(_record, run.lake, run.source.source, name, comparison, at)
    n_deleted, back = comparison.deleted.num_rows, comparison.back.num_rows
    return SweepResult(name, at, api_keys.num_rows, n_deleted, back, sent.requests)


async def _read_keys(
    run: RunContext,
    source: Source,
    name: str,
    at: datetime,
    sent: RequestCounts,
    progress: ExtractionProgress,
) -> pa.Table:
    spec = source.endpoints[name]
    keys = list(spec.key)
    window = Window("sweep", None, at + _LONGEST, 0.0)
    shape = shape_of(spec, source.limits.max_body_bytes)
    decoder = spec.format.decoder(shape, label=f"{source.source}/{name} (sweep)")
    fetcher = PageFetcher(run.sender, source, name, window, decoder, sent)

    async def read() -> list[pa.Table]:
        reader = reader_of(
            spec,
            fetcher,
            window,
            run.ahead * _SMALLER,
            until_sure=True,
            pause=pause_of(run.sleep),
            progress=progress,
        )
        tables: list[pa.Table] = []
        async with aclosing(reader.run(None)) as pages:
            async for page in pages:
                tables.append(decoder.conform(page.table.select(keys), decoder.schema).select(keys))
        return tables

    tables = await _read_while_tokens_expire(read, progress)
    if not progress.contiguous:
        raise ContractBroken(
            f"{source.source}/{name}: the sweep's keys may be incomplete. Nothing is recorded as "
            "gone. Check: 1. whether the API's count and the rows agree; 2. whether rows move "
            "between pages while they are read: page by the key (`kind: keyset`); 3. whether the "
            f"count is {CAP:,}, where Elasticsearch stops; 4. with `paging: none`, whether the "
            "page is only the first of several: if it is all, say `whole: true`"
        )
    schema = decoder.schema
    for field in ContextColumns(spec).fields:
        schema = schema.append(field)
    api_keys = pa.concat_tables([schema.empty_table().select(keys), *tables])
    return api_keys.group_by(keys).aggregate([]) if progress.reread_keys else api_keys


async def _read_while_tokens_expire(
    read: Callable[[], Awaitable[list[pa.Table]]], progress: ExtractionProgress
) -> list[pa.Table]:
    """The keys, read again from the first page where a page token has expired, a few times.

    :raises RequestRefused: the tokens of all readings have expired.
    """
    for reading in range(1, MOST_READINGS + 1):
        try:
            return await read()
        except PageTokenDead as error:
            if reading == MOST_READINGS:
                raise expired_again(error, "all keys") from None
            progress.restart()
    raise AssertionError("the last reading returns or raises")


@dataclass(frozen=True)
class _Compared:
    """The lake's keys beside those of the API.

    :ivar living: how many keys of the lake the sweep should have seen.
    :ivar deleted: those that it did not see; :ivar back: those that an earlier sweep did not.
    """

    living: int
    deleted: pa.Table
    back: pa.Table


def _compared(run: RunContext, name: str, api_keys: pa.Table, at: datetime) -> _Compared:
    """The lake's keys that the sweep did not see; what came after it began is left alone.

    So are rows of a value that has left the list of ``each``: nobody has looked for them.
    """
    spec, source, keys = run.source.endpoints[name], run.source.source, list(api_keys.column_names)
    of_value = [*spec.value_columns]
    none = api_keys.schema.empty_table()
    if not run.index.partitions(source, name):
        return _Compared(0, none, none)
    recorded = gone_keys(run.lake, source, name, key=keys)
    back = none
    if recorded is not None:
        recorded, of_api = comparable([recorded.select(keys), api_keys])
        back = recorded.join(of_api, keys=keys, join_type="left semi")
    rows = current(
        run.lake,
        source,
        name,
        key=spec.key,
        cursor=spec.latest_by,
        columns=list(dict.fromkeys([*keys, *of_value, EXTRACTED_AT])),
    )
    if not rows.num_rows:
        return _Compared(0, none, back)
    before = rows.filter(pc.less(rows[EXTRACTED_AT], pa.scalar(at, INSTANT)))
    for value_list in lists_of(spec):
        for column in (c for c, name in spec.value_columns.items() if name == value_list.prefix):
            kind = before[column].type
            values = pa.array(
                [pa.scalar(value).cast(kind) for value in value_list.values or ()], kind
            )
            before = before.filter(pc.is_in(before[column], values))
    lake_keys, of_api = comparable([before.select(keys), api_keys])
    deleted = lake_keys.join(of_api, keys=keys, join_type="left anti")
    return _Compared(lake_keys.num_rows, deleted, back)


def _record(lake: ObjectStore, source: str, name: str, comparison: _Compared, at: datetime) -> None:
    rows = [
        keys.append_column(
            SWEPT_AT, pa.repeat(pa.scalar(at, INSTANT), keys.num_rows)
        ).append_column(BACK, pa.repeat(pa.scalar(back), keys.num_rows))
        for keys, back in ((comparison.deleted, False), (comparison.back, True))
    ]
    table = pa.concat_tables(comparable(rows))
    if table.num_rows:
        key = _key_of(source, name, f"{at:%Y%m%dT%H%M%SZ}")
        compare_and_swap(lake, key, encode(table).to_pybytes(), replaces=None)


def recorded_sweeps(lake: ObjectStore, source: str, name: str) -> list[str]:
    """The instants of the sweeps that have a record, as ``take_back`` takes them, oldest first."""
    folder = sweeps_folder(source, name)
    names = (item.key.removeprefix(folder) for item in lake.list(folder))
    return sorted(key.removesuffix(".parquet") for key in names if key.endswith(".parquet"))


@dataclass(frozen=True)
class SweptKeys:
    """How many keys a sweep misses, and how many that an earlier one missed are back."""

    deleted: int
    back: int


def keys_of_sweep(lake: ObjectStore, source: str, name: str, instant: str) -> SweptKeys:
    """The counts of a recorded sweep.

    :param instant: when the sweep began, as in ``recorded_sweeps``.
    :raises ReadRefused: there is no such record.
    """
    record = pq.read_table(io.BytesIO(_record_of(lake, source, name, instant).body))
    back = pc.sum(record[BACK]).as_py() or 0
    return SweptKeys(record.num_rows - back, back)


def _record_of(lake: ObjectStore, source: str, name: str, instant: str) -> StoredObject:
    record = lake.get(_key_of(source, name, instant))
    if record is None:
        recorded = ", ".join(recorded_sweeps(lake, source, name)[-10:]) or "none"
        raise ReadRefused(
            f"{source}/{name} has no sweep of {instant}. Expected one of the recorded ones: "
            f"{recorded}"
        )
    return record


def _key_of(source: str, name: str, instant: str) -> str:
    return f"{sweeps_folder(source, name)}{instant}.parquet"


def take_back(lake: ObjectStore, source: str, name: str, instant: str) -> int:
    """Remove the record of a sweep: its keys are as they were before. How many keys it had.

    :param instant: when the sweep began, as in ``recorded_sweeps``.
    :raises ReadRefused: there is no such record.
    """
    record = _record_of(lake, source, name, instant)
    lake.delete_exactly(_key_of(source, name, instant), record.etag)
    return int(pq.read_metadata(io.BytesIO(record.body)).num_rows)
