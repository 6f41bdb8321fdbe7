"""The S3 kind of object store: every S3 operation there is.

Built on a boto3 client, whose config decides timeouts and retries. Arrow reads by its own client.
A message names the bucket, the key and S3's error code, and says what to do. It never quotes S3's
own text or headers, which may hold an access key or a signed URL; a filter keeps credentials out of
boto's logs.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from pyarrow.fs import FileSystem, S3FileSystem
from urllib3.exceptions import HTTPError

from pipeline.errors import (
    ConfigError,
    HeadraceError,
    LakeUnavailable,
)
from pipeline.lake.paths import segment
from pipeline.lake.stores.base import (
    STORES,
    ListedObject,
    ObjectStore,
    Part,
    StoredObject,
    Upload,
    UploadGone,
    WriteConflict,
)
from pipeline.lake.stores.s3_errors import (
    classify,
    is_garbled,
    is_missing,
    unreadable,
    wrong_settings,
)
from pipeline.redaction import keep_secrets_out

_DELETE_AT_ONCE: Final = 1000  # S3's limit for one DeleteObjects
_JSON: Final = "application/json"
_PARQUET: Final = "application/vnd.apache.parquet"
_ATTEMPTS: Final = 4
_GARBLED_WAIT_S: Final = 0.1
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")


def _retry_garbled(response: Any, attempts: int, **_: Any) -> float | None:
    """Seconds until a request is sent again whose body was changed on its way; None: it is not.

    boto3 retries what did not arrive, and not what arrived as something else.
    """
    code = response[1].get("Error", {}).get("Code", "") if response else ""
    return attempts * _GARBLED_WAIT_S if is_garbled(code) and attempts < _ATTEMPTS else None


@STORES.register("s3")
class S3Store(ObjectStore):
    """The objects of one lake in an S3 bucket.

    Besides the boto3 client only that is kept which was found out about the server.

    :param client: a boto3 S3 client.
    :param url: ``s3://bucket/prefix``; the prefix may be empty.
    """

    example = "s3://bucket/prefix"

    def __init__(self, client: Any, url: str) -> None:
        super().__init__(url)
        rest = self.root.removeprefix("s3://")
        self.check_url(rest if rest != self.root else "")
        keep_secrets_out()
        self.client = client
        client.meta.events.register("needs-retry.s3", _retry_garbled, unique_id="headrace-garbled")
        self.bucket, _, self.prefix = rest.partition("/")

    @classmethod
    def check_url(cls, rest: str) -> None:
        """:raises ConfigError: no bucket's name, or a prefix that can't be part of a key."""
        bucket, _, prefix = rest.partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise ConfigError(
                f"`HEADRACE_LAKE` is `s3://{rest[:100]}`; expected {cls.example}. A bucket's name "
                "has 3 to 63 small letters, digits, dots and hyphens, a letter or a digit first "
                "and last."
            )
        for piece in prefix.split("/") if prefix else ():
            segment(piece)

    @classmethod
    def open(cls, url: str, client: Callable[[], Any] | None = None) -> Self:
        """By boto3's own settings as they are now, unless a client is given.

        boto3's default session would keep the credentials that the process began with.

        :raises ConfigError: boto3 can't make a client of its settings.
        """
        try:
            made = client() if client else boto3.session.Session().client("s3")
        except (BotoCoreError, ValueError) as error:
            raise wrong_settings(error) from None
        return cls(made, url)

    @property
    def address(self) -> str:
        """``S3 at https://…``, for messages."""
        return f"S3 at {self.client.meta.endpoint_url}"

    def full(self, key: str) -> str:
        """The key within the bucket."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def check(self) -> None:
        """Check the store by a listing of at most one key."""
        with self._operation("list", ""):
            self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.full(""), MaxKeys=1)

    # ---- objects

    def get(self, key: str) -> StoredObject | None:
        """The object, or None if there is none."""
        with self._operation("get", key):
            try:
                response = self.client.get_object(Bucket=self.bucket, Key=self.full(key))
            except ClientError as error:
                if is_missing(error):
                    return None
                raise
            return StoredObject(response["Body"].read(), response["ETag"], response["LastModified"])

    def size(self, key: str) -> int | None:
        """The object's bytes, or None if there is none."""
        with self._operation("head", key):
            try:
                response = self.client.head_object(Bucket=self.bucket, Key=self.full(key))
            except ClientError as error:
                if is_missing(error):
                    return None
                raise
            return int(response["ContentLength"])

    def put(self, key: str, body: bytes, *, replaces: str | None) -> str:
        """Write an object on a condition; returns its etag.

        :param replaces: the etag of the object that must be there; None if none may be there.
        :raises Conflict: the condition does not hold.
        """
        condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}
        with self._operation("put", key):
            response = self.client.put_object(
                Bucket=self.bucket,
                Key=self.full(key),
                Body=body,
                ContentType=_JSON if key.endswith(".json") else _PARQUET,
                **condition,
            )
        return str(response["ETag"])

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        for first in range(0, len(keys), _DELETE_AT_ONCE):
            some = keys[first : first + _DELETE_AT_ONCE]
            with self._operation("delete", some[0]):
                response = self.client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": self.full(key)} for key in some], "Quiet": True},
                )
                for failed in response.get("Errors", ()):
                    raise ClientError(
                        {"Error": failed, "ResponseMetadata": {"HTTPStatusCode": 500}},
                        "DeleteObjects",
                    )

    def delete_exactly(self, key: str, etag: str) -> bool:
        """Delete an object if it is still the one with that etag; False if it is not."""
        with self._operation("delete", key):
            try:
                self.client.delete_object(Bucket=self.bucket, Key=self.full(key), IfMatch=etag)
            except ClientError as error:
                if is_missing(error) or isinstance(
                    self._classified(error, "put", key), WriteConflict
                ):
                    return False
                raise
        return True

    def list(self, prefix: str) -> Iterator[ListedObject]:
        """The objects whose keys begin with ``prefix``, sorted by key: 1,000 a request."""
        for page in self._pages("list", "list_objects_v2", prefix):
            for item in page.get("Contents", ()):
                key = self._relative(item["Key"])
                yield ListedObject(key, int(item["Size"]), item["LastModified"], str(item["ETag"]))

    def folders(self, folder: str) -> Sequence[str]:
        """The names of the folders directly within a folder (``""`` or ``a/b/``)."""
        names: list[str] = []
        for page in self._pages("list", "list_objects_v2", folder, Delimiter="/"):
            for item in page.get("CommonPrefixes", ()):
                names.append(self._relative(item["Prefix"])[len(folder) : -1])
        return names

    # ---- multipart uploads

    def create_upload(self, key: str) -> str:
        """Begin an upload that no reader sees until it is completed; returns its id."""
        with self._operation("create_upload", key):
            response = self.client.create_multipart_upload(Bucket=self.bucket, Key=self.full(key))
        return self._member(response, "UploadId", "create_upload", key)

    def upload_part(self, key: str, upload_id: str, number: int, body: bytes) -> Part:
        """Send one part; returns what `complete_upload` needs of it."""
        with self._operation("upload_part", key):
            response = self.client.upload_part(
                Bucket=self.bucket,
                Key=self.full(key),
                UploadId=upload_id,
                PartNumber=number,
                Body=body,
            )
        # AWS refuses to complete an upload made with checksums if they are not given again.
        receipt = {k: v for k, v in response.items() if k == "ETag" or k.startswith("Checksum")}
        receipt.pop("ChecksumType", None)
        return {"PartNumber": number, **receipt}

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Make the object appear. :raises UploadGone: perhaps because it was completed before."""
        with self._operation("complete_upload", key):
            response = self.client.complete_multipart_upload(
                Bucket=self.bucket,
                Key=self.full(key),
                UploadId=upload_id,
                MultipartUpload={"Parts": [dict(part) for part in parts]},
            )
        self._member(response, "ETag", "complete_upload", key)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Throw an unfinished upload away; one that is gone already is no error."""
        with self._operation("abort_upload", key):
            try:
                self.client.abort_multipart_upload(
                    Bucket=self.bucket, Key=self.full(key), UploadId=upload_id
                )
            except ClientError as error:
                if not isinstance(self._classified(error, "abort_upload", key), UploadGone):
                    raise

    def uploads(self, folder: str) -> Sequence[Upload]:
        """The unfinished uploads of keys under a folder."""
        unfinished: list[Upload] = []
        for page in self._pages("list_uploads", "list_multipart_uploads", folder):
            for item in page.get("Uploads", ()):
                key = self._relative(item["Key"])
                unfinished.append(Upload(key, item["UploadId"], item["Initiated"]))
        return unfinished

    # ---- how Arrow reads it

    def arrow_path(self, key: str) -> str:
        """``bucket/prefix/key``."""
        return f"{self.bucket}/{self.full(key)}"

    def unreadable(self, error: OSError) -> HeadraceError:
        """S3's code is in the text of Arrow's error."""
        return unreadable(error, lake=self.url(), bucket=self.bucket)

    def filesystem(self) -> FileSystem:
        """Arrow's own S3 client with the endpoint and credentials that boto3 has found.

        Arrow does not renew temporary credentials.
        """
        client = self.client
        # A boto3 session tells its credentials, but no session leads back from a client, and the
        # client may have been made with keys of its own. Every bridge from boto3 goes this way.
        credentials = client._request_signer._credentials
        region = client.meta.region_name
        region = "us-east-1" if region in (None, "aws-global") else region  # boto3's name: *unset*
        options: dict[str, Any] = {"region": region, "anonymous": credentials is None}
        if credentials is not None:
            try:
                frozen = credentials.get_frozen_credentials()
            except (ClientError, BotoCoreError, OSError) as error:
                raise self._classified(error, "get", "") from error
            options |= {"access_key": frozen.access_key, "secret_key": frozen.secret_key}
            options |= {"session_token": frozen.token, "anonymous": False}
        endpoint = urlsplit(client.meta.endpoint_url)
        if not (endpoint.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
            options |= {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
            style = (client.meta.config.s3 or {}).get("addressing_style")
            options["force_virtual_addressing"] = style == "virtual"
        return S3FileSystem(**options)

    # ---- below: how requests are sent

    def _pages(self, operation: str, method: str, folder: str, **more: str) -> Iterator[Any]:
        paginator = self.client.get_paginator(method)
        pages = iter(paginator.paginate(Bucket=self.bucket, Prefix=self.full(folder), **more))
        truncated = True
        while truncated:
            with self._operation(operation, folder):
                page = next(pages)
            truncated = bool(page.get("IsTruncated"))
            yield page

    @contextmanager
    def _operation(self, operation: str, key: str) -> Iterator[None]:
        self._observe(operation, key)
        try:
            yield
        except (ClientError, BotoCoreError, HTTPError, OSError) as error:
            raise self._classified(error, operation, key) from error

    def _member(self, response: Mapping[str, Any], name: str, operation: str, key: str) -> str:
        """A member that S3's body has if all is well: the status comes before S3 is done.

        :raises LakeUnavailable: the body lacks it.
        """
        if value := response.get(name):
            return str(value)
        raise LakeUnavailable(
            f"S3 at {self.client.meta.endpoint_url} responded to {operation} `{self.url(key)}` with"
            f" 200 and a body without `{name}`: whether it is done is not known. The next attempt"
            " finds out. Check: proxies before S3 that cut bodies."
        )

    def _classified(self, error: Exception, operation: str, key: str) -> Exception:
        endpoint = str(self.client.meta.endpoint_url)
        return classify(
            error, operation=operation, key=self.url(key), bucket=self.bucket, endpoint=endpoint
        )

    def _relative(self, key: str) -> str:
        return key[len(self.full("")) :]
