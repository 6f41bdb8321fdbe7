"""The pictures of Dagster's pages: from manifests to an SVG, small, and told in words beside it."""

import base64
import re
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar, Literal
from zoneinfo import ZoneInfo

import pytest

from assets.charts import (
    MOST_PARTITIONS,
    PartitionAxis,
    RequestBins,
    bytes_by_partition,
    coverage_calendar,
    request_chart,
    rows_by_partition,
)
from assets.metadata import table
from pipeline.lake.manifest import Manifest, ManifestFile
from pipeline.partitions import Calendar, PartitionScheme
from pipeline.partitions.days import DayScheme

NOW = datetime(2026, 11, 6, 12, tzinfo=UTC)


def days(start: date = date(2026, 11, 1)) -> Calendar:
    return Calendar(DayScheme(), start, ZoneInfo("UTC"))


def manifest(day: str, rows: int, late: int = 0) -> Manifest:
    files = (ManifestFile(f"shop/orders/dt={day}/part", rows, rows * 1024),) if rows else ()
    return Manifest(
        source="shop", endpoint="orders", partition=day, rows=rows, late_rows=late, files=files
    )


MANIFESTS = [
    manifest("2026-11-01", 9_000),
    manifest("2026-11-02", 100),
    manifest("2026-11-03", 0),
    manifest("2026-11-05", 50, 7),
]


def svg_of(markdown: str) -> ET.Element:
    [encoded] = re.findall(r"!\[[\w ]+\]\(data:image/svg\+xml;base64,([\w+/=]+)\)", markdown)
    return ET.fromstring(base64.b64decode(encoded))  # noqa: S314  our own


def caption(markdown: str) -> str:
    return markdown.split("\n\n")[1]


def bars(svg: ET.Element) -> list[int]:
    """How many bars each path has."""
    return [path.get("d", "").count("M") for path in svg.iter("{http://www.w3.org/2000/svg}path")]


def test_rows_by_partition_with_late_rows_marked() -> None:
    drawn = rows_by_partition(PartitionAxis.of(days(), MANIFESTS, NOW))
    assert caption(drawn) == (
        "9,150 rows, 7 of them late (orange); the baseline's 9,000 go beyond the picture"
    )
    assert bars(svg_of(drawn))[:3] == [3, 1, 1], "rows, late rows, and the mark of a late day"


def test_a_baseline_like_the_others_is_drawn_whole() -> None:
    some = [manifest("2026-11-01", 120), manifest("2026-11-02", 100)]
    assert caption(rows_by_partition(PartitionAxis.of(days(), some, NOW))) == "220 rows"


def test_bytes_by_partition() -> None:
    drawn = bytes_by_partition(PartitionAxis.of(days(), MANIFESTS[1:], NOW))
    assert caption(drawn) == "150 KiB"


def test_coverage_tells_committed_empty_missing_and_today() -> None:
    axis = PartitionAxis.of(days(), MANIFESTS, NOW)
    states = [axis.state(key) for key in axis.keys]
    assert states == ["committed", "committed", "empty", "missing", "committed", "not yet"]
    assert caption(coverage_calendar(axis)) == (
        "3 committed, 1 empty, 1 missing; framed: 2026-11-06"
    )


def test_a_snapshot_misses_nothing() -> None:
    axis = PartitionAxis.of(days(), MANIFESTS[-1:], NOW, counts_missing=False)
    assert caption(coverage_calendar(axis)) == "1 committed, 4 not taken; framed: 2026-11-06"


class Hours(PartitionScheme):
    kind: Literal["hours"] = "hours"
    noun: ClassVar[str] = "hour"
    frequency: ClassVar[str] = "hourly"
    key_format: ClassVar[str] = "%Y-%m-%d-%H"
    cron: ClassVar[str] = "0 * * * *"

    def floor(self, local: datetime) -> datetime:
        return local.replace(minute=0, second=0, microsecond=0)

    def after(self, begin: datetime) -> datetime:
        return begin + timedelta(hours=1)

    def schedule_cron(self, hour: int, minute: int) -> str:
        return f"{minute} * * * *"


@pytest.mark.parametrize("scheme", [DayScheme(), Hours()])
def test_a_picture_of_any_scheme_is_small_and_has_the_last_partitions(
    scheme: PartitionScheme,
) -> None:
    calendar = Calendar(scheme, date(2015, 1, 1), ZoneInfo("UTC"))
    axis = PartitionAxis.of(calendar, [], NOW)
    assert len(axis.keys) == MOST_PARTITIONS
    full = [manifest(key, 1_000 + at, at % 2) for at, key in enumerate(axis.keys)]
    axis = PartitionAxis.of(calendar, full, NOW)
    for drawn in (rows_by_partition(axis), coverage_calendar(axis), bytes_by_partition(axis)):
        svg = svg_of(drawn)
        assert len(drawn) < 6_000
        assert float(svg.get("width", "0")) <= 440
        texts = [float(each.get("x", "0")) for each in svg.iter() if each.tag.endswith("text")]
        assert max(texts) <= 440


def test_the_first_partition_alone() -> None:
    axis = PartitionAxis.of(days(), [], datetime(2026, 11, 1, 3, tzinfo=UTC))
    assert caption(rows_by_partition(axis)) == "0 rows"
    assert bars(svg_of(coverage_calendar(axis))) == []


def test_requests_with_their_limit_waits_and_429s() -> None:
    bins = RequestBins(1.0, 4.0, [4.0, 3.0, 0.0, 1.0], [0.0, 2.0, 0.0, 0.0], [0, 0, 1, 0])
    drawn = request_chart(bins)
    assert bars(svg_of(drawn)) == [3, 1, 1, 1], "requests, the limit's line, waits, 429s"
    assert bars(svg_of(request_chart(RequestBins(1.0, None, [4.0])))) == [1]


def test_the_preview_has_values_as_a_person_writes_them() -> None:
    row = {
        "flag": True,
        "tags": ["a", {"n": None}],
        "days": {"days": 0},
        "at": datetime(2026, 11, 1, 10, tzinfo=UTC),
        "raw": b"\x01\xff",
        "size": 0.5,
        "nested": [datetime(2026, 11, 1, tzinfo=UTC)],
    }
    [record] = table([row]).records
    assert record.data == {
        "flag": "true",
        "tags": '["a", {"n": null}]',
        "days": '{"days": 0}',
        "at": "2026-11-01T10:00:00Z",
        "raw": "01ff",
        "size": "0.5",
        "nested": '["2026-11-01T00:00:00Z"]',
    }
