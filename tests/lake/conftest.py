"""One real S3 server for all tests of the lake; each test has a folder of its own in it."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.services import S3, Identity, seaweedfs
from pipeline.lake.store import Lake

READER = Identity.reader("reader-key", "reader-secret")
_numbers = itertools.count()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    directory = tmp_path_factory.mktemp("seaweedfs")
    with seaweedfs(directory, buckets=["lake"], others=[READER]) as server:
        yield server


@pytest.fixture(scope="session")
def client(s3: S3) -> Any:
    return s3.client()


@pytest.fixture
def new_lake(client: Any) -> Callable[[], Lake]:
    """Lakes that are empty."""
    return lambda: Lake(client, f"s3://lake/test-{next(_numbers)}")


@pytest.fixture
def lake(new_lake: Callable[[], Lake]) -> Lake:
    return new_lake()
