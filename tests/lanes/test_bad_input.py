"""What a user gets wrong, or AWS takes away: one sentence, and the others go on."""

import asyncio
from pathlib import Path

import pytest
from botocore.credentials import AssumeRoleCredentialFetcher
from botocore.exceptions import ClientError
from starlette.responses import Response

from pipeline.config import load_source
from pipeline.config.lanes import LaneAccess
from pipeline.errors import AuthError
from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from pipeline.lanes import lanes_of, open_lanes
from pipeline.lanes.sessions import OWN, AccountSessions
from resources import BudgetResource
from tests.lanes.support import (
    DAYS,
    KEY,
    REGIONS,
    SECRET,
    VOLUMES,
    Call,
    Proxy,
    error,
    inventory,
    read,
    volumes_page,
)


def one_volume(call: Call) -> Response | None:
    """Each lane has one volume, whose name follows from it."""
    if call.action != "DescribeVolumes":
        return None
    return volumes_page(f"vol-{call.account}-{call.region}")


def volumes(lake: Lake) -> dict[str, bool]:
    """The volumes of the newest partition, and whether they are of the one before."""
    rows = current(lake, "aws", "ec2_volumes").to_pylist()
    assert len({row["volume_id"] for row in rows}) == len(rows)
    return {row["volume_id"]: row["_stale"] for row in rows}


WITH_ROLES = """
[profile base]
aws_access_key_id=AKIAX
aws_secret_access_key=s
[profile ro]
role_arn=arn:aws:iam::123456789012:role/x
source_profile=base
[profile web]
role_arn=arn:aws:iam::123456789012:role/x
web_identity_token_file=/nowhere/token
"""


@pytest.mark.parametrize(
    ("profile", "sentence"),
    [
        ("ro", "of the profile `ro` can't be used: AssumeRole was refused with AccessDenied. Chec"),
        ("web", "of the profile `web` can't be used: `/nowhere/token` can't be read"),
    ],
)
def test_a_profile_whose_role_is_refused_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, sentence: str
) -> None:
    (tmp_path / "config").write_text(WITH_ROLES)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))

    class Sts:
        """AWS's own can't be had: the configured endpoints are not those that give credentials."""

        def assume_role(self, **_: object) -> None:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole")

    monkeypatch.setattr(AssumeRoleCredentialFetcher, "_create_client", lambda *_: Sts())
    access = LaneAccess(profile=profile)
    with pytest.raises(AuthError) as caught:
        asyncio.run(AccountSessions(access, None).credentials(OWN))  # type: ignore[arg-type]
    assert sentence in str(caught.value)


@pytest.mark.slow
def test_a_role_that_three_of_two_hundred_accounts_have_not(
    aws: tuple[Proxy, str], lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    accounts = [f"{n:012d}" for n in range(1, 201)]
    missing = [accounts[3], accounts[99], accounts[199]]

    def refused(call: Call) -> Response | None:
        wanted = call.action == "AssumeRole" and call.params["RoleArn"].split(":")[4] in missing
        return error("AccessDenied", 403, "sts", "no such role") if wanted else None

    proxy.rules += [refused, one_volume]
    (result,) = read(inventory(url, accounts, REGIONS[:1], tmp_path), lake, DAYS[0]).results
    values = result.manifest.notes.values
    assert values["lanes"] == {"rows": 197, "none": 0, "denied": 0, "throttled": 0, "failed": 3}
    assert values["reasons"] == [["failed", "AssumeRole:AccessDenied", 3]]
    sentences = {each["parent"]: each["reason"] for each in values["failures"]}
    for account in missing:
        wanted = f"The role `arn:aws:iam::{account}:role/audit` can't be assumed"
        assert wanted in sentences[f"{account}/{REGIONS[0]}"]
    (check,) = [check for check in result.checks if check.name == "values_read"]
    assert "200 lanes: 197 rows, 3 failed (3 failed by AssumeRole:AccessDenied)" in check.detail
    ok = {f"vol-{account}-{REGIONS[0]}": False for account in accounts if account not in missing}
    assert volumes(lake) == ok


@pytest.mark.slow
def test_an_account_that_left_the_organization_leaves_the_rows_and_is_named(
    aws: tuple[Proxy, str], lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    states = {"111111111111": "ACTIVE", "222222222222": "ACTIVE"}

    def organization(call: Call) -> Response | None:
        if call.action != "ListAccounts":
            return None
        items = [f'{{"Id": "{n}", "Name": "a-{n}", "State": "{s}"}}' for n, s in states.items()]
        return Response(f'{{"Accounts": [{", ".join(items)}]}}')

    proxy.rules += [organization, one_volume]
    source = inventory(url, ["organization"], REGIONS[:1], tmp_path)
    read(source, lake, DAYS[0])
    assert set(volumes(lake)) == {f"vol-{account}-{REGIONS[0]}" for account in states}
    states["222222222222"] = "SUSPENDED"
    (result,) = read(source, lake, DAYS[1]).results
    assert volumes(lake) == {f"vol-111111111111-{REGIONS[0]}": False}
    assert "222222222222/us-east-1" in result.manifest.notes.warning
    assert result.manifest.notes.values["lanes"]["failed"] == 0


def test_single_sign_on_that_has_run_out_says_how_to_sign_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(
        "[profile work]\nsso_session = corp\nsso_account_id = 111111111111\n"
        "sso_role_name = audit\n[sso-session corp]\nsso_region = eu-west-1\n"
        "sso_start_url = https://corp.awsapps.com/start\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))

    async def never(*_: object) -> dict[str, object]:
        raise AssertionError("nobody is asked")

    with pytest.raises(AuthError) as raised:
        asyncio.run(AccountSessions(LaneAccess(profile="work"), never).credentials(OWN))
    assert "of the profile `work` can't be used" in str(raised.value)
    assert "`aws sso login`" in str(raised.value)


PROFILES = """
kind: aws
source: aws
start: 2026-11-01
profiles: [team-a, team-b]
profile: team-a
regions: [us-east-1, us-west-2]
endpoint_url: {url}
endpoints:
"""


@pytest.mark.slow
def test_profiles_are_accounts_each_with_credentials_of_its_own(
    aws: tuple[Proxy, str], lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, url = aws
    proxy.accounts |= {"AKIATEAMA": ("111111111111", 0), "AKIATEAMB": ("222222222222", 0)}
    (tmp_path / "config").write_text("[profile team-a]\n[profile team-b]\n")
    (tmp_path / "keys").write_text(
        f"[team-a]\naws_access_key_id = AKIATEAMA\naws_secret_access_key = {SECRET}\n"
        f"[team-b]\naws_access_key_id = AKIATEAMB\naws_secret_access_key = {SECRET}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)

    def who(call: Call) -> Response | None:
        if call.action != "GetCallerIdentity":
            return None
        inner = f"<Account>{call.account}</Account><UserId>u</UserId><Arn>a</Arn>"
        result = f"<GetCallerIdentityResult>{inner}</GetCallerIdentityResult>"
        return Response(f"<GetCallerIdentityResponse>{result}</GetCallerIdentityResponse>")

    proxy.rules += [who, one_volume]
    file = tmp_path / "aws.yaml"
    file.write_text(PROFILES.format(url=url) + VOLUMES)
    (result,) = read(load_source(file, {}), lake, DAYS[0]).results
    rows = current(lake, "aws", "ec2_volumes").to_pylist()
    lanes = {(row["account_id"], row["account_name"], row["region"]) for row in rows}
    assert lanes == {
        (account, name, region)
        for account, name in (("111111111111", "team-a"), ("222222222222", "team-b"))
        for region in ("us-east-1", "us-west-2")
    }
    assert {row["volume_id"] for row in rows} == {f"vol-{a}-{region}" for a, _, region in lanes}
    assert not proxy.of("AssumeRole")
    assert result.manifest.notes.values["lanes"]["rows"] == 4


@pytest.mark.slow
def test_keys_that_are_refused_are_one_sentence_before_any_lane(
    aws: tuple[Proxy, str], tmp_path: Path
) -> None:
    proxy, url = aws
    proxy.rules.append(lambda call: error("InvalidClientTokenId", 403, "sts", "is invalid"))
    source = inventory(url, ["111111111111"], REGIONS[:1], tmp_path)

    async def lanes() -> None:
        async with open_lanes(source, BudgetResource(where="memory").open) as sender:
            await lanes_of(sender)

    with pytest.raises(AuthError) as raised:
        asyncio.run(lanes())
    assert "AWS refuses the credentials" in str(raised.value)
    assert "Check: 1. the access key and its secret" in str(raised.value)
    assert [call.key for call in proxy.calls] == [KEY]
