"""A run that is killed in the middle of the lanes resumes behind those that have landed."""

import json
import os
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
from tests.aws.support import DAYS, REGIONS, Call, Proxy, inventory, read, with_volumes

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
from pipeline.lake.s3 import Lake
from tests.aws.support import read
told = json.load(sys.stdin)
lake = Lake(boto3.client("s3", **told["s3"]), told["lake"])
outcome = read(load_source(Path(told["file"]), {}), lake, told["day"], "the-run")
print([str(each.error) for each in outcome.failed])
"""


@pytest.mark.parametrize("after_calls", [5, 9])
def test_a_killed_run_reads_no_lane_twice_that_has_landed(
    aws: tuple[Proxy, str], moto: str, lake: Lake, s3: S3, tmp_path: Path, after_calls: int
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
    process: list[subprocess.Popen[bytes]] = []

    def kills(call: Call) -> Response | None:
        if call.action == "DescribeVolumes" and len(proxy.of("DescribeVolumes")) > after_calls:
            os.kill(process[0].pid, signal.SIGKILL)
            return Response(status_code=500)
        return None

    proxy.rules.append(kills)
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
    }
    command = [sys.executable, "-c", PROGRAM]
    process.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    process[0].communicate(json.dumps(told).encode(), timeout=60)
    assert process[0].returncode == -signal.SIGKILL
    first = {(c.account, c.region) for c in proxy.of("DescribeVolumes")}
    proxy.rules.clear()
    proxy.calls.clear()
    (result,) = read(load_source(file, {}), lake, DAYS[0], "the-run").results
    rows = current(lake, "aws", "ec2_volumes").to_pylist()
    assert sorted(row["volume_id"] for row in rows) == sorted(made)
    again = {(c.account, c.region) for c in proxy.of("DescribeVolumes")}
    assert len(again) < 12, "lanes that had landed are not read again"
    assert len(first | again) == 12
    assert result.manifest.notes.values["lanes"]["rows"] == 12
