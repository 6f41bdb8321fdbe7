"""What authors get: an endpoint out of an operation's model, and a look at the lanes."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from pipeline.config import load_source
from sourcetool.aws_new import new_aws
from sourcetool.check import Wanted, check
from tests.lanes.support import (
    HEAD,
    KEY,
    REGIONS,
    SECRET,
    Proxy,
    client_of,
    error,
    refusing,
    with_volumes,
)

Aws = tuple[Proxy, str]
ACCOUNTS = ["111111111111", "222222222222"]


def printed(run: Any) -> tuple[int, str]:
    out = io.StringIO()
    code = run(Console(file=out, width=300, soft_wrap=True))
    return code, out.getvalue()


@pytest.mark.parametrize(
    ("address", "name", "expected"),
    [
        ("aws:ec2:describe_volumes", "ec2_volumes", {"key": ["volume_id"]}),
        ("aws:iam:list_roles", "iam_roles", {"key": ["role_id"], "global": True, "limit": 1000}),
        (
            "aws:s3control:list_access_points",
            "s3control_access_points",
            {"key": ["name"], "params": {"AccountId": "{each.account_id}"}},
        ),
        ("aws:sqs:list_queues", "sqs_queues", {"key": ["queue_url"]}),
        ("aws:dynamodb:list_tables", "dynamodb_tables", {"key": ["table_name"], "limit": 100}),
    ],
)
def test_an_operation_becomes_an_endpoint_that_loads(
    tmp_path: Path, address: str, name: str, expected: dict[str, Any]
) -> None:
    code, text = printed(lambda console: new_aws(address, console))
    assert code == 0
    proposed = text.partition("✓")[0]
    endpoint = yaml.safe_load(proposed)[name]
    assert {**endpoint, **expected} == endpoint
    file = tmp_path / "aws.yaml"
    file.write_text(f"kind: aws\nsource: aws\nstart: 2026-11-01\nendpoints:\n{proposed}")
    assert load_source(file, {}).endpoints[name].key[-1] == expected["key"][0]


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("aws:ec2:describe_volumez", "the nearest are `describe_volumes`"),
        ("aws:ec2:delete_volume", "may change something"),
        ("aws:ec3:x", "no service of AWS"),
        ("aws:sqs", "expected aws:SERVICE:OPERATION"),
    ],
)
def test_what_is_no_reading_operation_is_said(address: str, sentence: str) -> None:
    code, text = printed(lambda console: new_aws(address, console))
    assert code == 2
    assert sentence in text


ENDPOINTS = """
  ec2_volumes: {service: ec2, operation: describe_volumes, key: [volume_id]}
  s3_buckets: {service: s3, operation: list_buckets, key: [name], global: true}
  s3_policies: {service: s3, operation: get_bucket_policy, params: {Bucket: "{each}"},
    key: [bucket], each: {endpoint: s3_buckets, column: name},
    columns: {bucket: {type: string, from: each}}}
"""


@pytest.mark.slow
def test_a_check_says_who_asks_which_lanes_there_are_and_what_is_denied(
    aws: Aws, moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, url = aws
    monkeypatch.setenv("HEADRACE_BUDGET", "memory")
    with_volumes(moto, ACCOUNTS[0], REGIONS[0], 2)
    s3 = client_of(moto, "s3", ACCOUNTS[0], "us-east-1")
    s3.create_bucket(Bucket="a-bucket-without-a-policy")
    proxy.rules.append(
        refusing(lambda: error("UnauthorizedOperation", 403), account=ACCOUNTS[1], service="ec2")
    )
    file = tmp_path / "aws.yaml"
    file.write_text(
        HEAD.format(
            accounts=", ".join(f'"{account}"' for account in ACCOUNTS),
            regions=", ".join(REGIONS[:2]),
            url=url,
            key=KEY,
            secret=SECRET,
            more="",
            endpoints=ENDPOINTS,
        )
    )
    code, text = printed(lambda console: check(str(file), Wanted(as_json=True), console))
    found = json.loads(text)
    assert code == 0
    assert found["account"] == "123456789012"
    assert len(found["lanes"]) == 4
    outcomes = {(each["endpoint"], each["outcome"]) for each in found["seen"]}
    assert outcomes >= {("ec2_volumes", "denied"), ("s3_buckets", "rows"), ("s3_policies", "none")}
    code, text = printed(lambda console: check(str(file), Wanted(), console))
    assert "The credentials are of the account 123456789012. 4 lanes" in text
    assert "UnauthorizedOperation" in text
    assert "NoSuchBucketPolicy" in text
    assert SECRET not in text
