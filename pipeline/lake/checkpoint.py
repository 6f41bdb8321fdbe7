"""The checkpoint: how far an attempt at a partition has come, and which attempt may resume it.

One object a partition, changed by compare-and-swap only. The attempt that holds its newest etag
owns the partition's work; writing the checkpoint takes the ownership from the attempt that held it
before (*fencing*). A checkpoint of another version is dropped, with a line in the log.
"""

import base64
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.stores.base import ObjectStore, Part, WriteConflict, compare_and_swap
from pipeline.partitions.window import Window

log = logging.getLogger("headrace.lake")

_VERSION: Final = 2


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """A staged Parquet file: a multipart upload whose parts are all there, not completed.

    :ivar checksum: of its bytes, as the manifest will have it.
    :ivar body: base64 of the whole file, where it is small and no upload was made for it.
    """

    key: str
    upload_id: str
    parts: tuple[Part, ...]
    rows: int
    bytes: int
    checksum: str
    body: str = ""


@dataclass(frozen=True, kw_only=True)
class StagedTable(StagedFile):
    """A staged file of a child table. :ivar filtered_rows: those that ``where`` did not keep."""

    filtered_rows: int = 0


@dataclass(frozen=True, kw_only=True)
class StagedBatch(StagedFile):
    """A staged file of an endpoint's rows.

    :ivar progress: where a later attempt resumes behind it.
    :ivar tables: the files of child tables that were taken out of it, by table.
    """

    progress: Mapping[str, Any]
    counters: Mapping[str, int]
    tables: Mapping[str, StagedTable] = field(default_factory=dict)

    @property
    def files(self) -> tuple[StagedFile, ...]:
        """Its own file, and those of its child tables."""
        return (self, *self.tables.values())


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of the work at one partition.

    *Staging* until ``manifest`` is set, then *committing*: see `CommitDecision`.

    :param owner: the generation of the attempt that wrote this.
    :param base: the etag of the manifest that a commit will replace; None if there was none.
    :param writes: counts the writes, so that no two are the same text (see
        `pipeline.lake.stores.base`).
    :param losses: how often every staged batch was gone before it could be committed.
    :param garbage: keys that are in no use any more once ``manifest`` is in place.
    """

    owner: str
    run_id: str
    definition: str
    base: str | None
    window: Window
    batches: tuple[StagedBatch, ...] = ()
    schema: str | None = None
    writes: int = 0
    losses: int = 0
    manifest: Manifest | None = None
    garbage: tuple[str, ...] = field(default=())

    def next(self, **changes: Any) -> "Checkpoint":
        """The checkpoint that is written after this one."""
        return replace(self, writes=self.writes + 1, **changes)

    def to_json(self) -> bytes:
        """The checkpoint as text."""
        data = asdict(self)
        data["window"] = self.window.to_json()
        data["manifest"] = self.manifest.to_json() if self.manifest else None
        for batch in data["batches"]:
            if not batch["tables"]:
                del batch["tables"]
        return json.dumps({"version": _VERSION, **data}, indent=1, allow_nan=False).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "Checkpoint | None":
        """Read one; None if another version of Headrace wrote it: it can't be resumed."""
        try:
            data = json.loads(text)
            if data.pop("version") != _VERSION:
                return None
            batches = tuple(map(_batch, data.pop("batches")))
            decided = data.pop("manifest")
            manifest = Manifest.from_json(decided) if decided else None
            garbage = tuple(data.pop("garbage"))
            window = Window.from_json(data.pop("window"))
            return cls(window=window, batches=batches, manifest=manifest, garbage=garbage, **data)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def _batch(item: Mapping[str, Any]) -> StagedBatch:
    tables = {
        name: StagedTable(**{**file, "parts": tuple(file["parts"])})
        for name, file in item.get("tables", {}).items()
    }
    return StagedBatch(**{**item, "parts": tuple(item["parts"]), "tables": tables})


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint as it was read or written. ``checkpoint`` is None if it can't be understood."""

    checkpoint: Checkpoint | None
    etag: str
    modified: datetime

    @property
    def decision(self) -> "CommitDecision | None":
        """The commit that the checkpoint holds; None while batches are being staged."""
        checkpoint = self.checkpoint
        if checkpoint is None or checkpoint.manifest is None:
            return None
        return CommitDecision(checkpoint.manifest, checkpoint.base, checkpoint.garbage, self.etag)


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


def load(lake: ObjectStore, place: PartitionPaths) -> StoredCheckpoint | None:
    """The partition's checkpoint, or None if no attempt is at work on it."""
    stored = lake.get(place.checkpoint)
    if stored is None:
        return None
    checkpoint = Checkpoint.from_json(stored.body)
    if checkpoint is None:
        log.warning(
            "cannot resume %s (its checkpoint is not of version %d); restarting from page 1",
            place,
            _VERSION,
        )
    return StoredCheckpoint(checkpoint, stored.etag, stored.modified)


def save(
    lake: ObjectStore, place: PartitionPaths, checkpoint: Checkpoint, *, replaces: str | None
) -> str:
    """Write the checkpoint, if the one with that etag is still there; returns the new etag.

    :raises WriteConflict: another attempt wrote it meanwhile.
    """
    return compare_and_swap(lake, place.checkpoint, checkpoint.to_json(), replaces=replaces)


def own(
    lake: ObjectStore, place: PartitionPaths, mine: Checkpoint, *, replaces: str | None
) -> str | None:
    """Write the checkpoint that makes the work one's own.

    :param replaces: the etag of the checkpoint that is fenced by it; None: there is none.
    :return: its etag; None: another came first.
    :raises LakeRefused: the store overlooks conditions, so that nothing would be one's own.
    """
    try:
        etag = save(lake, place, mine, replaces=replaces)
        lake.check_conditions(place.checkpoint, mine.to_json())
    except WriteConflict:
        return None
    return etag


def schema_to_text(schema: pa.Schema) -> str:
    """An Arrow schema as text (Arrow IPC in base64): nested types and time zones survive."""
    return base64.b64encode(schema.serialize()).decode()


def schema_from_text(text: str) -> pa.Schema:
    """The inverse of `schema_to_text`."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
