"""What Dagster is told of partitions that are read twice, and of those that are not proved."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from assets import source_assets, step
from local.services import S3
from pipeline.lake.index import manifest_of
from pipeline.lake.s3 import Lake
from tests.assets.support import day, resources_at, s3_resource, today
from tests.support.runs import serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

ORDERS, ITEMS = dg.AssetKey(["shop", "orders"]), dg.AssetKey(["shop", "orders", "items"])
SITES = dg.AssetKey(["shop", "sites"])
_YAML = """
source: shop
base_url: URL
start: START
retries: {errors: 0, timeouts: 0}
breaker: {open_s: 0.1}
defaults:
  paging: {kind: none}
  rows: rows
  key: [id]
  cursor: at
  columns: {id: int64, at: "timestamp[iso]"}
  request: {params: {from: "{start}", to: "{end}"}}
endpoints:
  orders:
    exclude: [lines]
    tables:
      items:
        rows: lines
        key: [order_id, line]
        columns: {order_id: {type: int64, from: parent.id}, line: int64}
  sites: {}
"""


@dataclass
class Shop:
    """An API over a socket, and the run of its assets in this process.

    :ivar unproved: each response says that rows are missing.
    :ivar before_sites: is called before each response of `sites`; False refuses it.
    """

    lake: Lake
    resources: dict[str, Any]
    instance: dg.DagsterInstance
    assets: dg.AssetsDefinition = field(init=False)
    unproved: bool = False
    before_sites: Callable[[], bool] = lambda: True

    def run(self, selection: dg.AssetSelection | list[dg.AssetKey], back: int) -> str:
        """Materialize assets for one day: the run's id."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "InitResourceContext.dagster_run")
            result = dg.materialize(
                [self.assets],
                selection=selection,
                partition_key=day(back),
                resources=self.resources,
                instance=self.instance,
            )
        assert result.success
        return result.run_id

    def log(self, run_id: str) -> str:
        return "\n".join(entry.message for entry in self.instance.all_logs(run_id))

    def generations(self, run_id: str, key: dg.AssetKey) -> list[str]:
        """Those that a run has told Dagster of an asset, in order."""
        made = [entry.asset_materialization for entry in self.instance.all_logs(run_id)]
        tags = [each.tags for each in made if each and each.asset_key == key]
        return [each["dagster/data_version"] for each in tags if each]

    def check(self, name: str) -> dg.AssetCheckEvaluation | None:
        """The latest result of a check of the orders."""
        key = dg.AssetCheckKey(ORDERS, name)
        history = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        event = history[0].event.dagster_event if history and history[0].event else None
        return event.asset_check_evaluation_data if event else None

    async def orders(self, request: Request) -> Response:
        at = datetime.fromisoformat(request.query_params["to"]) - timedelta(minutes=30)
        row = {"id": 1, "at": at.isoformat(), "lines": [{"line": 1}]}
        return JSONResponse({"rows": [row]} | ({"timed_out": True} if self.unproved else {}))

    async def sites(self, _: Request) -> Response:
        if not self.before_sites():
            return Response(status_code=500)
        return JSONResponse({"rows": []})


@pytest.fixture
def shop(lake: Lake, s3: S3, tmp_path: Path) -> Iterator[Shop]:
    resources = resources_at(lake.root, s3_resource(s3), tmp_path / "budget")
    with dg.instance_for_test() as instance:
        shop = Shop(lake, resources, instance)
        routes = [Route("/orders", shop.orders), Route("/sites", shop.sites)]
        with serving(Starlette(routes=routes)) as url:
            yaml = _YAML.replace("URL", url).replace("START", day(3))
            shop.assets = source_assets(source_of(yaml), lake_url=lake.root)
            yield shop


@contextmanager
def clock_of_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[datetime]]:
    """The time that a step reads, which the test sets."""
    now = [datetime.now(UTC)]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return now[0].astimezone(tz)

    with monkeypatch.context() as patch:
        patch.setattr(step, "datetime", Clock)
        yield now


def test_a_partition_that_the_next_attempt_reads_again_is_told_once_more(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint fails at two minutes to midnight, and the day has ended when it is retried."""
    midnight = datetime.combine(today(), time.min, UTC) + timedelta(days=1)
    refusals = iter([False])

    def refuse_once() -> bool:
        if next(refusals, True):
            return True
        now[0] = midnight + timedelta(minutes=1)
        return False

    shop.before_sites = refuse_once
    with clock_of_steps(monkeypatch) as now:
        now[0] = midnight - timedelta(minutes=2)
        run = shop.run([ORDERS, ITEMS, SITES], 0)
    manifest = manifest_of(shop.lake, "shop", "orders", day(0))
    assert manifest is not None
    assert manifest.window.end == midnight, "the next attempt has read it to its end"
    for key in (ORDERS, ITEMS):
        first, second = shop.generations(run, key)
        assert (first != second, second) == (True, manifest.generation)
    assert len(shop.generations(run, SITES)) == 1


def test_a_table_alone_says_that_its_endpoint_is_not_proved(shop: Shop) -> None:
    shop.unproved = True
    run = shop.run([ITEMS], 3)
    check = shop.check("integrity")
    assert check is not None
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "pages_contiguous" in str(check.description)
    assert f"orders: integrity: {check.description}" in shop.log(run)


def test_without_its_checks_an_endpoint_says_in_the_log_what_does_not_hold(shop: Shop) -> None:
    shop.unproved = True
    run = shop.run(dg.AssetSelection.assets(ORDERS, ITEMS).without_checks(), 3)
    assert "orders: integrity: pages_contiguous" in shop.log(run)
    assert shop.check("integrity") is None


def test_the_coverage_names_partitions_that_are_not_proved_until_they_are(shop: Shop) -> None:
    shop.unproved = True
    shop.run([ORDERS, ITEMS], 3)
    shop.unproved = False
    shop.run([ORDERS, ITEMS], 2)
    integrity, coverage = shop.check("integrity"), shop.check("coverage")
    assert integrity is not None
    assert integrity.passed
    assert coverage is not None
    assert (coverage.passed, coverage.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert coverage.metadata["unproved"].value == 1
    assert f"`pages_contiguous` did not hold: {day(3)} (1 day)" in str(coverage.description)
    shop.run([ORDERS, ITEMS], 3)  # as it says
    coverage = shop.check("coverage")
    assert coverage is not None
    assert coverage.passed
