"""The pictures of Dagster's pages: from manifests to an SVG, small, and told in words beside it."""

import re
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar, Literal
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import pytest

from assets.charts import (
    MOST_PARTITIONS,
    SHOWN_CHARS,
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
    [encoded] = re.findall(r"!\[[\w ]+\]\(data:image/svg\+xml,([^\s()]+)\)", markdown)
    return ET.fromstring(unquote(encoded))  # noqa: S314  our own


def caption(markdown: str) -> str:
    return "; ".join(markdown.split("\n\n")[1:])


def paths(markdown: str) -> dict[str, str]:
    """The paths by colour."""
    found = svg_of(markdown).iter("{http://www.w3.org/2000/svg}path")
    return {each.get("stroke", each.get("fill", "")): each.get("d", "") for each in found}


def test_rows_by_partition_with_late_rows_marked() -> None:
    drawn = rows_by_partition(PartitionAxis.of(days(), MANIFESTS, NOW))
    assert caption(drawn) == (
        "2026-11-01 … 2026-11-06: 9,150 rows, 7 late (orange); full height: 100; "
        "the baseline, 9,000, goes beyond it"
    )
    assert paths(drawn)["steelblue"] == ("M0,56V0h20V56h6V0h20V56h6V56h52V28h20V56h6V56h26V56z"), (
        "two full bars, one that is empty, one that is missing, one half as high"
    )
    assert paths(drawn)["darkorange"] == "M0,56V56h104V52h20V56h6V56h26V56z"


def test_a_baseline_like_the_others_is_drawn_whole() -> None:
    some = [manifest("2026-11-01", 120), manifest("2026-11-02", 100)]
    said = caption(rows_by_partition(PartitionAxis.of(days(), some, NOW)))
    assert said == "2026-11-01 … 2026-11-06: 220 rows; full height: 120"


def test_bytes_by_partition() -> None:
    drawn = bytes_by_partition(PartitionAxis.of(days(), MANIFESTS[1:], NOW))
    assert caption(drawn) == "2026-11-01 … 2026-11-06: 150 KiB; full height: 100 KiB"


def test_coverage_tells_committed_empty_missing_and_today() -> None:
    axis = PartitionAxis.of(days(), MANIFESTS, NOW)
    states = [axis.state(key) for key in axis.keys]
    assert states == ["committed", "committed", "empty", "missing", "committed", "not yet"]
    drawn = coverage_calendar(axis)
    assert caption(drawn) == (
        "3 committed (green), 1 empty (pale), 1 missing (red), 2026-11-06 is framed"
    )
    # The 1st of November is a Sunday; Monday and Thursday stand in the next column.
    assert paths(drawn)["mediumseagreen"] == "M8,100v12M22,16v12M22,58v12"
    assert paths(drawn)["crimson"] == "M22,44v12"
    assert [each.text for each in svg_of(drawn)][-1] == "Nov"


def test_a_snapshot_misses_nothing() -> None:
    axis = PartitionAxis.of(days(), MANIFESTS[-1:], NOW, counts_missing=False)
    said = caption(coverage_calendar(axis))
    assert said == "1 committed (green), 4 not taken (grey), 2026-11-06 is framed"


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
    full = [manifest(key, 1_000 + at * 37 % 991, at % 2) for at, key in enumerate(axis.keys)]
    axis = PartitionAxis.of(calendar, full, NOW)
    for drawn in (rows_by_partition(axis), coverage_calendar(axis), bytes_by_partition(axis)):
        assert len(drawn) < SHOWN_CHARS, "a longer one hides behind a link"
        assert float(svg_of(drawn).get("width", "0")) <= 440
    assert "90 committed" in coverage_calendar(axis)


@pytest.mark.parametrize("every", [2, 3, 7])
def test_a_calendar_with_many_holes_still_fits(every: int) -> None:
    axis = PartitionAxis.of(days(date(2020, 1, 1)), [], NOW)
    some = [manifest(key, at % 5) for at, key in enumerate(axis.keys) if at % every]
    drawn = coverage_calendar(PartitionAxis.of(axis.calendar, some, NOW))
    assert len(drawn) < SHOWN_CHARS
    assert "missing (red)" in caption(drawn)


def test_the_first_partition_alone() -> None:
    axis = PartitionAxis.of(days(), [], datetime(2026, 11, 1, 3, tzinfo=UTC))
    assert caption(rows_by_partition(axis)) == "2026-11-01: 0 rows; full height: 1"
    assert set(paths(coverage_calendar(axis))) == {"royalblue"}


def test_requests_with_their_limit_waits_and_429s() -> None:
    bins = RequestBins(1.0, 4.0, [4.0, 3.0, 0.0, 1.0], [0.0, 2.0, 0.0, 0.0], [0, 0, 1, 0])
    drawn = svg_of(request_chart(bins, "in words"))
    found = [each.get("d", "").count("h26") for each in drawn]
    assert found == [4, 0, 2, 2], "requests, the limit's line, waits, 429s"
    assert len(svg_of(request_chart(RequestBins(1.0, None, [4.0]), ""))) == 1


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
