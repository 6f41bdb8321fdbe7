"""``verify``: read every committed file of the lake whole, and name what is damaged."""

from collections.abc import Mapping

from rich.console import Console

from pipeline.config.settings import Settings
from pipeline.errors import HeadraceError
from pipeline.lake.integrity import mend, verify_files
from pipeline.lake.manifest_archive import read_all
from pipeline.lake.paths import is_segment, manifests_folder
from pipeline.lake.stores.base import ObjectStore
from pipeline.lake.stores.registry import open_lake


def verify(
    env: Mapping[str, str],
    source: str | None,
    endpoint: str | None,
    partitions: list[str],
    console: Console,
) -> int:
    """Hold each file against the size, the checksum and the rows of its manifest.

    :param source: only this source; None: all that the lake has.
    :param partitions: only these; empty: all.
    :returns: the exit status: 0 if all is as it was committed, 1 if something is damaged.
    """
    try:
        lake = open_lake(Settings.read(env).lake)
        lake.check()
        sources = [source] if source else [*filter(is_segment, lake.folders(""))]
        of = [(name, each) for name in sources for each in lake.folders(f"{name}/")]
        wanted = [
            (name, each) for name, each in of if is_segment(each) and endpoint in (None, each)
        ]
        damaged = sum(_endpoint(lake, *each, partitions, console) for each in wanted)
    except HeadraceError as error:
        console.print(str(error), markup=False)
        return 1
    if not wanted:
        console.print(f"{lake.url()} has nothing of {source or 'any source'}", markup=False)
        return 1
    return 1 if damaged else 0


def _endpoint(
    lake: ObjectStore, source: str, endpoint: str, partitions: list[str], console: Console
) -> int:
    """The number of damaged files and manifests of one endpoint, each printed as it is found."""
    listed = list(lake.list(manifests_folder(source, endpoint)))
    found = read_all(lake, source, endpoint, listed)
    problems, files = 0, 0
    for error in found.refused.values():
        problems += 1
        console.print(str(error), markup=False)
    for place in sorted(found.committed, key=str):
        if partitions and place.partition not in partitions:
            continue
        manifest = found.committed[place].manifest
        files += len(manifest.files)
        for damage in verify_files(lake, manifest):
            problems += 1
            console.print(mend(damage), markup=False)
    said = f"{problems} damaged" if problems else "all as they were committed"
    console.print(f"{source}/{endpoint}: {files} files, {said}", markup=False)
    return problems
