"""Maintenance: remove leftovers of dead attempts, and look whether committed files are unharmed.

Leftovers are found, and on request removed, where no next attempt has cleaned up.

Nothing that a manifest names is touched, nor a checkpoint that was written lately, nor what one
names. Everything is listed *before* the checkpoints and manifests of what may be left over are
read: a file gets its name into a checkpoint before it exists, so what was listed and is named by
neither is dead. Of partitions without a sign of that, manifests are taken from the archive.

A file can be damaged after its commit: deleted by a lifecycle rule, cut by a copy, altered by a
disk. A listing shows its size, reading it shows its bytes. The look changes nothing in the lake;
materializing the partition again mends it.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import HeadraceError, LakeDamaged, LakeUnavailable
from pipeline.lake.checkpoint import StoredCheckpoint, load
from pipeline.lake.commit import carry_out, clean_up
from pipeline.lake.drop import discard_staged
from pipeline.lake.index import read_all, read_committed
from pipeline.lake.manifest import Manifest, ManifestFile, checksum_of
from pipeline.lake.paths import (
    PartitionPaths,
    is_segment,
    paths_of_part,
    paths_of_record,
)
from pipeline.lake.stores.base import ListedObject, ObjectStore, Upload

DamageKind = Literal["missing", "resized", "altered", "unreadable"]
_THREADS: Final = 8
_FILES_AT_ONCE: Final = 4  # whole files in memory


@dataclass(frozen=True)
class Damage:
    """A committed file that is not what its manifest says.

    :ivar path: of the file, relative to the lake.
    :ivar finding: what is wrong, as the end of a sentence: ``is missing``.
    """

    kind: DamageKind
    path: str
    finding: str

    @property
    def partition(self) -> str:
        """Whose file it is, for messages: ``igdb/games 2026-11-02``."""
        return str(paths_of_part(self.path) or "another program")

    def __str__(self) -> str:
        return f"`{self.path}` {self.finding}"


def mend(damage: Damage) -> str:
    """The sentence for a user about a damaged file."""
    return f"{damage}: materialize {damage.partition} again"


def compare_sizes(manifest: Manifest, sizes: Mapping[str, int]) -> list[Damage]:
    """The files of a manifest that a listing does not have, or has in another size.

    :param sizes: bytes by key, of all objects in the partition's folder.
    """
    damages = (_by_size(file, sizes.get(file.path)) for file in manifest.all_files)
    return [damage for damage in damages if damage is not None]


def damaged_files(
    lake: ObjectStore, manifests: Iterable[Manifest], listed: Iterable[ListedObject]
) -> Iterator[Damage]:
    """The committed files that a listing does not have in their size. No request if all are there.

    :param listed: all objects of the manifests' folders; other objects are passed over.
    """
    sizes = {item.key: item.size for item in listed}
    for manifest in manifests:
        place = PartitionPaths(manifest.source, manifest.endpoint, manifest.partition)
        yield from _confirmed(lake, place, compare_sizes(manifest, sizes))


def _confirmed(
    lake: ObjectStore, place: PartitionPaths, suspected: Sequence[Damage]
) -> list[Damage]:
    """Confirm the damage that a listing suggests: a commit may have come since the listing."""
    if not suspected:
        return []
    current = read_committed(lake, place)
    return [] if current is None else missing_or_resized(lake, current.manifest.all_files)


def missing_or_resized(lake: ObjectStore, files: Iterable[ManifestFile]) -> list[Damage]:
    """The files that are not there in their size: a request for each, side by side."""
    all_files = list(files)
    with ThreadPoolExecutor(_THREADS) as pool:
        sizes = pool.map(lambda file: lake.size(file.path), all_files)
        damages = [_by_size(*each) for each in zip(all_files, sizes, strict=True)]
    return [damage for damage in damages if damage is not None]


def verify_files(lake: ObjectStore, manifest: Manifest) -> Iterator[Damage]:
    """Read every file of a manifest whole, and hold it against its size, checksum and rows."""
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        for damage in pool.map(lambda file: _by_reading(lake, file), manifest.all_files):
            if damage is not None:
                yield damage


def error_of_damage(lake: ObjectStore, files: Iterable[ManifestFile]) -> HeadraceError | None:
    """The error that names what is damaged of files that can't be read; None: nothing is.

    A file that is missing may have been replaced meanwhile, which another attempt finds out.
    """
    all_files = list(files)
    damages = missing_or_resized(lake, all_files)
    if not damages:
        read = (_by_reading(lake, file) for file in all_files)
        damages = [damage for damage in read if damage is not None][:1]
    if not damages:
        return None
    damage = damages[0]
    more = f" (and {len(damages) - 1} more)" if len(damages) > 1 else ""
    text = (
        f"{damage}{more}; tried twice. Materialize {damage.partition} again. Check what else"
        f" writes or deletes in {lake.url()}: lifecycle rules, copies"
    )
    return LakeUnavailable(text) if damage.kind == "missing" else LakeDamaged(text)


def _by_size(file: ManifestFile, size: int | None) -> Damage | None:
    if size is None:
        return Damage("missing", file.path, "is missing")
    if size != file.bytes:
        sentence = f"has {size:,} bytes, expected {file.bytes:,}"
        return Damage("resized", file.path, sentence)
    return None


def _by_reading(lake: ObjectStore, file: ManifestFile) -> Damage | None:
    stored = lake.get(file.path)
    damage = _by_size(file, None if stored is None else len(stored.body))
    if stored is None or damage is not None:
        return damage
    if file.checksum and checksum_of(stored.body) != file.checksum:
        sentence = f"has the checksum {checksum_of(stored.body)}, expected {file.checksum}"
        return Damage("altered", file.path, sentence)
    try:
        table = pq.read_table(
            io.BytesIO(stored.body), use_threads=False, page_checksum_verification=True
        )
    except (OSError, pa.ArrowException) as error:
        sentence = f"can't be read as Parquet ({str(error).splitlines()[0][:200]})"
        return Damage("unreadable", file.path, sentence)
    if table.num_rows != file.rows:
        sentence = f"has {table.num_rows:,} rows, expected {file.rows:,}"
        return Damage("altered", file.path, sentence)
    return None


DAY_S: Final = 86_400.0

LeftoverKind = Literal["upload", "orphan", "checkpoint", "commit"]


@dataclass(frozen=True)
class Leftover:
    """An object or upload that is in no use.

    :ivar kind: an unfinished *upload*; an *orphan* file that no manifest names; a *checkpoint*
        with its staged batches; a *commit* that was decided and not carried out.
    :ivar bytes: None where the store does not tell.
    """

    kind: LeftoverKind
    key: str
    age_s: float
    bytes: int | None


@dataclass(frozen=True)
class MaintenanceReport:
    """The leftovers and damaged files, and whether the leftovers were removed.

    :ivar damaged: committed files that are missing, or of another size.
    :ivar refused: sentences on manifests that can't be believed. Nothing of their endpoints was
        removed, whatever is left over there.
    """

    leftovers: tuple[Leftover, ...]
    dry_run: bool
    damaged: tuple[Damage, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """The size of the leftovers, as far as it is known."""
        return sum(each.bytes or 0 for each in self.leftovers)


def clean(
    lake: ObjectStore,
    *,
    older_than_s: float = 3 * DAY_S,
    dry_run: bool = True,
    source: str | None = None,
    now: datetime | None = None,
    on_endpoint: Callable[[str, int], None] | None = None,
) -> MaintenanceReport:
    """Report what is left over for longer than ``older_than_s``; remove it unless ``dry_run``.

    Committed files are held against their manifests besides: damage is reported, and nothing of an
    endpoint is removed while one of its manifests can't be believed.

    :param older_than_s: longer than any run is silent, waits for its API included: a run whose
        checkpoint is taken away has to begin again.
    :param source: one source; None: all.
    :param on_endpoint: called with the name of each endpoint that is done, and how many there are.
    """
    at = now or datetime.now(UTC)
    sources = [source] if source is not None else [*filter(is_segment, lake.folders(""))]
    uploads = _by_place(lake.uploads("" if source is None else f"{source}/"))
    endpoints = {(place.source, place.endpoint) for place in uploads}
    for name in sources:
        endpoints |= {(name, each) for each in lake.folders(f"{name}/") if is_segment(each)}

    def cleaned(of: tuple[str, str]) -> MaintenanceReport:
        return _Endpoint(lake, *of, at, older_than_s, dry_run).clean(uploads)

    reports = []
    with ThreadPoolExecutor(_THREADS) as pool:
        names = sorted(endpoints)
        for of, report in zip(names, pool.map(cleaned, names), strict=True):
            reports.append(report)
            if on_endpoint is not None:
                on_endpoint("/".join(of), len(names))
    return MaintenanceReport(
        tuple(each for report in reports for each in report.leftovers),
        dry_run,
        tuple(each for report in reports for each in report.damaged),
        tuple(each for report in reports for each in report.refused),
    )


def _checkpoint_of(item: ListedObject) -> PartitionPaths | None:
    place = paths_of_record(item.key)
    return place if place is not None and item.key == place.checkpoint else None


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


_K = TypeVar("_K", bound=_Keyed)


def _by_place(things: Iterable[_K]) -> dict[PartitionPaths, list[_K]]:
    grouped: dict[PartitionPaths, list[_K]] = {}
    for each in things:
        place = paths_of_part(each.key)
        if place is not None:
            grouped.setdefault(place, []).append(each)
    return grouped


@dataclass(frozen=True)
class _Endpoint:
    lake: ObjectStore
    source: str
    endpoint: str
    now: datetime
    older_than_s: float
    dry_run: bool

    def clean(self, uploads: Mapping[PartitionPaths, Sequence[Upload]]) -> MaintenanceReport:
        listed = list(self.lake.list(f"{self.source}/{self.endpoint}/"))
        files = _by_place(listed)
        manifests = read_all(self.lake, self.source, self.endpoint, listed, save=True)
        cleaner = self
        if manifests.refused:
            cleaner = replace(self, dry_run=True)
        records = {p for each in listed if (p := _checkpoint_of(each)) is not None}
        own_uploads = (p for p in uploads if (p.source, p.endpoint) == (self.source, self.endpoint))
        leftovers: list[Leftover] = []
        for place in dict.fromkeys([*files, *own_uploads, *records]):
            if place in manifests.refused:
                continue
            current = manifests.committed.get(place)
            in_use = current.manifest.paths if current else frozenset()
            strays = [file for file in files.get(place, ()) if file.key not in in_use]
            idle = uploads.get(place, ())
            if strays or idle or place in records:
                leftovers += cleaner._leftovers(
                    place, strays, idle, has_checkpoint=place in records
                )
        committed_manifests = (each.manifest for each in manifests.committed.values())
        return MaintenanceReport(
            tuple(leftovers),
            self.dry_run,
            tuple(damaged_files(self.lake, committed_manifests, listed)),
            tuple(str(error) for error in manifests.refused.values()),
        )

    def _leftovers(
        self,
        place: PartitionPaths,
        strays: Sequence[ListedObject],
        idle: Sequence[Upload],
        *,
        has_checkpoint: bool,
    ) -> Iterator[Leftover]:
        # Read after all was listed, the manifest after the checkpoint: a commit may have come.
        stored = load(self.lake, place)
        yield from self._strays(place, stored, strays, idle)
        if stored is not None and has_checkpoint:
            yield from self._checkpoint(place, stored)

    def _checkpoint(self, place: PartitionPaths, stored: StoredCheckpoint) -> Iterator[Leftover]:
        # As it was read: since it was listed, a run may have taken it over.
        if not self._is_old(stored.modified):
            return
        age_s = self._age_s(stored.modified)
        staged = (
            sum(file.bytes for batch in stored.checkpoint.batches for file in batch.files)
            if stored.checkpoint
            else 0
        )
        if stored.decision is not None:
            yield Leftover("commit", place.checkpoint, age_s, staged)
            if not self.dry_run:
                carry_out(self.lake, place, stored.decision)
            return
        yield Leftover("checkpoint", place.checkpoint, age_s, staged)
        if not self.dry_run:
            discard_staged(self.lake, place, stored)

    def _strays(
        self,
        place: PartitionPaths,
        stored: StoredCheckpoint | None,
        files: Sequence[ListedObject],
        uploads: Sequence[Upload],
    ) -> Iterator[Leftover]:
        committed = read_committed(self.lake, place)
        in_use = set(committed.manifest.paths) if committed else set()
        staged = stored.checkpoint.batches if stored and stored.checkpoint else ()
        in_use |= {file.key for batch in staged for file in batch.files}
        if stored is not None and stored.decision is not None:
            in_use |= {*stored.decision.garbage, *stored.decision.manifest.paths}
        ids = {file.upload_id for batch in staged for file in batch.files}
        orphans = [f for f in files if f.key not in in_use and self._is_old(f.modified)]
        idle = [u for u in uploads if u.upload_id not in ids and self._is_old(u.initiated)]
        for file in orphans:
            yield Leftover("orphan", file.key, self._age_s(file.modified), file.size)
        for upload in idle:
            yield Leftover("upload", upload.key, self._age_s(upload.initiated), None)
        if not self.dry_run:
            clean_up(self.lake, place, uploads=idle, files=[file.key for file in orphans])

    def _is_old(self, instant: datetime) -> bool:
        return self._age_s(instant) >= self.older_than_s

    def _age_s(self, instant: datetime) -> float:
        return (self.now - instant).total_seconds()
