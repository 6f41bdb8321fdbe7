"""Events and costs of AWS: endpoints with a window, a cursor, and a watermark a lane."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.responses import Response

from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from tests.lanes.support import DAYS, REGIONS, Call, Proxy, error, inventory, read

pytestmark = pytest.mark.slow

Aws = tuple[Proxy, str]
ACCOUNTS = ["111111111111", "222222222222"]
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
EVENTS = """
  cloudtrail_events:
    service: cloudtrail
    operation: lookup_events
    limit: 4
    params: {StartTime: "{start}", EndTime: "{end}"}
    window: {end: inclusive}
    cursor: event_time
    key: [event_id]
"""
COSTS = """
  cost_by_day:
    service: ce
    operation: get_cost_and_usage
    rows: ResultsByTime.*.Groups
    global: true
    params:
      TimePeriod: {Start: "{start}", End: "{end}"}
      Granularity: DAILY
      Metrics: [UnblendedCost]
      GroupBy: [{Type: DIMENSION, Key: SERVICE}]
    window: {format: "%Y-%m-%d", resolution_s: 86400}
    cursor: day
    columns:
      day: {type: date, from: "response.ResultsByTime.*.TimePeriod.Start"}
      service: {type: string, path: Keys.0}
      cost: {type: double, path: Metrics.UnblendedCost.Amount}
    key: [day, service]
"""


def events_of(call: Call, step: timedelta = timedelta(hours=3)) -> list[tuple[str, datetime]]:
    """An event every three hours in each lane, of the whole time."""
    return [
        (f"{call.account}-{call.region}-{n}", FIRST - timedelta(days=1) + n * step)
        for n in range(8 * 5)
    ]


def trail(call: Call) -> Response | None:
    """CloudTrail: the events between two instants, both of them included, in pages."""
    if call.action != "LookupEvents":
        return None
    start, end = (datetime.fromtimestamp(call.params[n], UTC) for n in ("StartTime", "EndTime"))
    fits = [each for each in events_of(call) if start <= each[1] <= end]
    at, limit = int(call.params.get("NextToken", 0)), call.params["MaxResults"]
    page = fits[at : at + limit]
    said = {
        "Events": [{"EventId": name, "EventTime": when.timestamp()} for name, when in page],
        **({"NextToken": str(at + limit)} if at + limit < len(fits) else {}),
    }
    return Response(json.dumps(said), media_type="application/x-amz-json-1.1")


def costs(call: Call) -> Response | None:
    """Cost Explorer: what two services cost each day of a period."""
    if call.action != "GetCostAndUsage":
        return None
    period = call.params["TimePeriod"]
    day, results = datetime.fromisoformat(period["Start"]), []
    while f"{day:%Y-%m-%d}" < period["End"]:
        after = day + timedelta(days=1)
        groups = [
            {
                "Keys": [name],
                "Metrics": {"UnblendedCost": {"Amount": f"{day.day}.25", "Unit": "USD"}},
            }
            for name in ("Amazon EC2", "Amazon S3")
        ]
        of = {"Start": f"{day:%Y-%m-%d}", "End": f"{after:%Y-%m-%d}"}
        results.append({"TimePeriod": of, "Groups": groups, "Total": {}, "Estimated": False})
        day = after
    return Response(json.dumps({"ResultsByTime": results}), media_type="application/x-amz-json-1.1")


def ended(day: str) -> datetime:
    """Two hours after a day has ended, as the daily run comes."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=26)


def test_events_land_in_the_day_that_they_are_of_and_a_denied_lane_is_read_again_from_there(
    aws: Aws, lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    more = "safety_margin_s: 0"
    source = inventory(url, ACCOUNTS, REGIONS[:2], tmp_path, EVENTS, more)
    proxy.rules.append(trail)
    (first,) = read(source, lake, DAYS[0], now=ended(DAYS[0])).results
    assert first.manifest.window.kind == "baseline"
    assert first.manifest.rows == 4 * 8  # a baseline begins with the source's first day
    denied = {"account": ACCOUNTS[1], "region": REGIONS[0]}

    def no(call: Call) -> Response | None:
        fits = call.action == "LookupEvents" and all(
            getattr(call, name) == value for name, value in denied.items()
        )
        return error("AccessDeniedException", 400, "cloudtrail") if fits else None

    proxy.rules.insert(0, no)
    (second,) = read(source, lake, DAYS[1], now=ended(DAYS[1])).results
    assert second.manifest.rows == 3 * 8
    assert second.manifest.notes.values["lanes"]["denied"] == 1
    proxy.rules.remove(no)
    (third,) = read(source, lake, DAYS[2], now=ended(DAYS[2])).results
    assert third.manifest.rows == 5 * 8, "the lane is read from where it had been read"
    rows = current(lake, "aws", "cloudtrail_events").to_pylist()
    assert len({(row["account_id"], row["region"], row["event_id"]) for row in rows}) == 4 * 24
    assert {row["event_time"].hour % 3 for row in rows} == {0}


def test_costs_by_day_are_read_by_a_window_of_whole_days(
    aws: Aws, lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    proxy.rules.append(costs)
    more = "safety_margin_s: 86400"
    source = inventory(url, ACCOUNTS, REGIONS[:1], tmp_path, COSTS, more)
    for day in DAYS[:2]:
        outcome = read(source, lake, day, now=ended(day))
        assert not outcome.failed, outcome.failed[0].error
    asked = [call.params["TimePeriod"] for call in proxy.of("GetCostAndUsage")]
    assert asked[0] == {"Start": "2026-11-01", "End": "2026-11-02"}
    assert asked[-1] == {"Start": "2026-11-01", "End": "2026-11-03"}, "a margin of one day"
    rows = current(lake, "aws", "cost_by_day").to_pylist()
    found = {(row["account_id"], f"{row['day']}", row["service"]): row["cost"] for row in rows}
    assert len(found) == 2 * 2 * 2
    assert found[ACCOUNTS[0], "2026-11-02", "Amazon S3"] == 2.25
    assert {row["region"] for row in rows} == {"global"}
