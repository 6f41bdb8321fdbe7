"""Positions in a checkpoint's text: they come back as they were, or not at all."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from pipeline.extract.completeness import CountReconciliation, ProofBasis
from pipeline.extract.position import (
    CannotResume,
    ContiguousPosition,
    FailedValue,
    FanOutPosition,
    LastPage,
    ResumePosition,
    SequentialPosition,
    position_from_json,
)
from pipeline.pagination.page import JsonToken, Key, PageRequest
from tests.support.positions import as_stored

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
COUNTS = CountReconciliation(7, {0: 3, 2: 4}, {2: 4}, {0}, chained=True, steady=False)
LAST = LastPage(3, NOON.isoformat(), None, ((1, "a"), (2, date(2026, 11, 2))), linked=True)
NEXT = PageRequest(3, token=JsonToken('["a", 1]'), window=(None, NOON.isoformat()))
KEYED = ContiguousPosition("b", 0, 9)
EXAMPLES = [
    KEYED,
    SequentialPosition(2, NEXT, LAST, COUNTS),
    SequentialPosition(0, None, None, CountReconciliation()),
    FanOutPosition(),
    FanOutPosition(
        next=4,
        open=((1, KEYED), (3, None), (2, SequentialPosition(0, NEXT, None, COUNTS))),
        failed=(FailedValue("9", "timeout", "not read within 3 s"),),
        proved=False,
        proof_basis=ProofBasis.CHAIN,
    ),
]


@pytest.mark.parametrize("position", EXAMPLES)
def test_a_position_comes_back_as_it_was(position: ResumePosition) -> None:
    as_stored(position)


@pytest.mark.parametrize("key", [None, 0, 1.5, "ü", True, NOON, date(2026, 11, 2)])
def test_a_key_comes_back_in_its_type(key: Key) -> None:
    position = as_stored(ContiguousPosition(key, 0, 0))
    assert isinstance(position, ContiguousPosition)
    assert type(position.covered) is type(key)


@pytest.mark.parametrize("position", EXAMPLES)
@pytest.mark.parametrize("change", [{"version": 0}, {"version": None}, {"kind": "other"}], ids=str)
def test_a_position_of_another_version_is_none(
    position: ResumePosition, change: dict[str, Any]
) -> None:
    assert position_from_json(position.to_json() | change) is None


@pytest.mark.parametrize("position", EXAMPLES)
def test_a_position_that_lacks_a_field_is_none(position: ResumePosition) -> None:
    data = position.to_json()
    for name in data:
        assert position_from_json({n: v for n, v in data.items() if n != name}) is None, name


def test_a_value_of_another_version_makes_the_whole_none() -> None:
    data = FanOutPosition(next=1, open=((0, KEYED),)).to_json()
    data["open"][0][1]["version"] += 1
    assert position_from_json(data) is None


def test_a_position_of_another_reader_cannot_be_resumed() -> None:
    with pytest.raises(CannotResume, match="`contiguous`, expected `fan_out`"):
        FanOutPosition.of(KEYED)


def test_pages_that_come_later_do_not_change_a_position() -> None:
    counts = CountReconciliation()
    position = SequentialPosition(0, None, None, counts.snapshot())
    counts.record_rows(0, 5)
    counts.record_total(0, 5)
    counts.blind.add(0)
    assert position.counts == CountReconciliation()
