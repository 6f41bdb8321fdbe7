"""A file of kind aws: what it becomes, and what is wrong in it."""

import asyncio
from pathlib import Path

import pytest

from local.paths import ROOT
from pipeline.aws import service_models, wire
from pipeline.aws.rates import ASSUMED, PUBLISHED, USUAL, bucket_of
from pipeline.aws.regions import partition_of, regions, service_is_in
from pipeline.aws.row_columns import row_shape
from pipeline.config import load_all, load_source
from pipeline.errors import ConfigError
from pipeline.lanes.lane_sender import has_host

SHIPPED = ROOT / "sources" / "aws.yaml"
HEAD = "kind: aws\nsource: inventory\nstart: 2026-11-01\n"
VOLUMES = "{service: ec2, operation: describe_volumes, key: [volume_id]}"


def said(folder: Path, text: str) -> str:
    file = folder / "aws.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_source(file, {})
    return str(raised.value)


@pytest.mark.slow
def test_the_inventory_that_ships_loads_and_every_column_has_a_type() -> None:
    source = load_source(SHIPPED, {"HEADRACE_AWS_ACCOUNTS": "organization"})
    assert len(source.endpoints) >= 60
    assert source.lanes is not None
    assert source.lanes.accounts == ("organization",)
    for name, endpoint in source.endpoints.items():
        assert set(endpoint.key) <= set(endpoint.columns), name
        assert {"account_id", "account_name", "region", "_stale"} <= set(endpoint.columns), name
        assert endpoint.description, name
    volumes = source.endpoints["ec2_volumes"]
    assert volumes.columns["create_time"].type == "timestamp[iso]"
    assert volumes.columns["volume_id"].description == "The ID of the volume."
    assert [n for n in source.endpoints if source.incremental(n)] == [
        "cloudtrail_events",
        "cost_by_day",
    ]


def test_without_its_setting_it_is_not_loaded_and_takes_down_no_other() -> None:
    found = load_all((str(SHIPPED), str(ROOT / "sources" / "usgs.yaml")), {})
    assert [source.source for source in found.sources] == ["usgs"]
    assert "HEADRACE_AWS_ACCOUNTS is not set" in found.mistakes


@pytest.mark.parametrize(
    ("endpoint", "sentence"),
    [
        (
            "{service: ec2, operation: describe_volume, key: [a]}",
            "`operation: describe_volume` is no operation of `ec2` (the nearest are "
            "`describe_volumes`",
        ),
        ("{service: ec3, operation: x, key: [a]}", "`service: ec3` is no service of AWS"),
        (
            "{service: ec2, operation: delete_volume, key: [a]}",
            "may change something: an inventory only reads",
        ),
        ("{service: ec2, operation: create_volume, key: [a]}", "may change something"),
        (
            "{service: secretsmanager, operation: get_secret_value, key: [a]}",
            "gives secrets out, which an inventory must not hold",
        ),
        (
            "{service: ec2, operation: describe_volumes, key: [id]}",
            "the key `id` is not among the columns",
        ),
        (
            "{service: ec2, operation: describe_volumes, rows: Volume, key: [volume_id]}",
            "there is no `Volume` in the response: expected one of `NextToken`, `Volumes`",
        ),
        (
            "{service: ec2, operation: describe_instances, rows: Reservations.Instances, key: [a]}",
            "write `Reservations.*.Instances`",
        ),
        (
            "{service: ec2, operation: describe_volumes, key: [volume_id], params: {Filter: []}}",
            "`params` has `Filter`, which `describe_volumes` has not: expected some of VolumeIds",
        ),
        (
            "{service: s3, operation: get_bucket_policy, key: [policy], global: true}",
            "`get_bucket_policy` needs `Bucket`: add it to `params`",
        ),
        (
            "{service: iam, operation: list_users, key: [user_id], global: true, home: true}",
            "`global` is once an account, and `home` once in all",
        ),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_one_sentence_with_its_line(
    tmp_path: Path, endpoint: str, sentence: str
) -> None:
    found = said(tmp_path, f"{HEAD}endpoints:\n  a: {endpoint}\n")
    assert sentence in found
    assert found.startswith(f"{tmp_path}/aws.yaml:5: endpoints.a")
    assert len(found.splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("regions: [eu-wst-1]", "(the nearest are `eu-west-1`"),
        ("accounts: [12345]", "`12345` is no account: expected 12 digits in quotes"),
        ("accounts: ['not-one']", "expected 12 digits in quotes, `self` or `organization`"),
        ("accounts: organization", "no role to read it by: set `role`"),
        ("regions: [enabled, eu-west-1]", "`enabled` stands alone"),
        ("home_region: mars-1", "`mars-1` is no region of AWS that botocore knows"),
        ("acounts: self", "'acounts' is not a known key: did you mean 'accounts'?"),
    ],
)
def test_what_is_wrong_with_accounts_and_regions_is_said(
    tmp_path: Path, line: str, sentence: str
) -> None:
    assert sentence in said(tmp_path, f"{HEAD}{line}\nendpoints: {{a: {VOLUMES}}}\n")


def test_settings_with_commas_are_lists(tmp_path: Path) -> None:
    file = tmp_path / "aws.yaml"
    file.write_text(
        HEAD + f"accounts: ${{IDS}}\nrole: audit\nregions: ${{AT}}\nendpoints: {{a: {VOLUMES}}}\n"
    )
    env = {"IDS": "111111111111, 222222222222", "AT": "eu-west-1,us-east-1"}
    lanes = load_source(file, env).lanes
    assert lanes is not None
    assert lanes.accounts == ("111111111111", "222222222222")
    assert lanes.regions == ("eu-west-1", "us-east-1")


def test_every_operation_that_only_reads_has_a_verb_that_reads() -> None:
    for name in ("ec2", "iam", "s3", "lambda", "secretsmanager"):
        for operation in service_models.reading_operations(name):
            assert operation.split("_")[0] in ("list", "get", "describe", "lookup", "search")


@pytest.mark.parametrize("service", ["ec2", "rds", "iam", "ecs", "cloudtrail", "route53", "kms"])
def test_rows_and_columns_of_whole_services_can_be_declared(service: str) -> None:
    """Of whatever shape: they become tables, or are refused with a sentence that says `rows`."""
    landed, refused = 0, list[str]()
    for name in service_models.reading_operations(service):
        try:
            found = row_shape(service_models.operation(service, name), None)
        except ConfigError as error:
            refused.append(str(error))
        else:
            assert found.columns or found.form == "object"
            landed += 1
    assert all("`rows" in sentence or "host" in sentence for sentence in refused)
    assert landed > len(service_models.reading_operations(service)) / 3


def test_the_buckets_of_aws_are_windows_that_never_ask_for_more() -> None:
    for service in (*PUBLISHED, *ASSUMED):
        bucket = bucket_of(service, {})
        assert bucket.burst / bucket.window_s == pytest.approx(bucket.per_s), service


def test_the_docs_name_each_bucket_and_where_it_comes_from() -> None:
    rows = {
        cells[1].strip(" `"): [cell.strip() for cell in cells[2:5]]
        for line in (ROOT / "docs" / "aws.md").read_text().splitlines()
        if len(cells := line.split("|")) == 6 and "`" in cells[1]
    }
    for service, (bucket, page) in PUBLISHED.items():
        where = f"[published](https://docs.aws.amazon.com/{page})"
        assert rows[service] == [f"{bucket.burst}", f"{bucket.per_s:g}", where], service
    for service, bucket in {**ASSUMED, "any other": USUAL}.items():
        assert rows[service] == [f"{bucket.burst}", f"{bucket.per_s:g}", "assumed"], service


def test_an_account_s_own_host_is_the_account_s() -> None:
    operation = service_models.operation("s3control", "list_access_points")
    prefix = operation.host_prefix.replace("{AccountId}", "111122223333")
    endpoint = wire.service_endpoint("s3control", "eu-west-1", None, prefix)
    assert endpoint.url == "https://111122223333.s3-control.eu-west-1.amazonaws.com"
    assert (endpoint.signing_name, endpoint.signing_region) == ("s3", "eu-west-1")
    with pytest.raises(ConfigError, match="a host of each resource's own"):
        service_models.operation("neptune-graph", "get_graph_summary")


def test_a_region_that_is_newer_than_the_list_of_endpoints_is_asked() -> None:
    """Else its rows would be missing until botocore is upgraded, and the run green."""
    assert not service_is_in("health", "eu-west-1")
    assert service_is_in("ec2", "eu-west-1")
    assert service_is_in("ec2", "xx-new-9")
    unlisted = [name for name in regions() if partition_of(name) == "aws"]
    assert all(service_is_in("ec2", name) for name in unlisted)


def test_a_service_that_is_not_listed_is_left_out_only_if_it_has_no_host() -> None:
    assert asyncio.run(has_host("https://localhost:1/"))
    assert not asyncio.run(has_host("https://nothing.invalid/"))
