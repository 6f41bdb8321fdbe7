"""A row in pages is the same row: each step of the law decides on a few pages as on all of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from time import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ratelimit import Limits, RateWindow, open_budget, reservation, state_layout, usage
from pipeline.ratelimit.stores.pages import PAGE_BYTES, MissingPage, PagedCells, StoredRow
from pipeline.ratelimit.stores.postgres import PostgresStore
from tests.ratelimit.test_reservation import new

LIMITS = Limits((RateWindow(7, 1.0), RateWindow(400, 60.0)), 8)
DAY = Limits((RateWindow(1000, 1.0), RateWindow(1000, 3600.0), RateWindow(20_000, 86_400.0)), 4)
Step = Callable[[state_layout.Cells], object]


class Pages:
    """What a store would have, and how many pages a step has read and written at most."""

    def __init__(self, row: memoryview[float]) -> None:
        first = StoredRow.new(row)
        self.head, self.pages = first.head, first.pages
        self.most_moved = 0

    def apply(self, step: Step) -> object:
        row = StoredRow(self.head)
        while True:
            cells = PagedCells(row)
            try:
                result = step(cells)
                break
            except MissingPage as missing:
                row.add([missing.page], self.pages)
                assert not row.lost
        self.most_moved = max(self.most_moved, len(row.pages) + len(cells.pages_to_write()))
        self.head = cells.head
        self.pages |= cells.pages_to_write()
        return result

    def whole(self) -> bytearray:
        row = StoredRow(self.head)
        row.add(range(row.page_count), self.pages)
        return row.whole()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_each_step_decides_on_pages_as_on_the_whole_row(seed: int) -> None:
    draw = random.Random(seed)
    row, now, tickets = new(LIMITS), 1000.0, [0.0]
    pages = Pages(row)
    for _ in range(draw.randrange(1, 900)):
        now += draw.choice([0.0, 0.001, 0.1, 0.1, 5.0])
        share, ticket = draw.choice([1.0, 0.5]), draw.choice(tickets[-4:])
        step = _step(draw.random(), now, draw.choice([None, ticket]), ticket, share)
        result = step(row)
        assert pages.apply(step) == result
        if isinstance(result, reservation.Reservation):
            tickets.append(result.ticket)
    assert pages.whole()[: row.nbytes] == bytes(row)


def _step(what: float, now: float, asked: float | None, ticket: float, share: float) -> Step:
    if what < 0.9:
        return lambda cells: reservation.take(cells, LIMITS, now, asked, share)
    if what < 0.93:
        return lambda cells: reservation.throttled(cells, LIMITS, now, None)
    if what < 0.96:
        return lambda cells: reservation.forget(cells, LIMITS, ticket, share)
    return lambda cells: reservation.departed(cells, ticket, 0.3, share)


def test_a_step_moves_as_few_pages_of_a_large_quota_as_of_a_small_one() -> None:
    row = _sent_before(new(DAY), 1e6)
    pages = Pages(row)
    for i in range(300):
        pages.apply(lambda cells, at=1e6 + i / 500: reservation.take(cells, DAY, at, None))  # type: ignore[misc]
    assert len(pages.pages) > 150
    assert pages.most_moved <= 8


def _sent_before(row: memoryview[float], now: float) -> memoryview[float]:
    """A row of a key that has sent all that it may, evenly over the last day and a half."""
    cap = int(row[state_layout.CAP])
    times = [now - 130_000 + 130_000 * i / cap for i in range(cap)]
    row[state_layout.COUNT] = state_layout.refill(row, state_layout.ring_starts(row)[0], times)
    return row


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


@pytest.mark.slow
def test_what_version_0_3_has_sent_by_postgres_still_counts(name: str, postgres_url: str) -> None:
    """It had the whole row in one piece."""
    limits = Limits((RateWindow(300, 60.0),), 4)

    async def test() -> None:
        row = new(limits)
        for _ in range(300):
            reservation.take(row, limits, time())
        async with open_budget("other", limits, postgres_url) as other:
            await _execute(other.store, "INSERT INTO headrace_budgets VALUES (%s, %s)", name, row)
        async with open_budget(name, limits, postgres_url) as budget:
            assert (await budget.store.take(None)).wait_s > 30
            length = "SELECT length(state) FROM headrace_budgets WHERE name = %s"
            assert await _execute(budget.store, length, name) == 8 * state_layout.RINGS
        assert sum(minute.requests for minute in usage(postgres_url, name)) == 300

    run(test())


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", ["DELETE FROM {}", "UPDATE {} SET cells = substr(cells, 1, 9)"], ids=["gone", "cut"]
)
def test_a_page_that_is_lost_in_postgres_counts_as_used_up(
    name: str, postgres_url: str, damage: str
) -> None:
    limits = Limits((RateWindow(300, 30.0),), 4)

    async def test() -> None:
        async with open_budget(name, limits, postgres_url) as budget:
            assert (await budget.store.take(None)).wait_s == 0
            statement = damage.format("headrace_budget_pages") + " WHERE name = %s"
            await _execute(budget.store, statement, name)
            assert (await budget.store.take(None)).wait_s > 29
            assert (await budget.store.take(None)).wait_s > 29

    run(test())


@pytest.mark.slow
def test_postgres_reads_few_pages_and_each_as_the_others_left_it(
    name: str, postgres_url: str
) -> None:
    """Two users in turn: each has the pages of its last step in mind, not what was in them."""

    async def test() -> None:
        async with (
            open_budget(name, DAY, postgres_url) as one,
            open_budget(name, DAY, postgres_url) as two,
        ):
            assert isinstance(one.store, PostgresStore)
            for _ in range(150):
                for budget in (one, two):
                    async with budget.request():
                        pass
            assert len(one.store._usual) <= 4
            sends = await two.store.update(lambda cells, _: state_layout.send_times(cells)[0])  # type: ignore[attr-defined]
        assert len(sends) == 300
        assert sends == sorted(sends)
        stored = "SELECT max(length(cells)) FROM headrace_budget_pages WHERE name = %s"
        async with open_budget(name, DAY, postgres_url) as one:
            assert await _execute(one.store, stored, name) == PAGE_BYTES

    run(test())


async def _execute(store: object, statement: str, *values: object) -> object:
    assert isinstance(store, PostgresStore)
    bound = [bytes(value) if isinstance(value, memoryview) else value for value in values]
    cursor = await store._connection.execute(statement, bound)
    return (await cursor.fetchone())[0] if cursor.description else None
