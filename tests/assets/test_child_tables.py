"""A child table in Dagster and in the commands: an asset of its own, read by its own name."""

import json
import warnings
from pathlib import Path

import dagster as dg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from assets import source_assets, sync_job
from assets.jobs import source_job
from commands.__main__ import main
from local.services import S3
from pipeline.lake.s3 import Lake
from resources import LakeRows
from tests.assets.support import resources_at, s3_resource
from tests.support.runs import serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

_DAY = "2026-11-02"
_KEYS = [dg.AssetKey(["shop", "orders"]), dg.AssetKey(["shop", "orders", "items"])]
_YAML = """
source: shop
base_url: URL
start: 2026-11-02
endpoints:
  orders:
    key: [id]
    cursor: at
    columns: {id: int64, at: "timestamp[iso]"}
    request: {params: {from: "{start}", to: "{end}"}}
    exclude: [lines]
    tables:
      items:
        rows: lines
        key: [order_id, line]
        columns: {order_id: {type: int64, from: parent.id}, line: {type: int64, description: place}}
"""


async def orders(request: Request) -> Response:
    lines = [{"line": number} for number in range(3)]
    return JSONResponse([{"id": n, "at": f"{_DAY}T01:00:00Z", "lines": lines} for n in (1, 2)])


def test_a_table_is_an_asset_that_comes_with_its_endpoint(
    lake: Lake,
    s3: S3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = s3_resource(s3)
    resources = {
        **resources_at(lake.root, store, tmp_path / "budget"),
        "lake_rows": LakeRows(url=lake.root, s3=store),
    }
    sizes: list[int] = []

    @dg.asset(ins={"items": dg.AssetIn(_KEYS[1], input_manager_key="lake_rows")})
    def downstream(items) -> None:  # type: ignore[no-untyped-def]
        sizes.append(items.num_rows)

    with (
        serving(Starlette(routes=[Route("/orders", orders)])) as url,
        dg.instance_for_test() as instance,
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "InitResourceContext.dagster_run")
        source = source_of(_YAML.replace("URL", url))
        assets = source_assets(source, lake_url=lake.root)
        assert {*_KEYS} <= {*assets.keys}
        assert assets.asset_deps[_KEYS[1]] == {_KEYS[0]}
        selected = source_job(source).selection.resolve([assets])
        assert selected == {*_KEYS}
        of_table = dg.AssetSelection.assets(_KEYS[1])
        ran = dg.materialize(
            [assets], selection=of_table, partition_key=_DAY, resources=resources, instance=instance
        )
        assert ran.success
        for key, n_rows in zip(_KEYS, (2, 6), strict=True):
            event = instance.get_latest_materialization_event(key)
            assert event is not None
            assert event.asset_materialization is not None
            metadata = event.asset_materialization.metadata
            assert metadata["dagster/partition_row_count"].value == n_rows
            assert event.asset_materialization.partition == _DAY
        schema = metadata["dagster/column_schema"].value
        assert isinstance(schema, dg.TableSchema)
        assert [c.name for c in schema.columns] == ["order_id", "line", "_extracted_at"]
        assert schema.columns[1].description == "place"
        assert metadata["dagster/table_name"].value == "shop.orders_items"
        assert dg.materialize([downstream, *assets.to_source_assets()], resources=resources).success
        assert sizes == [6]
        with dg.instance_for_test() as fresh:
            synced = sync_job([source]).execute_in_process(
                run_config={"ops": {"tell_dagster": {"config": {"source": ""}}}},
                resources={"lake": resources["lake"]},
                instance=fresh,
            )
            assert synced.success
            assert fresh.get_materialized_partitions(_KEYS[1]) == {_DAY}
    for name, value in (s3.env() | {"HEADRACE_LAKE": lake.root}).items():
        monkeypatch.setenv(name, value)
    _commands(capsys)


def _commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lake"]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in shown[1:3]] == ["shop/orders", "shop/orders/items"]
    assert main(["lake", "shop/orders/items", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 6
    sql = "SELECT count(*) AS n FROM shop.orders_items_current JOIN shop.orders ON order_id = id"
    assert main(["query", sql, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"n": 6}
    assert main(["verify"]) == 0
    assert "2 files, all as they were committed" in capsys.readouterr().out
    assert main(["state", "drop", "shop/orders/items", "--yes"]) == 2
    assert "is a table of `shop/orders`" in capsys.readouterr().err
    assert main(["state", "drop", "shop/orders", "--yes"]) == 0
