"""The checkpoint: how far a try at a partition has come, and who may go on with it.

One object a partition, changed by compare-and-swap only. Whoever holds its newest etag owns the
partition's work; writing it takes the ownership from whoever held it before (*fencing*).
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from pipeline.lake.compare_and_swap import compare_and_swap
from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.s3 import Lake, Part

_VERSION: Final = 1


@dataclass(frozen=True)
class StagedBatch:
    """A staged Parquet file: a multipart upload whose parts are all there, not completed."""

    key: str
    upload_id: str
    parts: tuple[Part, ...]
    rows: int
    bytes: int
    progress: Mapping[str, Any]
    counters: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of the work at one partition.

    *Staging* until ``manifest`` is set, then *committing*: see `CommitDecision`.

    :param owner: the generation of the try that wrote this.
    :param base: the etag of the manifest that a commit will replace; None if there was none.
    :param writes: counts the writes, so that no two are the same text (see
        `pipeline.lake.compare_and_swap`).
    :param losses: how often all that was staged was gone before it could be committed.
    :param garbage: keys that nobody needs any more once ``manifest`` is in place.
    """

    owner: str
    run_id: str
    definition: str
    base: str | None
    window: Mapping[str, Any]
    batches: tuple[StagedBatch, ...] = ()
    schema: str | None = None
    writes: int = 0
    losses: int = 0
    manifest: Manifest | None = None
    garbage: tuple[str, ...] = field(default=())

    def next(self, **changes: Any) -> "Checkpoint":
        """What is written after this one."""
        return replace(self, writes=self.writes + 1, **changes)

    def to_json(self) -> bytes:
        """The checkpoint as text."""
        data = asdict(self)
        data["manifest"] = self.manifest.to_json() if self.manifest else None
        return json.dumps({"version": _VERSION, **data}, indent=1, allow_nan=False).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Checkpoint | None":
        """Read one; None if another version of Headrace wrote it: not to be gone on with."""
        try:
            data = json.loads(text)
            if data.pop("version") != _VERSION:
                return None
            batches = tuple(
                StagedBatch(**{**item, "parts": tuple(item["parts"])})
                for item in data.pop("batches")
            )
            planned = data.pop("manifest")
            manifest = Manifest.from_json(planned) if planned else None
            garbage = tuple(data.pop("garbage"))
            return cls(batches=batches, manifest=manifest, garbage=garbage, **data)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint as it was read or written. ``checkpoint`` is None if it can't be understood."""

    checkpoint: Checkpoint | None
    etag: str
    modified: datetime

    @property
    def decision(self) -> "CommitDecision | None":
        """The commit that the checkpoint holds; None while batches are being staged."""
        kept = self.checkpoint
        if kept is None or kept.manifest is None:
            return None
        return CommitDecision(kept.manifest, kept.base, kept.garbage, self.etag)


@dataclass(frozen=True)
class CommitDecision:
    """A commit that only has to be carried out, by whoever finds it.

    :ivar base: the etag of the manifest that this one replaces; None if there was none.
    :ivar etag: of the checkpoint that holds the decision.
    """

    manifest: Manifest
    base: str | None
    garbage: tuple[str, ...]
    etag: str


def load(lake: Lake, place: PartitionPaths) -> StoredCheckpoint | None:
    """The partition's checkpoint, or None if nobody is at work on it."""
    found = lake.get(place.checkpoint)
    if found is None:
        return None
    return StoredCheckpoint(Checkpoint.from_json(found.body), found.etag, found.modified)


def save(lake: Lake, place: PartitionPaths, checkpoint: Checkpoint, *, replaces: str | None) -> str:
    """Write the checkpoint, if the one with that etag is still there; returns the new etag.

    :raises Conflict: another try wrote it meanwhile.
    """
    return compare_and_swap(lake, place.checkpoint, checkpoint.to_json(), replaces=replaces)


def schema_to_text(schema: pa.Schema) -> str:
    """An Arrow schema as text (Arrow IPC in base64): nested types and time zones survive."""
    return base64.b64encode(schema.serialize()).decode()


def schema_from_text(text: str) -> pa.Schema:
    """The inverse of `schema_to_text`."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
