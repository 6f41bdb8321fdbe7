"""All manifests of an endpoint in one object, so that who wants all of them need not read each.

    {source}/{endpoint}/_archive/manifests.json

It decides nothing: a manifest of it counts only while the listing shows the same etag, and what is
missing in it is read singly. It is written by who has had to read many singly, and may be deleted.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.errors import HeadraceError, LakeRefused
from pipeline.lake.index import CommittedManifest, believed, read_committed
from pipeline.lake.paths import PartitionPaths, archive_of, paths_of_record
from pipeline.lake.stores.base import ListedObject, ObjectStore, StoredObject

_VERSION: Final = 1
_THREADS: Final = 8
_FEW: Final = 16
"""So many manifests are read singly, side by side."""
_MANY: Final = 32
"""So many that had to be read singly are worth writing the archive for."""


@dataclass
class AllManifests:
    """What came of reading the manifests of an endpoint.

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
    wanted = {
        place: item.etag
        for item in listed
        if (place := paths_of_record(item.key)) is not None and item.key == place.manifest
    }
    found = AllManifests()
    archive = lake.get(archive_of(source, endpoint)) if len(wanted) > _FEW else None
    texts = _texts(archive)
    singly: list[PartitionPaths] = []
    for place, etag in wanted.items():
        known, text = texts.get(place.partition, (None, ""))
        try:
            if known != etag:
                raise LakeRefused("not in the archive")
            found.committed[place] = CommittedManifest(believed(lake, place, text), etag)
        except LakeRefused:
            singly.append(place)
    with ThreadPoolExecutor(_THREADS) as pool:
        for place, read in zip(singly, pool.map(lambda p: _read(lake, p), singly), strict=True):
            if isinstance(read, LakeRefused):
                found.refused[place] = read
            elif read is not None and not read.manifest.notes.dropped:
                found.committed[place] = read
    if save and len(singly) >= _MANY:
        _save(lake, source, endpoint, found, archive)
    return found


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
    found: AllManifests,
    archive: StoredObject | None,
) -> None:
    """Write the archive. Another one that came first is as good, and who may not write need not."""
    manifests = {
        place.partition: {"etag": each.etag, "text": each.manifest.to_json()}
        for place, each in found.committed.items()
    }
    body = json.dumps({"version": _VERSION, "manifests": manifests}, ensure_ascii=False).encode()
    with suppress(HeadraceError):
        key = archive_of(source, endpoint)
        lake.put(key, body, replaces=archive.etag if archive else None)
