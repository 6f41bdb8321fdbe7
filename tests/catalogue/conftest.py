"""One real S3 server for the catalogue's tests; each test has a lake of its own in it."""

from collections.abc import Iterator
from itertools import count

import pytest

from local.services import S3, seaweedfs
from pipeline.lake.s3 import Lake

_numbers = count()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with seaweedfs(tmp_path_factory.mktemp("catalogue-s3"), buckets=["lake"]) as server:
        yield server


@pytest.fixture
def lake(s3: S3) -> Lake:
    return Lake(s3.client(), f"s3://lake/catalogue-{next(_numbers)}")
