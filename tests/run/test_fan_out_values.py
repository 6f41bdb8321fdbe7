"""Values that come from another endpoint's committed rows: each with a watermark of its own."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ConfigError, ContractBroken, WindowRefused
from pipeline.lake.files import key_rows
from pipeline.lake.manifest import Manifest
from pipeline.lake.read import current, manifests
from pipeline.lake.s3 import Lake
from pipeline.run.other_runs import gaps
from pipeline.run.runner import RunOutcome
from tests.support.responses import json_answer
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

DAYS = ["2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04"]
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
END = datetime(2026, 11, 5, tzinfo=UTC)

YAML = """
source: shop
base_url: {url}
start: 2026-11-01
safety_margin_s: 0
retries: {{errors: 1, first_wait_s: 0.001}}
endpoints:
  accounts:
    key: [id]
    columns: {{id: string, name: string, region: string, size: int64}}
  orders:
    path: accounts/{{each}}/orders
    each: {{endpoint: accounts, column: id, column_here: account{each}}}
    request: {{params: {{since: "{{start}}", until: "{{end}}"}}}}
    key: [account, id]
    cursor: changed
    columns: {{account: string, id: int64, changed: "timestamp[iso]"}}
{more}
"""


def after(day: str) -> datetime:
    """Two hours after a day has ended, as the daily run comes."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=26)


class Shop:
    """Accounts, each with an order an hour, from the first day on."""

    def __init__(self, *accounts: str) -> None:
        self.accounts = [*accounts]
        self.sick: set[str] = set()
        self.asked: list[tuple[str, dict[str, str]]] = []

    def orders_of(self, account: str) -> list[dict[str, Any]]:
        first = FIRST + timedelta(minutes=sum(map(ord, account)) % 60)
        return [
            {"id": n, "changed": (first + timedelta(hours=n)).isoformat(), "account_name": account}
            for n in range(24 * len(DAYS))
        ]

    async def accounts_(self, request: Request) -> Response:
        return json_answer(
            [
                {"id": id, "name": f"{id} & sons/{n}", "region": "eu" if n % 2 else "us", "size": n}
                for n, id in enumerate(self.accounts)
            ]
        )

    async def orders(self, request: Request) -> Response:
        account = request.path_params["account"]
        given = dict(request.query_params)
        self.asked.append((account, given))
        if account in self.sick:
            return json_answer({"message": "suspended"}, 403)
        if account not in self.accounts:
            return json_answer({"message": "no such account"}, 404)
        return json_answer(
            [
                row
                for row in self.orders_of(account)
                if given.get("since", "") <= row["changed"] < given.get("until", "~")
            ]
        )

    def app(self, *more: Route) -> Starlette:
        routes = [
            Route("/accounts", self.accounts_),
            Route("/accounts/{account}/orders", self.orders),
        ]
        return Starlette(routes=[*routes, *more])

    def all_orders(self, *accounts: str) -> set[tuple[str, int]]:
        return {(name, row["id"]) for name in accounts for row in self.orders_of(name)}


def shop_source(url: str, *, each: str = "", more: str = "", change: Any = None) -> Source:
    text = YAML.format(url=url, each=each, more=more)
    return source_of(change(text) if change else text)


def run(
    source: Source,
    lake: Lake,
    *days: str,
    names: tuple[str, ...] = ("accounts", "orders"),
    run_id: str | None = None,
) -> RunOutcome:
    return outcome_of(source, lake, names, days, min(after(days[-1]), END), run_id)[0]


def manifest_of(outcome: RunOutcome, endpoint: str = "orders") -> Manifest:
    assert not outcome.failed, outcome.failed[0].error
    return next(r.manifest for r in reversed(outcome.results) if r.endpoint == endpoint)


def landed(lake: Lake, endpoint: str = "orders", *columns: str) -> list[tuple[Any, ...]]:
    names = [*columns] or ["account", "id"]
    table = current(lake, "shop", endpoint, columns=names)
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


def check_named(manifest: Manifest, name: str) -> dict[str, Any]:
    return next(dict(check) for check in manifest.checks if check["name"] == name)


def test_an_account_that_is_new_gets_its_past_in_its_first_partition(lake: Lake) -> None:
    shop = Shop("a", "b")
    with serving(shop.app()) as url:
        source = shop_source(url)
        run(source, lake, DAYS[0])
        run(source, lake, DAYS[1])
        shop.accounts.append("c")
        asked = len(shop.asked)
        third = manifest_of(run(source, lake, DAYS[2]))
        of_new = [given for account, given in shop.asked[asked:] if account == "c"]
        assert all("since" not in given and given["until"] for given in of_new)
        assert third.notes.each == ("a", "b", "c")
        assert third.notes.values["from"] == [[None, ["c"]]]
        fourth = manifest_of(run(source, lake, DAYS[3]))
    assert not fourth.notes.values
    assert sorted(landed(lake)) == sorted(shop.all_orders("a", "b", "c"))
    assert fourth.rows == 3 * 24, "each day once"


def test_an_account_that_fails_holds_no_day_up_and_loses_nothing(lake: Lake) -> None:
    shop = Shop("a", "b", "c")
    with serving(shop.app()) as url:
        source = shop_source(url, each=", max_failed_share: 0.4")
        run(source, lake, DAYS[0])
        shop.sick = {"b"}
        second = manifest_of(run(source, lake, DAYS[1]))
        third = manifest_of(run(source, lake, DAYS[2]))
        assert second.notes.values["behind"] == [["2026-11-02T00:00:00Z", ["b"]]]
        assert third.notes.values["behind"] == [["2026-11-02T00:00:00Z", ["b"]]]
        said = check_named(third, "values_read")
        assert not said["passed"]
        assert "1 of 3 values failed, and the next partition reads their rows" in said["detail"]
        assert "`b`: " in said["detail"]
        assert "suspended" in said["detail"]
        shop.sick = set()
        fourth = manifest_of(run(source, lake, DAYS[3]))
    assert fourth.notes.values["from"] == [["2026-11-02T00:00:00Z", ["b"]]]
    assert fourth.rows == 2 * 24 + 3 * 24
    assert sorted(landed(lake)) == sorted(shop.all_orders("a", "b", "c"))
    assert not list(gaps(source, "orders", manifests(lake, "shop", "orders", DAYS)))


def test_an_account_that_fails_at_once_keeps_its_past_for_later(lake: Lake) -> None:
    shop = Shop("a", "b")
    with serving(shop.app()) as url:
        source = shop_source(url, each=", max_failed_share: 0.5")
        shop.sick = {"b"}
        first = manifest_of(run(source, lake, DAYS[0]))
        assert first.notes.values["behind"] == [[None, ["b"]]]
        shop.sick = set()
        run(source, lake, DAYS[1])
        shop.accounts.append("c")
        shop.sick = {"c"}
        third = manifest_of(run(source, lake, DAYS[2]))
        assert third.notes.values["behind"] == [[None, ["c"]]]
        shop.sick = set()
        run(source, lake, DAYS[3])
    assert sorted(landed(lake)) == sorted(shop.all_orders("a", "b", "c"))


def test_a_backfill_reads_further_back_for_what_failed_in_the_day_before(lake: Lake) -> None:
    shop = Shop("a", "b", "c")
    sick_on = DAYS[1]

    async def orders(request: Request) -> Response:
        sick = request.query_params.get("until", "").startswith(DAYS[2])
        if sick and request.path_params["account"] == "b" and sick_on:
            return json_answer({"message": "suspended"}, 403)
        return await shop.orders(request)

    app = Starlette(
        routes=[Route("/accounts", shop.accounts_), Route("/accounts/{account}/orders", orders)]
    )
    with serving(app) as url:
        source = shop_source(url, each=", max_failed_share: 0.4")
        outcome = run(source, lake, *DAYS)
    assert not outcome.failed
    assert sorted(landed(lake)) == sorted(shop.all_orders("a", "b", "c"))
    third = next(r.manifest for r in outcome.results if r.manifest.partition == DAYS[2])
    assert third.notes.values["from"] == [["2026-11-02T00:00:00Z", ["b"]]]


def test_no_account_may_fail_in_a_day_that_another_follows(lake: Lake) -> None:
    """The day after it is committed, and would not read back for it."""
    shop = Shop("a", "b", "c")
    with serving(shop.app()) as url:
        source = shop_source(url, each=", max_failed_share: 0.4")
        for day in DAYS[:3]:
            run(source, lake, day)
        shop.sick = {"b"}
        again = run(source, lake, DAYS[1], names=("orders",))
        assert isinstance(again.failed[0].error, ContractBroken)
        said = str(again.failed[0].error)
        assert "none may, since the next partition is committed" in said
        assert "Materialize both partitions together" in said
        both = run(source, lake, DAYS[1], DAYS[2], names=("orders",))
        assert not both.failed
        shop.sick = set()
        run(source, lake, DAYS[3])
    assert sorted(landed(lake)) == sorted(shop.all_orders("a", "b", "c"))


def test_a_killed_run_that_left_an_account_behind_is_named(lake: Lake) -> None:
    """It had begun with two days together, and did not come to the second."""
    shop = Shop("a", "b", "c")
    with serving(shop.app()) as url:
        source = shop_source(url, each=", max_failed_share: 0.4")
        for day in DAYS[:3]:
            run(source, lake, day)
        shop.sick = {"b"}

        async def dies(request: Request) -> Response:
            if request.query_params.get("until", "").startswith(DAYS[3]):
                return json_answer({}, 400)
            return await shop.orders(request)

        routes = [
            Route("/accounts", shop.accounts_),
            Route("/accounts/{account}/orders", dies),
        ]
        app = Starlette(routes=routes)
        with serving(app) as other:
            source = shop_source(other, each=", max_failed_share: 0.4")
            cut_off = run(source, lake, DAYS[1], DAYS[2], names=("orders",))
        assert [failed.partition for failed in cut_off.failed] == [DAYS[2]]
        (said,) = gaps(source, "orders", manifests(lake, "shop", "orders", DAYS))
    assert said == (
        "values that 2026-11-02 left behind and 2026-11-03 did not read: b: materialize "
        "2026-11-03 again"
    )


def test_too_many_accounts_that_fail_fail_the_day(lake: Lake) -> None:
    shop = Shop("a", "b", "c")
    shop.sick = {"a", "b"}
    with serving(shop.app()) as url:
        outcome = run(shop_source(url, each=", max_failed_share: 0.4"), lake, DAYS[0])
    assert "2 of 3 values failed, and at most 40.0% may (`each.max_failed_share`)" in str(
        outcome.failed[0].error
    )


def test_an_account_that_is_deleted_between_two_days(lake: Lake) -> None:
    """It leaves the list with the newest snapshot of accounts; nothing is asked of it any more."""
    shop = Shop("a", "b")
    with serving(shop.app()) as url:
        source = shop_source(url)
        run(source, lake, DAYS[0])
        shop.accounts.remove("b")
        second = manifest_of(run(source, lake, DAYS[1]))
        assert second.notes.each == ("a",)
        assert "no longer among the values of each: b." in second.notes.warning
        # The list of the run is older than the deletion: the remedy is said.
        shop.accounts.append("c")
        run(source, lake, DAYS[2], names=("accounts",))
        shop.accounts.remove("c")
        third = run(source, lake, DAYS[2], names=("orders",))
    assert "c" in str(third.failed[0].error)
    assert "404" in str(third.failed[0].error)
    assert {account for account, _ in landed(lake)} == {"a", "b"}


def test_an_empty_list_is_no_error_and_is_said(lake: Lake) -> None:
    shop = Shop()
    with serving(shop.app()) as url:
        source = shop_source(url)
        first = manifest_of(run(source, lake, DAYS[0]))
        assert first.rows == 0
        assert "there are no values to read: the committed rows of accounts have none" in (
            first.notes.warning
        )
        shop.accounts.append("a")
        run(source, lake, DAYS[1])
    assert {*landed(lake)} == {key for key in shop.all_orders("a") if key[1] < 48}, (
        "the past of the first account came, though the baseline had nobody"
    )


def test_nothing_committed_to_read_for_is_said(lake: Lake) -> None:
    with serving(Shop("a").app()) as url:
        outcome = run(shop_source(url), lake, DAYS[0], names=("orders",))
    assert isinstance(outcome.failed[0].error, WindowRefused)
    assert "`accounts`, whose rows are the values of `each`, is not committed yet" in str(
        outcome.failed[0].error
    )


def test_a_value_that_comes_twice_is_read_once_and_a_filter_counts(lake: Lake) -> None:
    shop = Shop("a", "b", "c", "d")

    def by_region(text: str) -> str:
        text = text.replace("accounts/{each}/orders", "regions/{each}/orders")
        text = text.replace("column: id", "column: region, where: {size: {gt: 0}}")
        return text

    async def orders(request: Request) -> Response:
        region = request.path_params["region"]
        shop.asked.append((region, {}))
        return json_answer([{"id": ["eu", "us"].index(region), "changed": "2026-11-01T01:00:00Z"}])

    with serving(shop.app(Route("/regions/{region}/orders", orders))) as url:
        manifest_of(run(shop_source(url, change=by_region), lake, DAYS[0]))
    assert sorted({region for region, _ in shop.asked}) == ["eu", "us"]
    assert sorted(landed(lake)) == [("eu", 0), ("us", 1)]


def test_ten_thousand_new_accounts_in_one_day(lake: Lake) -> None:
    shop = Shop("a")
    asked: list[tuple[int, bool]] = []

    async def orders(request: Request) -> Response:
        ids = request.query_params["of"].split(",")
        asked.append((len(ids), "since" in request.query_params))
        rows = [
            {"account": id, "id": 1, "changed": "2026-11-01T01:00:00Z"}
            for id in ids
            if not request.query_params.get("since")
        ]
        return json_answer(rows)

    def in_groups(text: str) -> str:
        text = text.replace("accounts/{each}/orders", "orders").replace(
            ", column_here: account", ", group: 100"
        )
        return text.replace('{since: "{start}"', '{of: "{each}", since: "{start}"')

    with serving(shop.app(Route("/orders", orders))) as url:
        source = shop_source(url, change=in_groups)
        run(source, lake, DAYS[0])
        shop.accounts += [f"n{n}" for n in range(10_000)]
        second = manifest_of(run(source, lake, DAYS[1]))
        assert second.rows == 10_000
        assert sorted({since for _, since in asked[1:]}) == [False, True]
        assert max(size for size, _ in asked) == 100
        asked.clear()
        third = manifest_of(run(source, lake, DAYS[2]))
    assert {since for _, since in asked} == {True}
    assert (third.rows, len(third.notes.each or ())) == (0, 10_001)
    assert len(landed(lake)) == 10_001


def test_a_later_attempt_goes_on_with_the_same_list_only(lake: Lake) -> None:
    """Rows of one list beside those of another would be there twice, or not at all."""
    shop = Shop("a", "b", "c")
    shop.sick = {"c"}
    with serving(shop.app()) as url:
        source = shop_source(
            url,
            change=lambda text: text.replace("    cursor", "    batch_rows: 5\n    cursor").replace(
                "column_here: account", "column_here: account, concurrency: 1"
            ),
        )
        first = run(source, lake, DAYS[0], run_id="one")
        assert first.failed
        shop.accounts.insert(0, "0")
        shop.sick = set()
        again = run(source, lake, DAYS[0], names=("accounts",))
        assert not again.failed
        done = manifest_of(run(source, lake, DAYS[0], names=("orders",), run_id="one"))
    assert done.resumed_pages == 0
    rows = key_rows(lake, done.files, ["account", "id"]).to_pylist()
    assert len(rows) == 4 * 24
    assert len({tuple(row.values()) for row in rows}) == 4 * 24


GRANDCHILDREN = """
  lines:
    path: accounts/{parent.account}/orders/{parent.id}/lines
    parents: {endpoint: orders, column: id, max_failed_share: 0}
    request: {params: {changed: "{parent.changed}"}, headers: {x-account: "{parent.account}"}}
    key: [account, order_id, line]
    columns:
      account: {type: string, from: parent.account}
      order_id: {type: int64, from: parent}
      ordered: {type: "timestamp[iso]", from: parent.changed}
      line: int64
  parts:
    path: parts
    parents: {endpoint: lines, column: line}
    request: {method: POST, json: {order: "{parent.order_id}", line: "{parent}", of: "{parent.account}"}}
    key: [account, order, line, part]
    columns: {account: {type: string, from: parent.account}, order: {type: int64, from: parent.order_id},
      line: {type: int64, from: parent}, part: int64}
"""  # fmt: skip  # noqa: E501


def test_children_of_an_each_and_parents_of_parents(lake: Lake) -> None:
    """Orders have an id within their account only: each is asked for under its own account."""
    shop = Shop("a/b", "c d")
    bodies: list[dict[str, Any]] = []
    seen: list[tuple[str, ...]] = []

    async def lines(request: Request) -> Response:
        raw = request.scope["raw_path"].decode().split("/")
        account, order = raw[2], raw[4]
        given = (account, order, request.headers["x-account"], request.query_params["changed"])
        seen.append(given)
        return json_answer([{"line": n} for n in range(int(order) % 3)])

    async def parts(request: Request) -> Response:
        body = json.loads(await request.body())
        if body["line"] > 2:
            return json_answer({"message": "no such line"}, 404)
        bodies.append(body)
        return json_answer([{"part": 1}])

    async def by_segment(request: Request) -> Response:
        request.scope["path_params"] = {"account": request.query_params["of"]}
        return await shop.orders(request)

    routes = [
        Route("/orders", by_segment),
        Route("/accounts/{account:path}/orders/{order}/lines", lines),
        Route("/parts", parts, methods=["POST"]),
    ]
    with serving(shop.app(*routes)) as url:
        source = shop_source(
            url,
            more=GRANDCHILDREN,
            change=lambda text: text.replace(
                "path: accounts/{each}/orders", "path: orders"
            ).replace('since: "{start}"', 'of: "{each}", since: "{start}"'),
        )
        names = ("parts", "lines", "orders", "accounts")
        outcome = run(source, lake, *DAYS[:2], names=names)
    assert not outcome.failed, outcome.failed[0].error
    orders = {key for key in shop.all_orders("a/b", "c d") if key[1] < 48}
    assert {*landed(lake)} == orders
    assert ("a%2Fb", "5", "a/b", "2026-11-01T05:15:00Z") in seen or any(
        path == "a%2Fb" and order == "5" and header == "a/b" and at.endswith("Z")
        for path, order, header, at in seen
    )
    wanted = {(account, id, n) for account, id in orders for n in range(id % 3)}
    found = landed(lake, "lines", "account", "order_id", "line")
    assert sorted(found) == sorted(wanted)
    times = dict(zip(landed(lake), landed(lake, "orders", "changed"), strict=True))
    for account, order, at in landed(lake, "lines", "account", "order_id", "ordered"):
        assert times[account, order] == (at,)
    assert {(body["of"], body["order"], body["line"]) for body in bodies} == wanted
    assert sorted(landed(lake, "parts", "account", "order", "line")) == sorted(wanted)


def test_a_product_of_lists(lake: Lake) -> None:
    shop = Shop("a", "b")
    product = """
  wages:
    path: accounts/{each.account}/wages/{each.kind}
    each:
      account: {endpoint: accounts, column: id, where: {region: [eu]}}
      kind: {values: "${KINDS:-gross,net/x}"}
      concurrency: 2
    request: {params: {name: "{each.account.name}"}}
    key: [account, kind]
    columns:
      account: {type: string, from: each.account}
      kind: {type: string, from: each.kind}
      of: {type: string, from: each.account.name}
      pay: int64
""".replace("region: [eu]", "region: {in: [eu, us]}")
    seen: list[tuple[str, str]] = []

    async def wages(request: Request) -> Response:
        seen.append((request.scope["raw_path"].decode(), request.query_params["name"]))
        return json_answer([{"pay": 7}])

    with serving(shop.app(Route("/accounts/{account}/wages/{kind:path}", wages))) as url:
        source = shop_source(url, more=product)
        done = manifest_of(run(source, lake, DAYS[0], names=("wages", "accounts")), "wages")
    assert sorted(landed(lake, "wages", "account", "kind", "of", "pay")) == [
        ("a", "gross", "a & sons/0", 7),
        ("a", "net/x", "a & sons/0", 7),
        ("b", "gross", "b & sons/1", 7),
        ("b", "net/x", "b & sons/1", 7),
    ]
    assert ("/accounts/a/wages/net%2Fx", "a & sons/0") in seen
    assert len(done.notes.each or ()) == 4


def test_children_with_a_cursor_are_asked_for_all_parents(lake: Lake) -> None:
    """Also of those that have not changed: a comment leaves its ticket as it was."""
    shop = Shop("a", "b")
    with serving(shop.app()) as url:
        source = shop_source(
            url,
            change=lambda text: text.replace("{each}", "{parent}").replace(
                "each: {endpoint", "parents: {endpoint"
            ),
        )
        for day in DAYS[:2]:
            run(source, lake, day)
        shop.accounts.append("c")
        third = manifest_of(run(source, lake, DAYS[2]))
        assert third.notes.values["from"] == [[None, ["c"]]]
        run(source, lake, DAYS[3])
    assert sorted(landed(lake)) == sorted(shop.all_orders("a", "b", "c"))
    assert third.notes.parents["asked"] == 3


def feed_of(rows: Callable[[str], list[dict[str, Any]]]) -> Callable[[Request], Any]:
    async def feed(request: Request) -> Response:
        return json_answer(rows(request.path_params["account"]))

    return feed


def test_a_feed_for_each_account(lake: Lake) -> None:
    """Each has to reach back to where its own rows are read from; those that do not are named."""
    shop = Shop("a", "b")
    now = {"hours": 26, "kept": 40}

    def latest(account: str) -> list[dict[str, Any]]:
        kept = now["kept"] if account == "a" else 3 if now["hours"] > 48 else 40
        rows = [row for row in shop.orders_of(account) if row["id"] < now["hours"]]
        return rows[::-1][:kept]

    def as_feed(text: str) -> str:
        return text.replace(
            'request: {params: {since: "{start}", until: "{end}"}}',
            "window: {start: none, end: none}",
        )

    routes = [
        Route("/accounts", shop.accounts_),
        Route("/accounts/{account}/orders", feed_of(latest)),
    ]
    with serving(Starlette(routes=routes)) as url:
        source = shop_source(url, change=as_feed)
        run(source, lake, DAYS[0])
        now["hours"] = 50
        second = manifest_of(run(source, lake, DAYS[1]))
    said = check_named(second, "feed_reaches_back")
    assert not said["passed"]
    assert "of 2 feeds 1 may have lost rows: b. the feed reaches back to" in said["detail"]
    a_orders = {key for key in shop.all_orders("a") if key[1] < 48}
    assert {key for key in landed(lake) if key[0] == "a"} == a_orders


OF_ROWS = "endpoint: accounts, column: id"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (OF_ROWS, "endpoint: acounts, column: id", "'acounts' is not an endpoint here"),
        (OF_ROWS, "endpoint: accounts", "`endpoint` needs `column`"),
        (OF_ROWS, "endpoint: orders, column: id", "its own rows (orders → orders)"),
        (OF_ROWS, "values: [a], endpoint: accounts, column: id", "exclude each other"),
        (OF_ROWS, "values: [a], column: id", "add `endpoint`"),
        (OF_ROWS, "values: [a], shop: {values: [b]}", "give the list a name, too"),
        (OF_ROWS, "shop: {values: [b]}", "no list of `each` has that name: expected {each.shop}"),
        ("column: id", "column: id, where: {size: {over: 1}}", "`size` has `over`: expected one"),
        ("column: id", "column: id, where: {size: [1]}", "write `size: {in: [1]}`"),
        ("column: id", "column: id, group: 5", "needs one value a request: set `group: 1`"),
        ("{since:", "{of: '{parent.name}', since:", "has no `parents`: add them"),
        ("path: accounts/{each}/orders", "path: orders", "requests the same for every value"),
        ("column: id", "column: nme", "has no column `nme`, and `infer` is false there"),
    ],
)
def test_what_does_not_fit_is_said(old: str, new: str, said: str) -> None:
    text = YAML.format(url="http://127.0.0.1:1", each="", more="")
    text = text.replace("    key: [id]\n", "    key: [id]\n    infer: false\n")
    assert old in text
    with pytest.raises(ConfigError) as caught:
        source_of(text.replace(old, new))
    assert said in str(caught.value)


def test_the_manifests_say_which_values_they_have(lake: Lake) -> None:
    shop = Shop("a")
    with serving(shop.app()) as url:
        run(shop_source(url), lake, DAYS[0])
    (found,) = manifests(lake, "shop", "orders")
    assert Manifest.from_json(found.to_json()).notes == found.notes
