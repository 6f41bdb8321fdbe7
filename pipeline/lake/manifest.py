"""The manifest: the list of the files that make up one partition. Data and its JSON, no I/O.

A partition is what its manifest says: files that it does not name are not there for a reader.
Values are JSON's own: times are ISO 8601 in UTC, as text. Paths are relative to the lake.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Final

from pipeline.errors import LakeRefused
from pipeline.partitions.window import WindowKind

VERSION: Final = 1


@dataclass(frozen=True)
class ManifestFile:
    """One Parquet file of a partition."""

    path: str
    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One generation of one partition.

    Whoever builds one for `lake.commit` gives what only it knows; the names, the window, the
    generation, the files and the rows are the attempt's, and are filled in by it.
    """

    version: int = VERSION
    source: str = ""
    endpoint: str = ""
    partition: str = ""
    generation: str = ""
    endpoint_kind: WindowKind = "incremental"
    window: Mapping[str, Any] = field(default_factory=dict)
    watermark: str | None = None
    rows: int = 0
    late_rows: int = 0
    margin_rows: int = 0
    latest_late_s: float | None = None
    files: Sequence[ManifestFile] = ()
    proof: Mapping[str, Any] = field(default_factory=dict)
    requests: int = 0
    throttled: int = 0
    resumed_pages: int = 0
    extracted_at: str | None = None
    columns: Sequence[Mapping[str, str]] = ()
    checks: Sequence[Mapping[str, Any]] = ()
    run_id: str = ""
    definition: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def watermark_at(self) -> datetime | None:
        """The watermark as an instant."""
        return datetime.fromisoformat(self.watermark) if self.watermark else None

    @property
    def total_bytes(self) -> int:
        """The size of all files."""
        return sum(file.bytes for file in self.files)

    @property
    def paths(self) -> frozenset[str]:
        """The files' keys, relative to the lake."""
        return frozenset(file.path for file in self.files)

    def to_json(self) -> str:
        """The manifest as text; the same manifest is always the same text."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, name: str = "A manifest") -> "Manifest":
        """Read one. Fields that a later minor change added are ignored.

        :param name: where it was read, for messages.
        :raises LakeRefused: it is of a newer version, or no manifest at all.
        """
        try:
            data = json.loads(text)
            version = int(data["version"])
            if version <= VERSION:
                data["files"] = [_file(item) for item in data["files"]]
                known = {each.name for each in fields(cls)} & data.keys()
                return cls(**{name: _frozen(data[name]) for name in known})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LakeRefused(
                f"{name} is not a manifest of Headrace ({type(error).__name__}): restore the"
                " object, or delete it and materialize the partition again."
            ) from error
        raise LakeRefused(
            f"{name} is of version {version}; this Headrace reads up to version {VERSION}:"
            " upgrade Headrace."
        )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _file(item: Mapping[str, Any]) -> ManifestFile:
    return ManifestFile(path=str(item["path"]), rows=int(item["rows"]), bytes=int(item["bytes"]))
