"""Numbers that are times, in another unit than the YAML says: no green run is silent about it."""

from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.lake.s3 import Lake
from tests.support.responses import json_answer
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
DAYS = ["2026-11-01", "2026-11-02"]
AT_S = int(datetime(2026, 11, 1, 9, tzinfo=UTC).timestamp())
S, MS, US = 1, 1_000, 1_000_000


def came(lake: Lake, columns: str, per_s: int, more: str = "") -> tuple[int, str, dict[str, str]]:
    """The rows of two days, what is refused, and the checks that fail.

    :param per_s: the unit of the API's times and bounds.
    """

    async def things(request: Request) -> Response:
        low, high = (int(request.query_params.get(name) or of) for name, of in BOUNDS.items())
        times = [(AT_S + n * 43_200) * per_s for n in range(4)]
        rows = [{"id": n, "at": at, "seen": at} for n, at in enumerate(times) if low <= at < high]
        return json_answer(rows)

    with serving(Starlette(routes=[Route("/things", things)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            safety_margin_s: 900
            retries: {{errors: 0, first_wait_s: 0.001}}
            endpoints:
              things:
                key: [id]
                whole: true
                columns: {{id: int64, {columns}}}
                {more}
            """
        )
        done, _ = outcome_of(source, lake, "things", DAYS, NOW)
    failed = {
        check["name"]: check["detail"]
        for result in done.results
        for check in result.manifest.checks
        if not check["passed"]
    }
    rows = sum(result.manifest.rows for result in done.results)
    return rows, str(done.failed[0].error) if done.failed else "", failed


BOUNDS = {"from": 0, "to": 10**18}
CURSOR = 'cursor: at\n                request: {params: {from: "{start}", to: "{end}"}}'


@pytest.mark.parametrize(
    ("declared", "per_s", "coarser"), [("ms", S, "s"), ("us", S, "s"), ("us", MS, "ms")]
)
def test_times_that_lie_after_1970_are_told_with_their_unit(
    lake: Lake, declared: str, per_s: int, coarser: str
) -> None:
    rows, _, failed = came(lake, f'seen: "timestamp[{declared}]"', per_s)
    assert (rows, [*failed]) == (4, ["times_are_in_their_unit"])
    said = failed["times_are_in_their_unit"]
    assert f"{{seen: timestamp[{coarser}]}}" in said
    assert "in which the latest is 2026-11-02T21:00:00" in said


def test_times_that_lie_behind_9999_are_refused_with_a_unit_that_fits(lake: Lake) -> None:
    rows, said, _ = came(lake, 'seen: "timestamp[s]"', MS)
    assert (rows, "Declare seen: timestamp[ms]" in said) == (0, True), said


@pytest.mark.parametrize(("declared", "per_s"), [("s", S), ("ms", MS), ("us", US)])
def test_times_in_their_unit_are_no_news(lake: Lake, declared: str, per_s: int) -> None:
    assert came(lake, f'seen: "timestamp[{declared}]"', per_s) == (4, "", {})


def test_a_cursor_in_another_unit_is_told_and_then_refused_with_the_unit(lake: Lake) -> None:
    form = "\n                window: {format: epoch_s}"
    rows, said, failed = came(lake, 'at: "timestamp[ms]"', S, CURSOR + form)
    assert "Set columns: {at: timestamp[s]}, in place of timestamp[ms]" in said
    assert (rows, [*failed]) == (2, ["times_are_in_their_unit"])


def test_bounds_in_another_unit_that_find_no_row_are_told_each_day(lake: Lake) -> None:
    form = "\n                window: {format: epoch_s}"
    rows, _, failed = came(lake, 'at: "timestamp[ms]"', MS, CURSOR + form)
    assert (rows, [*failed]) == (0, ["window_finds_rows"])
    assert "`window: {format: epoch_ms}`" in failed["window_finds_rows"]
    again = came(lake, 'at: "timestamp[ms]"', MS, CURSOR + form.replace("_s}", "_ms}"))
    assert again == (4, "", {})


@pytest.mark.parametrize(("per_s", "told"), [(S, ["margin_comes_again"]), (MS, [])])
def test_an_empty_day_behind_rows_in_its_margin_is_told(
    lake: Lake, per_s: int, told: list[str]
) -> None:
    """An API that reads a lower bound of milliseconds as one of seconds, and needs no upper one."""

    async def things(request: Request) -> Response:
        low = int(request.query_params.get("from") or 0)
        times = [AT_S + n * 7_200 for n in range(6)]
        return json_answer([{"id": at, "at": at} for at in times if low <= at * per_s])

    with serving(Starlette(routes=[Route("/things", things)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-01
            safety_margin_s: 86400
            endpoints:
              things:
                key: [id]
                cursor: at
                whole: true
                columns: {{id: int64, at: "timestamp[s]"}}
                request: {{params: {{from: "{{start}}"}}}}
                window: {{format: epoch_ms, end: none}}
            """
        )
        done, _ = outcome_of(source, lake, "things", DAYS, NOW)
    first, second = (result.manifest for result in done.results)
    assert (first.rows, second.rows) == (6, 0 if told else 6)
    assert [check["name"] for check in second.checks if not check["passed"]] == told
