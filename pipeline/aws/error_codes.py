"""The meaning of AWS's error codes for the lane that they came in. Pure: a table.

==========  =======================================  ===========================================
outcome     codes                                    what is done
==========  =======================================  ===========================================
none        what is not there, or not switched on    the lane has no rows; counted by code
denied      no permission                            the lane has no new rows; counted by code
throttled   too many requests                        all processes of the lane's budget wait
expired     the session has ended                    a new one, once; then failed
retry       AWS is ill                               the request is retried, bounded
failed      every other code                         listed; too many fail the partition
==========  =======================================  ===========================================
"""

from enum import Enum
from typing import Final


class ErrorMeaning(Enum):
    NONE = "none"
    DENIED = "denied"
    THROTTLED = "throttled"
    EXPIRED = "expired"
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
    "AuthFailure",  # EC2, in a region that the account has not switched on
    "InvalidClientTokenId",  # the others, there
    "UnrecognizedClientException",
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
    ErrorMeaning.THROTTLED: _THROTTLED,
    ErrorMeaning.EXPIRED: _EXPIRED,
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
