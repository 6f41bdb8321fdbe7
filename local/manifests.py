"""The manifests of a lake, read back from S3, and the files that they name.

Sizes in bytes.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.s3 import S3

MANIFEST_KEY = re.compile(r"/_manifests/dt=[^/]+\.json$")


@dataclass(frozen=True)
class Committed:
    """One partition, as its manifest tells it."""

    endpoint: str
    partition: str
    start: str | None
    end: str
    rows: int
    late_rows: int
    paths: tuple[str, ...]
    bytes: int
    requests: int
    throttled: int
    contiguous: bool

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any]) -> "Committed":
        files = manifest["files"]
        return cls(
            endpoint=manifest["endpoint"],
            partition=manifest["partition"],
            start=manifest["window"]["start"],
            end=manifest["window"]["end"],
            rows=manifest["rows"],
            late_rows=manifest["late_rows"],
            paths=tuple(file["path"] for file in files),
            bytes=sum(file["bytes"] for file in files),
            requests=manifest["requests"],
            throttled=manifest["throttled"],
            contiguous=manifest["proof"]["contiguous"],
        )


def read_manifests(s3: S3, lake: str) -> list[Committed]:
    """All committed partitions under `s3://bucket/prefix`, by endpoint, then day."""
    found = map(Committed.from_manifest, manifests_under(s3, lake))
    return sorted(found, key=lambda one: (one.endpoint, one.partition))


def manifests_under(s3: S3, lake: str) -> list[dict[str, Any]]:
    """All manifests under `s3://bucket/prefix`, by day, then endpoint."""
    bucket, prefix = split_lake(lake)
    client = s3.client()
    found = [
        json.loads(client.get_object(Bucket=bucket, Key=key)["Body"].read())
        for key in _keys(client, bucket, prefix)
        if MANIFEST_KEY.search(key)
    ]
    return sorted(found, key=lambda one: (one["partition"], one["endpoint"]))


def download(s3: S3, lake: str, partitions: Sequence[Committed], to: Path) -> int:
    """Copy the files that the manifests name to a folder; how many."""
    bucket, prefix = split_lake(lake)
    client = s3.client()
    paths = [path for partition in partitions for path in partition.paths]
    for path in paths:
        target = to / path
        target.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(bucket, f"{prefix}/{path}", str(target))
    return len(paths)


def split_lake(lake: str) -> tuple[str, str]:
    bucket, _, prefix = lake.removeprefix("s3://").partition("/")
    return bucket, prefix.strip("/")


def _keys(client: Any, bucket: str, prefix: str) -> Iterator[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    for page in pages:
        for item in page.get("Contents", []):
            yield item["Key"]
