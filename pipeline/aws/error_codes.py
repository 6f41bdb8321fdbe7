"""The meaning of AWS's error codes for the lane that they came in. Pure: a table.

==========  =======================================  ===========================================
outcome     codes                                    what is done
==========  =======================================  ===========================================
none        what is not there, or not switched on    the lane has no rows; counted by code
refused     the credentials are not known there      none if its region is off; else failed
denied      no permission                            the lane has no new rows; counted by code
throttled   too many requests                        all processes of the lane's budget wait
expired     the session has ended                    a new one, once; then failed
skewed      the signature's time is not AWS's        failed; what the clocks say
page ended  the page's token has expired             the lane is read from its first page
retry       AWS is ill                               the request is retried, bounded
failed      every other code                         listed; too many fail the partition
==========  =======================================  ===========================================
"""

from enum import Enum
from typing import Final


class ErrorMeaning(Enum):
    NONE = "none"
    REFUSED = "refused"
    DENIED = "denied"
    THROTTLED = "throttled"
    EXPIRED = "expired"
    SKEWED = "skewed"
    PAGE_ENDED = "page ended"
    RETRY = "retry"
    FAILED = "failed"


_DENIED: Final = {
    "AccessDenied",
    "AccessDeniedException",
    "AllAccessDisabled",
    "AuthorizationError",
    "AuthorizationErrorException",
    "Client.UnauthorizedOperation",
    "ForbiddenException",
    "InsufficientPrivilegesException",
    "NotAuthorized",
    "NotAuthorizedException",
    "UnauthorizedOperation",
    "UnauthorizedException",
}
_NONE: Final = {
    "AWSOrganizationsNotInUseException",
    "OptInRequired",
    "OptInRequiredException",
    "RegionDisabledException",
    "SubscriptionRequiredException",
    "UnsupportedOperation",
    "UnsupportedOperationException",
    "InvalidAction",
    "UnknownOperationException",
    "ResourceNotFoundException",
    "NoSuchBucket",
    "NoSuchBucketPolicy",
    "NoSuchConfiguration",
    "NoSuchEntity",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchTagSet",
    "NoSuchTagSetError",
    "NoSuchWebsiteConfiguration",
    "NoSuchCORSConfiguration",
    "ReplicationConfigurationNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError",
    "ObjectLockConfigurationNotFoundError",
    "OwnershipControlsNotFoundError",
    "NotFoundException",
}
_REFUSED: Final = {
    "AuthFailure",  # EC2
    "InvalidAccessKeyId",  # S3
    "InvalidClientTokenId",
    "InvalidSecurity",
    "UnrecognizedClientException",
}
"""Of a region that the account has not switched on, and of credentials that are no more."""
_THROTTLED: Final = {
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequests",
    "TooManyRequestsException",
    "TransactionInProgressException",
    "Client.RequestLimitExceeded",
}
_EXPIRED: Final = {
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "TokenRefreshRequired",
}
_SKEWED: Final = {
    "InvalidSignatureException",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
}
_PAGE_ENDED: Final = {
    "ExpiredNextTokenException",
    "InvalidMarker",
    "InvalidMarkerException",
    "InvalidNextToken",
    "InvalidNextTokenException",
    "InvalidPaginationToken",
    "InvalidPaginationTokenException",
}
_RETRY: Final = {
    "InternalError",
    "InternalErrorException",
    "InternalFailure",
    "InternalServerError",
    "InternalServiceError",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "Unavailable",
}
_MEANINGS: Final = {
    ErrorMeaning.DENIED: _DENIED,
    ErrorMeaning.NONE: _NONE,
    ErrorMeaning.REFUSED: _REFUSED,
    ErrorMeaning.THROTTLED: _THROTTLED,
    ErrorMeaning.EXPIRED: _EXPIRED,
    ErrorMeaning.SKEWED: _SKEWED,
    ErrorMeaning.PAGE_ENDED: _PAGE_ENDED,
    ErrorMeaning.RETRY: _RETRY,
}
_BY_CODE: Final = {code: meaning for meaning, codes in _MEANINGS.items() for code in codes}


def meaning_of(code: str, status: int) -> ErrorMeaning:
    """The meaning of an error: by its code, else by the status that it came with."""
    if meaning := _BY_CODE.get(code):
        return meaning
    if status == 429:
        return ErrorMeaning.THROTTLED
    if status >= 500 or status in (408, 425):
        return ErrorMeaning.RETRY
    return ErrorMeaning.FAILED
