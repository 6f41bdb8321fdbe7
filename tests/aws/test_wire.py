"""A response of AWS as rows, or as the error that it is: without a server."""

import pytest

from pipeline.aws import wire
from pipeline.aws.service_models import any_operation

PLAIN = {
    ("ec2", "DescribeVolumes"): "<DescribeVolumesResponse><volumeSet/></DescribeVolumesResponse>",
    ("iam", "ListUsers"): "<ListUsersResponse><ListUsersResult><Users/><IsTruncated>false"
    "</IsTruncated></ListUsersResult></ListUsersResponse>",
    ("s3", "ListBuckets"): '<?xml version="1.0"?><ListAllMyBucketsResult><Buckets/>'
    "</ListAllMyBucketsResult>",
    ("sqs", "ListQueues"): "{}",
    ("dynamodb", "ListTables"): '{"TableNames": []}',
    ("lambda", "ListFunctions"): '{"Functions": []}',
}


@pytest.mark.parametrize(("service", "name"), [*PLAIN])
def test_a_list_without_rows_is_a_page(service: str, name: str) -> None:
    page = wire.read(any_operation(service, name), 200, {}, PLAIN[service, name].encode())
    assert page.error == ""
    assert wire.next_params(any_operation(service, name), page.members) is None


@pytest.mark.parametrize(
    ("service", "name", "body", "code"),
    [
        (
            "ec2",
            "DescribeVolumes",
            "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>no</Message></Error>"
            "</Errors></Response>",
            "RequestLimitExceeded",
        ),
        (
            "iam",
            "ListUsers",
            "<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code></Error>"
            "</ErrorResponse>",
            "Throttling",
        ),
        ("s3", "ListBuckets", "<Error><Code>SlowDown</Code></Error>", "SlowDown"),
        ("dynamodb", "ListTables", '{"__type": "a.b#Throttling", "message": "no"}', "Throttling"),
    ],
)
def test_an_error_in_a_200_is_no_page_without_rows(
    service: str, name: str, body: str, code: str
) -> None:
    assert wire.read(any_operation(service, name), 200, {}, body.encode()).error == code


@pytest.mark.parametrize(("service", "name"), [*PLAIN])
@pytest.mark.parametrize("body", ["", "<html><body>Sign in</body></html>", '{"ok": true}'])
def test_a_body_of_something_else_is_no_page_without_rows(
    service: str, name: str, body: str
) -> None:
    with pytest.raises(ValueError, match=r"the response (is|has|can't)"):
        wire.read(any_operation(service, name), 200, {}, body.encode())


def test_a_page_that_says_more_and_not_how_is_no_end() -> None:
    operation = any_operation("iam", "ListUsers")
    assert wire.next_params(operation, {"IsTruncated": True, "Marker": "m"}) == {"Marker": "m"}
    with pytest.raises(ValueError, match="more follow"):
        wire.next_params(operation, {"IsTruncated": True})
