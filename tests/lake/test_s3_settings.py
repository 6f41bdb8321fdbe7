"""Settings of AWS that can't be used are one sentence that names them, and no traceback."""

from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from dagster_aws.s3 import S3Resource

from commands.__main__ import main
from pipeline.errors import ConfigError, HeadraceError, LakeRefused, LakeUnavailable
from pipeline.lake.stores.base import open_lake
from pipeline.lake.stores.s3_errors import classify
from resources.lake import LakeResource

WRONG = [
    ({"AWS_PROFILE": "nope"}, "The config profile (nope) could not be found. Check: 1. `AWS_PROF"),
    ({"AWS_ENDPOINT_URL_S3": "localhost:9000"}, "localhost:9000. Expected http://host:port"),
]


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "aws-config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HEADRACE_LAKE", "s3://lake/x")
    return config


@pytest.mark.parametrize(("env", "sentence"), WRONG)
def test_a_profile_or_an_address_that_is_none(
    env: dict[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert main(["lake"]) == 2
    shown = capsys.readouterr().err
    assert sentence in shown
    assert "Traceback" not in shown
    with pytest.raises(ConfigError) as caught:
        LakeResource(url="s3://lake/x", s3=S3Resource()).open()
    assert sentence in str(caught.value)


def test_a_file_of_a_web_identity_that_is_not_there(
    nothing_is_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_is_set.write_text(
        "[profile web]\nregion=eu-west-1\nrole_arn=arn:aws:iam::123456789012:role/x\n"
        "web_identity_token_file=/nowhere/token\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "web")
    lake = open_lake("s3://lake/x")
    for use in (lake.check, lake.filesystem):
        with pytest.raises(LakeRefused, match="the file `/nowhere/token` of the credentials"):
            use()


@pytest.mark.parametrize(
    ("code", "status", "kind", "sentence"),
    [
        ("AccessDenied", 403, LakeRefused, "that the role's trust policy names who asks"),
        ("ValidationError", 400, LakeRefused, "1. `role_arn` of the profile"),
        ("ExpiredToken", 403, LakeRefused, "the temporary credentials have expired"),
        ("InternalFailure", 500, LakeUnavailable, "is not able to"),
    ],
)
def test_a_role_that_is_not_assumed_is_no_matter_of_the_bucket(
    code: str, status: int, kind: type[HeadraceError], sentence: str
) -> None:
    error = ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "AssumeRole"
    )
    known = classify(error, operation="put", key="s3://lake/x", bucket="lake", endpoint="https://s")
    assert isinstance(known, kind)
    assert sentence in str(known)
    assert "s3:PutObject" not in str(known)
