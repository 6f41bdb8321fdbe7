"""The way to a manifest: read one fresh from the store, or through the index that a run keeps.

The index saves requests and decides nothing. What is true of a partition is decided by the
conditional writes alone: an attempt that rests on an index that is out of date conflicts, and its
commit is lost, never mixed. Who has to see what other runs have committed meanwhile (neighbours
after a commit, the winner of a lost race, a file that has vanished) reads fresh.

The archive has all manifests of an endpoint in one object, so that a reader of all of them need not
read each:

    {source}/{endpoint}/_archive/manifests.json

The archive decides nothing: a manifest of it counts only while the listing shows the same etag, and
what is missing in it is read singly. It is written by who has had to read many singly, and may be
deleted.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from pipeline.errors import HeadraceError, LakeRefused
from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import (
    PartitionPaths,
    archive_of,
    manifests_folder,
    paths_of_part,
    paths_of_record,
)
from pipeline.lake.stores.base import ListedObject, ObjectStore, StoredObject, Upload


@dataclass(frozen=True)
class CommittedManifest:
    """A manifest as it lies in the lake."""

    manifest: Manifest
    etag: str


def read_committed(lake: ObjectStore, place: PartitionPaths) -> CommittedManifest | None:
    """The partition's manifest as it is now, or None if it has never been committed."""
    stored = lake.get(place.manifest)
    if stored is None:
        return None
    return CommittedManifest(believed(lake, place, stored.body), stored.etag)


def believed(lake: ObjectStore, place: PartitionPaths, text: str | bytes) -> Manifest:
    """A manifest, held against the name that it lies under and against its own sums.

    :raises LakeRefused: it is no manifest, or not the one of this partition.
    """
    name = lake.url(place.manifest)
    manifest = Manifest.from_json(text, name=name)
    of = (manifest.source, manifest.endpoint, manifest.partition)
    if of != (place.source, place.endpoint, place.partition):
        contradiction = f"is the manifest of {of[0]}/{of[1]} {of[2]}, expected that of {place}"
    elif manifest.rows != (total := sum(file.rows for file in manifest.files)):
        contradiction = f"has {manifest.rows:,} rows, and its files have {total:,}"
    elif table := _miscounted(manifest):
        contradiction = f"has a table `{table}` with other rows than its files"
    elif stray := [path for path in sorted(manifest.paths) if paths_of_part(path) != place]:
        contradiction = f"names `{stray[0]}`, expected files in `{place.folder}`"
    else:
        return manifest
    raise LakeRefused(
        f"`{name}` {contradiction}. Check whether a copy or a restore put it there: restore the"
        f" object, or delete it and materialize {place.partition} again."
    )


def _miscounted(manifest: Manifest) -> str | None:
    """The name of a child table whose rows are not those of its files."""
    of = manifest.tables.items()
    return next((name for name, t in of if t.rows != sum(f.rows for f in t.files)), None)


def manifest_of(lake: ObjectStore, source: str, endpoint: str, partition: str) -> Manifest | None:
    """The manifest of one partition as it is now, or None if it is not committed."""
    committed = read_committed(lake, PartitionPaths(source, endpoint, partition))
    return _unless_dropped(committed.manifest) if committed else None


def _unless_dropped(manifest: Manifest) -> Manifest | None:
    """None for the manifest of a drop that is not carried out to its end: nothing is committed."""
    return None if manifest.notes.dropped else manifest


def places_with_manifests(lake: ObjectStore, source: str, endpoint: str) -> list[PartitionPaths]:
    """The partitions that have a manifest now, in order: those of a drop under way, too."""
    objects = lake.list(manifests_folder(source, endpoint))
    return [place for item in objects if (place := paths_of_record(item.key))]


@dataclass
class _Endpoint:
    """The known manifests of an endpoint; complete once its records were listed."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    listed: bool = False
    etags: dict[PartitionPaths, str] = field(default_factory=dict)
    manifests: dict[PartitionPaths, Manifest] = field(default_factory=dict)
    in_work: set[PartitionPaths] = field(default_factory=set)
    unsure: set[PartitionPaths] = field(default_factory=set)  # a drop may be under way
    files: defaultdict[PartitionPaths, set[str]] = field(default_factory=lambda: defaultdict(set))
    uploads: defaultdict[PartitionPaths, list[Upload]] = field(
        default_factory=lambda: defaultdict(list)
    )


class ManifestIndex:
    """The manifests as one run knows them: listed once an endpoint, each read once.

    The run's own commits are put in; what other runs commit after the listing is not seen, unless
    it is read `fresh`. Used by many threads at once.

        index = ManifestIndex(lake)
        index.partitions("igdb", "games")           # ['2026-11-01', '2026-11-02']
        index.get("igdb", "games", "2026-11-02")    # reads the manifest, once
    """

    def __init__(self, lake: ObjectStore) -> None:
        self.lake = lake
        self._endpoints: defaultdict[tuple[str, str], _Endpoint] = defaultdict(_Endpoint)

    def partitions(self, source: str, endpoint: str) -> list[str]:
        """The committed partitions, in order."""
        view = self._known(source, endpoint)
        with view.lock:
            unread = view.unsure - view.manifests.keys()
        for place in unread:
            self.fresh(source, endpoint, place.partition)
        with view.lock:
            read = view.manifests
            return sorted(
                place.partition
                for place in view.etags
                if place not in read or _unless_dropped(read[place])
            )

    def get(self, source: str, endpoint: str, partition: str) -> Manifest | None:
        """The manifest of one partition, or None if it was not committed when the run looked."""
        place = PartitionPaths(source, endpoint, partition)
        view = self._known(source, endpoint)
        with view.lock:
            if place not in view.etags:
                return None
            if place in view.manifests:
                return _unless_dropped(view.manifests[place])
        return self.fresh(source, endpoint, partition)

    def latest(self, source: str, endpoint: str) -> Manifest | None:
        """The manifest of the newest committed partition, or None if there is none."""
        partitions = self.partitions(source, endpoint)
        return self.get(source, endpoint, partitions[-1]) if partitions else None

    def fresh(self, source: str, endpoint: str, partition: str) -> Manifest | None:
        """The manifest as it is now, other runs' commits included: one request."""
        place = PartitionPaths(source, endpoint, partition)
        committed = read_committed(self.lake, place)
        if committed is not None:
            self.put(place, committed)
        return _unless_dropped(committed.manifest) if committed else None

    def get_then_fresh(
        self, source: str, endpoint: str, partition: str
    ) -> Callable[[], Manifest | None]:
        """A function that gives the manifest as the run knows it, and fresh from then on.

        For readers of its files, which another run may have replaced: see `again_if_vanished`.
        """
        looks = count()

        def look() -> Manifest | None:
            read = self.fresh if next(looks) else self.get
            return read(source, endpoint, partition)

        return look

    def put(self, place: PartitionPaths, committed: CommittedManifest) -> None:
        """Take up what is known to be committed now."""
        view = self._endpoints[place.source, place.endpoint]
        with view.lock:
            view.etags[place] = committed.etag
            view.manifests[place] = committed.manifest

    def look_again(self, source: str, endpoint: str) -> "ManifestIndex":
        """The endpoint's manifests as they are now, for one listing of them alone.

        A manifest is read anew only if its etag is another one than here. The index that comes of
        it knows nothing of files, attempts and uploads.
        """
        known, now = self._known(source, endpoint), ManifestIndex(self.lake)
        listing = self.lake.list(manifests_folder(source, endpoint))
        etags = {p: item.etag for item in listing if (p := paths_of_record(item.key)) is not None}
        with known.lock:
            same = {place for place, etag in etags.items() if known.etags.get(place) == etag}
            now._endpoints[source, endpoint] = _Endpoint(
                listed=True,
                etags=etags,
                manifests={p: known.manifests[p] for p in same if p in known.manifests},
                unsure=(known.unsure & same) | (etags.keys() - same),
            )
        return now

    def untouched(self, place: PartitionPaths) -> bool:
        """Whether no attempt was at work on the partition when the run looked."""
        view = self._known(place.source, place.endpoint)
        with view.lock:
            return place not in view.in_work

    def touched(self, place: PartitionPaths) -> None:
        """Take up that an attempt is, or was, at work on the partition."""
        view = self._known(place.source, place.endpoint)
        with view.lock:
            view.in_work.add(place)

    def uploads(self, place: PartitionPaths) -> tuple[Upload, ...]:
        """The unfinished uploads of the partition that were there when the run looked."""
        view = self._known(place.source, place.endpoint)
        with view.lock:
            return tuple(view.uploads[place])

    def files(self, place: PartitionPaths) -> frozenset[str]:
        """The keys of the partition's files that were there when the run looked."""
        view = self._known(place.source, place.endpoint)
        with view.lock:
            return frozenset(view.files[place])

    def etag(self, place: PartitionPaths) -> str | None:
        """The etag of the partition's manifest, or None if it is not committed."""
        view = self._known(place.source, place.endpoint)
        with view.lock:
            return view.etags.get(place)

    def _known(self, source: str, endpoint: str) -> _Endpoint:
        view = self._endpoints[source, endpoint]
        with view.lock:
            if not view.listed:
                self._look(view, source, endpoint)
                view.listed = True
        return view

    def _look(self, view: _Endpoint, source: str, endpoint: str) -> None:
        """List what there is: manifests, checkpoints and files lie side by side, and uploads apart.

        The two listings go side by side: which of an upload and a checkpoint came first does not
        matter to who owns no checkpoint yet (docs/decisions/0003-commit.md).
        """
        folder = f"{source}/{endpoint}/"
        with ThreadPoolExecutor(1) as beside:
            uploads = beside.submit(self.lake.uploads, folder)
            for item in self.lake.list(folder):
                if (place := paths_of_part(item.key)) is not None:
                    view.files[place].add(item.key)
                elif (place := paths_of_record(item.key)) is not None:
                    if item.key == place.checkpoint:
                        view.in_work.add(place)
                    else:
                        view.etags.setdefault(place, item.etag)
            # The checkpoint of a drop goes last: no other partition can have the manifest of one.
            view.unsure = view.in_work & view.etags.keys()
            for upload in uploads.result():
                if (of := paths_of_part(upload.key)) is not None:
                    view.uploads[of].append(upload)


_VERSION: Final = 1
_THREADS: Final = 8
_FEW: Final = 16
"""So many manifests are read singly, side by side."""
_MANY: Final = 32
"""So many that had to be read singly are worth writing the archive for."""


@dataclass
class AllManifests:
    """The result of reading the manifests of an endpoint.

    :ivar refused: by partition, why its manifest can't be believed.
    """

    committed: dict[PartitionPaths, CommittedManifest] = field(default_factory=dict)
    refused: dict[PartitionPaths, LakeRefused] = field(default_factory=dict)


def read_all(
    lake: ObjectStore,
    source: str,
    endpoint: str,
    listed: Sequence[ListedObject],
    *,
    save: bool = False,
) -> AllManifests:
    """The manifests that a listing shows, as they are now.

        listed = list(lake.list(manifests_folder("igdb", "games")))
        read_all(lake, "igdb", "games", listed).committed

    :param listed: other objects than manifests are passed over.
    :param save: write the archive if many manifests were not in it. For programs that may write.
    """
    etags = {
        place: item.etag
        for item in listed
        if (place := paths_of_record(item.key)) is not None and item.key == place.manifest
    }
    manifests = AllManifests()
    archive = lake.get(archive_of(source, endpoint)) if len(etags) > _FEW else None
    texts = _texts(archive)
    singly: list[PartitionPaths] = []
    for place, etag in etags.items():
        archived_etag, text = texts.get(place.partition, (None, ""))
        try:
            if archived_etag != etag:
                raise LakeRefused("not in the archive")
            manifests.committed[place] = CommittedManifest(believed(lake, place, text), etag)
        except LakeRefused:
            singly.append(place)
    with ThreadPoolExecutor(_THREADS) as pool:
        for place, read in zip(singly, pool.map(lambda p: _read(lake, p), singly), strict=True):
            if isinstance(read, LakeRefused):
                manifests.refused[place] = read
            elif read is not None and not read.manifest.notes.dropped:
                manifests.committed[place] = read
    if save and len(singly) >= _MANY:
        _save(lake, source, endpoint, manifests, archive)
    return manifests


def _read(lake: ObjectStore, place: PartitionPaths) -> CommittedManifest | LakeRefused | None:
    try:
        return read_committed(lake, place)
    except LakeRefused as error:
        return error


def _texts(archive: StoredObject | None) -> dict[str, tuple[str, str]]:
    """By partition, the etag and the text of its manifest; none if the archive is not readable."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        data: Any = json.loads(archive.body) if archive else {}
        if data.get("version") == _VERSION:
            return {key: (item["etag"], item["text"]) for key, item in data["manifests"].items()}
    return {}


def _save(
    lake: ObjectStore,
    source: str,
    endpoint: str,
    of_listing: AllManifests,
    archive: StoredObject | None,
) -> None:
    """Write the archive. Another one that came first is as good, and who may not write need not."""
    manifests = {
        place.partition: {"etag": each.etag, "text": each.manifest.to_json()}
        for place, each in of_listing.committed.items()
    }
    body = json.dumps({"version": _VERSION, "manifests": manifests}, ensure_ascii=False).encode()
    with suppress(HeadraceError):
        key = archive_of(source, endpoint)
        lake.put(key, body, replaces=archive.etag if archive else None)
