"""The errors of S3, and of the settings and credentials that lead there, as the engine's. Pure.

A message names the bucket, the key and S3's error code, and says what to do. It never quotes S3's
own text or headers, which may hold an access key or a signed URL.
"""

import re
from typing import Any, Final

from botocore import exceptions as boto

from pipeline.errors import (
    ConfigError,
    HeadraceError,
    LakeRefused,
    LakeUnavailable,
    machine_problem,
)
from pipeline.lake.stores.base import UploadGone, WriteConflict

_PERMISSION: Final = {
    "get": "s3:GetObject (and s3:ListBucket)",
    "head": "s3:GetObject (and s3:ListBucket)",
    "list": "s3:ListBucket",
    "list_uploads": "s3:ListBucketMultipartUploads",
    "put": "s3:PutObject",
    "create_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_upload": "s3:PutObject",
    "abort_upload": "s3:AbortMultipartUpload",
    "delete": "s3:DeleteObject",
}

_CREDENTIALS: Final = (
    "check `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, the profile or the role"
)
_RENEW: Final = "renew them (aws sso login, or new temporary keys)"
_NO_ROOM: Final = "the quota of the bucket `{bucket}` is used up: make room in it, or raise it"

# S3's code → what it means to the user. ``{…}`` is filled by `_refusal`.
_REFUSED: Final = {
    "NoSuchBucket": "the bucket `{bucket}` does not exist there: create it, or correct"
    " `HEADRACE_LAKE`",
    "AccessDenied": "these credentials may not {operation} `{key}`: they need `{permission}`",
    "403": "these credentials may not {operation} `{key}`: they need `{permission}`",
    "InvalidAccessKeyId": "the access key is not known there: " + _CREDENTIALS,
    "SignatureDoesNotMatch": "the secret key does not fit the access key: " + _CREDENTIALS,
    "ExpiredToken": "the temporary credentials have expired: " + _RENEW,
    "ExpiredTokenException": "the temporary credentials have expired: " + _RENEW,
    "TokenRefreshRequired": "the temporary credentials have expired: " + _RENEW,
    "InvalidToken": "the session token is not valid: " + _RENEW,
    "RequestTimeTooSkewed": "this machine's clock is wrong by more than S3 accepts: set it",
    "PermanentRedirect": "the bucket `{bucket}` is in another region: set `AWS_REGION`",
    "AuthorizationHeaderMalformed": "the bucket `{bucket}` is in another region: set `AWS_REGION`",
    "301": "the bucket `{bucket}` is in another region: set `AWS_REGION`",
    "QuotaExceeded": _NO_ROOM,
    "XMinioAdminBucketQuotaExceeded": _NO_ROOM,
    "NotImplemented": "it does not support {operation} as Headrace needs it (conditional writes,"
    " multipart uploads): use an S3 that does",
}

# Arrow knows some of S3's codes by names of its own, and quotes the others.
_ARROW_CODE: Final = re.compile(r"AWS Error ([A-Z_]+)(?:.*ExceptionName: (\w+))?", re.DOTALL)
_BUSY: Final = frozenset(
    {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
    | {"TooManyRequests", "InternalError", "ServiceUnavailable", "503 SlowDown", "OperationAborted"}
)
# What arrived is not what was sent: a bit was flipped, or the body cut, on the way.
_GARBLED: Final = frozenset(
    {"BadDigest", "InvalidDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"}
    | {"XAmzContentChecksumMismatch", "BadRequest.ChecksumMismatch", "ChecksumMismatch"}
)
_GONE: Final = frozenset({"NoSuchUpload", "InvalidPart", "InvalidPartOrder"})
_CONFLICT: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412"})
_MISSING: Final = frozenset({"NoSuchKey", "404"})


def is_garbled(code: str) -> bool:
    """Whether S3 says by this code that what arrived is not what was sent."""
    return code in _GARBLED


def is_missing(error: boto.ClientError) -> bool:
    """Whether S3 says that there is no such object (and not: no such bucket)."""
    return _code(error) in _MISSING


def classify(
    error: Exception, *, operation: str, key: str, bucket: str, endpoint: str
) -> HeadraceError:
    """The engine's error for what one S3 operation raised.

    :param key: as the user knows it, ``s3://…``.
    """
    at = f"S3 at {endpoint}"
    if not isinstance(error, boto.ClientError):
        return _without_response(error, operation, key, at)
    code, status = _code(error), _status(error)
    if code in _CONFLICT or (operation == "put" and code in _MISSING):
        return WriteConflict(f"`{key}` was changed by another run")
    if code in _GONE:
        return UploadGone(f"the unfinished upload of `{key}` is gone")
    if str(error.operation_name).startswith("AssumeRole") and _says_no(code, status):
        return LakeRefused(
            f"{at}: the role can't be assumed (STS says {code}). Check: 1. `role_arn` of the"
            " profile, or `AWS_ROLE_ARN`; 2. that the role's trust policy names who asks; 3. that"
            " who asks may `sts:AssumeRole`."
        )
    if code in _REFUSED:
        text = _REFUSED[code].format(
            bucket=bucket, key=key, operation=operation, permission=_PERMISSION[operation]
        )
        return LakeRefused(f"{at}: {text} (S3 says {code}).")
    if code in _GARBLED:
        return LakeUnavailable(
            f"{at}: what arrived of `{key}` is not what was sent ({status} {code}), several times."
            " The next attempt resumes from the last batch. Check: 1. the network; 2. proxies that"
            " change bodies."
        )
    if status >= 500 or status in (408, 429) or code in _BUSY:
        return LakeUnavailable(
            f"{at} is not able to {operation} `{key}` now ({status} {code})."
            " The next attempt resumes from the last batch."
        )
    return LakeRefused(f"{at} refused to {operation} `{key}`: {status} {code}.")


def _says_no(code: str, status: int) -> bool:
    """Whether a refusal is one of permission, and not of a key or a clock, nor an overload."""
    if code in ("AccessDenied", "403"):
        return True
    return not (code in _REFUSED or code in _BUSY or status >= 500 or status in (408, 429))


def unreadable(error: OSError, *, lake: str, bucket: str) -> HeadraceError:
    """The engine's error for what Arrow's file system raised, twice: S3's code is in its text."""
    match = _ARROW_CODE.search(str(error))
    code = type(error).__name__
    if match:
        code = match[2] or "".join(map(str.capitalize, match[1].split("_")))
    if code in _REFUSED:
        text = _REFUSED[code].format(
            bucket=bucket,
            key=f"{lake}",
            operation="get",
            permission=_PERMISSION["get"],
        )
        return LakeRefused(f"{lake}: {text} (S3 says {code}).")
    return LakeUnavailable(f"The files of {lake} can't be read ({code}); they were tried twice.")


def _without_response(error: Exception, operation: str, key: str, at: str) -> HeadraceError:
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return LakeRefused(f"{at}: no credentials were found: {_CREDENTIALS}.")
    if isinstance(error, boto.TokenRetrievalError | boto.SSOError | boto.CredentialRetrievalError):
        return LakeRefused(f"{at}: the credentials could not be fetched: {_RENEW}.")
    if isinstance(error, boto.SSLError):
        return LakeRefused(
            f"{at}: its TLS certificate is not trusted: set `AWS_CA_BUNDLE`, or use http://."
        )
    if isinstance(error, boto.ParamValidationError):
        return LakeRefused(f"{at}: `{key}` is not a key that S3 accepts.")
    if isinstance(error, FileNotFoundError | PermissionError):
        return LakeRefused(
            f"{at}: the file `{error.filename}` of the credentials can't be read"
            f" ({error.strerror}). Check `AWS_WEB_IDENTITY_TOKEN_FILE`, or"
            " `web_identity_token_file` of the profile."
        )
    if problem := machine_problem(error):
        return LakeUnavailable(f"{at}: `{key}` is out of reach, since {problem}.")
    return LakeUnavailable(
        f"{at} can't be reached, or the connection broke, to {operation} `{key}`"
        f" ({type(error).__name__}): check `AWS_ENDPOINT_URL_S3` and the network."
    )


def wrong_settings(error: Exception) -> ConfigError:
    """The error for settings that boto3 makes no client of."""
    if isinstance(error, boto.ProfileNotFound):
        return ConfigError(
            f"{error}. Check: 1. `AWS_PROFILE`; 2. that the files `~/.aws/config` and"
            " `~/.aws/credentials` have it, or those that `AWS_CONFIG_FILE` and"
            " `AWS_SHARED_CREDENTIALS_FILE` name"
        )
    if str(error).startswith("Invalid endpoint"):
        return ConfigError(
            f"The address of S3 can't be used: {error}. Expected http://host:port or https://host."
            " Check `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL`"
        )
    return ConfigError(
        f"The settings of AWS can't be used ({type(error).__name__}: {error}). Check: 1."
        " `AWS_PROFILE`, and the files in `~/.aws`; 2. `AWS_REGION`; 3. `AWS_ENDPOINT_URL_S3`"
    )


def _code(error: boto.ClientError) -> str:
    details: dict[str, Any] = error.response.get("Error", {})
    return str(details.get("Code", "unknown"))


def _status(error: boto.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
