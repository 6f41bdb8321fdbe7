"""What Dagster is told of the lanes, and an asset of one's own behind them."""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets import source_assets
from local.paths import ROOT
from local.s3 import S3
from pipeline.lake.s3 import Lake
from resources import ApiResource, BudgetResource, LakeResource
from tests.assets.support import s3_resource
from tests.lanes.support import (
    REGIONS,
    Proxy,
    client_of,
    error,
    inventory,
    refusing,
    with_volumes,
)

pytestmark = [
    pytest.mark.slow,
    # Dagster's own nested resources use what Dagster itself calls deprecated.
    pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run"),
]

ACCOUNTS = ["111111111111", "222222222222"]


@pytest.fixture
def unused(monkeypatch: pytest.MonkeyPatch) -> Any:
    settings = {
        "HEADRACE_LAKE": "s3://lake/headrace",
        "HEADRACE_SOURCES": str(ROOT / "sources" / "aws.yaml"),
        "HEADRACE_AWS_ACCOUNTS": "self",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return importlib.import_module("examples.aws.unused_volumes")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def metadata_of(instance: dg.DagsterInstance, *key: str) -> Mapping[str, Any]:
    """What the newest materialization of an asset says."""
    event = instance.get_latest_materialization_event(dg.AssetKey([*key]))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: of.value for name, of in event.asset_materialization.metadata.items()}


def test_dagster_shows_each_lane_without_rows_and_what_unused_volumes_cost(
    aws: tuple[Proxy, str],
    moto: str,
    lake: Lake,
    s3: S3,
    tmp_path: Path,
    unused: Any,
    instance: dg.DagsterInstance,
) -> None:
    proxy, url = aws
    for account in ACCOUNTS:
        with_volumes(moto, account, REGIONS[0], 3)
    ec2 = client_of(moto, "ec2", ACCOUNTS[0], REGIONS[0])
    server = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]
    used = ec2.describe_volumes()["Volumes"][0]["VolumeId"]
    ec2.attach_volume(VolumeId=used, InstanceId=server["InstanceId"], Device="/dev/sdf")
    proxy.rules.append(
        refusing(lambda: error("Odd"), account=ACCOUNTS[1], region=REGIONS[1], service="ec2")
    )
    source = inventory(url, ACCOUNTS, REGIONS[:2], tmp_path, more="max_failed_share: 0.5")
    bucket = s3_resource(s3)
    result = dg.materialize(
        [source_assets(source), unused.unused_volumes],
        instance=instance,
        resources={
            "lake": LakeResource(url=lake.url("").rstrip("/"), s3=bucket),
            "api": ApiResource(budget=BudgetResource(where="memory")),
        },
    )
    assert result.success
    told = metadata_of(instance, "aws", "ec2_volumes")
    assert (told["lanes_rows"], told["lanes_none"], told["lanes_failed"]) == (2, 1, 1)
    (lane,) = [record.data for record in told["lanes_without_rows"].records]
    assert (lane["account"], lane["region"]) == (ACCOUNTS[1], REGIONS[1])
    assert (lane["outcome"], lane["reason"]) == ("failed", "Odd")
    assert "AWS responded with 400 (Odd)" in lane["sentence"]
    logs = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [each.dagster_event.asset_check_evaluation_data for each in logs if each.dagster_event]
    checks = {each.check_name: each for each in found}
    assert not checks["integrity"].passed
    assert "1 failed by Odd" in str(checks["integrity"].description)
    report = metadata_of(instance, "reports", "unused_volumes")
    records = [record.data for record in report["by_account"].records]
    assert {each["account"]: each["volumes"] for each in records} == {
        ACCOUNTS[0]: 2,
        ACCOUNTS[1]: 3,
    }
    assert report["cost_a_month"] == pytest.approx(sum(each["cost"] for each in records))
    assert "█" in report["plot"]
