"""``verify``: read every committed file whole, and name what is damaged."""

import sys
from collections.abc import Collection

from commands.lake_table import committed_endpoints
from pipeline.lake.index import read_all
from pipeline.lake.maintenance import mend, verify_files
from pipeline.lake.paths import manifests_folder
from pipeline.lake.stores.base import ObjectStore


def verify(lake: ObjectStore, what: str, partitions: Collection[str]) -> int:
    """Hold each file against the size, the checksum and the rows of its manifest.

    :param what: ``source/endpoint``, ``source``, or all of the lake.
    :param partitions: only these; empty: all.
    :return: 0 if all is as it was committed, 1 if something is damaged or nothing is there.
    """
    endpoints = committed_endpoints(lake, what)
    damaged = [_endpoint(lake, *each, partitions) for each in sorted(endpoints)]
    if not damaged:
        where = f" of {what}" if what else ""
        print(f"Nothing{where} is committed in {lake.url()}.", file=sys.stderr)
    return 0 if damaged and not any(damaged) else 1


def _endpoint(lake: ObjectStore, source: str, endpoint: str, partitions: Collection[str]) -> int:
    """The number of damaged files and manifests of one endpoint, each printed as it is found."""
    listed = list(lake.list(manifests_folder(source, endpoint)))
    found = read_all(lake, source, endpoint, listed)
    files = 0
    problems = [str(error) for error in found.refused.values()]
    for sentence in problems:
        print(sentence)
    for place in sorted(found.committed, key=str):
        if partitions and place.partition not in partitions:
            continue
        manifest = found.committed[place].manifest
        files += len(manifest.files)
        for damage in verify_files(lake, manifest):
            problems.append(mend(damage))
            print(problems[-1])
    said = f"{len(problems)} damaged" if problems else "all as they were committed"
    print(f"{source}/{endpoint}: {files} files, {said}")
    return len(problems)
