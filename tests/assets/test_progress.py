"""What a run tells of its progress, with a rate limit and without one."""

import asyncio

import pytest

from assets.progress import (
    MOST_BARS,
    MOST_SAMPLES,
    RequestTimeline,
    line,
    request_bins,
    requests_over_time,
    too_fast,
)
from pipeline.errors import ContractBroken
from pipeline.extract.position import ExtractionProgress
from pipeline.messages import RequestCounts
from pipeline.ratelimit.usage_stats import BudgetStats
from pipeline.run.runner import PartitionFailed, RunOutcome
from tests.support.wire import answer, client_of, read_json, serving, things
from tests.support.yaml_sources import quick


def line_of(outcome: RunOutcome, *, limited: bool) -> str:
    """The line of a run that has sent one request."""

    async def main() -> str:
        async with serving(lambda number, seen: answer([])) as wire:
            source = quick(wire.url)
            async with client_of(source) as client:
                await client.fetch(things(source), read_json, "page", RequestCounts())
                return line(outcome, client, 1.0, limited=limited)

    return asyncio.run(main())


@pytest.mark.parametrize("limited", [True, False])
def test_a_share_is_told_only_of_a_limit(limited: bool) -> None:
    said = line_of(RunOutcome(), limited=limited)
    assert ("of the budget" in said) is limited
    assert "1 request, " in said
    assert "0 throttled" in said


@pytest.mark.parametrize(
    ("throttled", "requests", "limited", "said"),
    [
        (3, 10, True, None),
        (9, 1000, True, None),
        (
            4,
            30,
            True,
            "4 of 30 requests got status 429. The API allows less than `limits.windows` say",
        ),
        (14, 30, False, "Set the API's rate limit in `limits.windows`"),
    ],
)
def test_more_429s_than_learning_takes_are_warned_of(
    throttled: int, requests: int, limited: bool, said: str | None
) -> None:
    found = too_fast(BudgetStats(requests=requests, throttled=throttled), limited=limited)
    assert found is None if said is None else said in str(found)


def test_the_plot_draws_a_limit_only_if_there_is_one() -> None:
    sends = [(0.0, 2), (1.0, 4)]
    assert "full height = 8 requests/s, limit = 8 requests/s" in requests_over_time(sends, 1.0, 8.0)
    without = requests_over_time(sends, 1.0, None)
    assert "full height = 4 requests/s, no limit" in without
    assert "limit = " not in without


def test_never_more_rows_than_there_are() -> None:
    """Rows come while a run reads, and what has failed brings no more."""
    grew, failed = ExtractionProgress(), ExtractionProgress()
    grew.rows, grew.total = 12, 10
    failed.rows, failed.total = 0, 5_000
    outcome = RunOutcome()
    outcome.progress |= {("a", "2026-11-01"): grew, ("b", "2026-11-01"): failed}
    outcome.failed.append(PartitionFailed("b", "2026-11-01", ContractBroken("as it happens")))

    async def main() -> str:
        async with (
            serving(lambda number, seen: answer([])) as wire,
            client_of(quick(wire.url)) as client,
        ):
            return line(outcome, client, 1.0, limited=False)

    said = asyncio.run(main())
    assert said.startswith("12 of 12 rows")
    assert "left" not in said


def test_lanes_are_counted_with_those_that_failed_and_the_time_that_is_left() -> None:
    outcome = RunOutcome()
    for name in ("volumes", "vpcs"):
        outcome.progress[name, "2026-11-01"] = ExtractionProgress(
            rows=7, values=25, of_values=100, failed_values=2, value_noun="lanes"
        )
    shown = line_of(outcome, limited=False)
    assert "50 of 200 lanes read, 4 failed, " in shown
    assert "about 3 s left" in shown


def test_waits_and_429s_are_drawn_when_they_came() -> None:
    sends = [(100.0 + second, 1) for second in range(4)]
    timeline = RequestTimeline()
    timeline.add(101.5, BudgetStats(waited_slot_s=2.0, throttled=0))
    timeline.add(102.5, BudgetStats(waited_slot_s=2.0, waited_permit_s=4.0, throttled=2))
    timeline.add(103.5, BudgetStats(waited_slot_s=2.0, waited_permit_s=4.0, throttled=3))
    picture, *words = requests_over_time(sends, 1.0, 1.0, timeline).split("\n\n")
    assert picture.startswith("![requests over time](data:image/svg+xml,")
    assert words[1:] == [
        "waits (grey): full height = 4 requests waiting", "429s (red): full height = 2"
    ]  # fmt: skip
    bins = request_bins(sends, 1.0, 1.0, timeline)
    assert bins is not None
    assert (bins.waits, bins.throttled) == ([0.0, 2.0, 4.0, 0.0], [0, 0, 2, 1])
    calm = RequestTimeline()
    calm.add(103.5, BudgetStats())
    assert requests_over_time(sends, 1.0, 1.0, calm).endswith("\n\nno 429")


@pytest.mark.parametrize("seconds", [1, 79, 81, 1000, 5000])
def test_a_plot_of_any_length_shows_each_429_in_bounded_memory(seconds: int) -> None:
    timeline = RequestTimeline()
    for second in range(1, seconds + 1):
        timeline.add(100.0 + second, BudgetStats(throttled=second))
    bins = min(seconds, 1000)
    width_s = seconds / bins
    sends = [(100.0 + number * width_s, 1) for number in range(bins)]
    drawn = request_bins(sends, width_s, 1.0, timeline)
    assert drawn is not None
    assert len(timeline.samples) <= MOST_SAMPLES
    assert len(drawn.rates) == len(drawn.throttled) <= MOST_BARS
    assert all(drawn.throttled)
    assert len(requests_over_time(sends, width_s, 1.0, timeline)) < 1_000
