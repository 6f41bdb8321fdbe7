"""The lake's tests talk to S3 by boto3, too."""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def client(s3_client: Any) -> Any:
    return s3_client
