"""Two processes that read one lane share its budget: together they keep to AWS's token bucket."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from starlette.responses import Response

from local.s3 import S3
from pipeline.lake.s3 import Lake
from tests.lanes.support import DAYS, REGIONS, Call, Proxy, error, inventory, volumes_page

pytestmark = pytest.mark.slow

PAGES = 40
BURST, PER_S = 10, 20
PROGRAM = """
import json, sys
from pathlib import Path
import boto3
from pipeline.config import load_source
from pipeline.lake.s3 import Lake
from tests.lanes.support import read
told = json.load(sys.stdin)
lake = Lake(boto3.client("s3", **told["s3"]), told["lake"])
source = load_source(Path(told["file"]), {})
outcome = read(source, lake, told["day"], budget=told["budget"])
print([str(each.error) for each in outcome.failed], outcome.results[0].manifest.rows)
"""


class TokenBucket:
    """AWS's own, for `describe_volumes`, in front of pages that are made up."""

    def __init__(self) -> None:
        self.tokens, self.at = float(BURST), time.monotonic()
        self.refused = 0
        self.passed: list[float] = []

    def __call__(self, call: Call) -> Response | None:
        if call.action != "DescribeVolumes":
            return None
        now = time.monotonic()
        self.tokens = min(BURST, self.tokens + (now - self.at) * PER_S)
        self.at = now
        if self.tokens < 1:
            self.refused += 1
            return error("RequestLimitExceeded", 503)
        self.tokens -= 1
        self.passed.append(now)
        at = int(call.params.get("NextToken", 0))
        return volumes_page(f"vol-{at}", token=at + 1 if at + 1 < PAGES else None)


def test_two_processes_share_the_bucket_of_a_lane(
    aws: tuple[Proxy, str], lake: Lake, s3: S3, tmp_path: Path
) -> None:
    proxy, url = aws
    bucket = TokenBucket()
    proxy.rules.append(bucket)
    endpoints = "  ec2_volumes: {service: ec2, operation: describe_volumes, key: [volume_id]}\n"
    inventory(url, ["111111111111"], REGIONS[:1], tmp_path, endpoints)
    file = next(tmp_path.glob("*.yaml"))
    text = file.read_text().replace(
        "ec2: {burst: 1000, per_s: 1000}", f"ec2: {{burst: {BURST}, per_s: {PER_S}}}"
    )
    file.write_text(text)
    told = {
        "s3": {
            "endpoint_url": s3.endpoint_url,
            "aws_access_key_id": s3.access_key,
            "aws_secret_access_key": s3.secret_key,
            "region_name": s3.region,
        },
        "file": str(file),
        "day": DAYS[0],
        "budget": str(tmp_path / "budgets"),
    }
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for number, process in enumerate(both):
        assert process.stdin is not None
        lake_of = f"{lake.url('').rstrip('/')}/{number}"
        process.stdin.write(json.dumps({**told, "lake": lake_of}).encode())
        process.stdin.close()
        process.stdin = None
    said = [process.communicate(timeout=120)[0].decode() for process in both]
    assert [each.strip() for each in said] == [f"[] {PAGES}"] * 2
    assert len(bucket.passed) >= 2 * PAGES
    assert bucket.refused <= 1, "together they keep to the bucket"
