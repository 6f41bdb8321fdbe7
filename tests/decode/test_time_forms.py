"""Times as APIs write them: forms of one column, zones, and the remedy where none fits."""

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from pipeline.config.endpoint import Endpoint
from pipeline.decode import DEFAULT_FORMAT
from pipeline.decode.types import instants, parse_type
from pipeline.errors import ContractBroken
from pipeline.extract.plan import shape_of

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def endpoint_of(kind: object, window: dict[str, object] | None = None, **more: object) -> Endpoint:
    return Endpoint.model_validate(
        {
            "key": ["id"],
            "columns": {"id": "int64", "at": kind},
            "window": window or {},
            "request": {"params": {"from": "{start}", "to": "{end}"}},
            "cursor": "at",
            **more,
        }
    )


def read(endpoint: Endpoint, *values: object) -> tuple[list[datetime | None], frozenset[str]]:
    decoder = DEFAULT_FORMAT.decoder(shape_of(endpoint), label="api/rows")
    rows = [{"id": n, "at": value} for n, value in enumerate(values)]
    page = decoder.read(json.dumps(rows).encode())
    return page.table["at"].to_pylist(), page.naive_columns


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("timestamp[s]", f"{NOON.timestamp():.0f}.000000"),
        ("timestamp[s]", f"{NOON.timestamp():.0f}"),
        ("timestamp[ms]", f"{NOON.timestamp() * 1000:.0f}.0"),
        ("timestamp[iso]", "2026-11-20T12:00:00Z[UTC]"),
        ("timestamp[iso]", "2026-11-20T13:00:00+01:00[Europe/Berlin]"),
        ("timestamp[iso]", "/Date(1795176000000+0100)/"),
        ("timestamp[iso]", "2026-11-20 12:00:00 UTC"),
        ("timestamp[iso]", "2026-11-20 13:00:00.000 +0100 CET"),
        ("timestamp[dotnet]", "/Date(1795176000000)/"),
        ("timestamp[%Y-%m-%dT%H:%M:%SZ[UTC]]", "2026-11-20T12:00:00Z[UTC]"),
        ("timestamp[%a, %d %b %Y %H:%M:%S %Z]", "Fri, 20 Nov 2026 07:00:00 EST"),
        ("timestamp[%d/%b/%Y %H:%M %Z]", "20/Nov/2026 13:00 cet"),
        ("timestamp[%Y-%m-%d %H:%M %z %Z]", "2026-11-20 13:00 +0100 CET"),
        (["timestamp[s]", "timestamp[iso]"], "2026-11-20T12:00:00Z"),
        (["timestamp[s]", "timestamp[iso]"], NOON.timestamp()),
        (["timestamp[%d.%m.%Y %H:%M %z]", "timestamp[ms]"], "20.11.2026 12:00 +0000"),
    ],
)
def test_a_form_of_a_time(kind: object, value: object) -> None:
    assert read(endpoint_of(kind), value, None) == ([NOON, None], frozenset())


@pytest.mark.parametrize("kind", ["timestamp[iso]", "timestamp[s]", "timestamp[%Y-%m-%d %H:%M:%S]"])
@pytest.mark.parametrize("nothing", ["", " ", "0000-00-00 00:00:00", "0000-00-00"])
def test_an_empty_text_and_the_zero_date_are_no_time(kind: str, nothing: str) -> None:
    value = {"timestamp[s]": "1795176000"}.get(kind, "2026-11-20 12:00:00")
    assert read(endpoint_of(kind), value, nothing)[0] == [NOON, None]


def test_the_end_of_a_day_is_the_begin_of_the_next() -> None:
    (at,), _ = read(endpoint_of("timestamp[iso]"), "2026-11-19T24:00:00Z")
    assert at == datetime(2026, 11, 20, tzinfo=UTC)
    with pytest.raises(ContractBroken, match="expected a time"):
        read(endpoint_of("timestamp[iso]"), "2026-11-19T24:01:00Z")


def test_seconds_with_a_fraction_keep_their_microseconds() -> None:
    (first, second), _ = read(endpoint_of("timestamp[s]"), "1795217400.000047", "-0.5")
    assert first == datetime(2026, 11, 20, 23, 30, 0, 47, UTC)
    assert second == datetime(1970, 1, 1, tzinfo=UTC) - timedelta(milliseconds=500)


def test_several_forms_in_one_column() -> None:
    kind = ["timestamp[iso]", "timestamp[s]", "timestamp[%d.%m.%Y %H:%M]"]
    values = ["2026-11-20T12:00:00Z", NOON.timestamp(), "20.11.2026 12:00", None]
    assert read(endpoint_of(kind), *values) == ([NOON, NOON, NOON, None], frozenset({"at"}))


def test_the_zone_of_the_machine_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """strptime takes the abbreviations of TZ, and forgets their offset."""
    import time

    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        with pytest.raises(ContractBroken, match="abbreviations that mean one zone"):
            read(endpoint_of("timestamp[%d %b %Y %H:%M %Z]"), "20 Nov 2026 12:00 IST")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("kind", ["timestamp[iso]", "timestamp[%Y-%m-%dT%H:%M:%S]"])
def test_a_naive_time_is_of_the_zone_that_the_window_names(kind: str) -> None:
    text = "2026-11-20T12:00:00"
    assert read(endpoint_of(kind), text) == ([NOON], frozenset({"at"}))
    assert read(endpoint_of(kind, {"timezone": "UTC"}), text) == ([NOON], frozenset({"at"}))
    there = endpoint_of(kind, {"timezone": "America/Chicago"})
    assert read(there, text) == ([NOON + timedelta(hours=6)], frozenset({"at"}))


def test_an_hour_that_is_twice_and_one_that_is_not() -> None:
    there = endpoint_of("timestamp[iso]", {"timezone": "America/Chicago"})
    found, _ = read(there, "2026-11-01T01:30:00", "2026-03-08T02:30:00", "2026-03-08T03:00:00")
    assert found == [
        datetime(2026, 11, 1, 6, 30, tzinfo=UTC),  # the first of the two
        datetime(2026, 3, 8, 8, 30, tzinfo=UTC),  # by the clock as it was before
        datetime(2026, 3, 8, 8, 0, tzinfo=UTC),
    ]


def test_days_begin_in_their_zone() -> None:
    days = pa.chunked_array([pa.array([NOON.date(), None, NOON.date()])])
    begins = instants(days, ZoneInfo("America/Chicago")).to_pylist()
    assert begins == [datetime(2026, 11, 20, 6, tzinfo=UTC), None] * 1 + [begins[0]]
    assert instants(days, UTC).to_pylist()[0] == datetime(2026, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "value", "remedy"),
    [
        ("timestamp[iso]", "1795217400.000047", "Declare at: timestamp[s] in"),
        ("timestamp[s]", "2026-11-20T12:00:00Z", "Declare at: timestamp[iso] in"),
        ("timestamp[s]", "/Date(1795176000000)/", "Declare at: timestamp[dotnet] in"),
        ("timestamp[iso]", 1795217400, "Declare at: timestamp[s] or timestamp[ms] in"),
        ("timestamp[iso]", "20.11.2026", "Declare at: timestamp[%…] in the pattern"),
        ("timestamp[iso]", True, "Set one: 1. another column as `cursor`; 2. a `transform`"),
        ("timestamp[s]", 10**30, "Set one: 1. another column as `cursor`; 2. a `transform`"),
        (
            ["timestamp[s]", "timestamp[iso]"],
            "20.11.2026",
            "[timestamp[s], timestamp[iso], timestamp[%…]]",
        ),
    ],
)
def test_no_remedy_that_a_cursor_may_not_have(kind: object, value: object, remedy: str) -> None:
    with pytest.raises(ContractBroken) as caught:
        read(endpoint_of(kind), value)
    assert remedy in str(caught.value)
    assert "string" not in str(caught.value)
    assert "json" not in str(caught.value)


def test_forms_are_of_times_only() -> None:
    with pytest.raises(ValueError, match="several forms are for timestamps, and string is none"):
        parse_type("timestamp[s] | string")
