"""A filter that keeps credentials out of boto's logs, at any level."""

import logging
import re

_OF_BOTOCORE = (
    "auth", "awsrequest", "client", "credentials", "endpoint", "hooks", "httpsession", "parsers",
    "regions", "retryhandler", "session", "signers", "tokens", "utils",
)  # fmt: skip
_AWS_SECRET = re.compile(
    r"((?:x-amz-security-token|session_?token|secret_?access_?key|aws_secret\w*|authorization)"
    r"[\"']?(?:\s*[:=,]\s*|>)b?[\"']?)[^\"'<>}\n]+",
    re.IGNORECASE,
)


def keep_aws_secrets_out() -> None:
    """Filters for botocore, which at DEBUG logs what it signs with."""
    for name in _OF_BOTOCORE:
        logging.getLogger(f"botocore.{name}").addFilter(_without_aws_secrets)


def _without_aws_secrets(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    redacted = _AWS_SECRET.sub(r"\1***", text)
    if redacted != text:
        record.msg, record.args = redacted, ()
    return True
