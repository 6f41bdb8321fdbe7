"""`python -m local demo aws`: an inventory of an emulated AWS on two days, lane by lane.

Three accounts of an organization in four regions (moto); on the second day volumes have come and
gone. Dagster materializes both days; the manifests say what came of each lane, and the volumes in
the lake are held against those that AWS itself lists.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pyarrow.parquet as pq

from local.dagster_cli import materialize, run
from local.instance import prepare_home
from local.manifests import download, manifests_under, read_manifests
from local.paths import ROOT, passing_folder
from local.ports import LOOPBACK, free_port
from local.process import LocalError, running, tail
from local.s3 import S3, child_env
from local.services import seaweedfs
from local.settings import BUCKET, LAKE, dagster_env

REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "eu-central-1")
ENDPOINTS = (
    "organization_accounts", "ec2_volumes", "ec2_vpcs", "ec2_security_groups", "s3_buckets",
    "s3_bucket_policies", "iam_users", "iam_access_keys", "lambda_functions", "sqs_queues",
)  # fmt: skip
SELECTION = " or ".join(f"key:aws/{endpoint}" for endpoint in ENDPOINTS)
READY_S = 60.0
KEYS = {"aws_access_key_id": "demo", "aws_secret_access_key": "demo"}


@dataclass(frozen=True)
class AwsStage:
    """What the steps of the demo work with."""

    folder: Path
    s3: S3
    url: str
    env: dict[str, str]
    accounts: tuple[str, ...]

    def client(self, service: str, account: str, region: str) -> Any:
        """boto3's client of an account in a region, straight to the emulated AWS."""
        sts = boto3.client("sts", endpoint_url=self.url, region_name=region, **KEYS)
        arn = f"arn:aws:iam::{account}:role/OrganizationAccountAccessRole"
        found = sts.assume_role(RoleArn=arn, RoleSessionName="demo")["Credentials"]
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=found["AccessKeyId"],
            aws_secret_access_key=found["SecretAccessKey"],
            aws_session_token=found["SessionToken"],
        )


@contextmanager
def aws_stage(first: date) -> Iterator[AwsStage]:
    """S3 and an emulated AWS on loopback, in a folder that stays only when something failed."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)]
    with (
        passing_folder("demo-aws-") as folder,
        seaweedfs(folder / "s3", buckets=[BUCKET]) as s3,
        running(command, env=child_env(KEYS), log=folder / "moto.log") as moto,
    ):
        _wait(url, lambda: moto.exit_code() is None, folder / "moto.log")
        api = {
            "HEADRACE_AWS_ACCOUNTS": "organization",
            "HEADRACE_AWS_REGIONS": ",".join(REGIONS),
            "HEADRACE_AWS_ENDPOINT": url,
        }
        home = prepare_home(folder / "dagster")
        env = dagster_env(s3, api, home, first, "sources/aws.yaml")
        yield AwsStage(folder, s3, url, env, _organization(url))


def _wait(url: str, lives: Any, log: Path) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=READY_S)
    while datetime.now(UTC) < deadline and lives():
        try:
            httpx.get(f"{url}/moto-api/", timeout=30.0).raise_for_status()
        except httpx.HTTPError:
            continue
        return
    raise LocalError(f"The emulated AWS (moto) did not start: {tail(log)}")


def _organization(url: str) -> tuple[str, ...]:
    """An organization of three accounts: their ids, the management account's first."""
    client = boto3.client("organizations", endpoint_url=url, region_name="us-east-1", **KEYS)
    client.create_organization(FeatureSet="ALL")
    for name in ("shop", "data"):
        client.create_account(Email=f"{name}@example.com", AccountName=name)
    return tuple(sorted(account["Id"] for account in client.list_accounts()["Accounts"]))


def fill(stage: AwsStage) -> None:
    """What the accounts have on the first day."""
    for n, account in enumerate(stage.accounts):
        for m, region in enumerate(REGIONS[: n + 2]):
            ec2 = stage.client("ec2", account, region)
            for size in range(n + m + 1):
                ec2.create_volume(Size=100 * (size + 1), AvailabilityZone=f"{region}a")
            stage.client("sqs", account, region).create_queue(QueueName=f"orders-{m}")
        s3 = stage.client("s3", account, "us-east-1")
        s3.create_bucket(Bucket=f"logs-{account}")
        if n:
            policy = json.dumps({"Version": "2012-10-17", "Statement": []})
            s3.put_bucket_policy(Bucket=f"logs-{account}", Policy=policy)
        iam = stage.client("iam", account, "us-east-1")
        iam.create_user(UserName=f"user-{n}")
        iam.create_access_key(UserName=f"user-{n}")


def change(stage: AwsStage) -> None:
    """What happens until the second day: volumes come and go."""
    account, region = stage.accounts[-1], REGIONS[0]
    ec2 = stage.client("ec2", account, region)
    gone = ec2.describe_volumes()["Volumes"][0]["VolumeId"]
    ec2.delete_volume(VolumeId=gone)
    for _ in range(3):
        ec2.create_volume(Size=250, AvailabilityZone=f"{region}a")
    print(f"\n▸ In {account}/{region} the volume {gone} is deleted, and three come.")


def read_day(stage: AwsStage, day: date) -> None:
    """Materialize the inventory of a day, by Dagster's own command."""
    print(f"\n▸ dagster asset materialize -f definitions.py --select 'aws/…' --partition {day}")
    took_s = run(materialize(SELECTION, day, day), stage.env, stage.folder / f"{day}.log")
    print(f"  {len(ENDPOINTS)} assets in {took_s:.0f} s, Dagster's start included.")


def show_lanes(stage: AwsStage) -> None:
    """What came of the lanes, as the manifests say."""
    print("\n▸ What came of the lanes (an account in a region), read back from the manifests:\n")
    heads = ("partition", "endpoint", "rows", "lanes", "with rows", "none", "denied", "failed")
    print("  ".join(f"{head:<22}" if n == 1 else f"{head:<10}" for n, head in enumerate(heads)))
    for manifest in manifests_under(stage.s3, LAKE):
        values = manifest["extra"]["values"]
        lanes = values["lanes"]
        failed = lanes["failed"] + lanes["throttled"]
        counts = (lanes["rows"], lanes["none"], lanes["denied"], failed)
        cells = (manifest["partition"], manifest["endpoint"], manifest["rows"], values["asked"])
        texts = [str(cell) for cell in (*cells, *counts)]
        reasons = ", ".join(f"{n} {code}" for _, code, n in values["reasons"])
        line = "  ".join(f"{t:<22}" if n == 1 else f"{t:<10}" for n, t in enumerate(texts))
        print(line + (f"  ({reasons})" if reasons else ""))


def volumes_in_lake(stage: AwsStage, day: date) -> list[dict[str, Any]]:
    """The rows of `ec2_volumes` of a day."""
    wanted = [
        one
        for one in read_manifests(stage.s3, LAKE)
        if (one.endpoint, one.partition) == ("ec2_volumes", day.isoformat())
    ]
    copy = stage.folder / "copy"
    download(stage.s3, LAKE, wanted, copy)
    files = [copy / path for one in wanted for path in one.paths]
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def compare(stage: AwsStage, day: date) -> None:
    """:raises LocalError: the lake does not have the volumes that AWS has."""
    there = {
        volume["VolumeId"]
        for account in stage.accounts
        for region in REGIONS
        for volume in stage.client("ec2", account, region).describe_volumes()["Volumes"]
    }
    rows = volumes_in_lake(stage, day)
    found = {row["volume_id"] for row in rows}
    if found != there:
        raise LocalError(f"The lake has {len(found)} volumes, and AWS {len(there)}.")
    names = sorted({str(row["account_name"]) for row in rows})
    print(
        f"\n▸ ec2_volumes: the lake has exactly the {len(there)} volumes that AWS lists now, of "
        f"the accounts {', '.join(names)}."
    )


def demo_aws() -> None:
    """The whole story."""
    today = datetime.now(UTC).date()
    yesterday = today - timedelta(days=1)
    print(
        f"Starting S3 (SeaweedFS) and an emulated AWS (moto): 3 accounts × {len(REGIONS)} regions "
        "…",
        flush=True,
    )
    with aws_stage(yesterday - timedelta(days=1)) as stage:
        fill(stage)
        read_day(stage, yesterday)
        change(stage)
        read_day(stage, today)
        show_lanes(stage)
        compare(stage, today)
    print(f"\nHow to read your own: {(ROOT / 'docs' / 'aws.md').relative_to(ROOT)}")
