"""A year in the lake: what coverage, the newest manifest, maintenance and ``current`` cost by days.

Two lakes are generated, of 70 endpoints: one of some days, one of a year. What is flat costs the
same in both, but for what has to be read. Requests are those that boto3 sends; Arrow reads files by
a client of its own.
"""

import io
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from assets.asset_checks import coverage
from local.s3 import S3
from pipeline.config.source import Source
from pipeline.lake.index import ManifestIndex
from pipeline.lake.maintenance import clean
from pipeline.lake.manifest import Manifest, ManifestFile, ManifestNotes, checksum_of
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from pipeline.partitions.window import Window

FIRST: Final = date(2025, 1, 1)
_THREADS: Final = 16
_ROWS: Final = 20


def days(number: int) -> list[str]:
    """The keys of so many partitions."""
    return [(FIRST + timedelta(days=n)).isoformat() for n in range(number)]


def source_of_endpoints(endpoints: Sequence[str]) -> Source:
    """A source whose endpoints are all alike."""
    spec = {
        "request": {"params": {"from": "{start}", "to": "{end}"}},
        "key": ["id"],
        "cursor": "at",
        "columns": {"id": "int64", "at": "timestamp[iso]"},
    }
    return Source.model_validate(
        {
            "source": "year",
            "base_url": "http://127.0.0.1:9",
            "start": FIRST.isoformat(),
            "safety_margin_s": 0,
            "endpoints": dict.fromkeys(endpoints, spec),
        }
    )


def fill(lake: Lake, endpoints: Sequence[str], partitions: Sequence[str]) -> None:
    """Commit the partitions as a run would have: a small file each."""

    def commit(place: PartitionPaths) -> None:
        day = datetime.fromisoformat(place.partition).replace(tzinfo=UTC)
        body = _file_of(day)
        path = place.part(0, f"{day:%Y%m%dT%H%M%S}000-00000000")
        lake.put(path, body, replaces=None)
        end = day + timedelta(days=1)
        manifest = Manifest(
            source=place.source,
            endpoint=place.endpoint,
            partition=place.partition,
            generation=f"{day:%Y%m%dT%H%M%S}000-00000000",
            window=Window("incremental", day, end, 0.0),
            watermark=f"{end:%Y-%m-%dT%H:%M:%SZ}",
            rows=_ROWS,
            files=(ManifestFile(path, _ROWS, len(body), checksum_of(body)),),
            columns=COLUMNS,
            notes=ManifestNotes(key=("id",), cursor="at"),
        )
        lake.put(place.manifest, manifest.to_json().encode(), replaces=None)

    places = [PartitionPaths("year", name, day) for name in endpoints for day in partitions]
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(commit, places):
            pass


COLUMNS: Final = (
    {"name": "id", "type": "int64"},
    {"name": "at", "type": "timestamp[us, UTC]"},
    {"name": "_extracted_at", "type": "timestamp[us, UTC]"},
)


def _file_of(day: datetime) -> bytes:
    instant = pa.timestamp("us", tz="UTC")
    number = (day.date() - FIRST).days
    at = [day + timedelta(minutes=n) for n in range(_ROWS)]
    table = pa.table(
        {
            "id": pa.array(range(number * _ROWS, (number + 1) * _ROWS), pa.int64()),
            "at": pa.array(at, instant),
            "_extracted_at": pa.array([day] * _ROWS, instant),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


@contextmanager
def counting(lake: Lake) -> Iterator[list[str]]:
    """The requests that boto3 sends to the lake meanwhile."""
    sent: list[str] = []

    def count(request: Any, **_: object) -> None:
        sent.append(f"{request.method} {request.url}")

    events = lake.client.meta.events
    events.register("before-send.s3", count)
    try:
        yield sent
    finally:
        events.unregister("before-send.s3", count)


def operations(lake: Lake, source: Source) -> dict[str, Callable[[], object]]:
    """What a user or a run does in a lake that has grown."""
    name = next(iter(source.endpoints))
    return {
        "coverage": lambda: coverage(source, lake, name),
        "latest manifest": lambda: ManifestIndex(lake).latest(source.source, name),
        "current": lambda: current(lake, source.source, name),
        "maintenance": lambda: clean(lake),
    }


def year(s3: S3, number: int, endpoints: int) -> dict[str, Any]:
    """Seconds and requests of each operation, in a lake of a few days and of so many.

    The first maintenance writes the archives, as one a week would.
    """
    names = [f"endpoint_{n:02}" for n in range(endpoints)]
    source = source_of_endpoints(names)
    found: dict[str, Any] = {}
    for count in (max(1, number // 12), number):
        lake = Lake(s3.client(timeout_s=60.0), f"s3://lake/year-{count}")
        fill(lake, names, days(count))
        clean(lake)
        for name, operation in operations(lake, source).items():
            with counting(lake) as sent:
                began = time.perf_counter()
                operation()
                took_s = time.perf_counter() - began
            found.setdefault(name, {})[str(count)] = {"s": took_s, "requests": len(sent)}
    for name, by_days in found.items():
        few, many = by_days.values()
        by_days["ratio"] = many["s"] / few["s"]
        print(f"  {name}: " + ", ".join(f"{key} {value}" for key, value in by_days.items()))
    return found
