"""What S3 says no to, or does not answer, is one clear sentence without a secret."""

from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.services import S3
from pipeline.errors import HeadraceError, LakeRefused, LakeUnavailable
from pipeline.lake.s3 import Lake
from pipeline.lake.stores.base import UploadGone, WriteConflict
from pipeline.lake.stores.s3 import S3Store
from pipeline.lake.stores.s3_errors import classify
from tests.lake.support import extract, read, whole
from tests.support.identities import READER


def _lake(s3: S3, url: str = "s3://lake/x", **changes: Any) -> Lake:
    given = {
        "endpoint_url": s3.endpoint_url,
        "aws_access_key_id": s3.access_key,
        "aws_secret_access_key": s3.secret_key,
        **changes,
    }
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    session = boto3.session.Session()  # boto3's own one keeps the credentials of earlier tests
    return Lake(session.client("s3", region_name=s3.region, config=config, **given), url)


def _refused(lake: S3Store) -> str:
    with pytest.raises(LakeRefused) as caught:
        lake.check()
    return str(caught.value)


def test_a_lake_that_is_there(lake: Lake) -> None:
    lake.check()


def test_no_such_bucket(s3: S3) -> None:
    assert "the bucket `no-lake` does not exist there: create it, or correct `HEADRACE_LAKE`" in (
        _refused(_lake(s3, "s3://no-lake/x"))
    )


def test_wrong_keys(s3: S3) -> None:
    assert "the access key is not known there" in _refused(_lake(s3, aws_access_key_id="who"))
    text = _refused(_lake(s3, aws_secret_access_key="wrong-secret"))
    assert "the secret key does not fit the access key" in text
    assert "wrong-secret" not in text
    assert s3.access_key not in text


def test_a_lake_is_opened_with_the_credentials_that_are_set_now(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with those that an earlier lake of this process was opened with."""
    for name, value in s3.env().items():
        monkeypatch.setenv(name, value)
    S3Store.open("s3://lake/first").check()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "who")
    assert "the access key is not known there" in _refused(S3Store.open("s3://lake/second"))


def test_an_identity_that_may_only_read(s3: S3, lake: Lake) -> None:
    extract(lake)
    reader = Lake(s3.acting_as(READER).client(), lake.url())
    reader.check()
    assert read(reader) == whole("new")
    with pytest.raises(LakeRefused, match=r"may not put `s3://lake/.*they need `s3:PutObject`"):
        extract(reader)


def test_nobody_is_there(s3: S3) -> None:
    lake = _lake(s3, endpoint_url="http://127.0.0.1:9")
    with pytest.raises(LakeUnavailable, match=r"can't be reached.*check `AWS_ENDPOINT_URL_S3`"):
        lake.check()


def test_objects_are_changed_only_if_they_are_what_was_seen(lake: Lake) -> None:
    first = lake.put("a", b"1", replaces=None)
    with pytest.raises(WriteConflict):
        lake.put("a", b"2", replaces=None)
    second = lake.put("a", b"2", replaces=first)
    with pytest.raises(WriteConflict):
        lake.put("a", b"3", replaces=first)
    with pytest.raises(WriteConflict):
        lake.put("absent", b"3", replaces=first)
    assert not lake.delete_exactly("a", first)
    assert lake.delete_exactly("a", second)
    assert not lake.delete_exactly("a", second)
    assert lake.get("a") is None
    assert lake.size("a") is None


def test_many_objects(lake: Lake) -> None:
    for i in range(3):
        lake.put(f"f/{i}/x", b"", replaces=None)
    assert lake.folders("") == ["f"]
    assert lake.folders("f/") == ["0", "1", "2"]
    keys = [item.key for item in lake.list("f/")]
    lake.delete([*keys, "never/there"])
    assert list(lake.list("")) == []


def test_uploads_that_are_gone(lake: Lake) -> None:
    upload = lake.create_upload("u")
    part = lake.upload_part("u", upload, 1, b"x")
    lake.abort_upload("u", upload)
    lake.abort_upload("u", upload)
    with pytest.raises(UploadGone):
        lake.complete_upload("u", upload, [part])
    with pytest.raises(UploadGone):
        lake.upload_part("u", upload, 1, b"x")


@pytest.mark.parametrize(
    ("status", "code", "kind", "text"),
    [
        (400, "ExpiredToken", LakeRefused, "temporary credentials have expired: renew them"),
        (403, "RequestTimeTooSkewed", LakeRefused, "this machine's clock is wrong"),
        (301, "PermanentRedirect", LakeRefused, "in another region: set `AWS_REGION`"),
        (403, "QuotaExceeded", LakeRefused, "the quota of the bucket `b` is used up: make room"),
        (501, "NotImplemented", LakeRefused, "use an S3 that does"),
        (400, "Whatever", LakeRefused, "refused to put `s3://b/k`: 400 Whatever"),
        (503, "SlowDown", LakeUnavailable, "is not able to put `s3://b/k` now"),
        (500, "InternalError", LakeUnavailable, "resumes from the last batch"),
        (400, "RequestTimeout", LakeUnavailable, "(400 RequestTimeout)"),
        (409, "ConditionalRequestConflict", WriteConflict, "changed by another run"),
        (404, "NoSuchKey", WriteConflict, "changed by another run"),
        (400, "InvalidPart", UploadGone, "is gone"),
    ],
)
def test_the_table_of_answers(status: int, code: str, kind: type[HeadraceError], text: str) -> None:
    raised = ClientError(
        {
            "Error": {"Code": code, "Message": "AKIASECRET"},
            "ResponseMetadata": {"HTTPStatusCode": status},
        },
        "PutObject",
    )
    error = classify(raised, operation="put", key="s3://b/k", bucket="b", endpoint="http://e")
    assert type(error) is kind
    assert text in str(error)
    assert "AKIASECRET" not in str(error)


def test_no_credentials_at_all(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    lake = _lake(s3, aws_access_key_id=None, aws_secret_access_key=None)
    assert "no credentials were found" in _refused(lake)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [("If-Match",), ("If-Match", "If-None-Match")])
def test_an_s3_that_overlooks_conditions_is_refused_before_a_row_is_staged(
    s3: S3, new_lake: Callable[[], Lake], lost: tuple[str, ...]
) -> None:
    """Such servers are about, and say that all is well. Here the condition is lost on the way."""
    client = s3.client()

    def lose(params: dict[str, Any], **_: object) -> None:
        for name in lost:
            params["headers"].pop(name, None)

    client.meta.events.register("before-call.s3.PutObject", lose)
    lake = Lake(client, new_lake().url().rstrip("/"))
    with pytest.raises(LakeRefused, match=r"overlooks conditions: .*use an S3 that has"):
        extract(lake)
    assert not list(lake.list("igdb/games/dt="))
    assert lake.uploads("") == []


def test_conditions_are_looked_at_once_in_a_process(lake: Lake) -> None:
    puts = []
    lake.on_operation = lambda operation, _: puts.append(operation == "put")
    extract(lake)
    first = sum(puts)
    puts.clear()
    extract(lake, version="v2")
    assert sum(puts) == first - 1
