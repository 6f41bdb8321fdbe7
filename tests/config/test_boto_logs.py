"""What botocore logs at DEBUG shows no credentials."""

import logging

import pytest

from pipeline.lake.stores.s3 import keep_aws_secrets_out


def test_boto_s_logs_show_no_credentials(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_aws_secrets_out()
    for name in ("botocore", "botocore.auth", "botocore.endpoint", "botocore.parsers"):
        # A test before this one may have had logging configured anew.
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        caplog.set_level(logging.DEBUG, name)
    with caplog.at_level(logging.DEBUG, "botocore"):
        logging.getLogger("botocore.auth").debug(
            "CanonicalRequest:\n%s", "host:s3\nx-amz-security-token:TOKEN+a/b=\nx-amz-date:1"
        )
        logging.getLogger("botocore.endpoint").debug(
            "Sending %s", {"X-Amz-Security-Token": b"TOKEN+a/b=", "Authorization": b"AWS4 SIGNED"}
        )
        logging.getLogger("botocore.parsers").debug("<SessionToken>TOKEN+a/b=</SessionToken>")
    assert "x-amz-date:1" in caplog.text
    assert "TOKEN" not in caplog.text
    assert "SIGNED" not in caplog.text
