"""One real S3 server for all tests of a session; each test has a lake of its own in it."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from local.services import S3, seaweedfs
from pipeline.lake.s3 import Lake
from tests.support.identities import READER

_numbers = count()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with seaweedfs(tmp_path_factory.mktemp("s3"), buckets=["lake"], others=[READER]) as server:
        yield server


@pytest.fixture(scope="session")
def s3_client(s3: S3) -> Any:
    return s3.client()


@pytest.fixture
def new_lake(s3_client: Any) -> Callable[[], Lake]:
    """Lakes that are empty."""
    return lambda: Lake(s3_client, f"s3://lake/test-{next(_numbers)}")


@pytest.fixture
def lake(new_lake: Callable[[], Lake]) -> Lake:
    return new_lake()
