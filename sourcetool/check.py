"""``check``: a source's YAML against its API."""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from pipeline.config import Source, load_source
from pipeline.config.broken_source import name_in
from pipeline.config.columns import EXTRACTED_AT
from pipeline.config.folders import files_in
from pipeline.errors import ConfigError, counted
from pipeline.http.client import open_client
from pipeline.http.request_batching import batching
from resources.budget import BudgetResource, default_budget_folder
from sourcetool.aws_check import check_aws
from sourcetool.children import look_at_children
from sourcetool.findings import findings
from sourcetool.probe import ProbeResult, look, window_of
from sourcetool.show import Inspection, as_json, print_refusal, show


@dataclass(frozen=True)
class Wanted:
    """The options of a check: which endpoints, how many pages and days, and where the rows go.

    :ivar rows: read until so many rows of each endpoint have come.
    :ivar into: a Parquet file for the rows of one endpoint.
    """

    endpoints: Sequence[str] = ()
    pages: int = 2
    days: float = 1.0
    rows: int = 0
    into: str | None = None
    as_json: bool = False


def find(name: str, folders: str) -> Path:
    """A YAML file by its path, or by the source's name. :raises ConfigError: there is none."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    files = list(files_in([folder for folder in folders.split(":") if folder]))
    for fits in (lambda file: name_in(file) == name, lambda file: file.stem == name):
        for file in files:
            if fits(file):
                return file
    known = ", ".join(sorted({name_in(file) for file in files})[:20]) or "no source"
    raise ConfigError(
        f"expected a YAML file or the name of a source, found no {name!r} in {folders}: there is "
        f"{known}"
    )


def as_asked_for(file: Path, source: str) -> str:
    """The argument of `make check-source` for a source: its name if the file lies where sources are
    looked for, else the file."""
    folders = (os.environ.get("HEADRACE_SOURCES") or "sources").split(":")
    return source if file in files_in([each for each in folders if each]) else str(file)


def check(name: str, wanted: Wanted, console: Console) -> int:
    """Look at endpoints; 1 if one has a doubt that breaks, 2 if the YAML is wrong."""
    try:
        source = load_source(find(name, os.environ.get("HEADRACE_SOURCES") or "sources"))
        for endpoint in wanted.endpoints:
            if endpoint not in source.endpoints:
                known = ", ".join(list(source.endpoints)[:20])
                raise ConfigError(f"{source.source} has no endpoint {endpoint!r}: it has {known}")
        names = list(wanted.endpoints or source.endpoints)
        if wanted.into and len(names) > 1:
            raise ConfigError(
                "--into: expected one endpoint, whose rows the file gets: name it with --endpoint "
                f"({', '.join(names[:20])})"
            )
    except ConfigError as error:
        if wanted.as_json:
            console.print_json(data={"verdict": "refused", "mistakes": str(error).splitlines()})
        else:
            print_refusal(console, str(error))
        return 2
    if source.lanes is not None:
        names = _upstream_first(source, names)
        return check_aws(source, names, wanted.pages, wanted.days, console, json=wanted.as_json)
    label = f"{source.source} at {source.shown_url}"
    progress = None if wanted.as_json else LookProgress(console, label)
    with progress or nullcontext():
        looking = _look_at_all(source, _upstream_first(source, names), wanted, progress)
        inspections = asyncio.run(looking)
    if wanted.as_json:
        console.print_json(data=as_json(source, inspections))
    else:
        show(console, source, inspections)
    if wanted.into:
        _write(inspections[-1].probe, wanted, console)
    return int(any(each.verdict == "broken" for each in inspections))


def _write(probe: ProbeResult, wanted: Wanted, console: Console) -> None:
    """The rows as they would land, into a Parquet file."""
    tables = [table.drop_columns(_extracted(table)) for table in probe.tables]
    rows = pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    rows = rows.slice(0, wanted.rows or None)
    pq.write_table(rows, str(wanted.into), compression="zstd")
    if not wanted.as_json:
        are = "is" if rows.num_rows == 1 else "are"
        console.print(
            f"{counted(rows.num_rows, 'row')} of {probe.name} {are} in {wanted.into}",
            highlight=False,
        )


def _extracted(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name == EXTRACTED_AT]


def _upstream_first(source: Source, names: Sequence[str]) -> list[str]:
    """The endpoints in the order to look at them, with those added whose rows are their values."""
    ordered: dict[str, None] = {}

    def add(name: str) -> None:
        for above in source.upstream(name):
            add(above)
        ordered[name] = None

    for name in names:
        add(name)
    return list(ordered)


class LookProgress:
    """Shows how many endpoints have been looked at: a bar on a terminal, else lines.

    :param label: the source and its address.
    """

    def __init__(self, console: Console, label: str) -> None:
        self._label = label
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), console=console, transient=True
        )
        self._drawn = console.is_terminal
        self._task = self._bar.add_task(f"looking at {escape(label)}", total=None)

    def __enter__(self) -> Self:
        if self._drawn:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            self._bar.stop()

    def next(self, name: str, number: int, of: int) -> None:
        """:param number: of the endpoint that is looked at now, from 1."""
        if self._drawn:
            text = f"looking at {escape(self._label)}: {name}"
            self._bar.update(self._task, description=text, completed=number - 1, total=of)
        elif of > 1:
            print(f"looking at {name} ({number} of {of})", file=sys.stderr, flush=True)


async def _look_at_all(
    source: Source, names: Sequence[str], wanted: Wanted, progress: LookProgress | None
) -> list[Inspection]:
    where = os.environ.get("HEADRACE_BUDGET") or default_budget_folder()
    inspections, probes = list[Inspection](), dict[str, ProbeResult]()
    async with (
        open_client(source, BudgetResource(where=where).open(source)) as client,
        batching(client, source) as sender,
    ):
        for number, name in enumerate(names, 1):
            if progress is not None:
                progress.next(name, number, len(names))
            window = window_of(source.endpoints[name], datetime.now(UTC), wanted.days)
            if source.endpoints[name].fans_out:
                probe = await look_at_children(
                    source, name, probes, window, sender, wanted.pages, wanted.rows
                )
            else:
                probe = await look(
                    source, name, sender, window, wanted.pages, most_rows=wanted.rows
                )
            probes[name] = probe
            inspections.append(Inspection(probe, findings(source, probe)))
    return inspections
