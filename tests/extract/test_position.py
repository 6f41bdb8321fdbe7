"""Positions in a checkpoint's text: they come back as they were, or not at all."""

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from pipeline.extract.completeness import CountReconciliation, ProofBasis
from pipeline.extract.contiguous import ContiguousReader
from pipeline.extract.pages import ParsedPage
from pipeline.extract.position import (
    CannotResume,
    ContiguousPosition,
    EndpointReader,
    FailedValue,
    FanOutPosition,
    LastPage,
    ResumePosition,
    SequentialPosition,
    Unproved,
    position_from_json,
)
from pipeline.extract.sequential import SequentialReader
from pipeline.pagination.keyset import KeysetPaging
from pipeline.pagination.page import JsonToken, Key, PageInfo, PageRequest
from pipeline.pagination.token import TokenPaging
from tests.support.positions import as_stored

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
COUNTS = CountReconciliation(7, {0: 3, 2: 4}, {2: 4}, {0}, chained=True, steady=False)
LAST = LastPage(3, NOON.isoformat(), None, ((1, "a"), (2, date(2026, 11, 2))), linked=True)
NEXT = PageRequest(3, token=JsonToken('["a", 1]'), window=(None, NOON.isoformat()))
KEYED = ContiguousPosition("b", 0, 9)
EXAMPLES = [
    KEYED,
    SequentialPosition(2, NEXT, LAST, COUNTS),
    SequentialPosition(0, None, None, CountReconciliation(), unproved=Unproved("cut off", 3)),
    ContiguousPosition(7, 0, 9, Unproved("cut off", 3)),
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


@pytest.mark.parametrize(
    "key", [None, 0, 1.5, "ü", True, NOON, date(2026, 11, 2), time(9, 5), Decimal("1.50"), b"\0"]
)
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


class ToldOnce:
    """Twelve rows in pages of three, of which the first says of itself that some are missing."""

    async def count(self, request: PageRequest) -> int | None:
        return None

    async def page(self, request: PageRequest) -> ParsedPage:
        first = (
            int(str(request.token or 0)) if request.after is None else int(str(request.after)) + 1
        )
        ids = [*range(first, min(first + 3, 12))]
        token = str(first + 3) if first < 9 else None
        edges = {"first": ids[0], "last": ids[-1]} if ids else {}
        told = "some rows are missing" if first == 0 else None
        info = PageInfo(len(ids), token=token, **edges)
        return ParsedPage(request, info, pa.table({"id": ids}), looks_incomplete=told)


def by_token() -> EndpointReader:
    return SequentialReader(
        ToldOnce(), TokenPaging(limit=3, next="n"), key=("id",), ahead=lambda: 1
    )


def by_key() -> EndpointReader:
    return ContiguousReader(
        ToldOnce(), KeysetPaging(limit=3), key="id", ahead=lambda: 1, can_seek=True,
        descending=False,
    )  # fmt: skip


@pytest.mark.parametrize("of", [by_token, by_key])
def test_what_a_page_says_against_itself_outlives_the_attempt(
    of: Callable[[], EndpointReader],
) -> None:
    async def read(position: ResumePosition | None) -> tuple[EndpointReader, list[ResumePosition]]:
        reader = of()
        return reader, [batch.position async for batch in reader.run(position)]

    whole, positions = asyncio.run(read(None))
    resumed, _ = asyncio.run(read(as_stored(positions[1])))
    for reader in (whole, resumed):
        assert reader.progress.unproved == "some rows are missing"
        assert not reader.progress.contiguous
