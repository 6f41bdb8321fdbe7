"""APIs whose pages are shorter than asked for, or shift, or come again: over a socket, into S3."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline import ratelimit
from pipeline.config import Source, load_source
from pipeline.errors import ContractBroken
from pipeline.extract.position import ExtractionProgress
from pipeline.http.client import open_client
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from pipeline.run.context import RunContext
from pipeline.run.deletions import SweepResult, sweep
from tests.support.clock import at_once
from tests.support.runs import LIMITS, Row, instant, outcome_of, serving

pytestmark = pytest.mark.slow

NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
DAY, BASELINE = "2026-03-02", "2026-03-01"
HEAD = """
source: shop
base_url: {url}
start: 2026-03-01
safety_margin_s: 0
retries: {{errors: 1, first_wait_s: 0.001}}
endpoints:
"""
CURSOR = """
  orders:
    request: {params: {since: "{start}", limit: "{limit}"}}
    window: {end: none}
    paging: {kind: cursor, limit: 5}
    key: [id]
    cursor: at
    columns: {id: int64, at: "timestamp[iso]"}
    batch_rows: 4
"""


@dataclass
class Shop:
    """Answers ``/orders`` as a function of the parameters and of how many requests came before."""

    answer: Callable[[dict[str, str], int], Any]
    asked: list[dict[str, str]] = field(default_factory=list)

    async def orders(self, request: Request) -> Response:
        params = {**request.query_params, **request.path_params}
        self.asked.append(params)
        said = self.answer(params, len(self.asked) - 1)
        return said if isinstance(said, Response) else JSONResponse(said)

    @contextmanager
    def source(self, folder: Path, endpoints: str) -> Iterator[Source]:
        routes = [Route("/orders", self.orders), Route("/customers/{of}/orders", self.orders)]
        routes.append(Route("/customers", lambda _: JSONResponse([{"id": 1}, {"id": 2}])))
        with serving(Starlette(routes=routes)) as url:
            file = folder / "shop.yaml"
            file.write_text(HEAD.format(url=url) + endpoints)
            yield load_source(file, {})


def rows_at(hours: Sequence[int]) -> list[Row]:
    return [{"id": n, "at": f"{DAY}T{hour:02}:00:00Z"} for n, hour in enumerate(hours, 1)]


def by_cursor(rows: list[Row], cap: int = 100) -> Callable[[dict[str, str], int], list[Row]]:
    def answer(params: dict[str, str], number: int) -> list[Row]:
        since = params.get("since", "")
        found = [row for row in rows if not since or (row["at"] or "") >= since]
        return found[: min(cap, int(params["limit"]))]

    return answer


def in_time(rows: list[Row], cap: int = 100) -> Callable[[dict[str, str], int], list[Row]]:
    """As ``by_cursor``, of an API that compares instants and not their texts."""

    def answer(params: dict[str, str], number: int) -> list[Row]:
        since = instant(params.get("since", "1970-01-01"))
        found = [row for row in rows if instant(row["at"]) >= since]
        return found[: min(cap, int(params["limit"]))]

    return answer


class Came(NamedTuple):
    """What is committed: the keys, in order, and whether its pages are proved."""

    ids: list[int]
    proved: bool


def committed(lake: Lake, source: Source, day: str = DAY) -> Came:
    """After a run of ``orders``; its error if it fails."""
    outcome, _ = outcome_of(source, lake, "orders", [day], NOW)
    if outcome.failed:
        raise outcome.failed[0].error
    manifest = outcome.results[0].manifest
    rows = key_rows(lake, manifest.files, ["id"])
    return Came(sorted(rows["id"].to_pylist()), manifest.proof.contiguous)


@pytest.mark.parametrize("hours", [[7], [7, 7], [7, 7, 7, 7], [1, 7], [1, 7, 7], [0], [0, 0]])
def test_a_day_with_a_few_rows_takes_a_request_to_show_that_they_are_all(
    lake: Lake, tmp_path: Path, hours: list[int]
) -> None:
    shop = Shop(by_cursor(rows_at(hours)))
    with shop.source(tmp_path, CURSOR) as source:
        assert committed(lake, source).ids == list(range(1, len(hours) + 1))
    assert len(shop.asked) == 2


@pytest.mark.parametrize("cap", [2, 3, 4, 5])
def test_an_api_that_holds_fewer_rows_a_page_than_asked_for(
    lake: Lake, tmp_path: Path, cap: int
) -> None:
    shop = Shop(by_cursor(rows_at(range(20)), cap))
    with shop.source(tmp_path, CURSOR) as source:
        assert committed(lake, source).ids == list(range(1, 21))


def test_one_short_page_of_a_sick_api_is_not_the_end(lake: Lake, tmp_path: Path) -> None:
    healthy = by_cursor(rows_at(range(20)))
    shop = Shop(lambda params, n: healthy(params, n)[: 2 if n == 2 else 5])
    with shop.source(tmp_path, CURSOR) as source:
        assert committed(lake, source).ids == list(range(1, 21))


def test_more_rows_with_one_cursor_than_a_page_holds_are_said(lake: Lake, tmp_path: Path) -> None:
    shop = Shop(by_cursor(rows_at([1, 2, 2, 2, 2, 2, 3]), cap=3))
    with (
        shop.source(tmp_path, CURSOR) as source,
        pytest.raises(ContractBroken, match="whether the API has more of them can't be told"),
    ):
        committed(lake, source)


def test_a_last_page_of_rows_with_one_cursor_is_the_end_if_it_is_shorter_than_others(
    lake: Lake, tmp_path: Path
) -> None:
    shop = Shop(by_cursor(rows_at([0, *[1] * 2, *[2] * 2]), cap=4))
    with shop.source(tmp_path, CURSOR) as source:
        assert committed(lake, source).ids == [1, 2, 3, 4, 5]


def test_a_row_that_shows_late_beside_the_last_one_is_read(lake: Lake, tmp_path: Path) -> None:
    rows = rows_at([1, 2, 3, 3])
    shop = Shop(lambda params, n: by_cursor(rows[: 3 + (n > 0)])(params, n))
    with shop.source(tmp_path, CURSOR) as source:
        assert committed(lake, source).ids == [1, 2, 3, 4]


def test_a_row_that_comes_beside_the_only_one_is_read(lake: Lake, tmp_path: Path) -> None:
    rows = rows_at([3, 3])
    shop = Shop(lambda params, n: by_cursor(rows[: 1 + (n > 0)])(params, n))
    with shop.source(tmp_path, CURSOR) as source:
        assert committed(lake, source).ids == [1, 2]
    assert len(shop.asked) == 4, "the first page is asked for again, and twice has both"


def test_rows_with_one_cursor_on_two_full_pages_come_once(lake: Lake, tmp_path: Path) -> None:
    shop = Shop(by_cursor(rows_at([1, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 5, 5])))
    with shop.source(tmp_path, CURSOR) as source:
        assert committed(lake, source).ids == list(range(1, 14))


def test_rows_without_a_cursor_come_last_or_are_refused(lake: Lake, tmp_path: Path) -> None:
    bare = [{"id": 100 + n, "at": None} for n in range(2)]
    rows = rows_at([0] * 3)
    last = Shop(lambda params, n: [*rows, *([] if "since" in params else bare)])
    with last.source(tmp_path, CURSOR) as source:
        assert committed(lake, source, BASELINE).ids == [100, 101]  # the others are of a later day
    first = Shop(by_cursor([*bare, *rows_at(range(9))]))
    with (
        first.source(tmp_path, CURSOR) as source,
        pytest.raises(ContractBroken, match=r"without `.*` before rows that have one"),
    ):
        committed(lake, source, BASELINE)


def test_a_chain_by_the_cursor_that_is_resumed_brings_each_row_once(
    lake: Lake, tmp_path: Path
) -> None:
    healthy = by_cursor(rows_at([1, 1, 2, 2, 2, 3, 4, 4, 5, 6, 6, 6, 7, 8, 9]))
    broken = True

    def answer(params: dict[str, str], number: int) -> Any:
        return Response(status_code=500) if broken and number >= 2 else healthy(params, number)

    shop = Shop(answer)
    with shop.source(tmp_path, CURSOR) as source:
        outcome, _ = outcome_of(source, lake, "orders", [DAY], NOW)
        assert outcome.failed
        broken = False
        shop.asked.clear()
        assert committed(lake, source).ids == list(range(1, 16))
        assert shop.asked[0]["since"] > f"{DAY}T01"  # it did go on where the first one stopped


def test_a_resumed_chain_is_held_against_the_last_page_of_the_earlier_try(
    lake: Lake, tmp_path: Path
) -> None:
    healthy = by_cursor(rows_at([1, 2, 2, 2, 2, 2, 3]), cap=2)
    broken = True

    def answer(params: dict[str, str], number: int) -> Any:
        return Response(status_code=500) if broken and number >= 1 else healthy(params, number)

    with Shop(answer).source(tmp_path, CURSOR.replace("batch_rows: 4", "batch_rows: 1")) as source:
        assert outcome_of(source, lake, "orders", [DAY], NOW)[0].failed
        broken = False
        with pytest.raises(ContractBroken, match="whether the API has more of them can't be told"):
            committed(lake, source)


@pytest.mark.parametrize("sick", [0, 1, 3, 7])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("each", [1, 2, 3])
def test_one_page_that_is_empty_or_cut_to_its_first_row_is_not_the_end(
    lake: Lake, tmp_path: Path, sick: int, keep: int, each: int
) -> None:
    healthy = by_cursor(rows_at([n // each for n in range(23)]))
    shop = Shop(lambda params, n: healthy(params, n)[: keep if n == sick else 5])
    with shop.source(tmp_path, CURSOR) as source:
        assert committed(lake, source).ids == list(range(1, 24))


def test_a_page_that_comes_from_further_on_is_asked_for_again(lake: Lake, tmp_path: Path) -> None:
    rows = rows_at(range(20))

    def answer(params: dict[str, str], number: int) -> Any:
        return rows[12:17] if number == 2 else by_cursor(rows)(params, number)

    with Shop(answer).source(tmp_path, CURSOR) as source:
        assert committed(lake, source).ids == list(range(1, 21))


def test_rows_that_are_deleted_where_a_page_ended_cost_two_requests(
    lake: Lake, tmp_path: Path
) -> None:
    rows = rows_at(range(12))

    def answer(params: dict[str, str], number: int) -> Any:
        if number == 1:
            rows.remove(rows[4])
        return by_cursor(rows)(params, number)

    shop = Shop(answer)
    with shop.source(tmp_path, CURSOR) as source:
        assert committed(lake, source).ids == list(range(1, 13))
    assert len(shop.asked) == 6


def fractions(each: int, number: int) -> list[Row]:
    """So many rows a second, at fractions of it."""
    return [
        {"id": n + 1, "at": f"{DAY}T10:00:{n // each:02}.{n % each + 1}00Z"} for n in range(number)
    ]


@pytest.mark.parametrize("cap", [100, 3])
def test_cursors_that_are_finer_than_what_is_asked_for_are_said(
    lake: Lake, tmp_path: Path, cap: int
) -> None:
    shop = Shop(in_time(fractions(8, 40), cap))
    with (
        shop.source(tmp_path, CURSOR) as source,
        pytest.raises(ContractBroken, match="the cursor is finer than the request can write"),
    ):
        committed(lake, source)
    finer = CURSOR.replace("end: none", "end: none, resolution_s: 0.001")
    with Shop(in_time(fractions(8, 40), cap)).source(tmp_path, finer) as source:
        assert committed(lake, source).ids == list(range(1, 41))


def test_a_few_rows_in_one_second_are_read_whatever_their_fractions(
    lake: Lake, tmp_path: Path
) -> None:
    shop = Shop(in_time(fractions(8, 4)))
    with shop.source(tmp_path, CURSOR) as source:
        assert committed(lake, source).ids == [1, 2, 3, 4]
    assert len(shop.asked) == 5  # an empty page behind them, confirmed beside one that had rows


UNSORTED = """
  orders:
    request: {params: {after: "{after}", limit: "{limit}"}}
    paging: {kind: keyset, limit: 5}
    order: none
    key: [name]
    columns: {id: int64, name: string}
"""


def test_keys_in_an_order_of_the_apis_own_are_read_as_a_chain(lake: Lake, tmp_path: Path) -> None:
    names = sorted("bAcDeFgHiJkL", key=str.lower)
    rows: list[Row] = [{"id": n, "name": name} for n, name in enumerate(names, 1)]

    def answer(params: dict[str, str], number: int) -> Any:
        after = params.get("after", "").lower()
        return [row for row in rows if row["name"].lower() > after][:5]

    with Shop(answer).source(tmp_path, UNSORTED) as source:
        assert committed(lake, source) == (list(range(1, 13)), True)


@pytest.mark.parametrize("tied", [2, 4])
def test_rows_of_one_cursor_may_come_in_any_order(lake: Lake, tmp_path: Path, tied: int) -> None:
    """As a database gives them that is told to sort by the cursor alone."""
    rows = rows_at([*range(5 - tied), *[7] * tied])  # a full page: its end is asked for twice

    def answer(params: dict[str, str], number: int) -> list[Row]:
        turned = rows[number % len(rows) :] + rows[: number % len(rows)]
        ordered = sorted(turned, key=lambda row: row["at"])
        since = instant(params.get("since", "2026-01-01"))
        return [row for row in ordered if instant(row["at"]) >= since][: int(params["limit"])]

    with Shop(answer).source(tmp_path, CURSOR) as source:
        assert committed(lake, source) == ([row["id"] for row in rows], True)


TOKENS = """
  orders:
    request: {params: {token: "{token}", limit: "{limit}"}}
    paging: {kind: token, limit: 5, next: next, until_short: true}
    rows: data
    key: [id]
"""


def test_a_chain_that_ends_at_a_short_page_is_not_cut_where_the_api_caps_its_pages(
    lake: Lake, tmp_path: Path
) -> None:
    rows = rows_at(range(12))

    def answer(params: dict[str, str], number: int) -> Any:
        first = int(params.get("token", 0))
        return {"data": rows[first : first + 3], "next": str(first + 3)}

    shop = Shop(answer)
    with shop.source(tmp_path, TOKENS) as source:
        assert committed(lake, source).ids == list(range(1, 13))
    # The empty page behind the chain is confirmed twice, each time beside a page that had rows.
    assert len(shop.asked) == 9


NUMBERED = """
  orders:
    request: {params: {page: "{page}", limit: "{limit}"}}
    paging: {kind: page, limit: 5}
    key: [id]
"""


def numbered(rows: list[Row], cap: int = 100) -> Callable[[dict[str, str], int], list[Row]]:
    def answer(params: dict[str, str], number: int) -> list[Row]:
        size = min(cap, int(params["limit"]))
        first = (int(params["page"]) - 1) * size
        return rows[first : first + size]

    return answer


@pytest.mark.parametrize(("count", "proved"), [(12, False), (4, False), (0, True)])
def test_numbered_pages_that_nothing_counts_are_not_called_proved(
    lake: Lake, tmp_path: Path, count: int, proved: bool
) -> None:
    shop = Shop(numbered(rows_at([1] * count)))
    with shop.source(tmp_path, NUMBERED) as source:
        assert committed(lake, source) == (list(range(1, count + 1)), proved)
    assert len(shop.asked) == -(-count // 5) + 2  # in one pass; an empty page is asked for twice


PAIRS = """
  orders:
    request: {params: {offset: "{offset}", limit: "{limit}"}}
    paging: {kind: offset, limit: 5}
    key: [id, part]
"""


def test_offsets_of_rows_with_two_keys_are_held_together_by_the_row_that_both_pages_have(
    lake: Lake, tmp_path: Path
) -> None:
    rows = [{"id": n, "part": "a"} for n in range(1, 13)]

    def answer(params: dict[str, str], number: int) -> Any:
        if number == 1:
            del rows[0]  # all that follows moves to the front by one
        first = int(params["offset"])
        return rows[first : first + int(params["limit"])]

    shop = Shop(answer)
    with shop.source(tmp_path, PAIRS) as source:
        assert committed(lake, source) == (list(range(1, 13)), True)
    first = [number for number, asked in enumerate(shop.asked) if asked["offset"] == "0"]
    assert len(first) == 2, "a second pass"


@pytest.mark.parametrize("cap", [100, 3])
@pytest.mark.parametrize("sick", [2, 3])
def test_a_page_of_rows_with_two_keys_that_is_cut_to_its_first_row_is_not_the_end(
    lake: Lake, tmp_path: Path, cap: int, sick: int
) -> None:
    rows = [{"id": n, "part": "a"} for n in range(1, 21)]

    def answer(params: dict[str, str], number: int) -> Any:
        found = rows[int(params["offset"]) :][: min(cap, int(params["limit"]))]
        return found[: 1 if number == sick else None]

    with Shop(answer).source(tmp_path, PAIRS) as source:
        assert committed(lake, source) == (list(range(1, 21)), True)


def test_a_page_with_two_keys_that_comes_again_is_not_called_joined(
    lake: Lake, tmp_path: Path
) -> None:
    """The API reads no offset beyond the eighth row: it answers that page for ever."""
    rows = [{"id": n, "part": "a"} for n in range(1, 31)]

    def answer(params: dict[str, str], number: int) -> Any:
        first = min(8, int(params["offset"]))
        return rows[first : first + int(params["limit"])]

    with Shop(answer).source(tmp_path, PAIRS) as source:
        assert committed(lake, source) == (list(range(1, 14)), False)


def test_rows_with_two_keys_that_move_on_by_a_page_are_read_again(
    lake: Lake, tmp_path: Path
) -> None:
    """As many rows come before the reader as there are between two pages."""
    rows = [{"id": n, "part": "a"} for n in range(10, 31)]

    def answer(params: dict[str, str], number: int) -> Any:
        if number == 2:
            rows[:0] = [{"id": n, "part": "a"} for n in range(1, 5)]
        first = int(params["offset"])
        return rows[first : first + int(params["limit"])]

    with Shop(answer).source(tmp_path, PAIRS) as source:
        assert committed(lake, source) == ([*range(1, 5), *range(10, 31)], True)


def test_one_row_with_two_keys_is_read_once(lake: Lake, tmp_path: Path) -> None:
    shop = Shop(lambda params, n: [{"id": 1, "part": "a"}][int(params["offset"]) :])
    with shop.source(tmp_path, PAIRS) as source:
        assert committed(lake, source) == ([1], True)
    assert len(shop.asked) == 2


CHILDREN = """
  customers:
    key: [id]
  orders:
    path: customers/{{parent}}/orders
    request: {{params: {{{params}, limit: "{{limit}}"}}}}
    paging: {{{paging}, limit: 5}}
    rows: data
    key: [customer, id]
    columns: {{id: int64, customer: int64}}
    parents: {{endpoint: customers, column_here: customer, max_failed_share: {share}}}
"""


def children(lake: Lake, source: Source) -> Came:
    outcome, _ = outcome_of(source, lake, "customers", [DAY], NOW)
    assert not outcome.failed
    return committed(lake, source)


def of_customer(params: dict[str, str], number: int) -> list[Row]:
    return [{"id": n} for n in range(1, 13)]


def test_children_come_under_the_proof_that_they_would_have_without_parents(
    lake: Lake, tmp_path: Path
) -> None:
    rows = [{"id": n} for n in range(1, 13)]
    both = sorted([*range(1, 13), *range(1, 13)])

    def offset(params: dict[str, str], number: int) -> Any:
        first = int(params["offset"])
        return {"data": rows[first : first + int(params["limit"])]}

    def page(params: dict[str, str], number: int) -> Any:
        return {"data": numbered(rows, cap=3)(params, number), "total": len(rows)}

    for answer, params, paging in (
        (offset, 'offset: "{offset}"', "kind: offset"),
        (page, 'page: "{page}"', "kind: page, total: total"),
    ):
        with Shop(answer).source(
            tmp_path, CHILDREN.format(params=params, paging=paging, share=0)
        ) as source:
            assert children(lake, source) == (both, True)


def test_a_child_whose_key_is_its_parents(lake: Lake, tmp_path: Path) -> None:
    endpoints = CHILDREN.format(params="", paging="kind: none", share=0).replace(", limit: 5", "")
    endpoints = endpoints.replace("key: [customer, id]", "key: [customer]")
    endpoints = endpoints.replace('params: {, limit: "{limit}"}', "params: {}")
    shop = Shop(lambda params, n: {"data": [{"id": int(params["of"])}]})
    with shop.source(tmp_path, endpoints) as source:
        assert children(lake, source).ids == [1, 2]


def test_a_parent_whose_pages_go_round_in_a_circle_is_listed(lake: Lake, tmp_path: Path) -> None:
    def answer(params: dict[str, str], number: int) -> Any:
        return {"data": [{"id": n} for n in range(5)], "next": "same" if params["of"] == "1" else 0}

    shop = Shop(answer)
    endpoints = CHILDREN.format(
        params='token: "{token}"', paging="kind: token, next: next", share=0.5
    )
    with shop.source(tmp_path, endpoints) as source:
        assert children(lake, source).ids == [0, 1, 2, 3, 4]
    assert len(shop.asked) < 12


async def swept(source: Source, lake: Lake) -> SweepResult:
    async with open_client(source, ratelimit.open_budget("shop", LIMITS, "memory")) as client:
        return await sweep(
            RunContext(source, lake, client, "s", lambda: NOW, sleep=at_once),
            "orders",
            ExtractionProgress(),
        )


SWEPT = """
  orders:
    request: {params: {from: "{start}", to: "{end}", offset: "{offset}", limit: "{limit}"}}
    paging: {kind: offset, limit: 5}
    key: [id]
    cursor: at
    columns: {id: int64, at: "timestamp[iso]"}
    sweep: true
"""


@pytest.mark.parametrize(
    "params",
    [
        'from: "{start}", to: "{end}"',
        'q: "type:order AND at:[{start} TO {end}]"',
        'filter: ["type:eq:order", "at:lt:{end}"]',
    ],
)
def test_a_sweep_keeps_the_other_conditions_of_the_request(
    lake: Lake, tmp_path: Path, params: str
) -> None:
    shop = Shop(lambda params, n: [])
    floor = '    window: {floor: "1970-01-01"}\n'
    endpoints = SWEPT.replace('from: "{start}", to: "{end}"', params) + floor
    with shop.source(tmp_path, endpoints) as source:
        committed(lake, source)
        usual = shop.asked[0]
        shop.asked.clear()
        asyncio.run(swept(source, lake))
    assert shop.asked[0].keys() == usual.keys()
    assert ("type" in str(usual)) == ("type" in str(shop.asked[0]))


def test_a_sweep_sees_a_row_that_changes_while_it_runs(lake: Lake, tmp_path: Path) -> None:
    rows = rows_at(range(12))

    def answer(params: dict[str, str], number: int) -> Any:
        found = [row for row in rows if row["at"] < params.get("to", "9")]
        first = int(params["offset"])
        return found[first : first + int(params["limit"])]

    with Shop(answer).source(tmp_path, SWEPT) as source:
        assert committed(lake, source).ids == list(range(1, 13))
        rows[11]["at"] = "2026-03-03T12:00:30Z"
        found = asyncio.run(swept(source, lake))
    assert (found.keys_seen, found.keys_gone) == (12, 0)
