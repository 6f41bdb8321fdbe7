"""``verify``: read every committed file whole, and name what is damaged."""

import json
import sys
from collections.abc import Collection

from rich.console import Console
from rich.progress import track

from commands.lake_table import committed_endpoints, nothing_text
from pipeline.errors import counted
from pipeline.lake.damage import mend, verify_files
from pipeline.lake.index import read_all
from pipeline.lake.paths import manifests_folder
from pipeline.lake.stores.base import ObjectStore


def verify(
    lake: ObjectStore, what: str, partitions: Collection[str], *, as_json: bool = False
) -> int:
    """Hold each file against the size, the checksum and the rows of its manifest.

    :param what: ``source/endpoint``, ``source``, or all of the lake.
    :param partitions: only these; empty: all.
    :return: 0 if all is as it was committed, 1 if something is damaged, or one that is named, or
        all, is not there.
    """
    endpoints = committed_endpoints(lake, what)
    committed = {partition for each in endpoints.values() for partition in each}
    missing = sorted(set(partitions) - committed)
    if missing or not endpoints:
        when = f" in {', '.join(missing)}" if missing else ""
        print(nothing_text(lake, what, when=when), file=sys.stderr)
    damaged = [_endpoint(lake, *each, partitions, as_json=as_json) for each in sorted(endpoints)]
    return 0 if endpoints and not missing and not any(damaged) else 1


def _endpoint(
    lake: ObjectStore, source: str, endpoint: str, partitions: Collection[str], *, as_json: bool
) -> int:
    """The number of damaged files and manifests of one endpoint, each printed as it is found."""
    listed = list(lake.list(manifests_folder(source, endpoint)))
    manifests = read_all(lake, source, endpoint, listed)
    files, problems = 0, [str(error) for error in manifests.refused.values()]
    places = sorted(manifests.committed, key=str)
    chosen = [place for place in places if not partitions or place.partition in partitions]
    console = Console(stderr=True)
    name = f"{source}/{endpoint}"
    for place in track(
        chosen, name, console=console, transient=True, disable=not console.is_terminal
    ):
        manifest = manifests.committed[place].manifest
        files += len(manifest.all_files)
        problems += map(mend, verify_files(lake, manifest))
    if as_json:
        of = {"source": source, "endpoint": endpoint, "files": files, "damaged": problems}
        print(json.dumps(of, ensure_ascii=False))
        return len(problems)
    for sentence in problems:
        print(sentence)
    verdict = f"{len(problems)} damaged" if problems else "all as they were committed"
    print(f"{name}: {counted(files, 'file')}, {verdict}")
    return len(problems)
