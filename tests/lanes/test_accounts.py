"""Which accounts and regions are read, and with which credentials."""

import asyncio
from pathlib import Path
from typing import Any

import boto3
import pytest
from starlette.responses import Response

from pipeline.config.lanes import LaneAccess
from pipeline.errors import AuthError, ConfigError
from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from pipeline.lanes.sessions import OWN, AccountSessions, role_arn
from tests.lanes.support import (
    DAYS,
    KEY,
    MANAGEMENT,
    REGIONS,
    SECRET,
    Call,
    Proxy,
    error,
    inventory,
    read,
    refusing,
    with_volumes,
)

Aws = tuple[Proxy, str]


def organization(moto: str, number: int) -> list[str]:
    """An organization with so many further accounts: the ids of all that are active."""
    client = boto3.client(
        "organizations",
        endpoint_url=moto,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )
    client.create_organization(FeatureSet="ALL")
    for n in range(number):
        client.create_account(Email=f"{n}@example.com", AccountName=f"account-{n}")
    pages = client.get_paginator("list_accounts").paginate()
    return [account["Id"] for page in pages for account in page["Accounts"]]


def of_organization(
    url: str, folder: Path, regions: str, endpoints: str | None = None, more: str = ""
) -> Any:
    given = {} if endpoints is None else {"endpoints": endpoints}
    source = inventory(url, ["organization"], [regions], folder, more=more, **given)
    return source


@pytest.mark.slow
def test_an_organization_is_listed_in_pages_and_accounts_have_their_names(
    aws: Aws, moto: str, lake: Lake, tmp_path: Path
) -> None:
    _, url = aws
    accounts = organization(moto, 24)  # moto gives 20 a page
    for account in accounts:
        with_volumes(moto, account, REGIONS[0], 1)
    more = f'exclude_accounts: ["{accounts[3]}"]'
    source = of_organization(url, tmp_path, REGIONS[0], more=more)
    (result,) = read(source, lake, DAYS[0]).results
    rows = current(lake, "aws", "ec2_volumes").to_pylist()
    assert {row["account_id"] for row in rows} == {*accounts} - {accounts[3]}
    assert {row["account_name"] for row in rows} >= {"master", "account-0", "account-23"}
    assert result.manifest.notes.values["lanes"]["rows"] == len(accounts) - 1


@pytest.mark.slow
def test_regions_that_are_switched_on_are_read_and_an_account_that_is_shut_keeps_all_its_rows(
    aws: Aws, moto: str, lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    accounts = organization(moto, 1)
    other = next(account for account in accounts if account != MANAGEMENT)
    for region in REGIONS[:2]:
        with_volumes(moto, other, region, 2)

    def two(call: Call) -> Response | None:
        """Two regions are switched on: moto would say that all are."""
        if call.action != "DescribeRegions":
            return None
        items = "".join(f"<item><regionName>{name}</regionName></item>" for name in REGIONS[:2])
        inner = f"<regionInfo>{items}</regionInfo>"
        return Response(f"<DescribeRegionsResponse>{inner}</DescribeRegionsResponse>")

    proxy.rules.append(two)
    more = "max_failed_share: 0.5"
    source = of_organization(url, tmp_path, "enabled", more=more)
    (first,) = read(source, lake, DAYS[0]).results
    assert first.manifest.notes.values["asked"] == 4
    assert first.manifest.rows == 4

    def shut(call: Call) -> Response | None:
        asks = call.action == "AssumeRole" and other in call.params["RoleArn"]
        return error("AccessDenied", 403, "sts") if asks else None

    proxy.rules.insert(0, shut)
    (second,) = read(source, lake, DAYS[1]).results
    values = second.manifest.notes.values
    assert values["asked"] == 3, "one lane in place of the regions of the account"
    assert values["failures"][0]["parent"] == f"{other}/*"
    rows = current(lake, "aws", "ec2_volumes").to_pylist()
    assert [row["_stale"] for row in rows] == [True] * 4
    assert {row["region"] for row in rows} == set(REGIONS[:2])


@pytest.mark.slow
def test_an_organization_that_may_not_be_listed_is_one_sentence(
    aws: Aws, lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    denied = error("AccessDeniedException", 400, "organizations")
    proxy.rules.append(refusing(lambda: denied, action="ListAccounts"))
    source = of_organization(url, tmp_path, REGIONS[0])
    with pytest.raises(AuthError, match="The accounts of the organization can't be listed"):
        read(source, lake, DAYS[0])


async def never(*_: object) -> dict[str, object]:
    raise AssertionError("nobody is asked")


@pytest.mark.parametrize(
    ("settings", "kind", "sentence"),
    [
        ({}, ConfigError, "No credentials of AWS were found"),
        ({"AWS_PROFILE": "nobody"}, AuthError, "can't be used (ProfileNotFound"),
    ],
)
def test_without_credentials_it_says_what_to_check(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    kind: type[Exception],
    sentence: str,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    sessions = AccountSessions(LaneAccess(), never)
    with pytest.raises(kind) as raised:
        asyncio.run(sessions.credentials(OWN))
    assert sentence in str(raised.value)


def test_an_account_without_a_role_is_said_once() -> None:
    sessions = AccountSessions(LaneAccess(), never)
    with pytest.raises(AuthError, match="no role is named to read it by: set `role`"):
        asyncio.run(sessions.credentials("111111111111"))


def test_a_role_is_a_name_or_an_arn() -> None:
    account = "111111111111"
    assert role_arn("audit", account, "eu-west-1") == f"arn:aws:iam::{account}:role/audit"
    assert role_arn("audit", account, "cn-north-1").startswith("arn:aws-cn:iam::")
    arn = "arn:aws:iam::{account_id}:role/path/audit"
    assert role_arn(arn, account, "eu-west-1") == f"arn:aws:iam::{account}:role/path/audit"
