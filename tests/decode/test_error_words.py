"""The words by which a body without rows says what is wrong."""

from typing import Any

import pytest

from pipeline.decode.error_words import too_many_requests


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"error": {"code": 429}}, "error.code"),
        ({"status": 429, "data": []}, "status"),
        ({"status": "429 Too Many Requests"}, "status"),
        ({"error": {"code": 8, "status": "RESOURCE_EXHAUSTED"}}, "error.status"),
        ({"error": {"type": "requests", "code": "rate_limit_exceeded"}}, "error.code"),
        ({"error": {"errors": [{"reason": "userRateLimitExceeded"}]}}, "error.errors.0.reason"),
        ({"errors": [{"extensions": {"code": "THROTTLED"}}]}, "errors.0.extensions.code"),
        ([{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "later"}], "0.errorCode"),
        ({"__type": "com.aws#ThrottlingException"}, "__type"),
        ({"ok": False, "error": "ratelimited"}, "error"),
        ({"error_id": 502, "error_name": "throttle_violation"}, "error_name"),
        ({"status": "OVER_QUERY_LIMIT", "results": []}, "status"),
    ],
)
def test_a_code_of_too_many_requests(body: Any, name: str) -> None:
    code = too_many_requests(body)
    assert code is not None
    assert code.name == name


@pytest.mark.parametrize(
    "body",
    [
        {"code": 4290},
        {"code": 0, "message": "rate limit exceeded"},
        {"error": "storage_quota_exceeded"},
        {"type": "rate_limits", "data": []},
        {"filter": {"status": "THROTTLED"}},
        {"status": "not_throttled"},
        {"data": [{"id": 1, "code": 429}]},
        [{"id": 1, "status": "THROTTLED"}],
        429,
        None,
    ],
)
def test_what_is_no_such_code(body: Any) -> None:
    assert too_many_requests(body) is None
