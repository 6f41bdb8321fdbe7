"""S3 says that what arrived is not what was sent: the request is sent again."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError

from local.services import S3
from pipeline.errors import LakeUnavailable, machine_problem
from pipeline.lake.s3 import Lake
from pipeline.lake.stores.s3_errors import classify
from tests.lake.support import check_clean, extract, read, whole

CODES = ("BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "InvalidDigest")


class _Raw:
    """The body of a response that S3 would have sent."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self._body


@contextmanager
def garbled(client: Any, code: str, times: int) -> Iterator[list[str]]:
    """S3 answers so to the first requests that carry a body, each time to the same one.

    Where a bit is flipped on the way can't be arranged with a real S3 without one's own TLS.
    """
    struck: list[str] = []
    text = f"<Error><Code>{code}</Code><Message>x</Message></Error>".encode()

    def answer(request: Any, **_: object) -> AWSResponse | None:
        if request.method != "PUT" or len(struck) >= times:
            return None
        struck.append(request.url)
        return AWSResponse(request.url, 400, {"content-type": "application/xml"}, _Raw(text))

    client.meta.events.register("before-send.s3", answer)
    try:
        yield struck
    finally:
        client.meta.events.unregister("before-send.s3", answer)


@pytest.mark.slow
@pytest.mark.parametrize("code", CODES)
def test_a_hiccup_costs_a_request_and_no_attempt(s3: S3, lake: Lake, code: str) -> None:
    client = s3.client()
    with garbled(client, code, 3) as struck:
        extract(Lake(client, lake.url().rstrip("/")), batches=1)
    assert len(struck) == 3
    assert len(set(struck)) == 1
    assert read(lake) == whole("new", 1)
    check_clean(lake)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of", "member"), [("?uploads", "UploadId"), ("uploadId=", "ETag")], ids=["begin", "complete"]
)
def test_a_200_whose_body_is_cut_is_no_upload_that_is_done(
    s3: S3, lake: Lake, of: str, member: str
) -> None:
    """S3 sends the status before it has put the parts together, and a proxy may end the body."""
    client = s3.client()

    def answer(request: Any, **_: object) -> AWSResponse | None:
        if request.method != "POST" or of not in request.url:
            return None
        return AWSResponse(request.url, 200, {"content-type": "application/xml"}, _Raw(b""))

    client.meta.events.register("before-send.s3", answer)
    with pytest.raises(LakeUnavailable, match=f"a body without `{member}`"):
        extract(Lake(client, lake.url().rstrip("/")), batches=1)
    assert read(lake) == []
    extract(lake, batches=1)
    assert read(lake) == whole("new", 1)
    check_clean(lake)


@pytest.mark.slow
@pytest.mark.parametrize("code", CODES)
def test_a_way_that_garbles_every_body_is_said(s3: S3, lake: Lake, code: str) -> None:
    client = s3.client()
    with (
        garbled(client, code, 1_000) as struck,
        pytest.raises(LakeUnavailable, match=rf"is not what was sent \(400 {code}\).*network"),
    ):
        extract(Lake(client, lake.url().rstrip("/")))
    assert len(struck) < 20
    extract(lake)
    assert read(lake) == whole("new")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EMFILE, "too many files open (EMFILE): raise `ulimit -n`"),
        (errno.ENOLCK, "gives no locks (ENOLCK): use a folder on a local disk"),
        (errno.EIO, "the disk or the file system fails (EIO)"),
    ],
)
def test_what_is_wrong_with_the_machine_is_said(number: int, said: str) -> None:
    first = OSError(number, "as the system says")
    assert said in machine_problem(first)
    wrapped = EndpointConnectionError(endpoint_url="http://s3.example", error=first)
    wrapped.__cause__ = first
    error = classify(wrapped, operation="put", key="s3://b/k", bucket="b", endpoint="http://e")
    assert said in str(error)
    assert "network" not in str(error)
    assert machine_problem(ValueError("something else")) == ""
