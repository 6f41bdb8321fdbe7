"""Many accounts, many regions: every lane ends in an outcome, and its rows are exact."""

from pathlib import Path
from threading import Event

import pytest
from starlette.responses import Response

from pipeline.config import load_source
from pipeline.lake.read import current, dataset
from pipeline.lake.s3 import Lake
from tests.lanes.support import (
    DAYS,
    INSTANCES,
    REGIONS,
    Call,
    Proxy,
    client_of,
    error,
    hanging,
    inventory,
    read,
    refusing,
    region_state,
    with_instances,
    with_volumes,
)

pytestmark = pytest.mark.slow

ACCOUNTS = [f"{n}" * 12 for n in range(1, 6)]
Aws = tuple[Proxy, str]


def ids(lake: Lake, endpoint: str = "ec2_volumes") -> list[tuple[str, str, str]]:
    rows = current(lake, "aws", endpoint).select(["account_id", "region", "volume_id"]).to_pylist()
    return sorted(tuple(row.values()) for row in rows)


def test_five_accounts_in_four_regions_land_exactly(
    aws: Aws, moto: str, lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    made = sorted(
        (account, region, volume)
        for n, account in enumerate(ACCOUNTS)
        for m, region in enumerate(REGIONS)
        for volume in with_volumes(moto, account, region, (n * m) % 8)
    )
    source = inventory(url, ACCOUNTS, REGIONS, tmp_path)
    (result,) = read(source, lake, DAYS[0]).results
    assert ids(lake) == made
    lanes = result.manifest.notes.values["lanes"]
    with_rows = len({(account, region) for account, region, _ in made})
    assert lanes == {
        "rows": with_rows,
        "none": 20 - with_rows,
        "denied": 0,
        "throttled": 0,
        "failed": 0,
    }
    assert sum(lanes.values()) == 20
    assert set(proxy.sessions.values()) == {1}, "one session an account"
    assumed = proxy.of("AssumeRole")
    assert {call.params["ExternalId"] for call in assumed} == {"the-external-id-of-the-tests"}
    assert {call.params["RoleSessionName"] for call in assumed} == {"headrace"}
    rows = dataset(lake, "aws", "ec2_volumes").to_table().to_pylist()
    assert {row["size"] for row in rows} <= set(range(10, 18))
    assert {row["_stale"] for row in rows} == {False}


def test_a_lane_that_fails_takes_down_no_other_and_keeps_its_rows_as_stale(
    aws: Aws, moto: str, lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    for account in ACCOUNTS[:2]:
        for region in REGIONS[:2]:
            with_volumes(moto, account, region, 3)
    source = inventory(url, ACCOUNTS[:2], REGIONS[:2], tmp_path, more="max_failed_share: 0.5")
    read(source, lake, DAYS[0])
    before = ids(lake)
    sick = {"account": ACCOUNTS[0], "region": REGIONS[0], "action": "DescribeVolumes"}
    proxy.rules.append(refusing(lambda: error("SomethingOdd"), **sick))
    denied = {"account": ACCOUNTS[1], "region": REGIONS[0], "action": "DescribeVolumes"}
    proxy.rules.append(refusing(lambda: error("UnauthorizedOperation", 403), **denied))
    client_of(moto, "ec2", ACCOUNTS[0], REGIONS[1]).create_volume(
        Size=99, AvailabilityZone=f"{REGIONS[1]}a"
    )
    (result,) = read(source, lake, DAYS[1]).results
    assert len(ids(lake)) == len(before) + 1
    rows = current(lake, "aws", "ec2_volumes").to_pylist()
    stale = {(row["account_id"], row["region"]) for row in rows if row["_stale"]}
    assert stale == {(ACCOUNTS[0], REGIONS[0]), (ACCOUNTS[1], REGIONS[0])}
    values = result.manifest.notes.values
    assert values["lanes"] == {"rows": 2, "none": 0, "denied": 1, "throttled": 0, "failed": 1}
    assert values["reasons"] == [
        ["denied", "UnauthorizedOperation", 1],
        ["failed", "SomethingOdd", 1],
    ]
    (check,) = [check for check in result.checks if check.name == "values_read"]
    assert not check.passed
    assert "SomethingOdd" in check.detail
    assert f"{ACCOUNTS[0]}/{REGIONS[0]}" in check.detail
    # The lane is well again: its rows are those of the day, and none is stale.
    proxy.rules.clear()
    client_of(moto, "ec2", ACCOUNTS[0], REGIONS[0]).delete_volume(VolumeId=before[0][2])
    read(source, lake, DAYS[2])
    rows = current(lake, "aws", "ec2_volumes").to_pylist()
    assert not any(row["_stale"] for row in rows)
    assert before[0] not in ids(lake)


def test_too_many_failed_lanes_commit_nothing_and_the_next_attempt_reads_these_alone(
    aws: Aws, moto: str, lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    for region in REGIONS:
        with_volumes(moto, ACCOUNTS[0], region, 2)
    source = inventory(url, ACCOUNTS[:1], REGIONS, tmp_path, more="max_failed_share: 0.2")
    ill = [
        refusing(lambda: error("InternalError", 500), region=region, action="DescribeVolumes")
        for region in REGIONS[:2]
    ]
    proxy.rules += ill
    outcome = read(source, lake, DAYS[0], "a-run")
    (failed,) = outcome.failed
    assert "2 of 4 lanes failed, and at most 20.0% may" in str(failed.error)
    assert outcome.retry_wait_s is not None, "Dagster retries what may be well by then"
    proxy.rules.clear()
    (result,) = read(source, lake, DAYS[0], "a-run").results
    assert len(ids(lake)) == 8
    assert result.manifest.notes.values["lanes"]["rows"] == 4


def test_a_region_that_is_off_is_no_failure(
    aws: Aws, moto: str, lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    with_volumes(moto, ACCOUNTS[0], REGIONS[0], 2)
    proxy.rules += [
        refusing(lambda: error("AuthFailure", 401), region=REGIONS[1], service="ec2"),
        refusing(lambda: region_state("not-opted-in"), action="DescribeRegions"),
    ]
    source = inventory(url, ACCOUNTS[:1], REGIONS[:2], tmp_path, more="max_failed_share: 0.0")
    (result,) = read(source, lake, DAYS[0]).results
    values = result.manifest.notes.values
    assert values["lanes"] == {"rows": 1, "none": 1, "denied": 0, "throttled": 0, "failed": 0}
    assert values["reasons"] == [["none", "AuthFailure", 1]]
    assert all(check.passed for check in result.checks)


def test_a_role_that_can_not_be_assumed_fails_the_lanes_of_its_account_alone(
    aws: Aws, moto: str, lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    for account in ACCOUNTS:
        with_volumes(moto, account, REGIONS[0], 1)

    def refused(call: Call) -> Response | None:
        of_third = ACCOUNTS[2] in call.params.get("RoleArn", "")
        return error("AccessDenied", 403, "sts", "is not authorized") if of_third else None

    proxy.rules.append(refused)
    source = inventory(url, ACCOUNTS, REGIONS[:2], tmp_path, more="max_failed_share: 0.2")
    (result,) = read(source, lake, DAYS[0]).results
    values = result.manifest.notes.values
    assert values["lanes"] == {"rows": 4, "none": 4, "denied": 0, "throttled": 0, "failed": 2}
    sentence = values["failures"][0]["reason"]
    assert f"The role `arn:aws:iam::{ACCOUNTS[2]}:role/audit` can't be assumed" in sentence
    assert (
        len([call for call in proxy.of("AssumeRole") if ACCOUNTS[2] in call.params["RoleArn"]]) == 1
    )


def test_a_session_that_ends_in_mid_run_is_renewed(
    aws: Aws, moto: str, lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    for region in REGIONS:
        with_instances(moto, ACCOUNTS[0], region, 12)
    seen: list[Call] = []

    def expires(call: Call) -> Response | None:
        seen.append(call)
        of_first = [each for each in seen if each.session == 1]
        ended = call.session == 1 and len(of_first) > 4
        return error("RequestExpired") if ended else None

    proxy.rules.append(expires)
    more = "max_failed_share: 0.0"
    source = inventory(url, ACCOUNTS[:1], REGIONS, tmp_path, INSTANCES, more)
    (result,) = read(source, lake, DAYS[0]).results
    assert result.manifest.rows == 48
    paged = [call for call in proxy.of("DescribeInstances") if "NextToken" in call.params]
    assert {call.session for call in paged} == {1, 2}, "it ended between two pages of a lane"
    assert proxy.sessions[ACCOUNTS[0]] == 2


def test_a_lane_that_hangs_fails_by_itself(aws: Aws, moto: str, lake: Lake, tmp_path: Path) -> None:
    proxy, url = aws
    for region in REGIONS:
        with_volumes(moto, ACCOUNTS[0], region, 1)
    over = Event()
    proxy.rules.append(hanging(over, region=REGIONS[2], action="DescribeVolumes"))
    more = "max_failed_share: 0.3\nlane_timeout_s: 6"
    source = inventory(url, ACCOUNTS[:1], REGIONS, tmp_path, more=more)
    try:
        (result,) = read(source, lake, DAYS[0]).results
    finally:
        over.set()
    values = result.manifest.notes.values
    assert values["lanes"]["failed"] == 1
    assert values["failures"][0]["reason"] == "not read within 6 s"
    assert len(ids(lake)) == 3


def test_throttling_slows_the_lane_s_budget_and_loses_nothing(
    aws: Aws, moto: str, lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    with_instances(moto, ACCOUNTS[0], REGIONS[0], 18)
    answers = iter([None, "Throttling", "RequestLimitExceeded", None, "Throttling"])

    def throttles(call: Call) -> Response | None:
        code = next(answers, None) if call.action == "DescribeInstances" else None
        return error(code, 503) if code else None

    proxy.rules.append(throttles)
    source = inventory(url, ACCOUNTS[:1], REGIONS[:1], tmp_path, INSTANCES)
    (result,) = read(source, lake, DAYS[0]).results
    assert result.manifest.rows == 18
    assert result.manifest.throttled == 3
    assert result.manifest.requests >= 4 + 3


def test_a_lane_that_stays_throttled_says_so(
    aws: Aws, moto: str, lake: Lake, tmp_path: Path
) -> None:
    proxy, url = aws
    for region in REGIONS[:2]:
        with_volumes(moto, ACCOUNTS[0], region, 1)
    proxy.rules.append(
        refusing(lambda: error("Throttling"), region=REGIONS[0], action="DescribeVolumes")
    )
    source = inventory(url, ACCOUNTS[:1], REGIONS[:2], tmp_path)
    retries = source.retries.model_copy(update={"throttled": 1})
    source = source.model_copy(update={"retries": retries})
    outcome = read(source, lake, DAYS[0])
    assert "1 of 2 lanes failed" in str(outcome.failed[0].error)
    assert "Throttling" in str(outcome.failed[0].error)


def test_a_response_of_a_lane_may_be_as_long_as_the_yaml_says(
    aws: Aws, moto: str, lake: Lake, tmp_path: Path
) -> None:
    _, url = aws
    with_volumes(moto, ACCOUNTS[0], REGIONS[0], 12)
    inventory(url, ACCOUNTS[:1], REGIONS[:1], tmp_path)
    (file,) = tmp_path.glob("aws*.yaml")
    file.write_text(file.read_text().replace("limits: {", "limits: {max_body_mb: 0.002, ", 1))
    outcome = read(load_source(file, {}), lake, DAYS[0])
    assert "larger than 2,097 bytes" in str(outcome.failed[0].error)
    assert "`limits.max_body_mb`" in str(outcome.failed[0].error)


def test_a_secret_is_shown_nowhere(aws: Aws, moto: str, lake: Lake, tmp_path: Path) -> None:
    proxy, url = aws
    tokens: list[str] = []

    def repeats(call: Call) -> Response | None:
        if call.action != "DescribeVolumes":
            return None
        tokens.append(call.key)
        return error("Odd", 400, message="you sent the-external-id-of-the-tests")

    proxy.rules.append(repeats)
    source = inventory(url, ACCOUNTS[:1], REGIONS[:1], tmp_path)
    outcome = read(source, lake, DAYS[0])
    said = str(outcome.failed[0].error)
    assert "the-external-id-of-the-tests" not in said
    assert "Odd" in said
    assert "the-external-id" not in repr(source) + repr(source.lanes)
    assert "a-secret-access-key" not in repr(source) + repr(source.lanes)
