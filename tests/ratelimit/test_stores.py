"""Every store keeps the same promises: two users of one budget, in one process, in real time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import monotonic, time
from typing import Any

import pytest

from pipeline.errors import ConfigError, HeadraceError, Retryable
from pipeline.ratelimit import Budget, Limits, RateWindow, open_budget, usage
from pipeline.ratelimit import state_layout as layout
from pipeline.ratelimit.state_layout import MARGIN_MIN
from pipeline.ratelimit.stores.base import StateStore
from pipeline.ratelimit.stores.postgres import PostgresStore
from pipeline.ratelimit.stores.redis import RedisStore
from tests.ratelimit.servers import free_port

pytestmark = pytest.mark.slow

FAST = Limits((RateWindow(20, 0.2),), 4)
WIDE = Limits((RateWindow(1000, 0.5),), 4)
PATIENT = Limits((RateWindow(6000, 3.0),), 4)  # a machine that stalls for half a second will do
SLOW = Limits((RateWindow(2, 30.0),), 4)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


class Seen:
    """What a server would see."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.now = self.most = 0

    async def request(self, budget: Budget, hold_s: float = 0.0) -> None:
        async with budget.request():
            self.times.append(monotonic())
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(hold_s)
            self.now -= 1


async def recorded(budget: Budget, *, low: bool = False) -> list[float]:
    """The send times in the store, on its clock: what a test can judge on a busy machine.

    :param low: of the users with a share under 1.
    """
    store = budget.store
    if isinstance(store, StateStore):
        return await store.update(lambda cells, _: layout.send_times(cells)[low])
    assert isinstance(store, RedisStore)
    entries = await store._client.zrange(store._keys[1 + low], 0, -1, withscores=True)
    return [at for _, at in entries]


def assert_kept(times: list[float], requests: int, per_s: float, *, of: int) -> None:
    assert len(times) == of
    assert min(b - a for a, b in zip(times, times[requests:], strict=False)) >= per_s


def test_two_users_keep_one_limit(name: str, where: str) -> None:
    async def test() -> None:
        seen = Seen()
        async with open_budget(name, FAST, where) as one, open_budget(name, FAST, where) as two:
            await asyncio.gather(*(seen.request(b) for b in (one, two) for _ in range(25)))
            assert one.stats.requests == two.stats.requests == 25
            assert_kept(await recorded(one), 20, 0.2, of=50)

    run(test())


def test_two_users_take_turns(name: str, where: str) -> None:
    async def test() -> None:
        order: list[Budget] = []

        async def send(budget: Budget) -> None:
            async with budget.request():
                order.append(budget)

        even = Limits((RateWindow(20, 0.2),), 64)
        async with open_budget(name, even, where) as one, open_budget(name, even, where) as two:
            await asyncio.gather(*(send(budget) for budget in (one, two) for _ in range(30)))
            assert 10 <= order[15:45].count(one) <= 20

    run(test())


def test_two_users_share_the_places_in_flight(name: str, where: str) -> None:
    async def test() -> None:
        seen = Seen()
        async with open_budget(name, WIDE, where) as one, open_budget(name, WIDE, where) as two:
            requests = (seen.request(b, 0.01) for b in (one, two) for _ in range(20))
            await asyncio.gather(*requests)
        assert len(seen.times) == 40
        assert 2 <= seen.most <= 4

    run(test())


def test_a_429_of_one_holds_the_other(name: str, where: str) -> None:
    async def test() -> None:
        async with open_budget(name, WIDE, where) as one, open_budget(name, WIDE, where) as two:
            async with one.request(), two.request():
                pass
            told = monotonic()
            await one.throttled(0.2)
            async with two.request():
                assert monotonic() - told >= 0.19
            assert one.stats.margin == pytest.approx(MARGIN_MIN + 0.01, abs=0.001)
            assert (one.stats.throttled, two.stats.throttled) == (1, 0)

    run(test())


def test_a_429_that_names_no_wait_holds_longer_if_it_is_not_the_first_of_a_burst(
    name: str, where: str
) -> None:
    async def test() -> None:
        async with (
            open_budget(name, PATIENT, where) as one,
            open_budget(name, PATIENT, where) as two,
        ):
            await one.throttled(None)
            answer = await two.store.take(None)
            assert answer.wait_s <= 0.25 * PATIENT.shortest.per_s + 0.01
            two.store.give_back(answer.ticket)
            await one.throttled(None)  # while everybody waits: it had left before
            answer = await two.store.take(None)
            assert answer.wait_s <= 0.25 * PATIENT.shortest.per_s + 0.01
            two.store.give_back(answer.ticket)
            await asyncio.sleep(0.25 * PATIENT.shortest.per_s + 0.01)
            told = monotonic()
            await asyncio.gather(one.throttled(None), one.throttled(None))
            async with two.request():
                assert monotonic() - told >= 0.99

    run(test())


def test_a_wait_of_hours_ends_all_who_would_wait_and_is_said_once_by_each(
    name: str, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with open_budget(name, WIDE, where) as one, open_budget(name, WIDE, where) as two:
            await one.throttled(7200.0)
            for budget in (one, one, two, two):
                with pytest.raises(Retryable, match=r"pause until .* UTC. No request") as caught:
                    async with budget.request():
                        pass
                assert caught.value.wait_s == pytest.approx(7200, abs=20)
            for store in (one.store, two.store):
                if isinstance(store, RedisStore | PostgresStore):
                    await store._calls.ended()
            assert await recorded(one) == [], "their slots are free again"

    run(test())
    assert caplog.text.count("rate limited: all processes pause until") == 2


def test_a_wait_for_the_next_of_the_budget_s_windows_is_waited_for(name: str, where: str) -> None:
    daily = Limits((RateWindow(1000, 86_400.0),), 4)

    async def test() -> None:
        async with open_budget(name, daily, where) as budget:
            await budget.throttled(7200.0)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1), budget.request():
                    pass

    run(test())


def test_429s_and_nothing_else_are_one_burst(name: str, where: str) -> None:
    quick = Limits((RateWindow(5, 0.01),), 4)

    async def test() -> None:
        async with open_budget(name, quick, where) as budget:
            await budget.throttled(0.0)
            await age_of_the_last_cut(budget, 2.0)
            await budget.throttled(0.0)
            assert budget.stats.margin == pytest.approx(MARGIN_MIN + 0.01, abs=0.001)
            for _ in range(6):
                async with budget.request():
                    pass
            await budget.throttled(0.0)
            assert budget.stats.margin == pytest.approx(MARGIN_MIN + 0.03, abs=0.001)

    run(test())


async def age_of_the_last_cut(budget: Budget, by_s: float) -> None:
    def change(cells: layout.Cells, now: float) -> None:
        cells[layout.CUT_AT] -= by_s

    store = budget.store
    if isinstance(store, StateStore):
        await store.update(change)
        return
    assert isinstance(store, RedisStore)
    cut_at = float(await store._client.hget(store._keys[0], "cut_at"))
    await store._client.hset(store._keys[0], "cut_at", f"{cut_at - by_s:.9f}")


def test_what_the_api_told_of_its_limit_counts_for_the_first_429(name: str, where: str) -> None:
    hourly = Limits((RateWindow(1000, 3600.0),), 4)

    async def test() -> None:
        async with open_budget(name, hourly, where) as budget:
            told = budget.advertised(10, 0.4)
            assert told is not None
            await told
            await budget.throttled(None)
            assert (await budget.store.take(None)).wait_s <= 0.25 * 0.4 + 0.01

    run(test())


def test_nothing_left_holds_everybody_until_the_reset(name: str, where: str) -> None:
    async def test() -> None:
        async with open_budget(name, WIDE, where) as one, open_budget(name, WIDE, where) as two:
            told = monotonic()
            assert one.observed(3, 60.0) is None
            assert one.observed(0, None) is None
            one.observed(0, 0.2)
            async with one.request():
                assert monotonic() - told >= 0.19
            async with two.request():
                pass
            assert two.stats.margin == pytest.approx(MARGIN_MIN)

    run(test())


def test_who_is_cancelled_while_it_waits_leaves_nothing_behind(name: str, where: str) -> None:
    async def test() -> None:
        seen = Seen()
        async with open_budget(name, SLOW, where) as one, open_budget(name, SLOW, where) as two:
            await asyncio.gather(seen.request(one), seen.request(two))
            waiting = [asyncio.create_task(seen.request(b)) for b in (one, two) for _ in range(6)]
            for after_s in (0.0, 0.001, 0.003, 0.01, 0.03, 0.1):
                await asyncio.sleep(after_s)
                waiting.pop().cancel()
                waiting.pop(0).cancel()
            await asyncio.sleep(0.05)
            held = [await one.store.try_permit() for _ in range(5)]
            assert [place is None for place in held] == [False] * 4 + [True]
            for place in held[:4]:
                assert place is not None
                one.store.free_permit(place)

    run(test())


def test_an_error_in_the_request_gives_the_place_back(name: str, where: str) -> None:
    async def test() -> None:
        async with open_budget(name, WIDE, where) as budget:
            for _ in range(6):
                with pytest.raises(ZeroDivisionError):
                    async with budget.request():
                        raise ZeroDivisionError

    run(test())


def test_other_limits_hold_for_everybody_and_forget_nothing(name: str, where: str) -> None:
    async def test() -> None:
        seen = Seen()
        wider = Limits((RateWindow(40, 0.2), RateWindow(100, 20.0)), 4)
        async with open_budget(name, FAST, where) as one:
            await asyncio.gather(*(seen.request(one) for _ in range(20)))
            async with open_budget(name, wider, where) as two:
                await asyncio.gather(*(seen.request(b) for b in (one, two) for _ in range(20)))
                assert one.stats.requests == 40
                assert_kept(await recorded(one), 40, 0.2, of=60)
                assert one.store.limits.windows == wider.windows

    run(test())


class Held:
    """Requests that are under way until they are told to end."""

    def __init__(self) -> None:
        self.ends: list[asyncio.Event] = []

    async def request(self, budget: Budget) -> None:
        async with budget.request():
            self.ends.append(end := asyncio.Event())
            await end.wait()

    def end_all(self) -> None:
        for end in self.ends:
            end.set()

    async def under_way(self, number: int) -> None:
        while len(self.ends) < number:  # noqa: ASYNC110 - the stores have no event for it either
            await asyncio.sleep(0.005)


def test_a_small_share_has_all_places_and_frees_those_that_others_want(
    name: str, where: str
) -> None:
    async def test() -> None:
        backfill, scheduled = Held(), Held()
        low, full = open_budget(name, WIDE, where, share=0.5), open_budget(name, WIDE, where)
        async with low, full, asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(backfill.request(low))
            await backfill.under_way(4)
            for _ in range(2):
                tasks.create_task(scheduled.request(full))
            await asyncio.sleep(0.3)
            assert not scheduled.ends, "all places are lent"
            backfill.end_all()
            await scheduled.under_way(2)
            await backfill.under_way(6)
            await asyncio.sleep(0.3)
            assert len(backfill.ends) == 6, "it keeps to its part"
            scheduled.end_all()
            await backfill.under_way(8)  # nobody else has asked for a while: lent again
            backfill.end_all()

    run(test())


def test_who_waits_for_a_slot_gives_a_place_that_is_lent_back(name: str, where: str) -> None:
    limits = Limits((RateWindow(1000, 0.5), RateWindow(2, 30.0)), 2)

    async def test() -> None:
        seen = Seen()
        low = [open_budget(name, limits, where, share=0.5) for _ in range(2)]
        async with low[0], low[1], open_budget(name, limits, where) as full:
            for budget in low:
                await seen.request(budget)
            waiting = [asyncio.create_task(seen.request(budget)) for budget in low]
            await asyncio.sleep(0.2)
            while (place := await full.store.try_permit()) is None:  # noqa: ASYNC110 - its own poll
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            assert await full.store.try_permit() is None, "one is the small share's own"
            full.store.free_permit(place)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)

    run(test())


def test_of_a_long_window_the_rest_is_lent_evenly_and_not_while_others_ask(
    name: str, where: str
) -> None:
    limits = Limits((RateWindow(8, 40.0),), 4)  # a half of it, and of the rest one each 10 s

    async def wait_s(budget: Budget) -> float:
        answer = await budget.store.take(None)
        if answer.wait_s > 0:
            await budget.store.forget([budget.store.send_id(answer)])
        return answer.wait_s

    async def test() -> None:
        low, full = open_budget(name, limits, where, share=0.5), open_budget(name, limits, where)
        async with low, full:
            began = monotonic()

            def passed_s() -> float:
                """A wait is shorter by what has passed since the slot before it was given."""
                return monotonic() - began

            assert [await wait_s(low) for _ in range(5)] == [0.0] * 5
            assert 10.0 - passed_s() <= await wait_s(low) <= 10.6
            assert len(await recorded(low, low=True)) == 4, "what is lent is beside its part"
            assert [await wait_s(full) for _ in range(3)] == [0.0] * 3
            assert 40.0 - passed_s() <= await wait_s(full) <= 41.1
            assert 40.0 - passed_s() <= await wait_s(low) <= 41.1

    run(test())


def test_the_requests_of_the_last_hour_are_told(name: str, where: str) -> None:
    async def test() -> None:
        async with open_budget(name, WIDE, where) as one, open_budget(name, WIDE, where) as two:
            for budget in (one, two, two):
                async with budget.request():
                    pass
            slow = await one.store.take(None)
            await one.store.block(5.0)
            assert slow.wait_s == 0
            waiting = await one.store.take(None)
            await one.throttled(1.0)
            minutes = await asyncio.to_thread(usage, where, name)
            assert abs(minutes[-1].at - time()) < 61
            assert sum(minute.requests for minute in minutes) == 4
            assert sum(minute.throttled for minute in minutes) == 1
            assert waiting.wait_s <= sum(m.waited_s for m in minutes) < waiting.wait_s + 1
        assert len(minutes) == 60

    run(test())


def test_a_budget_that_nobody_has_used_has_an_empty_hour(name: str, where: str) -> None:
    async def test() -> None:
        async with open_budget(name, WIDE, where):
            pass

    run(test())
    assert sum(minute.requests for minute in usage(where, name)) == 0


def test_who_wakes_up_late_is_recorded_when_it_sends_and_not_when_it_should(
    name: str, where: str
) -> None:
    async def test() -> None:
        limits = Limits((RateWindow(1, 0.1),), 4)
        async with open_budget(name, limits, where) as budget:
            assert (await budget.store.take(None)).wait_s == 0
            waiting = await budget.store.take(None)
            await asyncio.sleep(waiting.wait_s + 0.1)
            assert (await budget.store.take(waiting.ticket)).wait_s == 0
            first, second = await recorded(budget)
            assert second - first >= 0.2

    run(test())


def test_a_slot_that_is_not_waited_for_any_more_is_free_again(name: str, where: str) -> None:
    async def test() -> None:
        seen = Seen()
        async with open_budget(name, SLOW, where) as other:
            async with open_budget(name, SLOW, where) as budget:
                await asyncio.gather(seen.request(other), seen.request(other))
                waiting = asyncio.create_task(seen.request(budget))
                await asyncio.sleep(0.2)
                waiting.cancel()
                await asyncio.wait([waiting])
            assert len(await recorded(other)) == 2

    run(test())


def test_what_the_api_does_not_count_is_given_back(name: str, where: str) -> None:
    async def test() -> None:
        limits = Limits((RateWindow(4, 30.0), RateWindow(2, 0.2)), 4)
        async with open_budget(name, limits, where) as one, open_budget(name, limits, where) as two:
            for budget in (one, two, one, one, two, one):
                async with budget.request() as grant:
                    pass
                budget.not_counted(grant)
            times = await recorded(one)
            assert len(times) <= 4
            if len(times) > 2:  # on a machine that is slow the first have gone
                assert_kept(times, 2, 0.2, of=len(times))
            await asyncio.sleep(0.25)
            async with one.request(), two.request():
                pass
            assert len(await recorded(one)) == 2  # what was free has gone from the longest window

    run(test())


def test_who_leaves_late_counts_from_then_on(name: str, where: str) -> None:
    async def test() -> None:
        async with open_budget(name, WIDE, where, share=0.5) as budget:
            async with budget.request() as first:
                pass
            async with open_budget(name, WIDE, where) as other, other.request() as second:
                before = await recorded(budget)
                first.departed_at -= 7.0
                second.departed_at -= 3.0
                for user, grant in ((budget, first), (other, second), (budget, first)):
                    if (saying := user.departed(grant)) is not None:
                        await saying
                after = await recorded(budget)
            assert before[1] + 3.0 <= after[0] < after[1]
            assert before[0] + 7.0 <= after[1] < before[0] + 14.0, "only once"
            assert await recorded(budget, low=True) == after[1:]
            await budget.store.forget([first.send_id])
            assert await recorded(budget) == after[:1]
            await budget.store.departed(first.send_id, 5.0)
            assert await recorded(budget) == after[:1], "what is forgotten stays so"

    run(test())


def test_one_window_counts_everything(name: str, where: str) -> None:
    async def test() -> None:
        async with open_budget(name, SLOW, where) as budget:
            for _ in range(2):
                async with budget.request() as grant:
                    budget.not_counted(grant)
            assert (await budget.store.take(None)).wait_s > 20

    run(test())


def test_a_lower_limit_that_one_hears_of_holds_for_all_until_it_is_lifted(
    name: str, where: str
) -> None:
    async def test() -> None:
        seen = Seen()

        async def spent_s(number: int) -> float:
            began = monotonic()
            await asyncio.gather(*(seen.request(b) for b in (one, two) for _ in range(number // 2)))
            return monotonic() - began

        async def told(budget: Budget, requests: int) -> None:
            saying = budget.advertised(requests, 0.2)
            assert saying is not None
            await saying

        fast = Limits((RateWindow(100, 0.5),), 4)
        async with open_budget(name, fast, where) as one, open_budget(name, fast, where) as two:
            await spent_s(20)
            await told(one, 2)
            assert one.advertised(2, 0.2) is None  # said already
            slow = len(await recorded(one))
            assert await spent_s(8) >= 0.6
            assert_kept((await recorded(two))[slow:], 2, 0.2, of=8)
            await told(two, 1000)
            waits = [(await one.store.take(None)).wait_s for _ in range(20)]
            assert max(waits) < 0.4, "with two in 0.2 s the last of 20 would wait for 1.8 s"
            assert one.store.limits.windows == fast.windows

    run(test())


async def lose_the_connection(budget: Budget) -> None:
    store = budget.store
    assert isinstance(store, PostgresStore)
    psycopg = store._psycopg
    async with await psycopg.AsyncConnection.connect(store.location, autocommit=True) as other:
        pid = store._connection.info.backend_pid
        await other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


def test_a_lost_connection_to_postgres_fails_no_request_and_frees_no_place_in_use(
    name: str, postgres_url: str
) -> None:
    two_places = Limits((RateWindow(1000, 0.5),), 2)

    async def test() -> None:
        async with (
            open_budget(name, two_places, postgres_url) as one,
            open_budget(name, two_places, postgres_url) as two,
        ):
            seen = Seen()
            await seen.request(one)
            await lose_the_connection(one)
            await seen.request(one)
            held = [await one.store.try_permit() for _ in range(2)]
            await lose_the_connection(one)
            assert await one.store.try_permit() is None, "it has both already"
            assert await two.store.try_permit() is None, "they are taken again"
            for place in held:
                assert place is not None
                one.store.free_permit(place)
            assert await one.store.try_permit() is not None
            assert await two.store.try_permit() is not None
            for place in held:
                assert place is not None
                one.store.free_permit(place)  # once more frees nothing that was taken since
            await one.store.block(0.0)
            assert await two.store.try_permit() is None
            assert await one.store.try_permit() is None

    run(test())


def test_a_place_that_others_took_while_the_connection_was_lost_is_made_up_for(
    name: str, postgres_url: str
) -> None:
    two_places = Limits((RateWindow(1000, 0.5),), 2)

    async def test() -> None:
        async with (
            open_budget(name, two_places, postgres_url) as one,
            open_budget(name, two_places, postgres_url) as two,
        ):
            held = [await one.store.try_permit() for _ in range(2)]
            await lose_the_connection(one)
            taken = await two.store.try_permit()
            assert await one.store.try_permit() is None
            assert taken is not None
            two.store.free_permit(taken)
            await two.store.block(0.0)
            assert await one.store.try_permit() is None, "it locks again what it uses"
            assert await two.store.try_permit() is None
            for place in held:
                assert place is not None
                one.store.free_permit(place)
            assert await one.store.try_permit() is not None

    run(test())


def test_a_damaged_state_in_postgres_counts_as_used_up(name: str, postgres_url: str) -> None:
    async def test() -> None:
        async with open_budget(name, SLOW, postgres_url) as budget:
            store = budget.store
            assert isinstance(store, PostgresStore)
            await store._connection.execute(
                "UPDATE headrace_budgets SET state = substr(state, 1, 100) WHERE name = %s", (name,)
            )
            assert (await store.take(None)).wait_s > 29

    run(test())


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql://user:pa%ss@localhost:1/x", ConfigError),
        ("postgresql://user:pass@127.0.0.1:{port}/x", Retryable),
        ("redis://user:pa/ss@localhost", ConfigError),
        ("redis://user:pass@127.0.0.1:{port}", Retryable),
    ],
)
def test_a_look_at_a_store_that_can_t_be_read_is_an_error_of_ours_without_the_password(
    url: str, kind: type[HeadraceError]
) -> None:
    pytest.importorskip(url.split(":")[0].replace("postgresql", "psycopg"))
    with pytest.raises(kind) as caught:
        usage(url.replace("{port}", str(free_port())), "api")
    assert "pa" not in str(caught.value).replace("password", "").replace("package", "")
    assert caught.value.__cause__ is None or "pass" not in str(caught.value.__cause__)


def test_a_look_before_anybody_has_opened_a_budget(name: str, postgres_url: str) -> None:
    url = postgres_url.removesuffix("/postgres") + "/template1"
    assert sum(minute.requests for minute in usage(url, name)) == 0
