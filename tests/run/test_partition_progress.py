"""What a checkpoint has of a partition besides its files: it reads what earlier versions wrote."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.extract.completeness import ProofBasis
from pipeline.extract.feed import FeedNotes
from pipeline.extract.position import FanOutPosition
from pipeline.run.partition_progress import (
    PartitionCounts,
    PartitionProgress,
    ReadingCounts,
    ReadingEnd,
    ReadingNotes,
)

COUNTS = {
    "pages": 7,
    "gaps_refetched": 1,
    "duplicates": 2,
    "requests": 9,
    "throttled": 1,
    "retried": 3,
    "filtered rows": 4,
    "rows_after_end": 5,
    "converted price": 6,
    "naive at": 1,
    "feed_out_of_order": 1,
    "first_response_s": 1_790_000_000,
}
NOTES: dict[str, Any] = {
    "rests_on": "chain",
    "unproved": "a page was short",
    "tail_rows": 3,
    "bookmark": "abc",
    "fan_out": {"asked": 2, "failed": 1, "failures": []},
    "failed_values": ["b"],
    "not_modified": True,
    "feed_from": "2026-11-01T00:00:00+00:00",
    "validators": {"If-None-Match": '"x"'},
    "newest_first": True,
    "feeds": {"a": ["2026-11-01T00:00:00+00:00", None]},
}


def test_the_keys_of_a_checkpoint_stay() -> None:
    counts = PartitionCounts.from_json(COUNTS)
    reading = counts.reading
    assert (reading.filtered_rows, reading.converted) == (4, {"price": 6})
    assert reading.naive_columns == frozenset({"at"})
    assert counts.to_json() == COUNTS
    notes = ReadingNotes.from_json(NOTES)
    assert (notes.proof_basis, notes.feed.newest_first) == (ProofBasis.CHAIN, True)
    assert notes.to_json() == NOTES


def test_what_says_nothing_is_left_out() -> None:
    assert PartitionCounts().to_json() == {}
    assert ReadingNotes().to_json() == {"rests_on": "count"}
    assert PartitionCounts.from_json({}) == PartitionCounts()
    assert ReadingNotes.from_json({"feed_from": None}) == ReadingNotes()


def test_counts_of_two_attempts_add_up_and_the_earliest_response_counts() -> None:
    noon = int(datetime(2026, 11, 2, 12, tzinfo=UTC).timestamp())
    first = PartitionCounts(
        pages=3, reading=ReadingCounts(converted={"a": 1}, earliest_response_s=noon)
    )
    of_second = ReadingCounts(
        converted={"a": 2, "b": 1},
        naive_columns=frozenset({"at"}),
        earliest_response_s=noon + 60,
    )
    second = PartitionCounts(pages=2, reading=of_second)
    both = second.plus(first)
    assert both.pages == 5
    assert both.reading == ReadingCounts(
        converted={"a": 3, "b": 1}, naive_columns=frozenset({"at"}), earliest_response_s=noon
    )
    assert second.plus(PartitionCounts()) == second
    assert PartitionCounts().plus(first) == first


def test_progress_comes_back_from_a_checkpoints_text() -> None:
    notes = ReadingNotes(feed=FeedNotes(feed_from="2026-11-01T00:00:00+00:00"), tail_rows=2)
    progress = PartitionProgress(FanOutPosition(next=2), ReadingEnd(True, notes))
    assert PartitionProgress.from_json(json.loads(json.dumps(progress.to_json()))) == progress


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"position": {"kind": "other", "version": 1}},
        {"end": {"contiguous": True}},
        {"end": {"contiguous": True, "notes": {"rests_on": "nothing"}}},
        {"end": 1},
    ],
)
def test_what_another_version_wrote_is_not_resumed(changed: dict[str, Any]) -> None:
    stored = PartitionProgress(FanOutPosition(), ReadingEnd(True, ReadingNotes())).to_json()
    assert PartitionProgress.from_json({**stored, **changed}) is None
