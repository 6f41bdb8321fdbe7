"""The local S3 server: it is real, it is ours alone, and it stops with whoever started it."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local.paths import ROOT
from local.services import S3, Identity, seaweedfs

pytestmark = pytest.mark.slow

GONE_S = 60.0  # patience for a busy machine

STARTER = """
import signal, sys, time
from pathlib import Path
from local.services import seaweedfs

signal.signal(signal.SIGTERM, signal.SIG_DFL)  # tests in the background ignore it
with seaweedfs(Path(sys.argv[1])) as s3:
    print(s3.endpoint_url, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def reader() -> Identity:
    return Identity.reader("reader-key", "reader-secret")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory, reader: Identity) -> Iterator[S3]:
    folder = tmp_path_factory.mktemp("s3")
    with seaweedfs(folder, buckets=["lake", "other"], others=[reader]) as server:
        yield server


def error_of(raised: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    response = raised.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2.0)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def wait_until_gone(url: str) -> bool:
    deadline = time.monotonic() + GONE_S
    while answers(url) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not answers(url)


def started_in_another_process(folder: Path) -> tuple["subprocess.Popen[str]", str]:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert starter.stdout is not None
    return starter, starter.stdout.readline().strip()


def test_the_buckets_asked_for_are_there_and_hold_objects(s3: S3) -> None:
    client = s3.client()
    client.put_object(Bucket="lake", Key="a/b=c/d", Body=b"0123456789")
    found = client.get_object(Bucket="lake", Key="a/b=c/d", Range="bytes=2-4")
    assert found["Body"].read() == b"234"
    assert {bucket["Name"] for bucket in client.list_buckets()["Buckets"]} == {"lake", "other"}


def test_a_put_on_condition_is_refused_when_the_object_is_there(s3: S3) -> None:
    client = s3.client()
    client.put_object(Bucket="lake", Key="once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as raised:
        client.put_object(Bucket="lake", Key="once", Body=b"2", IfNoneMatch="*")
    assert error_of(raised) == (412, "PreconditionFailed")


def test_what_is_staged_is_listed_as_an_upload_and_seen_by_no_reader(s3: S3) -> None:
    client = s3.client()
    upload = client.create_multipart_upload(Bucket="lake", Key="staged/part")["UploadId"]
    client.upload_part(
        Bucket="lake", Key="staged/part", UploadId=upload, PartNumber=1, Body=b"x" * 100
    )
    uploads = client.list_multipart_uploads(Bucket="lake", Prefix="staged/")["Uploads"]
    assert [(one["Key"], one["UploadId"]) for one in uploads] == [("staged/part", upload)]
    assert client.list_objects_v2(Bucket="lake", Prefix="staged/")["KeyCount"] == 0


def test_an_anonymous_call_is_refused(s3: S3) -> None:
    s3.client().put_object(Bucket="lake", Key="private", Body=b"1")
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{s3.endpoint_url}/lake/private", timeout=5.0)
    assert raised.value.code == 403
    raised.value.close()


def test_a_reader_can_read_and_not_write(s3: S3, reader: Identity) -> None:
    s3.client().put_object(Bucket="lake", Key="readable", Body=b"1")
    client = s3.acting_as(reader).client()
    assert client.get_object(Bucket="lake", Key="readable")["Body"].read() == b"1"
    with pytest.raises(ClientError) as raised:
        client.put_object(Bucket="lake", Key="readable", Body=b"2")
    assert error_of(raised) == (403, "AccessDenied")


def test_a_bucket_is_not_made_by_writing_to_it(s3: S3) -> None:
    with pytest.raises(ClientError) as raised:
        s3.client().put_object(Bucket="nowhere", Key="a", Body=b"1")
    assert error_of(raised) == (404, "NoSuchBucket")


def test_two_run_at_once_and_a_folder_used_again_keeps_its_objects(s3: S3, tmp_path: Path) -> None:
    with seaweedfs(tmp_path, secret_key="first") as second:
        assert second.endpoint_url != s3.endpoint_url
        second.client().put_object(Bucket="lake", Key="kept", Body=b"1")
    assert not answers(second.endpoint_url)
    with seaweedfs(tmp_path, secret_key="second") as third:
        assert third.client().get_object(Bucket="lake", Key="kept")["Body"].read() == b"1"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_is_gone_soon_after_its_starter_was_killed(
    number: signal.Signals, tmp_path: Path
) -> None:
    starter, url = started_in_another_process(tmp_path)
    with starter:
        assert answers(url)
        starter.send_signal(number)
    assert wait_until_gone(url)


def test_a_failure_in_the_block_stops_it(tmp_path: Path) -> None:
    logs = set(Path("/tmp").glob("weed.*"))
    with (
        pytest.raises(ZeroDivisionError),
        seaweedfs(tmp_path) as server,
    ):
        raise ZeroDivisionError
    assert not answers(server.endpoint_url)
    assert list(Path("/tmp").glob(f"seaweedfs-*-{server.endpoint_url[-5:]}.sock")) == []
    assert set(Path("/tmp").glob("weed.*")) == logs


def test_a_bucket_name_that_s3_refuses_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="3 to 63 characters, not 'b2'"),
        seaweedfs(tmp_path, buckets=["b2"]),
    ):
        raise AssertionError("it must not start")
    assert list(tmp_path.iterdir()) == []
