"""What can happen to a folder of budgets: files cut, deleted, garbled, from before a reboot."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import monotonic, time
from typing import Any

import pytest

from pipeline.errors import ConfigError, Retryable
from pipeline.ratelimit import Budget, Limits, RateWindow, open_budget, state_layout, usage
from pipeline.ratelimit.state_layout import MARGIN_MIN
from pipeline.ratelimit.stores import folder

FOUR = Limits((RateWindow(4, 0.2),), 2)
HOURLY = Limits((RateWindow(5, 3600.0),), 2)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


async def send(budget: Budget, count: int) -> None:
    for _ in range(count):
        async with budget.request():
            pass


async def would_wait_s(budget: Budget) -> float:
    answer = await budget.store.take(None)
    budget.store.give_back(answer.ticket)
    return answer.wait_s


def test_what_was_sent_still_counts_in_the_next_run(tmp_path: Path) -> None:
    async def one_run(count: int) -> None:
        async with open_budget("api", HOURLY, str(tmp_path)) as budget:
            await send(budget, count)

    async def next_run() -> None:
        async with open_budget("api", HOURLY, str(tmp_path)) as budget:
            assert await would_wait_s(budget) > 3500

    run(one_run(3))
    run(one_run(2))
    run(next_run())
    assert sum(minute.requests for minute in usage(str(tmp_path), "api")) == 5


def test_other_limits_go_on_from_what_was_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        eight = Limits((RateWindow(8, 3600.0),), 2)
        async with open_budget("api", HOURLY, str(tmp_path)) as old:
            await send(old, 5)
            async with open_budget("api", eight, str(tmp_path)) as new:
                await send(new, 3)
                assert await would_wait_s(old) > 3500
        async with open_budget("api", HOURLY, str(tmp_path)) as again:
            assert await would_wait_s(again) > 3500

    run(test())
    assert "the limits of this key have changed; requests that were sent still count" in caplog.text


def cut(path: Path) -> None:
    os.truncate(path, 100)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def garble(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def not_numbers(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(8 * state_layout.RINGS)
        file.write(b"\xff" * 64)


DAMAGES = [cut, empty, garble, zero, not_numbers]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_starts_anew_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    async def test() -> None:
        async with open_budget("api", FOUR, str(tmp_path)) as budget:
            await send(budget, 2)
        damage(tmp_path / "api.budget")
        assert sum(minute.requests for minute in usage(str(tmp_path), "api")) == 0
        async with open_budget("api", FOUR, str(tmp_path)) as budget:
            assert await would_wait_s(budget) > 0, "what was sent is not known, so it waits"
            await send(budget, 5)

    run(test())
    assert "all windows count as used up" in caplog.text


@pytest.mark.parametrize("damage", [cut, empty, zero])
def test_a_file_that_is_damaged_while_in_use_starts_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    async def test() -> None:
        async with (
            open_budget("api", FOUR, str(tmp_path)) as one,
            open_budget("api", FOUR, str(tmp_path)) as two,
        ):
            await send(one, 2)
            damage(tmp_path / "api.budget")
            await asyncio.gather(send(one, 4), send(two, 4))

    run(test())
    assert "all windows count as used up" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("in_use", [True, False])
def test_after_damage_every_window_counts_as_used_up(
    tmp_path: Path, damage: Callable[[Path], None], in_use: bool
) -> None:
    limits = Limits((RateWindow(4, 0.1), RateWindow(5, 30.0), RateWindow(5000, 3600.0)), 2)

    async def test() -> None:
        async with open_budget("api", limits, str(tmp_path)) as budget:
            await send(budget, 2)
            if in_use and damage in (cut, empty):
                damage(tmp_path / "api.budget")
                assert await would_wait_s(budget) > 3500
        damage(tmp_path / "api.budget")
        for share in (1.0, 0.5):
            async with open_budget("api", limits, str(tmp_path), share=share) as budget:
                assert await would_wait_s(budget) > 3500

    run(test())


def test_a_file_that_is_deleted_while_in_use_is_written_anew_with_what_was_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with (
            open_budget("api", HOURLY, str(tmp_path)) as one,
            open_budget("api", HOURLY, str(tmp_path)) as two,
        ):
            await send(one, 2)
            (tmp_path / "api.budget").unlink()
            async with open_budget("api", HOURLY, str(tmp_path)) as three:  # it finds no file
                await send(three, 1)
                await send(one, 1)
                await send(two, 1)
                (tmp_path / "api.budget").unlink()
                for budget in (two, three, one):
                    assert await would_wait_s(budget) > 3500
            assert len(await sends(one)) == 5
            assert await sends(one) == await sends(two)

    run(test())
    assert "was deleted" in caplog.text


async def sends(budget: Budget) -> list[float]:
    store = budget.store
    assert isinstance(store, folder.FolderStore)
    return await store.update(lambda cells, _: state_layout.send_times(cells)[0])


def test_a_deleted_folder_is_made_again_and_nothing_is_forgotten(tmp_path: Path) -> None:
    where = tmp_path / "budgets"

    async def test() -> None:
        async with (
            open_budget("api", HOURLY, str(where)) as one,
            open_budget("api", HOURLY, str(where)) as two,
        ):
            await send(one, 4)
            shutil.rmtree(where)
            await send(two, 1)
            for budget in (one, two):
                assert await would_wait_s(budget) > 3500
            shutil.rmtree(where)
            where.write_text("in its place")
            with pytest.raises(Retryable, match=r"can't be used \(.*\)\. Set HEADRACE_BUDGET"):
                await send(one, 1)

    run(test())


def test_a_place_whose_file_was_deleted_is_the_one_that_others_find(tmp_path: Path) -> None:
    async def test() -> None:
        async with open_budget("api", FOUR, str(tmp_path)) as one:
            for place in range(FOUR.in_flight):
                (tmp_path / f"api.permit-{place}").unlink()
            async with open_budget("api", FOUR, str(tmp_path)) as two:
                had = [await budget.store.try_permit() for budget in (one, two, one, two, one)]
                assert len([place for place in had if place is not None]) == FOUR.in_flight

    run(test())


def test_opening_a_budget_makes_its_files_young(tmp_path: Path) -> None:
    async def test() -> None:
        async with open_budget("api", FOUR, str(tmp_path)):
            pass

    run(test())
    for file in tmp_path.iterdir():
        os.utime(file, (1e9, 1e9))
    run(test())
    assert min(file.stat().st_mtime for file in tmp_path.iterdir()) > 1e9


@pytest.mark.parametrize("off_s", [0.0, 4000.0, -4000.0])
def test_after_a_reboot_what_was_sent_still_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off_s: float
) -> None:
    async def before() -> None:
        async with open_budget("api", HOURLY, str(tmp_path)) as budget:
            await send(budget, 5)
            await budget.throttled(900.0)

    async def after() -> None:
        async with open_budget("api", HOURLY, str(tmp_path)) as budget:
            assert sum(minute.requests for minute in usage(str(tmp_path), "api")) == 0
            if off_s > 0:  # an hour and more later
                await send(budget, 5)
            assert await would_wait_s(budget) > 3500
            if off_s <= 0:
                assert budget.stats.margin == pytest.approx(MARGIN_MIN + 0.01, abs=0.001)

    run(before())
    monkeypatch.setattr(folder, "boot_id", lambda: 12345.0)
    monkeypatch.setattr(folder, "monotonic", lambda: monotonic() % 1.0 + 5.0)  # it begins anew
    monkeypatch.setattr(folder, "time", lambda: time() + off_s)
    run(after())


def test_a_state_of_another_version_counts_as_used_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "api.budget"

    async def test() -> None:
        async with open_budget("api", HOURLY, str(tmp_path)) as budget:
            await send(budget, 1)
        other = bytearray(path.read_bytes())
        memoryview(other).cast("d")[0] = state_layout.VERSION - 1
        path.write_bytes(other)
        assert sum(minute.requests for minute in usage(str(tmp_path), "api")) == 0
        async with open_budget("api", HOURLY, str(tmp_path)) as budget:
            assert await would_wait_s(budget) > 3500

    run(test())
    assert "can't be read (its version is another)" in caplog.text


def test_a_folder_of_another_machine_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with open_budget("api", FOUR, str(tmp_path)):
            pass

    run(test())
    monkeypatch.setattr(folder, "boot_id", lambda: 12345.0)
    run(test())
    assert "was written by another machine" in caplog.text


def test_a_user_that_was_stopped_in_its_update_does_not_block_the_loop(tmp_path: Path) -> None:
    async def test() -> None:
        async with open_budget("api", FOUR, str(tmp_path)) as budget:
            other = os.open(tmp_path / "api.budget", os.O_RDWR)
            fcntl.flock(other, fcntl.LOCK_EX)
            waiting = asyncio.create_task(send(budget, 1))
            for _ in range(20):  # never over if the loop waited for the lock, which it frees itself
                await asyncio.sleep(0.001)
            assert not waiting.done()
            os.close(other)
            await waiting

    run(test())


def test_the_folder_is_for_its_user_only_and_names_say_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with open_budget("igdb-1f3a", FOUR, str(tmp_path / "a" / "budgets")) as budget:
            await send(budget, 1)

    run(test())
    made = tmp_path / "a" / "budgets"
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in made.iterdir()} == {0o600}
    assert sorted(file.name for file in made.iterdir()) == [
        "igdb-1f3a.budget",
        "igdb-1f3a.permit-0",
        "igdb-1f3a.permit-1",
    ]


def test_a_folder_that_can_t_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def test() -> None:
        async with open_budget("api", FOUR, str(tmp_path / "file" / "budgets")):
            pass

    with pytest.raises(ConfigError, match=r"can't be used \(Not a directory\)\. Set"):
        run(test())


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("ftp://user:secret@host/x", "begins with `ftp://`"),
        ("postgresql://user:secret@host/x", r"pip install 'psycopg\[binary\]'"),
        ("redis://user:secret@host/0", "pip install 'redis'"),
    ],
)
def test_a_wrong_store_is_one_clear_sentence_without_the_password(
    where: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(package: str) -> None:
        raise ImportError(package)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ConfigError, match=said) as caught:
        open_budget("api", FOUR, where)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "x" * 101, ".hidden"])
def test_a_name_that_is_not_safe_for_a_file_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="A budget's name is"):
        open_budget(name, FOUR, None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RateWindow(0, 1.0),
        lambda: RateWindow(1, 0.0),
        lambda: RateWindow(1, float("nan")),
        lambda: Limits((), 1),
        lambda: Limits((RateWindow(1, 1.0),), 0),
        lambda: Limits((RateWindow(1, 1.0),), 1, -1.0),
        lambda: open_budget("api", FOUR, None, share=0.0),
        lambda: open_budget("api", FOUR, None, share=1.5),
    ],
)
def test_limits_that_make_no_sense_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError):
        make()
