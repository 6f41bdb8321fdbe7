"""Pages side by side, in order, with bounded memory, and nothing left running."""

import asyncio
import random
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.extract.prefetch import AdaptiveConcurrency, ahead_of, as_they_come, in_order
from tests.support.thorough import THOROUGH

Item = tuple[int, int]


class Chains:
    """Chains of items that take a random time each; counts what runs and what is made ahead."""

    def __init__(self, seed: int, lengths: list[int], fails_in: int | None = None) -> None:
        self._rng = random.Random(seed)
        self._lengths = lengths
        self._fails_in = fails_in
        self.running = self.most_running = self.made = self.closed = 0

    async def chain(self, number: int) -> AsyncGenerator[Item, None]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            for item in range(self._lengths[number]):
                for _ in range(self._rng.randint(0, 5)):
                    await asyncio.sleep(0)
                if number == self._fails_in:
                    raise ValueError(f"chain {number} failed")
                self.made += 1
                yield number, item
        finally:
            self.running -= 1
            self.closed += 1


def others() -> set["asyncio.Task[object]"]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


@settings(max_examples=60 * THOROUGH)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(0, 6), max_size=20),
    st.integers(0, 8),
)
def test_items_come_in_order_and_few_are_made_ahead(
    seed: int, lengths: list[int], ahead: int
) -> None:
    async def run() -> None:
        chains, got = Chains(seed, lengths), 0
        async for item in in_order(range(len(lengths)), chains.chain, lambda: ahead):
            assert item == expected[got]
            got += 1
            for _ in range(chains._rng.randint(0, 5)):
                await asyncio.sleep(0)
            assert chains.made - got <= 3 * max(1, ahead)
        assert got == len(expected)
        assert chains.most_running <= max(1, ahead) + 1
        await asyncio.sleep(0)
        assert not others()

    expected = [(number, item) for number, count in enumerate(lengths) for item in range(count)]
    asyncio.run(run())


@settings(max_examples=60 * THOROUGH)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(0, 6), max_size=20),
    st.integers(1, 8),
)
def test_as_they_come_each_chain_is_in_order_and_few_are_made_ahead(
    seed: int, lengths: list[int], side_by_side: int
) -> None:
    async def run() -> None:
        chains, got = Chains(seed, lengths), list[Item]()
        async for item in as_they_come(range(len(lengths)), chains.chain, side_by_side):
            got.append(item)
            for _ in range(chains._rng.randint(0, 5)):
                await asyncio.sleep(0)
            assert chains.made - len(got) <= side_by_side + 2
        assert sorted(got, key=lambda item: item[0]) == expected
        assert chains.most_running <= side_by_side
        await asyncio.sleep(0)
        assert not others()

    expected = [(number, item) for number, count in enumerate(lengths) for item in range(count)]
    asyncio.run(run())


@pytest.mark.parametrize("fails_in", [0, 3, 19])
def test_as_they_come_an_error_ends_the_rest(fails_in: int) -> None:
    async def run() -> None:
        chains = Chains(2, [2] * 20, fails_in)
        with pytest.raises(ValueError, match=f"chain {fails_in} failed"):
            async for _ in as_they_come(range(20), chains.chain, 4):
                pass
        assert not others()
        assert chains.running == 0
        assert chains.closed <= fails_in + 4

    asyncio.run(run())


@pytest.mark.parametrize("stop_after", [0, 1, 5])
def test_a_consumer_that_stops_leaves_no_task(stop_after: int) -> None:
    async def run() -> None:
        chains = Chains(1, [3] * 20)
        items = in_order(range(20), chains.chain, lambda: 4)
        for _ in range(stop_after):
            await anext(items)
        await items.aclose()
        assert not others()
        assert chains.running == 0

    asyncio.run(run())


def test_a_cancelled_consumer_leaves_no_task() -> None:
    async def run() -> None:
        never = asyncio.Event()
        started = asyncio.Event()

        async def chain(number: int) -> AsyncGenerator[int, None]:
            started.set()
            await never.wait()
            yield number

        async def consume() -> None:
            async for _ in in_order(range(9), chain, lambda: 3):
                pass

        task = asyncio.create_task(consume())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not others()

    asyncio.run(run())


@pytest.mark.parametrize("fails_in", [0, 3, 19])
def test_an_error_comes_in_its_turn_and_ends_the_rest(fails_in: int) -> None:
    async def run() -> None:
        chains = Chains(2, [2] * 20, fails_in)
        got: list[Item] = []

        async def read() -> None:
            async for item in in_order(range(20), chains.chain, lambda: 4):
                got.append(item)

        with pytest.raises(ValueError, match=f"chain {fails_in} failed"):
            await read()
        assert got == [(n, i) for n in range(fails_in) for i in range(2)]
        assert not others()
        assert chains.running == 0
        assert chains.closed <= fails_in + 4

    asyncio.run(run())


def test_a_chain_that_is_fast_waits_for_a_consumer_that_is_slow() -> None:
    made = 0

    async def chain(_: int) -> AsyncGenerator[int, None]:
        nonlocal made
        for item in range(1_000):
            made += 1
            yield item

    async def run() -> None:
        items = in_order(range(50), chain, lambda: 4)
        for taken in range(1, 30):
            await anext(items)
            for _ in range(20):
                await asyncio.sleep(0)
            assert made <= taken + 4 * 3
        await items.aclose()

    asyncio.run(run())


def test_segments_are_taken_from_the_plan_only_when_there_is_room() -> None:
    taken = 0

    async def chain(number: int) -> AsyncGenerator[int, None]:
        yield number

    async def run() -> None:
        nonlocal taken

        def plan() -> "list[int]":
            return list(range(1_000))

        def lazily() -> object:
            nonlocal taken
            for number in plan():
                taken += 1
                yield number

        items = in_order(lazily(), chain, lambda: 5)  # type: ignore[arg-type]
        await anext(items)
        assert taken <= 6
        await items.aclose()

    asyncio.run(run())


def test_lanes_are_enough_for_all_requests_in_flight_and_few_where_pages_are_large() -> None:
    assert [ahead_of(n) for n in (1, 8, 50)] == [17, 24, 66]
    room, few = AdaptiveConcurrency(lambda: 58), AdaptiveConcurrency(lambda: 3)
    assert (room(), few()) == (16, 3), "no page has come"
    for page_bytes, lanes in ((50_000, 58), (2**20, 32), (20 * 2**20, 16), (50_000, 16)):
        for each in (room, few):
            each.record(page_bytes, latency_s=60.0)
            each.record(page_bytes, latency_s=60.0)
        assert (room(), few()) == (lanes, 3)


@pytest.mark.parametrize(
    ("latency_s", "per_s", "lanes"), [(0.0, 1000, 24), (0.25, 40, 39), (1.0, 40, 84), (9.0, 40, 96)]
)
def test_as_many_lanes_as_pages_are_under_way_come_on_top(
    latency_s: float, per_s: int, lanes: int
) -> None:
    """By Little's law, and half as many again, with those that gather; to one a page in flight."""
    now = 0.0
    room = AdaptiveConcurrency(lambda: ahead_of(80), clock=lambda: now)
    for _ in range(200):
        now += 1 / per_s
        room.record(1000, latency_s)
    assert room() == lanes


@pytest.mark.parametrize("per_s", [5, 40, 400])
def test_the_number_of_lanes_grows_until_the_api_s_limit_is_what_is_waited_for(per_s: int) -> None:
    """One second of latency; the API gives ``per_s`` pages a second, and what is asked for."""
    now, latency_s = 0.0, 1.0
    room = AdaptiveConcurrency(lambda: 1000, clock=lambda: now)
    for _ in range(2000):
        now += max(1 / per_s, latency_s / room())
        room.record(1000, latency_s)
    assert room() >= per_s * latency_s
    assert room() <= 24 + 1.6 * per_s * latency_s
