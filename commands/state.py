"""``state``: what is kept of sources, and how to take it back.

``show`` says what is committed and what runs have staged; ``drop`` takes partitions out of the
lake; ``reload`` reads them from the API again, and readers see the old rows until the new ones are
committed. ``drop`` and ``reload`` change nothing without ``--yes``.
"""

import json
import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from commands import dagster_runs
from commands.choice import days_range
from commands.lake_table import nothing_text, size_text
from pipeline.errors import ConfigError, ReadRefused, counted
from pipeline.lake.drop import (
    PartitionState,
    discard_staged,
    drop,
    drop_records,
    in_use,
    states,
)
from pipeline.lake.paths import is_segment
from pipeline.lake.stores.base import ObjectStore
from pipeline.partitions.base import is_key_of_any

_COLUMNS = ("endpoint", "partitions", "first", "last", "rows", "size", "complete up to", "staged")
_LEFT = {"endpoint", "first", "last", "complete up to"}
_MOST_NAMED = 10


def show(lake: ObjectStore, what: str, *, as_json: bool) -> int:
    """Print an endpoint a line, and below the partitions that runs are writing.

    :param what: ``source/endpoint``, ``source``, or all of the lake.
    :return: 1 if nothing is there.
    """
    by_endpoint = {name: states(lake, *name) for name in _endpoints(lake, what)}
    by_endpoint = {name: parts for name, parts in by_endpoint.items() if parts}
    now = datetime.now(UTC)
    if as_json:
        for (source, endpoint), parts in by_endpoint.items():
            print(json.dumps({"source": source, "endpoint": endpoint} | _summary(parts)))
    elif by_endpoint:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in _COLUMNS:
            table.add_column(column, justify="left" if column in _LEFT else "right", no_wrap=True)
        for (source, endpoint), parts in by_endpoint.items():
            table.add_row(f"{source}/{endpoint}", *_cells(parts))
        _console().print(table)
        for part in in_use([each for parts in by_endpoint.values() for each in parts]):
            print(f"{part.place}: {part.work_text(now)}")
    if not by_endpoint:
        print(_nothing(lake, what), file=sys.stderr)
    return 0 if by_endpoint else 1


def drop_partitions(
    lake: ObjectStore, what: str, days: str | None, *, yes: bool, staged: bool, as_json: bool
) -> int:
    """Take partitions out of the lake, each of them at once.

    :param days: ``A`` or ``A...B``; None: all, and with them what sweeps have recorded.
    :param yes: False: print what would go, and change nothing.
    :param staged: what runs have staged goes, too.
    :return: 1 if there is nothing to drop.
    :raises ConfigError: a run is writing one of the partitions.
    """
    partitions = _chosen(lake, what, days)
    if not partitions:
        print(_nothing(lake, what, days), file=sys.stderr)
        return 1
    _refuse_in_use(partitions, staged=staged)
    _print_plan("drop", partitions, yes=yes, as_json=as_json)
    if not yes:
        return 0
    for part in reversed(partitions):
        drop(lake, part.place, staged=staged)
    if days is None:
        for source, endpoint in {(p.place.source, p.place.endpoint): None for p in partitions}:
            drop_records(lake, source, endpoint)
    if not as_json:
        print(
            "Dagster's UI shows these partitions as materialized until they are loaded again;"
            " the check `coverage` names them as missing. To have Dagster forget them:"
            f" {_forgets(partitions)}; ./headrace sync {what.partition('/')[0]}"
        )
    return 0


def reload(
    lake: ObjectStore, what: str, days: str | None, *, yes: bool, staged: bool, as_json: bool
) -> int:
    """Read committed partitions from the API again; each is replaced at once.

    :param days: ``A`` or ``A...B``; None: from the first committed partition to the last.
    :param yes: False: print what would be read, and change nothing.
    :param staged: read again what runs have staged, too, from the first page.
    :return: 1 if there is nothing to reload, or the run failed.
    :raises ConfigError: a run is writing one of the partitions.
    """
    partitions = _chosen(lake, what, days)
    if not partitions:
        print(_nothing(lake, what, days), file=sys.stderr)
        of_days = f" --days {days}" if days else ""
        print(f"To read it from the API: ./headrace load {what}{of_days}", file=sys.stderr)
        return 1
    _refuse_in_use(partitions, staged=staged)
    _print_plan("reload", partitions, yes=yes, as_json=as_json)
    if not yes:
        return 0
    for part in in_use(partitions):
        if part.work is not None:
            discard_staged(lake, part.place, part.work)
    names = sorted(part.place.partition for part in partitions)
    return dagster_runs.load(what, days or f"{names[0]}...{names[-1]}")


# ---- below: how


def _endpoints(lake: ObjectStore, what: str) -> list[tuple[str, str]]:
    """The folders of the lake that can be endpoints of what is named.

    :raises ConfigError: it can't be the name of a source or an endpoint.
    """
    if what:
        dagster_runs.selection(what)
    source, _, endpoint = what.partition("/")
    sources = [source] if source else sorted(filter(is_segment, lake.folders("")))
    endpoint, _, table = endpoint.partition("/")
    if table:
        raise ConfigError(
            f"`{what}` is a table of `{source}/{endpoint}`, whose partitions have it: name "
            f"`{source}/{endpoint}`"
        )
    if endpoint:
        return [(source, endpoint)]
    return [
        (name, each)
        for name in sources
        for each in sorted(filter(is_segment, lake.folders(f"{name}/")))
    ]


def _chosen(lake: ObjectStore, what: str, days: str | None) -> list[PartitionState]:
    if not what:
        raise ConfigError("expected SOURCE or SOURCE/ENDPOINT, found none")
    first, last = ("", "") if days is None else days_range(days)
    if last and first > last:
        raise ReadRefused(
            f"--days is `{days}`: the earlier partition comes first: {last}...{first}"
        )
    chosen = [each for name in _endpoints(lake, what) for each in states(lake, *name, first, last)]
    if days and not chosen:
        for key in (first, last):
            if not is_key_of_any(key):
                raise ReadRefused(
                    f"--days names `{key}`: expected a partition such as `2026-11-01`"
                )
    return chosen


def _refuse_in_use(partitions: Collection[PartitionState], *, staged: bool) -> None:
    busy = [] if staged else in_use(partitions)
    if not busy:
        return
    now = datetime.now(UTC)
    named = "; ".join(f"`{each.place}` ({each.work_text(now)})" for each in busy[:_MOST_NAMED])
    more = f" and {len(busy) - _MOST_NAMED} more" if len(busy) > _MOST_NAMED else ""
    raise ConfigError(
        f"runs are writing {named}{more}: wait for them, or end them. If they are dead, --staged"
        " takes what they have staged, too"
    )


def _forgets(partitions: Sequence[PartitionState]) -> str:
    """The command by which Dagster forgets all materializations of these endpoints."""
    keys = dict.fromkeys((part.place.source, part.place.endpoint) for part in partitions)
    return "dagster asset wipe " + " ".join(f"'{json.dumps(list(key))}'" for key in keys)


def _print_plan(verb: str, chosen: Sequence[PartitionState], *, yes: bool, as_json: bool) -> None:
    committed = [each.committed for each in chosen if each.committed is not None]
    if as_json:
        for part in chosen:
            manifest = part.committed
            line = {
                "source": part.place.source,
                "endpoint": part.place.endpoint,
                "partition": part.place.partition,
                "rows": manifest.rows if manifest else 0,
                "bytes": manifest.total_bytes if manifest else 0,
                "staged_rows": part.staged_rows,
                verb: yes,
            }
            print(json.dumps(line))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("endpoint", "partition", "rows", "size", "staged"):
        table.add_column(column, justify="left" if column in ("endpoint", "partition") else "right")
    for part in chosen:
        manifest = part.committed
        table.add_row(
            f"{part.place.source}/{part.place.endpoint}",
            part.place.partition,
            f"{manifest.rows:,}" if manifest else "—",
            size_text(manifest.total_bytes) if manifest else "—",
            f"{part.staged_rows:,}" if part.work else "",
        )
    _console().print(table)
    rows, size = sum(m.rows for m in committed), sum(m.total_bytes for m in committed)
    does = {
        "drop": ("leaves the lake", "leave the lake"),
        "reload": ("is read again from the API", "are read again from the API"),
    }[verb][len(chosen) > 1]
    partitions, of_rows = counted(len(chosen), "partition"), counted(rows, "row")
    sentence = f"{partitions} with {of_rows} ({size_text(size)}) {does}."
    print(sentence if yes else f"{sentence} Nothing is changed yet: add --yes.", flush=True)


def _cells(parts: Sequence[PartitionState]) -> list[str]:
    known = _summary(parts)
    return [
        f"{known['partitions']:,}",
        known["first"] or "—",
        known["last"] or "—",
        f"{known['rows']:,}",
        size_text(known["bytes"]),
        (known["watermark"] or "—").removesuffix(":00Z").replace("T", " "),
        f"{known['staged_rows']:,}" if known["in_work"] else "",
    ]


def _summary(parts: Sequence[PartitionState]) -> dict[str, Any]:
    committed = [each.committed for each in parts if each.committed is not None]
    return {
        "partitions": len(committed),
        "first": committed[0].partition if committed else None,
        "last": committed[-1].partition if committed else None,
        "rows": sum(each.rows for each in committed),
        "bytes": sum(each.total_bytes for each in committed),
        "watermark": committed[-1].watermark if committed else None,
        "in_work": [each.place.partition for each in in_use(parts)],
        "staged_rows": sum(each.staged_rows for each in parts),
    }


def _nothing(lake: ObjectStore, what: str, days: str | None = None) -> str:
    return nothing_text(lake, what, "committed or staged", f" in {days}" if days else "")


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160)
