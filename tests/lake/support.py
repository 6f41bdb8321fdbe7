"""A small extractor over the commit protocol, and what must hold of a lake afterwards."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from pipeline.lake.attempt import Attempt
from pipeline.lake.commit import CommitOutcome, CommitResult
from pipeline.lake.index import ManifestIndex
from pipeline.lake.manifest import Manifest, ManifestFile, ManifestProof
from pipeline.lake.parquet import encode
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.read import dataset, manifests
from pipeline.lake.s3 import Lake
from pipeline.lake.takeover import open_attempt
from pipeline.partitions.window import Window, WindowKind

DAY = "2026-01-02"
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)
BATCHES = 3
ROWS = 10
WINDOW = Window(
    "incremental", datetime(2026, 1, 1, 23, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC), 3600.0
)
OTHER_WINDOW = replace(WINDOW, end=MIDNIGHT + timedelta(hours=12))


class Killed(BaseException):
    """The process ends here: no handler of ordinary errors sees it."""


def kill_at(number: int) -> Callable[[str, str], None]:
    """An observer that ends the run just before its operation of that number."""
    count = 0

    def observe(operation: str, key: str) -> None:
        nonlocal count
        if count == number:
            raise Killed(f"{operation} {key}")
        count += 1

    return observe


def batch(number: int, version: str) -> pa.Table:
    ids = range(number * ROWS, (number + 1) * ROWS)
    times = [MIDNIGHT + timedelta(minutes=i) for i in ids]
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "updated_at": pa.array(times, pa.timestamp("us", tz="UTC")),
            "version": pa.array([version] * ROWS),
            "_extracted_at": pa.array([MIDNIGHT] * ROWS, pa.timestamp("us", tz="UTC")),
        }
    )


def begin(
    lake: Lake,
    *,
    definition: str = "d1",
    window: Window = WINDOW,
    run_id: str = "r1",
    indexed: bool = False,
) -> Attempt:
    """:param indexed: as a run begins, which has listed what is there before."""
    return open_attempt(
        lake,
        PartitionPaths("igdb", "games", DAY),
        definition=definition,
        window=window,
        run_id=run_id,
        index=ManifestIndex(lake) if indexed else None,
    )


def stage(attempt: Attempt, number: int, version: str, *, last: bool = False) -> None:
    table = batch(number, version)
    attempt.stage(
        encode(table),
        rows=table.num_rows,
        progress={"next": number + 1},
        counters={"pages": number + 1},
        schema=table.schema,
        last=last,
    )


def facts(_: list[ManifestFile]) -> Manifest:
    return Manifest(watermark="2026-01-03T00:00:00Z", proof=ManifestProof(contiguous=True))


def extract(
    lake: Lake,
    *,
    definition: str = "d1",
    version: str = "new",
    batches: int = BATCHES,
    indexed: bool = False,
    inline: bool = False,
) -> CommitOutcome:
    """One whole attempt, which resumes behind an earlier one's batches.

    :param inline: a single batch is staged in the checkpoint, as a run does it.
    """
    attempt = begin(lake, definition=definition, indexed=indexed)
    if attempt.committed is not None:
        return CommitOutcome(CommitResult.DONE, attempt.committed)
    first = attempt.progress["next"] if attempt.progress else 0
    for number in range(first, batches):
        stage(attempt, number, version, last=inline and number == batches - 1)
    return attempt.commit(facts)


def read(lake: Lake) -> list[tuple[int, str]]:
    """Key and version of all committed rows, as they lie in the files."""
    if not manifests(lake, "igdb", "games"):
        return []
    table = dataset(lake, "igdb", "games").to_table()
    return [(row["id"], row["version"]) for row in table.to_pylist()]


def whole(version: str, batches: int = BATCHES) -> list[tuple[int, str]]:
    return [(i, version) for i in range(batches * ROWS)]


def check_clean(lake: Lake) -> None:
    """Nothing is in the lake but what the manifests name."""
    named = {path for each in manifests(lake, "igdb", "games") for path in each.paths}
    there = {item.key for item in lake.list("") if "/_manifests/" not in item.key}
    assert there == named
    assert lake.uploads("") == []


# ---- partitions of whole tables

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
INSTANT = pa.timestamp("us", tz="UTC")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def put(
    lake: Lake, day: str, *tables: pa.Table, kind: WindowKind = "incremental", **known: Any
) -> Manifest:
    attempt = open_attempt(
        lake, PartitionPaths("s", "e", day), definition="d", window=WINDOW, run_id="r"
    )
    for table in tables:
        attempt.stage(
            encode(table), rows=table.num_rows, progress={}, counters={}, schema=table.schema
        )
    return attempt.commit(lambda _: Manifest(endpoint_kind=kind, **known)).manifest


def rows(*records: Mapping[str, Any], extracted: str = "2026-02-01", **types: Any) -> pa.Table:
    types = {"id": pa.int64(), "at": INSTANT, **types}
    table = pa.Table.from_pylist(list(records), pa.schema(types))
    return table.append_column(
        "_extracted_at", pa.repeat(pa.scalar(at(extracted), INSTANT), len(records))
    )
