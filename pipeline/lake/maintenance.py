"""Maintenance: what dead attempts left is found, and removed, where no next attempt has done it.

Nothing that a manifest names is touched, nor a checkpoint that was written lately, nor what one
names. Everything is listed *before* the checkpoints and manifests of what may be left over are
read: a file gets its name into a checkpoint before it exists, so what was listed and is named by
neither is dead. Of partitions without a sign of that, manifests are taken from the archive.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal, Protocol, TypeVar

from pipeline.lake.checkpoint import StoredCheckpoint, load
from pipeline.lake.commit import carry_out, clean_up
from pipeline.lake.damage import Damage, damaged_files
from pipeline.lake.drop import discard_staged
from pipeline.lake.index import read_all, read_committed
from pipeline.lake.paths import (
    PartitionPaths,
    is_segment,
    paths_of_part,
    paths_of_record,
)
from pipeline.lake.stores.base import ListedObject, ObjectStore, Upload

_THREADS: Final = 8
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
    endpoint is removed while one of its manifests can't be believed, nor of a partition while a
    file of it is missing or has another size.

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
        committed_manifests = [each.manifest for each in manifests.committed.values()]
        damaged = [*damaged_files(self.lake, committed_manifests, listed)]
        incomplete = {paths_of_part(each.path) for each in damaged}
        records = {p for each in listed if (p := _checkpoint_of(each)) is not None}
        own_uploads = (p for p in uploads if (p.source, p.endpoint) == (self.source, self.endpoint))
        leftovers: list[Leftover] = []
        for place in dict.fromkeys([*files, *own_uploads, *records]):
            if place in manifests.refused:
                continue
            current = manifests.committed.get(place)
            in_use = current.manifest.paths if current else frozenset()
            # What looks left over may be the rows of a newer manifest, in place of which an older
            # one was restored.
            keep = manifests.refused or place in incomplete
            cleaner = replace(self, dry_run=True) if keep else self
            strays = [file for file in files.get(place, ()) if file.key not in in_use]
            idle = uploads.get(place, ())
            if strays or idle or place in records:
                leftovers += cleaner._leftovers(
                    place, strays, idle, has_checkpoint=place in records
                )
        return MaintenanceReport(
            tuple(leftovers),
            self.dry_run,
            tuple(damaged),
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
