"""A run that is killed in the middle of the lanes resumes behind those that have landed."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.responses import Response

from local.s3 import S3
from pipeline.config import load_source
from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from tests.lanes.support import (
    DAYS,
    REGIONS,
    Call,
    Proxy,
    inventory,
    read,
    volumes_page,
    with_volumes,
)

pytestmark = pytest.mark.slow

ACCOUNTS = [f"{n}" * 12 for n in range(1, 4)]
ENDPOINTS = """
  ec2_volumes: {service: ec2, operation: describe_volumes, key: [volume_id], batch_rows: 4}
"""
PROGRAM = """
import json, sys
from pathlib import Path
import boto3
from pipeline.config import load_source
from pipeline.extract import fan_out
from pipeline.lake.s3 import Lake
from tests.lanes.support import read
told = json.load(sys.stdin)
fan_out.HELD_PAGES = told["held_pages"]
lake = Lake(boto3.client("s3", **told["s3"]), told["lake"])
outcome = read(load_source(Path(told["file"]), {}), lake, told["day"], "the-run")
print([str(each.error) for each in outcome.failed])
"""


def killed(proxy: Proxy, file: Path, lake: Lake, s3: S3, after_calls: int, held_pages: int) -> None:
    """A process reads the source, and is killed in the call behind so many."""
    process: list[subprocess.Popen[bytes]] = []
    earlier = len(proxy.of("DescribeVolumes"))

    def kills(call: Call) -> Response | None:
        calls = len(proxy.of("DescribeVolumes")) - earlier
        if call.action == "DescribeVolumes" and calls > after_calls:
            os.kill(process[0].pid, signal.SIGKILL)
            return Response(status_code=500)
        return None

    proxy.rules.insert(0, kills)
    told = {
        "s3": {
            "endpoint_url": s3.endpoint_url,
            "aws_access_key_id": s3.access_key,
            "aws_secret_access_key": s3.secret_key,
            "region_name": s3.region,
        },
        "lake": lake.url("").rstrip("/"),
        "file": str(file),
        "day": DAYS[0],
        "held_pages": held_pages,
    }
    command = [sys.executable, "-c", PROGRAM]
    process.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    process[0].communicate(json.dumps(told).encode(), timeout=120)
    assert process[0].returncode == -signal.SIGKILL
    proxy.rules.remove(kills)


def test_a_killed_run_reads_no_lane_twice_that_has_landed(
    aws: tuple[Proxy, str], moto: str, lake: Lake, s3: S3, tmp_path: Path
) -> None:
    proxy, url = aws
    made = [
        volume
        for account in ACCOUNTS
        for region in REGIONS
        for volume in with_volumes(moto, account, region, 5)
    ]
    inventory(url, ACCOUNTS, REGIONS, tmp_path, ENDPOINTS, "lane_timeout_s: 60")
    file = next(tmp_path.glob("*.yaml"))
    file.write_text(file.read_text().replace("limits: {", "limits: {lanes_at_once: 1, ", 1))
    killed(proxy, file, lake, s3, 9, held_pages=100)
    first = {(c.account, c.region) for c in proxy.of("DescribeVolumes")}
    proxy.calls.clear()
    (result,) = read(load_source(file, {}), lake, DAYS[0], "the-run").results
    rows = current(lake, "aws", "ec2_volumes").to_pylist()
    assert sorted(row["volume_id"] for row in rows) == sorted(made)
    again = {(c.account, c.region) for c in proxy.of("DescribeVolumes")}
    assert len(again) < 12, "lanes that had landed are not read again"
    assert len(first | again) == 12
    assert result.manifest.notes.values["lanes"]["rows"] == 12


PAGES = 30


def long_lanes(call: Call) -> Response | None:
    """Thirty pages of two volumes in each lane."""
    if call.action != "DescribeVolumes":
        return None
    at = int(call.params.get("NextToken", 0))
    ids = [f"vol-{call.account}-{call.region}-{at}-{n}" for n in range(2)]
    return volumes_page(*ids, token=at + 1 if at + 1 < PAGES else None)


def test_a_run_that_is_killed_again_and_again_resumes_inside_its_lanes(
    aws: tuple[Proxy, str], lake: Lake, s3: S3, tmp_path: Path
) -> None:
    """At random instants: the rows are exact, and what had landed is not read again."""
    proxy, url = aws
    proxy.rules.append(long_lanes)
    lanes = [(account, region) for account in ACCOUNTS[:2] for region in REGIONS[:2]]
    inventory(url, ACCOUNTS[:2], REGIONS[:2], tmp_path, ENDPOINTS)
    file = next(tmp_path.glob("*.yaml"))
    for _ in range(2):
        killed(proxy, file, lake, s3, random.randrange(25, 45), held_pages=2)
    before = len(proxy.of("DescribeVolumes"))
    (result,) = read(load_source(file, {}), lake, DAYS[0], "the-run").results
    rows = current(lake, "aws", "ec2_volumes").to_pylist()
    found = sorted((row["account_id"], row["region"], row["volume_id"]) for row in rows)
    assert found == sorted(
        (account, region, f"vol-{account}-{region}-{at}-{n}")
        for account, region in lanes
        for at in range(PAGES)
        for n in range(2)
    )
    assert result.manifest.notes.values["lanes"]["rows"] == len(lanes)
    last = len(proxy.of("DescribeVolumes")) - before
    assert last < len(lanes) * PAGES, "no lane had ended, and yet not all pages were left to read"
