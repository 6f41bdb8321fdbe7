"""``lake``: the committed partitions as a table. Sizes in bytes, ages from the extraction."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from pipeline.lake.index import ManifestIndex
from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import paths_of_record
from pipeline.lake.stores.base import ObjectStore

_COLUMNS = (
    "endpoint", "partition", "window (UTC)", "rows", "late", "files", "size", "complete by", "age",
)  # fmt: skip
_LEFT_ALIGNED = {"endpoint", "partition", "window (UTC)", "complete by"}


def show(
    lake: ObjectStore,
    what: str,
    last: int | None,
    *,
    as_json: bool,
    between: tuple[str, str] | None = None,
) -> int:
    """Print the newest partitions of each endpoint.

    :param what: ``source/endpoint``, ``source``, or all of the lake.
    :param last: so many partitions of each endpoint; None: all.
    :param between: only these, both included.
    :return: 1 if nothing is committed there.
    """
    index, shown = ManifestIndex(lake), list[Manifest]()
    endpoints = committed_endpoints(lake, what)
    for (source, endpoint), partitions in sorted(endpoints.items()):
        for partition in partitions[-last if last else 0 :]:
            if between and not between[0] <= partition <= between[1]:
                continue
            if manifest := index.get(source, endpoint, partition):
                shown.append(manifest)
    if as_json:
        for manifest in shown:
            sys.stdout.write(" ".join(manifest.to_json().split()) + "\n")
    elif shown:
        Console(width=None if sys.stdout.isatty() else 160).print(table(shown, datetime.now(UTC)))
        left_out = sum(map(len, endpoints.values())) - len(shown)
        if left_out:
            print(f"{left_out:,} older partitions are not shown; --all shows them.")
    if not shown:
        where = f" of {what}" if what else ""
        print(f"Nothing{where} is committed in {lake.url()}.", file=sys.stderr)
    return 0 if shown else 1


def committed_endpoints(
    lake: ObjectStore, what: str = ""
) -> Mapping[tuple[str, str], Sequence[str]]:
    """The partitions of each ``(source, endpoint)`` that have a manifest, in order."""
    source, _, endpoint = what.partition("/")
    prefix = f"{source}/{endpoint}/_manifests/" if endpoint else f"{source}/" if source else ""
    found = defaultdict[tuple[str, str], list[str]](list)
    for item in lake.list(prefix):
        place = paths_of_record(item.key)
        if place is not None and item.key == place.manifest:
            found[place.source, place.endpoint].append(place.partition)
    return {name: sorted(partitions) for name, partitions in found.items()}


def table(manifests: Sequence[Manifest], now: datetime) -> Table:
    """The manifests as a table, one line each."""
    made = Table(*(), box=None, pad_edge=False, header_style="bold")
    for name in _COLUMNS:
        made.add_column(name, justify="left" if name in _LEFT_ALIGNED else "right", no_wrap=True)
    for manifest in manifests:
        window, basis = manifest.window, manifest.proof.rests_on
        begin = f"{window.start:%m-%d %H:%M}" if window.start else "—"
        made.add_row(
            f"{manifest.source}/{manifest.endpoint}",
            manifest.partition,
            f"{begin:>11} … {window.end:%m-%d %H:%M}",
            f"{manifest.rows:,}",
            f"{manifest.late_rows:,}",
            str(len(manifest.files)),
            size_text(manifest.total_bytes),
            (basis or "yes") if manifest.proof.contiguous else "[red]not proved[/]",
            _age(manifest, now),
        )
    return made


def size_text(size_bytes: float) -> str:
    """A size as a person reads it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:,.0f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:,.1f} TiB"


def _age(manifest: Manifest, now: datetime) -> str:
    if not manifest.extracted_at:
        return "—"
    age_s = (now - datetime.fromisoformat(manifest.extracted_at)).total_seconds()
    for unit, length_s in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if age_s >= length_s:
            return f"{age_s / length_s:.0f} {unit}"
    return f"{max(0.0, age_s):.0f} s"
