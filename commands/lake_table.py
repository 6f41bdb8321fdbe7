"""``lake``: the committed partitions as a table. Sizes in bytes, ages from the extraction."""

import sys
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from commands.choice import near
from pipeline.errors import counted
from pipeline.lake.index import ManifestIndex
from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import is_segment, paths_of_record
from pipeline.lake.stores.base import ObjectStore
from pipeline.partitions import SCHEMES

_COLUMNS = (
    "endpoint", "partition", "window (UTC)", "rows", "late", "files", "size", "complete by", "age",
)  # fmt: skip
_MOST_MISSING = 5
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

    :param what: ``source/endpoint``, of a child table ``source/endpoint/table``, ``source``, or
        all of the lake.
    :param last: so many partitions of each endpoint; None: all.
    :param between: only these, both included.
    :return: 1 if nothing is committed there.
    """
    index, shown, n_partitions = ManifestIndex(lake), list[Manifest](), 0
    table_name = (what.split("/", 2) + [""] * 2)[2]
    endpoints = committed_endpoints(lake, what)
    for (source, endpoint), partitions in sorted(endpoints.items()):
        for partition in partitions[-last if last else 0 :]:
            if between and not between[0] <= partition <= between[1]:
                continue
            if manifest := index.get(source, endpoint, partition):
                names = [table_name] if table_name else [] if as_json else [*manifest.tables]
                shown += [] if table_name else [manifest]
                shown += filter(None, map(manifest.of_table, names))
                n_partitions += 1
    if as_json:
        for manifest in shown:
            sys.stdout.write(" ".join(manifest.to_json().split()) + "\n")
    elif shown:
        Console(width=None if sys.stdout.isatty() else 160).print(table(shown, datetime.now(UTC)))
        left_out = sum(map(len, endpoints.values())) - n_partitions
        if left_out:
            are = "is" if left_out == 1 else "are"
            print(f"{counted(left_out, 'older partition')} {are} not shown; --all shows them.")
        for sentence in gaps([m for m in shown if "/" not in m.endpoint] or shown):
            print(sentence)
    if not shown:
        print(nothing_text(lake, what), file=sys.stderr)
    return 0 if shown else 1


def nothing_text(lake: ObjectStore, what: str, how: str = "committed", when: str = "") -> str:
    """The sentence that nothing is there, and what there is of a similar name.

    :param what: ``source/endpoint``, ``source``, or all of the lake.
    """
    of, source = f" of {what}" if what else "", what.partition("/")[0]
    sentence = f"Nothing{of}{when} is {how} in {lake.url()}"
    names = sorted(filter(is_segment, lake.folders("")))
    if source in names and "/" in what:
        names = [f"{source}/{each}" for each in filter(is_segment, lake.folders(f"{source}/"))]
    if not what or not names or what in names:
        return f"{sentence}."
    ending = near(what, sorted(names))
    return sentence + ending + ("" if ending.endswith("?") else ".")


def gaps(shown: Sequence[Manifest]) -> list[str]:
    """A sentence on each endpoint that lacks partitions between its first and its last one shown.

    A snapshot lacks none: nobody can ask for what was there on a day that is over.
    """
    of_endpoint = defaultdict[str, set[str]](set)
    for manifest in shown:
        if manifest.endpoint_kind != "snapshot":
            of_endpoint[f"{manifest.source}/{manifest.endpoint}"].add(manifest.partition)
    sentences = []
    several = len({(manifest.source, manifest.endpoint) for manifest in shown}) > 1
    for name, partitions in of_endpoint.items():
        missing, noun = _missing(partitions)
        if not missing:
            continue
        named = ", ".join(missing[:_MOST_MISSING])
        more = len(missing) - _MOST_MISSING
        sentences.append(
            f"{f'{name}: ' if several else ''}{counted(len(missing), noun)} "
            f"{'is' if len(missing) == 1 else 'are'} missing between the first and the last: "
            f"{named}{f' and {more:,} more' if more > 0 else ''}"
        )
    return sentences


def _missing(partitions: Collection[str]) -> tuple[list[str], str]:
    """The keys that are not there between the first and the last, and what one is called.

    The kind of partitions is the one whose keys they all are: a lake does not say.
    """
    first, last = min(partitions), max(partitions)
    for kind, scheme_type in SCHEMES:
        try:
            scheme = scheme_type(kind=kind)
            for key in partitions:
                scheme.parse(key)
        except ValueError:  # another kind, or one that needs more than its name
            continue
        begin, end, missing = scheme.parse(first), scheme.parse(last), list[str]()
        while (begin := scheme.after(begin)) < end:
            if (key := scheme.key(begin)) not in partitions:
                missing.append(key)
        return missing, scheme.noun
    return [], "partition"


def committed_endpoints(
    lake: ObjectStore, what: str = ""
) -> Mapping[tuple[str, str], Sequence[str]]:
    """The partitions of each ``(source, endpoint)`` that have a manifest, in order."""
    source, endpoint = (*what.split("/"), "")[:2]
    prefix = f"{source}/{endpoint}/_manifests/" if endpoint else f"{source}/" if source else ""
    by_endpoint = defaultdict[tuple[str, str], list[str]](list)
    for item in lake.list(prefix):
        place = paths_of_record(item.key)
        if place is not None and item.key == place.manifest:
            by_endpoint[place.source, place.endpoint].append(place.partition)
    return {name: sorted(partitions) for name, partitions in by_endpoint.items()}


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
