"""The lake's storage: every S3 operation there is, and nothing of what the objects mean.

Keys are relative to the lake (``{source}/{endpoint}/…``), as manifests hold them. Every operation
tells the observer before it is sent, and raises the engine's errors only (`lake.s3errors`).
A Lake is used by many threads at once: besides the boto3 client it only keeps what it has found
out about the server.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from pipeline.errors import LakeRefused
from pipeline.lake.paths import parse_lake_url
from pipeline.lake.s3_errors import UploadGone, WriteConflict, classify, is_missing

_DELETE_AT_ONCE: Final = 1000  # S3's limit for one DeleteObjects
_NO_ETAG: Final = f'"{"0" * 32}"'

Part = Mapping[str, Any]


@dataclass(frozen=True)
class StoredObject:
    """An object as it was read."""

    body: bytes
    etag: str
    modified: datetime


@dataclass(frozen=True)
class ListedObject:
    """An object as a listing shows it."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Upload:
    """A multipart upload that is neither completed nor aborted."""

    key: str
    upload_id: str
    initiated: datetime


class Lake:
    """The objects of one lake.

    :param client: a boto3 S3 client; its config decides timeouts and retries.
    :param url: ``s3://bucket/prefix``.
    """

    def __init__(self, client: Any, url: str) -> None:
        self.client = client
        self.bucket, self.prefix = parse_lake_url(url)
        self.on_operation: Callable[[str, str], None] | None = None
        self._keeps_conditions = False

    def url(self, key: str = "") -> str:
        """The ``s3://`` address of a key, for messages and readers."""
        return f"s3://{self.bucket}/{self.full(key)}"

    def full(self, key: str) -> str:
        """The key within the bucket."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def check(self) -> None:
        """Find out whether the lake is there and can be listed.

        :raises LakeRefused: no such bucket, wrong credentials, no permission.
        :raises LakeUnavailable: the endpoint can't be reached.
        """
        with self._operation("list", ""):
            self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.full(""), MaxKeys=1)

    def check_conditions(self, key: str, body: bytes) -> None:
        """Find out, once, whether the server keeps to a condition or overlooks it.

        It is asked to replace what can't be there. One that does would let two runs of a partition
        overwrite each other, and say that all is well.

        :param body: what the object holds already, so that nothing is changed even then.
        :raises LakeRefused: it overlooks it.
        """
        if self._keeps_conditions:
            return
        try:
            self.put(key, body, replaces=_NO_ETAG)
        except WriteConflict:
            self._keeps_conditions = True
            return
        raise LakeRefused(
            f"S3 at {self.client.meta.endpoint_url} overlooks conditions: it wrote {self.url(key)},"
            " although it was told to do so only in place of another version (If-Match). Two runs"
            " of one day could lose rows there: use an S3 that has conditional writes."
        )

    # ---- objects

    def get(self, key: str) -> StoredObject | None:
        """The object, or None if there is none."""
        with self._operation("get", key):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=self.full(key))
            except ClientError as error:
                if is_missing(error):
                    return None
                raise
            return StoredObject(answer["Body"].read(), answer["ETag"], answer["LastModified"])

    def size(self, key: str) -> int | None:
        """The object's bytes, or None if there is none."""
        with self._operation("head", key):
            try:
                answer = self.client.head_object(Bucket=self.bucket, Key=self.full(key))
            except ClientError as error:
                if is_missing(error):
                    return None
                raise
            return int(answer["ContentLength"])

    def put(self, key: str, body: bytes, *, replaces: str | None) -> str:
        """Write an object on a condition; returns its etag.

        :param replaces: the etag of the object that must be there; None if none may be there.
        :raises Conflict: the condition does not hold.
        """
        condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}
        with self._operation("put", key):
            answer = self.client.put_object(
                Bucket=self.bucket,
                Key=self.full(key),
                Body=body,
                ContentType="application/json",
                **condition,
            )
        return str(answer["ETag"])

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        for first in range(0, len(keys), _DELETE_AT_ONCE):
            some = keys[first : first + _DELETE_AT_ONCE]
            with self._operation("delete", some[0]):
                answer = self.client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": self.full(key)} for key in some], "Quiet": True},
                )
                for failed in answer.get("Errors", ()):
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

    def list(self, folder: str) -> Iterator[ListedObject]:
        """The objects under a folder (``a/b/``), at any depth, sorted by key."""
        for page in self._pages("list", "list_objects_v2", folder):
            for item in page.get("Contents", ()):
                key = self._relative(item["Key"])
                yield ListedObject(key, int(item["Size"]), item["LastModified"])

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
            answer = self.client.create_multipart_upload(Bucket=self.bucket, Key=self.full(key))
        return str(answer["UploadId"])

    def upload_part(self, key: str, upload_id: str, number: int, body: bytes) -> Part:
        """Send one part; returns what `complete_upload` needs of it."""
        with self._operation("upload_part", key):
            answer = self.client.upload_part(
                Bucket=self.bucket,
                Key=self.full(key),
                UploadId=upload_id,
                PartNumber=number,
                Body=body,
            )
        # AWS refuses to complete an upload made with checksums if they are not given again.
        kept = {k: v for k, v in answer.items() if k == "ETag" or k.startswith("Checksum")}
        kept.pop("ChecksumType", None)
        return {"PartNumber": number, **kept}

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        """Make the object appear. :raises UploadGone: perhaps because it was completed before."""
        with self._operation("complete_upload", key):
            self.client.complete_multipart_upload(
                Bucket=self.bucket,
                Key=self.full(key),
                UploadId=upload_id,
                MultipartUpload={"Parts": [dict(part) for part in parts]},
            )

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
        found: list[Upload] = []
        for page in self._pages("list_uploads", "list_multipart_uploads", folder):
            for item in page.get("Uploads", ()):
                key = self._relative(item["Key"])
                found.append(Upload(key, item["UploadId"], item["Initiated"]))
        return found

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
        if self.on_operation is not None:
            self.on_operation(operation, key)
        try:
            yield
        except (ClientError, BotoCoreError, HTTPError, OSError) as error:
            raise self._classified(error, operation, key) from error

    def _classified(self, error: Exception, operation: str, key: str) -> Exception:
        endpoint = str(self.client.meta.endpoint_url)
        return classify(
            error, operation=operation, key=self.url(key), bucket=self.bucket, endpoint=endpoint
        )

    def _relative(self, key: str) -> str:
        return key[len(self.full("")) :]
