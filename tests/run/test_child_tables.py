"""Child tables from an API's response to the lake: with their parents, or not at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ConfigError, ContractBroken, ReadRefused
from pipeline.lake.damage import verify_files
from pipeline.lake.drop import drop
from pipeline.lake.maintenance import clean
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.read import current, dataset, manifests
from pipeline.lake.s3 import Lake
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 5, tzinfo=UTC)
DAYS = ["2026-11-01", "2026-11-02"]
BY_OFFSET = "kind: offset, limit: 4"
ITEMS = """
        tables:
          items:
            rows: lines
            key: [order_id, line]
            columns:
              order_id: {type: int64, from: parent.id}
              line: {type: int64, from: position}
              price: "decimal(12, 2)"
"""


def order(number: int, at: str, prices: Any, **more: Any) -> dict[str, Any]:
    lines = [{"sku": f"s{number}", "price": price} for price in prices]
    return {"id": number, "updated_at": at, "lines": lines, **more}


class Shop:
    """Orders by offset or token, filtered by `updated_at`.

    :ivar fails_at: an offset that is refused.
    """

    def __init__(self, *orders: dict[str, Any]) -> None:
        self.orders = deepcopy([*orders])
        self.fails_at: int | None = None
        self.sorted = True

    async def respond(self, request: Request) -> Response:
        given = request.query_params
        begin, limit = int(given.get("token") or given.get("offset") or 0), int(given["limit"])
        if begin == self.fails_at:
            return JSONResponse({}, 403)
        start, end = given.get("start") or "", given.get("end") or "9"
        orders = sorted(self.orders, key=lambda row: row["id"]) if self.sorted else self.orders
        some = [row for row in orders if start <= str(row.get("updated_at", "1")) < end]
        page = some[begin : begin + limit]
        return JSONResponse({"data": page, "next": begin + len(page)})

    @contextmanager
    def source(
        self, yaml: str = "", tables: str = ITEMS, paging: str = BY_OFFSET
    ) -> Iterator[Source]:
        with serving(Starlette(routes=[Route("/{path:path}", self.respond)])) as url:
            yield shop_of(url, yaml, tables, paging)


CURSOR = """
        cursor: updated_at
        request:
          params: {start: "{start}", end: "{end}", offset: "{offset}", limit: "{limit}"}
        columns: {id: int64, updated_at: "timestamp[iso]"}
"""
SNAPSHOT = """
        request: {params: {offset: "{offset}", limit: "{limit}"}}
        columns: {id: int64}
"""


def shop_of(url: str, yaml: str, tables: str = ITEMS, paging: str = BY_OFFSET) -> Source:
    return source_of(
        f"""
    source: shop
    base_url: {url}
    start: 2026-11-01
    safety_margin_s: 3600
    hash_salt: pepper
    retries: {{errors: 1, first_wait_s: 0.001}}
    endpoints:
      orders:
        rows: data
        key: [id]
        batch_rows: 10
        paging: {{{paging}}}
{yaml or CURSOR}{tables}
"""
    )


def rows(table: Any, *names: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(row[n] for n in names) for row in table.to_pylist())


def lines_of(*orders: dict[str, Any]) -> list[tuple[int, int]]:
    return sorted((row["id"], n) for row in orders for n in range(len(row["lines"] or [])))


def keys_in(lake: Lake) -> list[str]:
    return sorted(item.key for item in lake.list("") if item.key.endswith(".parquet"))


FIRST = [order(n, "2026-11-01T10:00:00Z", ["1.10"] * (n % 4)) for n in range(1, 35)]


def test_children_land_with_their_parents_in_each_reader(lake: Lake) -> None:
    new = order(40, "2026-11-02T10:00:00Z", ["2.00"], note="new")
    shop = Shop(*FIRST, new)
    shop.orders[0]["lines"] = None
    del shop.orders[1]["lines"]
    with shop.source() as source:
        first, second = extract(source, lake, "orders", DAYS, NOW)
        # An order of the first day changes: its children of then are not current any more.
        changed = order(7, "2026-11-02T12:00:00Z", ["9.99"])
        emptied = order(11, "2026-11-02T13:00:00Z", [])
        shop.orders = [row for row in shop.orders if row["id"] not in (7, 11)]
        shop.orders += [changed, emptied]
        (second,) = extract(source, lake, "orders", DAYS[1:], NOW)
    kept = [row for row in FIRST[2:] if row["id"] not in (7, 11)]
    assert len(first.files) > 1
    assert first.tables["items"].rows == len(lines_of(*FIRST[2:]))
    assert f"items: {first.tables['items'].rows:,} rows read back" in first.checks[0]["detail"]
    days = dataset(lake, "shop", "orders/items", DAYS[0], dt=True).to_table()
    assert rows(days, "order_id", "line") == lines_of(*FIRST[2:])
    assert {*days["price"].to_pylist()} == {Decimal("1.10")}
    assert days.column_names == ["order_id", "line", "price", "sku", "_extracted_at", "dt"]
    now = current(lake, "shop", "orders/items")
    assert rows(now, "order_id", "line") == lines_of(*kept, changed, new)
    assert dict(rows(now, "order_id", "price"))[7] == Decimal("9.99")
    assert current(lake, "shop", "orders/items", columns=["sku"]).column_names == ["sku"]
    assert "_table_items" not in current(lake, "shop", "orders").column_names
    assert [m.endpoint for m in manifests(lake, "shop", "orders/items")] == ["orders/items"] * 2
    with pytest.raises(ReadRefused, match="has no table `parts`"):
        current(lake, "shop", "orders/parts")
    # Maintenance and drop treat the files of the table as those of the endpoint.
    assert not clean(lake, older_than_s=0, dry_run=False).leftovers
    assert not [*verify_files(lake, second)]
    table_file = second.tables["items"].files[0].path
    assert table_file.startswith("shop/orders/dt=2026-11-02/_tables/items/part-00000-")
    lake.delete([table_file])
    assert [d.path for d in verify_files(lake, second)] == [table_file]
    assert [d.path for d in clean(lake, older_than_s=0).damaged] == [table_file]
    for day in DAYS:
        drop(lake, PartitionPaths("shop", "orders", day))
    assert keys_in(lake) == []


def test_of_rows_with_one_key_the_children_of_the_latest_land(lake: Lake) -> None:
    """Pages overlap and rows move between them: two versions of an order in one partition."""
    old, new = (
        order(5, "2026-11-01T08:00:00Z", ["1.00", "1.00"]),
        order(5, "2026-11-01T09:00:00Z", ["3.00"]),
    )
    others = FIRST[:4] + FIRST[5:30]
    shop = Shop(old, *others, new, FIRST[0])
    shop.sorted = False
    with shop.source(
        CURSOR + "        order: none\n", paging=BY_OFFSET + ", overlap: false"
    ) as source:
        outcome, _ = outcome_of(source, lake, "orders", DAYS[:1], NOW)
    (manifest,) = [each.manifest for each in outcome.results]
    assert (manifest.notes.older_versions, manifest.notes.duplicate_rows) == (1, 1)
    landed = dataset(lake, "shop", "orders/items").to_table()
    assert rows(landed, "order_id", "line") == lines_of(*others, new)
    assert dict(rows(landed, "order_id", "price"))[5] == Decimal("3.00")


def test_a_resumed_partition_has_all_children_once(lake: Lake) -> None:
    shop = Shop(*FIRST)
    shop.fails_at = 21
    with shop.source() as source:
        outcome, _ = outcome_of(source, lake, "orders", DAYS[:1], NOW, run_id="one")
        assert outcome.failed
        with pytest.raises(ReadRefused):
            dataset(lake, "shop", "orders/items")
        assert keys_in(lake) == []
        shop.fails_at = None
        outcome, _ = outcome_of(source, lake, "orders", DAYS[:1], NOW, run_id="one", attempt=2)
    (result,) = outcome.results
    assert result.manifest.resumed_pages
    landed = dataset(lake, "shop", "orders/items").to_table()
    assert rows(landed, "order_id", "line") == lines_of(*FIRST)


class Killed(BaseException):
    """Stands for the end of a process at a point of the commit."""


def killed_at_checkpoint(number: int) -> Callable[[str, str], None]:
    """Ends the process before the checkpoint of that number since files are taken apart.

    Each file has one, which names its uploads; the one behind the last of them decides the commit.
    """
    began, written = False, 0

    def observe(operation: str, key: str) -> None:
        nonlocal began, written
        began = began or "/_tables/" in key
        if began and operation == "put" and "/_checkpoints/" in key:
            if written == number:
                raise Killed
            written += 1

    return observe


FILES = 3
"""Of the orders in ``FIRST``."""


@pytest.mark.parametrize("number", range(FILES + 1))
def test_a_commit_that_dies_while_files_are_taken_apart_is_finished(
    lake: Lake, number: int
) -> None:
    """Nothing is shown until both are; the next attempt takes apart what is left."""
    with Shop(*FIRST).source() as source:
        lake.on_operation = killed_at_checkpoint(number)
        with pytest.raises(BaseExceptionGroup):
            outcome_of(source, lake, "orders", DAYS[:1], NOW, run_id="one")
        lake.on_operation = None
        assert not manifests(lake, "shop", "orders")
        outcome, requests = outcome_of(source, lake, "orders", DAYS[:1], NOW, run_id="one")
    assert requests <= 2  # the last page, whose rows were all on S3
    assert outcome.results[0].manifest.rows == len(FIRST)
    assert len(outcome.results[0].manifest.files) == FILES
    landed = dataset(lake, "shop", "orders/items").to_table()
    assert rows(landed, "order_id", "line") == lines_of(*FIRST)
    assert not clean(lake, older_than_s=0, now=datetime.now(UTC) + timedelta(1)).leftovers


def test_a_row_that_changes_while_files_are_taken_apart_takes_its_children_along(
    lake: Lake,
) -> None:
    """A process dies in the commit, and the next attempt finds a later version of a row whose
    children have left its file."""
    shop = Shop(*FIRST)
    shop.sorted = False
    changed = order(2, "2026-11-01T11:00:00Z", ["7.00"] * 3)
    by_token = CURSOR.replace('offset: "{offset}"', 'token: "{token}"')
    with shop.source(
        by_token, paging="kind: token, limit: 4, next: next, until_short: true"
    ) as source:
        lake.on_operation = killed_at_checkpoint(1)
        with pytest.raises(BaseExceptionGroup):
            outcome_of(source, lake, "orders", DAYS[:1], NOW, run_id="one")
        lake.on_operation = None
        shop.orders.append(changed)
        for attempt in (2, 3):
            outcome, _ = outcome_of(
                source, lake, "orders", DAYS[:1], NOW, run_id="one", attempt=attempt
            )
            if not outcome.failed:
                break
    assert not outcome.failed
    landed = dataset(lake, "shop", "orders/items").to_table()
    assert rows(landed, "order_id", "line") == lines_of(FIRST[0], *FIRST[2:], changed)
    assert dict(rows(landed, "order_id", "price"))[2] == Decimal("7.00")
    assert not clean(lake, older_than_s=0, now=datetime.now(UTC) + timedelta(1)).leftovers


def test_options_of_a_table(lake: Lake) -> None:
    """A map, single values; rows kept, members left out, hashed and renamed; a constant."""
    orders = [
        {
            "id": 1,
            "tags": ["a", None, "b"],
            "byCode": {"x": {"unitPrice": 1, "mail": "a@b"}, "y": {"unitPrice": 5, "mail": None}},
            "deep": {"list": [{"n": 1, "secret": 2}], "other": 3},
        },
        {"id": 2, "tags": [], "byCode": {}, "deep": {}},
    ]
    tables = """
        exclude: [byCode]
        tables:
          tags:
            rows: tags
            as: scalars
            value_column: tag
            key: none
            columns: {order: {type: int64, from: parent.id}}
          codes:
            rows: byCode
            as: map
            key_column: code
            key: [order, code]
            names: snake_case
            hash: {mail: sha256}
            where: {unit_price: {gt: 1}, kind: shop}
            columns:
              order: {type: int64, from: parent.id}
              code: string
              mail: string
              kind: {type: string, value: shop}
          deep:
            rows: deep.list
            key: [order, n]
            exclude: [secret]
            columns: {order: {type: int64, from: parent.id}, n: int64}
"""
    with Shop(*orders).source(SNAPSHOT, tables) as source:
        (manifest,) = extract(
            source, lake, "orders", DAYS[:1], datetime(2026, 11, 1, 9, tzinfo=UTC)
        )
    assert rows(current(lake, "shop", "orders/tags"), "order", "tag") == [(1, "a"), (1, "b")]
    codes = current(lake, "shop", "orders/codes")
    assert rows(codes, "order", "code", "unit_price", "mail") == [(1, "y", 5, None)]
    assert manifest.tables["codes"].filtered_rows == 1
    assert current(lake, "shop", "orders/deep").column_names == ["order", "n", "_extracted_at"]
    parents = current(lake, "shop", "orders")
    assert parents.column_names == ["id", "deep", "tags", "_extracted_at"]
    assert parents["deep"].to_pylist()[0]["other"] == 3


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("x", 'orders/items, in the row with `id` = 1: .*but `lines` is "x".*Check'),
        ([{"price": "dear"}], "orders/items: column `price` is declared decimal"),
        ([3], "row 0 is 3, expected an object"),
    ],
)
def test_a_list_of_another_form_is_refused(lake: Lake, lines: Any, reason: str) -> None:
    with Shop({"id": 1, "lines": lines}).source(SNAPSHOT) as source:
        outcome, _ = outcome_of(
            source, lake, "orders", DAYS[:1], datetime(2026, 11, 1, 9, tzinfo=UTC)
        )
    with pytest.raises(ContractBroken, match=reason):
        raise outcome.failed[0].error


def test_a_key_that_two_parents_have_is_refused_and_no_list_is_told(lake: Lake) -> None:
    now = datetime(2026, 11, 1, 9, tzinfo=UTC)
    tables = ITEMS.replace("[order_id, line]", "[sku]")
    with Shop(*FIRST[1:3]).source(SNAPSHOT, tables) as source:
        outcome, _ = outcome_of(source, lake, "orders", DAYS[:1], now)
    with pytest.raises(
        ContractBroken, match=r"table `items`: .*keys_unique: .*`tables\.items\.key"
    ):
        raise outcome.failed[0].error
    assert keys_in(lake) == []
    with Shop(*FIRST[1:3]).source(SNAPSHOT, ITEMS.replace("rows: lines", "rows: linse")) as source:
        outcome, _ = outcome_of(source, lake, "orders", DAYS[:1], now)
    assert "none of the 2 rows has a list at `linse`" in outcome.results[0].manifest.notes.warning


TAGS = "tables: {tags: {rows: tags, key: none, columns: {order: {type: int64, from: parent.id}}}}"


@pytest.mark.parametrize(
    ("yaml", "sentence"),
    [
        ("tables: {i: {rows: l, key: [n]}}", "no column has that: add it"),
        (TAGS.replace("int64", "string"), "write `order: {type: int64, from: parent.id}`"),
        (TAGS.replace("none", "[order]"), "its key is the parent's alone"),
        (TAGS.replace("rows: tags", "rows: 'a.*.b'"), "is a path inside of one row"),
        (TAGS.replace("parent.id", "each.id"), "api.yaml:.*from"),
        (TAGS + "\n        transform: a:b", "`transform` makes other rows"),
        (TAGS + "\n        format: csv", "has none: leave `tables` out"),
        (TAGS + "\n      orders_tags: {key: [id]}", "is `orders_tags` in SQL"),
        (TAGS.replace("columns", "hash: {mail: sha256}, columns"), "`hash` names the column"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_at_load(yaml: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        shop_of("http://127.0.0.1:9", SNAPSHOT, f"        {yaml}\n")
