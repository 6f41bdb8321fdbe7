"""S3 does what it is asked, and the answer never comes: the outcome is found out, not guessed."""

from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from pipeline.errors import LakeUnavailable
from pipeline.lake.commit import CommitResult
from pipeline.lake.s3 import Lake
from tests.lake.support import check_clean, extract, read, whole

pytestmark = pytest.mark.slow


class Unanswered:
    """A boto3 client whose call of that number is carried out, but not answered.

    :param retried: as boto3's own retries: the call is sent again, and that one is answered.
    """

    def __init__(self, client: Any, number: int, *, retried: bool) -> None:
        self._client, self._left, self._retried = client, number, retried
        self.name: str | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not callable(method) or name == "get_paginator":
            return method

        def call(**arguments: Any) -> Any:
            answer = method(**arguments)
            self._left -= 1
            if self._left >= 0 or self.name is not None:
                return answer
            self.name = name
            if self._retried:
                return method(**arguments)
            raise ReadTimeoutError(endpoint_url="http://s3.example")

        return call


@pytest.mark.parametrize("how", [{}, {"indexed": True}, {"indexed": True, "inline": True}])
@pytest.mark.parametrize("retried", [False, True])
def test_each_answer_lost_in_turn(lake: Lake, retried: bool, how: Any) -> None:
    extract(lake, version="0", batches=1)
    real, resolved = lake.client, set()
    for number in count():
        version = str(number + 1)
        lake.client = client = Unanswered(real, number, retried=retried)
        try:
            assert extract(lake, version=version, batches=1, **how).result is CommitResult.DONE
            resolved.add(client.name)
        except LakeUnavailable:
            assert read(lake) in (whole(str(number), 1), whole(version, 1))
        lake.client = real
        if client.name is None:
            break
        extract(lake, version=version, batches=1, **how)
        assert read(lake) == whole(version, 1)
        check_clean(lake)
    assert "put_object" in resolved
    if retried:
        assert resolved >= {"put_object", "delete_objects"}
        assert ("complete_multipart_upload" in resolved) is ("inline" not in how)


def test_an_upload_that_was_completed_is_unknown_to_aws(lake: Lake) -> None:
    """SeaweedFS lets it be completed again; AWS may say that there is no such upload."""

    class Client(Unanswered):
        def __getattr__(self, name: str) -> Any:
            method = getattr(self._client, name)
            if name != "complete_multipart_upload":
                return method

            def complete(**arguments: Any) -> Any:
                method(**arguments)
                raise ClientError(
                    {
                        "Error": {"Code": "NoSuchUpload"},
                        "ResponseMetadata": {"HTTPStatusCode": 404},
                    },
                    "CompleteMultipartUpload",
                )

            return complete

    lake.client = Client(lake.client, 0, retried=False)
    assert extract(lake).result is CommitResult.DONE
    assert read(lake) == whole("new")
    check_clean(lake)


def test_a_manifest_whose_answer_was_lost_is_done(lake: Lake) -> None:
    class Client(Unanswered):
        def __getattr__(self, name: str) -> Any:
            method = getattr(self._client, name)
            if name != "put_object":
                return method

            def put(**arguments: Any) -> Any:
                answer = method(**arguments)
                if "_manifests" in arguments["Key"]:
                    raise ReadTimeoutError(endpoint_url="http://s3.example")
                return answer

            return put

    lake.client = Client(lake.client, 0, retried=False)
    assert extract(lake).result is CommitResult.DONE
    assert read(lake) == whole("new")
    check_clean(lake)


def test_a_manifest_of_which_nothing_can_be_known(lake: Lake) -> None:
    """Neither written nor refused: raised, and the next attempt carries the decision out."""

    class Client(Unanswered):
        def __getattr__(self, name: str) -> Any:
            method = getattr(self._client, name)
            if name != "put_object":
                return method

            def put(**arguments: Any) -> Any:
                if "_manifests" in arguments["Key"]:
                    raise ReadTimeoutError(endpoint_url="http://s3.example")
                return method(**arguments)

            return put

    real = lake.client
    lake.client = Client(real, 0, retried=False)
    with pytest.raises(LakeUnavailable, match=r"did not say whether .*The next attempt finds out"):
        extract(lake)
    lake.client = real
    assert read(lake) == []
    extract(lake, version="not used")
    assert read(lake) == whole("new")
    check_clean(lake)
