"""The manifest: the list of the files that make up one partition. Data and its JSON, no I/O.

A partition is what its manifest says: files that it does not name are not there for a reader.
Values are JSON's own: times are ISO 8601 in UTC, as text. Paths are relative to the lake.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Final

from pipeline.errors import LakeRefused
from pipeline.partitions.bookmark import Bookmark
from pipeline.partitions.window import Window, WindowKind
from pipeline.timestamps import EPOCH

VERSION: Final = 1
_OURS: Final = "_"
_NOT_FILLED_IN: Final = Window("snapshot", None, EPOCH, 0.0)


@dataclass(frozen=True)
class ManifestFile:
    """A Parquet file of a partition.

    :ivar checksum: of its bytes, see `checksum_of`; empty in manifests that did not note it.
    """

    path: str
    rows: int
    bytes: int
    checksum: str = ""


@dataclass(frozen=True, kw_only=True)
class ManifestTable:
    """A child table of a partition: the rows in a list that each row of the endpoint has.

    :ivar key: the columns that identify a row.
    :ivar parent: the columns that come from the parent's row, each with its name there.
    :ivar filtered_rows: rows that came and that ``where`` did not keep.
    """

    rows: int = 0
    files: Sequence[ManifestFile] = ()
    columns: Sequence[Mapping[str, str]] = ()
    key: tuple[str, ...] = ()
    parent: Mapping[str, str] = field(default_factory=dict)
    filtered_rows: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "files": [asdict(file) for file in self.files],
            "columns": [dict(column) for column in self.columns],
            "key": [*self.key],
            "parent": dict(self.parent),
            **({"filtered_rows": self.filtered_rows} if self.filtered_rows else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ManifestTable":
        return cls(
            rows=int(data["rows"]),
            files=tuple(map(_file, data["files"])),
            columns=tuple(data["columns"]),
            key=tuple(data["key"]),
            parent=dict(data["parent"]),
            filtered_rows=int(data.get("filtered_rows", 0)),
        )


@dataclass(frozen=True, kw_only=True)
class ManifestProof:
    """The proof that no row lies between a partition's pages.

    :ivar contiguous: nothing lies between them, as far as ``rests_on`` can tell.
    :ivar rests_on: the proof basis; None if the pages are not proved contiguous.
    :ivar not_modified: the API said so (304), and there was no page to read.
    """

    contiguous: bool = False
    rests_on: str | None = None
    pages: int = 0
    gaps_refetched: int = 0
    not_modified: bool = False

    def to_json(self) -> dict[str, Any]:
        """As in the manifest; ``rests_on`` and ``not_modified`` only if there is something."""
        return {
            "contiguous": self.contiguous,
            **({"rests_on": self.rests_on} if self.rests_on is not None else {}),
            "pages": self.pages,
            "gaps_refetched": self.gaps_refetched,
            **({"not_modified": True} if self.not_modified else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ManifestProof":
        return cls(**{name: data[name] for name in _names(cls) & data.keys()})


@dataclass(frozen=True)
class SchemaChange:
    """How one column differs from the partition before.

    :ivar before: its type there; None: the column is new.
    :ivar after: its type now; None: the column is gone.
    """

    column: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.column} is new ({self.after})"
        if self.after is None:
            return f"{self.column} is gone (was {self.before})"
        return f"{self.column} was {self.before}, is {self.after}"


@dataclass(frozen=True, kw_only=True)
class ManifestNotes:
    """Further notes on a partition: ``extra`` in the manifest. None or empty: left out.

    :ivar key: the columns that identify a row; None in manifests that did not note them.
    :ivar cursor: the column that moves when a row changes.
    :ivar validators: of a feed, the headers by which the next partition asks whether it changed.
    :ivar feed_from: of a feed, the earliest instant that its response reached back to.
    :ivar not_modified: the API responded with a 304: nothing had changed.
    :ivar newest_first: of a feed, all of its rows that were read came so.
    :ivar parents: of children, how many parents were asked, and which failed.
    :ivar values: of a fan-out, versioned: those that failed, and by name the watermarks of those
        that are not read up to the manifest's (`pipeline.run.values`).
    :ivar schema_changes: against the newest partition before.
    :ivar converted: by column, how many cells did not come in its type.
    :ivar duplicate_rows: rows that were dropped, as one that is kept is equal in all columns.
    :ivar older_versions: rows that were dropped, as a later one of the same key is kept.
    :ivar tail_rows: rows that lay behind the end when the reading ended, as rows were added faster
        than an end can be confirmed: the next partition's.
    :ivar filtered_rows: rows that came and that ``where`` did not keep; None where there is none.
    :ivar each: the values that the partition was asked for; None if it has none.
    :ivar warning: what a user should look at though all is proved (``doubt`` in the manifest).
    :ivar bookmark: of an endpoint whose cursor is no time, where the partition ended: the next one
        starts there. Where it started is in the window.
    :ivar late_by: of a number as the cursor, by how much the latest of the late rows lies before
        the start.
    :ivar deletions: keys that were gone when all was read anew, since the bookmark had expired.
    :ivar dropped: the partition was taken out of the lake, and the manifest is about to go, too.
    """

    key: tuple[str, ...] | None = None
    cursor: str | None = None
    validators: Mapping[str, str] = field(default_factory=dict)
    feed_from: str | None = None
    not_modified: bool = False
    newest_first: bool = False
    parents: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    schema_changes: tuple[SchemaChange, ...] = ()
    converted: Mapping[str, int] = field(default_factory=dict)
    duplicate_rows: int = 0
    older_versions: int = 0
    tail_rows: int = 0
    filtered_rows: int | None = None
    each: tuple[Any, ...] | None = None
    warning: str = ""
    bookmark: Bookmark | None = None
    late_by: int | None = None
    deletions: int | None = None
    dropped: bool = False

    def to_json(self) -> dict[str, Any]:
        """As in the manifest."""
        changes = [
            {"column": each.column, "was": each.before, "is": each.after}
            for each in self.schema_changes
        ]
        notes: dict[str, Any] = {
            "validators": dict(self.validators) or None,
            "feed_from": self.feed_from,
            "not_modified": self.not_modified or None,
            "newest_first": self.newest_first or None,
            "parents": dict(self.parents) or None,
            "values": dict(self.values) or None,
            "schema_changes": changes or None,
            "converted": dict(self.converted) or None,
            "duplicate_rows": self.duplicate_rows or None,
            "older_versions": self.older_versions or None,
            "tail_rows": self.tail_rows or None,
            "filtered_rows": self.filtered_rows,
            "each": None if self.each is None else list(self.each),
            "doubt": self.warning or None,
            "bookmark": self.bookmark.to_json() if self.bookmark else None,
            "late_by": self.late_by,
            "deletions": self.deletions,
            "dropped": self.dropped or None,
        }
        members = {name: value for name, value in notes.items() if value is not None}
        return (
            members if self.key is None else {"key": [*self.key], "cursor": self.cursor} | members
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ManifestNotes":
        """Read them. Those that another version has noted besides are ignored."""
        changes = tuple(
            SchemaChange(each["column"], each["was"], each["is"])
            for each in data.get("schema_changes", ())
        )
        plain = {name: data[name] for name in _PLAIN_NOTES & data.keys()}
        return cls(
            key=tuple(data["key"]) if "key" in data else None,
            schema_changes=changes,
            each=tuple(data["each"]) if "each" in data else None,
            warning=data.get("doubt", ""),
            bookmark=Bookmark.from_json(mark) if (mark := data.get("bookmark")) else None,
            **plain,
        )


_PLAIN_NOTES: Final = frozenset(
    {
        "cursor",
        "validators",
        "feed_from",
        "not_modified",
        "newest_first",
        "parents",
        "values",
        "converted",
        "duplicate_rows",
        "older_versions",
        "tail_rows",
        "filtered_rows",
        "late_by",
        "deletions",
        "dropped",
    }
)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The manifest of one generation of a partition.

    A run that builds one for its commit gives only what it alone knows; the names, the window, the
    generation, the files and the rows are the attempt's, and are filled in by it.
    """

    version: int = VERSION
    source: str = ""
    endpoint: str = ""
    partition: str = ""
    generation: str = ""
    endpoint_kind: WindowKind = "incremental"
    window: Window = _NOT_FILLED_IN
    watermark: str | None = None
    rows: int = 0
    late_rows: int = 0
    margin_rows: int = 0
    latest_late_s: float | None = None
    files: Sequence[ManifestFile] = ()
    proof: ManifestProof = ManifestProof()
    requests: int = 0
    throttled: int = 0
    resumed_pages: int = 0
    extracted_at: str | None = None
    columns: Sequence[Mapping[str, str]] = ()
    checks: Sequence[Mapping[str, Any]] = ()
    run_id: str = ""
    definition: str = ""
    notes: ManifestNotes = ManifestNotes()
    tables: Mapping[str, ManifestTable] = field(default_factory=dict)

    @property
    def watermark_at(self) -> datetime | None:
        """The watermark as an instant."""
        return datetime.fromisoformat(self.watermark) if self.watermark else None

    @property
    def total_bytes(self) -> int:
        """The size of all files."""
        return sum(file.bytes for file in self.all_files)

    @property
    def all_files(self) -> Sequence[ManifestFile]:
        """The files of the rows, and those of the child tables."""
        return (*self.files, *(f for table in self.tables.values() for f in table.files))

    @property
    def paths(self) -> frozenset[str]:
        """The files' keys, relative to the lake."""
        return frozenset(file.path for file in self.all_files)

    def of_table(self, name: str) -> "Manifest | None":
        """The partition of a child table, ``endpoint/name``; None if it was committed without."""
        table = self.tables.get(name)
        if table is None:
            return None
        return replace(
            self,
            endpoint=f"{self.endpoint}/{name}",
            rows=table.rows,
            files=table.files,
            columns=table.columns,
            late_rows=0,
            margin_rows=0,
            latest_late_s=None,
            checks=(),
            notes=ManifestNotes(key=table.key, filtered_rows=table.filtered_rows or None),
            tables={},
        )

    def to_json(self) -> str:
        """The manifest as text; the same manifest is always the same text."""
        data = {each.name: getattr(self, each.name) for each in fields(self)}
        data |= {"window": self.window.to_json(), "proof": self.proof.to_json()}
        data |= {
            "files": [asdict(file) for file in self.files],
            "extra": data.pop("notes").to_json(),
        }
        if tables := data.pop("tables"):
            data["tables"] = {name: table.to_json() for name, table in tables.items()}
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

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
                data["window"] = Window.from_json(data["window"])
                data["proof"] = ManifestProof.from_json(data.get("proof", {}))
                data["notes"] = ManifestNotes.from_json(data.get("extra", {}))
                tables = data.get("tables", {}).items()
                data["tables"] = {name: ManifestTable.from_json(of) for name, of in tables}
                manifest = cls(**{n: _frozen(data[n]) for n in _names(cls) & data.keys()})
                _check_members(manifest)
                return manifest
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = str(error) if isinstance(error, _Misfit) else type(error).__name__
            raise LakeRefused(
                f"{name} is not a manifest of Headrace ({reason}): restore the"
                " object, or delete it and materialize the partition again."
            ) from error
        raise LakeRefused(
            f"{name} is of version {version}; this Headrace reads up to version {VERSION}:"
            " upgrade Headrace."
        )


class _Misfit(ValueError):
    """A member of a manifest is not what it has to be: somebody has edited it."""


def _check_members(manifest: Manifest) -> None:
    """Look at what runs and readers compute with.

    :raises _Misfit: a member is of another type, or contradicts another one.
    """
    for name in ("source", "endpoint", "partition", "generation", "run_id", "definition"):
        if not isinstance(getattr(manifest, name), str):
            raise _Misfit(f"`{name}` is no text")
    if type(manifest.rows) is not int:
        raise _Misfit("`rows` is no whole number")
    tables = manifest.tables.values()
    if not all(map(_is_column, [*manifest.columns, *(c for of in tables for c in of.columns)])):
        raise _Misfit("`columns` is no list of names and types")
    window, watermark = manifest.window, manifest.watermark_at
    instants = {"watermark": watermark, "window.start": window.start, "window.end": window.end}
    for name, instant in instants.items():
        if instant is not None and instant.tzinfo is None:
            raise _Misfit(f"`{name}` has no time zone")
    if watermark is not None and watermark > window.end:
        raise _Misfit("`watermark` is later than `window.end`")
    if window.start is not None and window.start > window.end:
        raise _Misfit("`window.start` is later than `window.end`")


def _is_column(column: Any) -> bool:
    is_mapping = isinstance(column, Mapping)
    return is_mapping and all(isinstance(column.get(name), str) for name in ("name", "type"))


def _names(of: type) -> set[str]:
    return {each.name for each in fields(of)}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _file(item: Mapping[str, Any]) -> ManifestFile:
    return ManifestFile(
        path=str(item["path"]),
        rows=int(item["rows"]),
        bytes=int(item["bytes"]),
        checksum=str(item.get("checksum", "")),
    )


def checksum_of(body: Any) -> str:
    """The checksum of a file's bytes, as manifests have it: ``crc32:`` and eight digits."""
    return f"crc32:{zlib.crc32(body):08x}"


# ---- how the columns of two partitions differ


def schema_changes(
    before: Sequence[Mapping[str, str]], after: Sequence[Mapping[str, str]]
) -> tuple[SchemaChange, ...]:
    """Schema changes in order of the columns after, then of the columns that are gone.

    No partition before: no change. Columns that this project adds are left out.

    :param before: columns as in a manifest: ``[{"name", "type"}]``.
    """
    if not before:
        return ()
    was, now = _types(before), _types(after)
    changed = [
        SchemaChange(name, was.get(name), kind)
        for name, kind in now.items()
        if was.get(name) != kind
    ]
    removed = [SchemaChange(name, kind, None) for name, kind in was.items() if name not in now]
    return (*changed, *removed)


def _types(columns: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {c["name"]: c["type"] for c in columns if not c["name"].startswith(_OURS)}
