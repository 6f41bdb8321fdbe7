"""Damage: committed files that are not what their manifest says.

A file can be deleted after its commit by a lifecycle rule, cut by a copy, altered by a disk. A
listing shows its size, reading it shows its bytes. The look changes nothing in the lake;
materializing the partition again mends it.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import HeadraceError, LakeDamaged, LakeUnavailable
from pipeline.lake.index import read_committed
from pipeline.lake.manifest import Manifest, ManifestFile, checksum_of
from pipeline.lake.paths import PartitionPaths, paths_of_part
from pipeline.lake.stores.base import ListedObject, ObjectStore

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
