"""What botocore logs shows no credentials."""

import logging

import pytest

from pipeline.redaction import keep_secrets_out

SIGNED = "host:s3\nx-amz-security-token:TOKEN+a/b=\nx-amz-date:1"
SENT = {"X-Amz-Security-Token": b"TOKEN+a/b=", "Authorization": b"AWS4 SIGNED"}
ANSWERED = "<SessionToken>TOKEN+a/b=</SessionToken>"


@pytest.mark.parametrize(
    ("logger", "details"),
    [
        ("botocore.auth", SIGNED),
        ("botocore.endpoint", SENT),
        ("botocore.hooks", SENT),
        ("botocore.parsers", ANSWERED),
        ("botocore.handlers", SENT),
    ],
)
def test_boto_s_details_are_in_no_log(
    logger: str, details: object, caplog: pytest.LogCaptureFixture
) -> None:
    keep_secrets_out()
    with caplog.at_level(logging.DEBUG, logger):
        logging.getLogger(logger).debug("Details: %s", details)
        logging.getLogger(logger).warning("The clock is 20 minutes off.")
    assert [record.getMessage() for record in caplog.records] == ["The clock is 20 minutes off."]
