"""Which key holds what: the names of a partition's objects. Pure; keys are relative to the lake.

    {source}/{endpoint}/dt={partition}/part-{NNNNN}-{generation}.parquet
    {source}/{endpoint}/dt={partition}/_tables/{table}/part-{NNNNN}-{generation}.parquet
    {source}/{endpoint}/_manifests/dt={partition}.json
    {source}/{endpoint}/_checkpoints/dt={partition}.json
    {source}/{endpoint}/_sweeps/{instant}.parquet
    {source}/{endpoint}/_archive/manifests.json

Clean-up looks only at names of this shape: whatever else lies in the folders is somebody's own.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pipeline.errors import ConfigError

_LONGEST: Final = 200  # characters; S3 takes 1,024 bytes for all of a key
_UNSAFE: Final = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]|\.\.|^\.")
_GENERATION: Final = r"\d{8}T\d{9}-[0-9a-f]{8}"
_PART: Final = re.compile(
    rf"([^/]+)/([^/]+)/dt=([^/]+)/(?:_tables/[^/]+/)?part-\d{{5,}}-{_GENERATION}\.parquet"
)
_RECORD: Final = re.compile(r"([^/]+)/([^/]+)/(?:_manifests|_checkpoints)/dt=([^/]+)\.json")


def is_segment(text: str) -> bool:
    """Whether a name is safe as one piece of a key."""
    return 0 < len(text) <= _LONGEST and not _UNSAFE.search(text)


def segment(text: str) -> str:
    """A source's, endpoint's or partition's name as one piece of a key.

    :raises ConfigError: if it could leave its folder or can't be part of a key.
    """
    if not is_segment(text):
        raise ConfigError(
            f"{text[:60]!r} can't be used in an S3 key: a name has 1 to 200 characters, does not"
            " begin with a dot, and has no slash, backslash, '..' or control character."
        )
    return text


@dataclass(frozen=True)
class PartitionPaths:
    """The keys in the lake of one partition of one endpoint."""

    source: str
    endpoint: str
    partition: str

    def __post_init__(self) -> None:
        for name in (self.source, self.endpoint, self.partition):
            segment(name)

    def __str__(self) -> str:
        return f"{self.source}/{self.endpoint} {self.partition}"

    @property
    def folder(self) -> str:
        """The folder of the Parquet files, with its slash."""
        return f"{self.source}/{self.endpoint}/dt={self.partition}/"

    @property
    def manifest(self) -> str:
        """The key of the manifest."""
        return f"{manifests_folder(self.source, self.endpoint)}dt={self.partition}.json"

    @property
    def checkpoint(self) -> str:
        """The key of the checkpoint."""
        return f"{checkpoints_folder(self.source, self.endpoint)}dt={self.partition}.json"

    def part(self, number: int, generation: str) -> str:
        """The key of one Parquet file."""
        return f"{self.folder}part-{number:05d}-{generation}.parquet"

    def table_folder(self, table: str) -> str:
        """The folder of the files of a child table, with its slash."""
        return f"{self.folder}_tables/{segment(table)}/"

    def table_part(self, table: str, number: int, generation: str) -> str:
        """The key of one Parquet file of a child table."""
        return f"{self.table_folder(table)}part-{number:05d}-{generation}.parquet"


def new_generation(now: datetime, random: str) -> str:
    """A name that sorts by time and is never used twice.

    :param random: eight hexadecimal digits.
    """
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}-{random}"


def manifests_folder(source: str, endpoint: str) -> str:
    """The folder of an endpoint's manifests, with its slash."""
    return f"{segment(source)}/{segment(endpoint)}/_manifests/"


def checkpoints_folder(source: str, endpoint: str) -> str:
    """The folder of an endpoint's checkpoints, with its slash."""
    return f"{segment(source)}/{segment(endpoint)}/_checkpoints/"


def archive_of(source: str, endpoint: str) -> str:
    """The key of the object that has all manifests of an endpoint."""
    return f"{segment(source)}/{segment(endpoint)}/_archive/manifests.json"


def sweeps_folder(source: str, endpoint: str) -> str:
    """The folder of what sweeps of an endpoint found gone, with its slash."""
    return f"{segment(source)}/{segment(endpoint)}/_sweeps/"


def paths_of_part(key: str) -> PartitionPaths | None:
    """Whose Parquet file this is, child tables included; None if Headrace did not write it."""
    return _place(_PART.fullmatch(key))


def paths_of_record(key: str) -> PartitionPaths | None:
    """Whose manifest or checkpoint this is; None if it is neither."""
    return _place(_RECORD.fullmatch(key))


def _place(match: re.Match[str] | None) -> PartitionPaths | None:
    return (
        PartitionPaths(*match.groups()) if match and all(map(is_segment, match.groups())) else None
    )
