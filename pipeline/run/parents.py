"""Children: an endpoint whose requests are made from the rows of another one.

The parents of a partition are the rows of the parent endpoint's partition of that day: those that
changed in its window. One parent that fails does not fail the others; who failed is listed, and a
threshold decides whether the partition commits.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.config.endpoint import ParentsConfig
from pipeline.errors import ContractBroken, RequestRefused, WindowRefused, cut
from pipeline.extract.completeness import BY_COUNT, ONE_PAGE, weaker
from pipeline.extract.fan_out import PagesOfValue
from pipeline.extract.fetcher import PageSource
from pipeline.extract.page_batch import ExtractionProgress, PageBatch
from pipeline.extract.plan import EndpointReader
from pipeline.extract.prefetch import in_order
from pipeline.lake.manifest import Manifest
from pipeline.lake.read import again_if_vanished, key_rows
from pipeline.partitions.window import Window
from pipeline.run.context import RunContext

_MOST_LISTED = 100
_MOST_SAID = 60


@dataclass(frozen=True)
class ParentSelection:
    """What a child's partition is made from.

    :ivar groups: one request's parents each: a value (a number stays one, as in any ``json``), or
        several joined by commas.
    :ivar generation: of the parent's partition; a checkpoint made from another one is void.
    """

    window: Window
    groups: tuple[str | int, ...]
    generation: str


def parents_of(run: RunContext, children: ParentsConfig, partition: str) -> ParentSelection:
    """The parents of a child's partition, as they are committed.

    :raises WindowRefused: the parent's partition is not committed.
    :raises ContractBroken: its rows have no such column, or no values that could be asked for.
    :raises LakeUnavailable: its files can't be read.
    """
    look = run.index.get_then_fresh(run.source.source, children.endpoint, partition)
    return again_if_vanished(run.lake, lambda: _parents(run, children, partition, look()))


def _parents(
    run: RunContext, children: ParentsConfig, partition: str, found: Manifest | None
) -> ParentSelection:
    if found is None:
        raise WindowRefused(
            f"its parent {children.endpoint} is not committed for {partition}: materialize "
            f"{run.source.source}/{children.endpoint} first, or both together"
        )
    values = _values(run, children, found)
    return ParentSelection(found.window, _groups(values, children), found.generation)


def _groups(values: list[str | int], children: ParentsConfig) -> tuple[str | int, ...]:
    size, texts = children.group, [str(value) for value in values]
    joined = (",".join(texts[i : i + size]) for i in range(0, len(texts), size))
    return tuple(values if size == 1 else joined)


def _values(run: RunContext, children: ParentsConfig, parent: Manifest) -> list[str | int]:
    """What goes into {parent}.

    The manifest knows columns that no row of this one partition has: then nobody is asked for.
    """
    if not parent.files:
        return []
    known = [str(column["name"]) for column in parent.columns]
    check_column(run.source.source, children, known)
    column = key_rows(run.lake, parent.files, [children.column])[children.column]
    return values_of(run.source.source, children, column)


def check_column(source: str, children: ParentsConfig, known: Sequence[str]) -> None:
    """:raises ContractBroken: the parent's rows have no such column."""
    if children.column not in known:
        raise ContractBroken(
            f"parents.column is {children.column!r}, but {source}/{children.endpoint} has the "
            f"columns {', '.join(known)}: name one of these"
        )


def values_of(source: str, children: ParentsConfig, column: pa.ChunkedArray) -> list[str | int]:
    """Each value of the parent's column once, in order.

    :raises ContractBroken: no values that could be asked for.
    """
    name = children.column
    if pa.types.is_nested(column.type):
        raise ContractBroken(
            f"parents.column {name!r} of {source}/{children.endpoint} is "
            f"{column.type}, expected single values: declare the member that goes into {{parent}} "
            f"as a column, e.g. {name}_id: {{type: int64, path: {name}.id}}"
        )
    found = sorted(column.drop_null().unique().to_pylist())
    values = found if pa.types.is_integer(column.type) else [str(value) for value in found]
    split = next((value for value in values if "," in str(value)), None)
    if children.group > 1 and split is not None:
        raise ContractBroken(
            f"parents.group joins the values of {source}/{children.endpoint}.{name} by "
            f"commas, and {cut(str(split), _MOST_SAID)!r} has one: it would be asked for as two. "
            "Set group: 1, or name a column without commas"
        )
    return values


@dataclass(frozen=True)
class FailedParent:
    """A parent (or a group of them) whose children could not be read."""

    parent: str
    kind: str
    reason: str


@dataclass(frozen=True)
class _Read:
    index: int
    table: pa.Table = field(default_factory=lambda: pa.table({}))
    arrow_bytes: int = 0
    proved: bool = True
    rests_on: str = ONE_PAGE
    failed: FailedParent | None = None


@dataclass
class ParentReader:
    """Reads the pages of each parent, under the proof that they would have without parents.

    As many parents at a time as the YAML says.

    :ivar reader: what reads the pages of one parent.
    """

    pages: PageSource
    reader: Callable[[PageSource], EndpointReader]
    parents: ParentSelection
    children: ParentsConfig
    tally: ExtractionProgress = field(default_factory=ExtractionProgress)
    failed: list[FailedParent] = field(default_factory=list)
    _proved: bool = True

    async def run(self, position: Mapping[str, Any] | None) -> AsyncGenerator[PageBatch, None]:
        """The rows of each parent, in the parents' order.

        :raises ContractBroken: more parents failed than the threshold allows.
        """
        first = position["next"] if position else 0
        self.failed += [FailedParent(**each) for each in position["failed"]] if position else []
        self._proved = bool(position.get("proved", True)) if position else True
        self.tally.rests_on = position.get("rests_on", BY_COUNT) if position else ONE_PAGE
        numbered = list(enumerate(self.parents.groups))[first:]
        self.tally.total = None
        async with aclosing(
            in_order(numbered, self._one, lambda: self.children.concurrency)
        ) as done:
            async for read in done:
                yield self._handed(read)
        self._judge()
        self.tally.contiguous = self._proved and not self.failed

    def _handed(self, read: _Read) -> PageBatch:
        if read.failed is not None:
            self.failed.append(read.failed)
        listed = [vars(each) for each in self.failed]
        self._proved &= read.proved
        self.tally.rests_on = weaker(self.tally.rests_on, read.rests_on)
        position = {"next": read.index + 1, "failed": listed, "proved": self._proved}
        position["rests_on"] = self.tally.rests_on
        self.tally.rows += read.table.num_rows
        return PageBatch(read.table, position, read.arrow_bytes)

    async def _one(self, numbered: tuple[int, str | int]) -> AsyncGenerator[_Read, None]:
        index, parent = numbered
        reader = self.reader(PagesOfValue(self.pages, parent))
        tables: list[pa.Table] = []
        arrow_bytes = 0
        try:
            async with (
                asyncio.timeout(self.children.timeout_s),
                aclosing(reader.run(None)) as pages,
            ):
                async for handed in pages:
                    tables.append(handed.table)
                    arrow_bytes += handed.arrow_bytes
            table = _as_one(tables)
        except TimeoutError:
            reason = f"not read within {self.children.timeout_s:g} s"
            read = _Read(index, failed=FailedParent(str(parent), "timeout", reason))
        except (RequestRefused, ContractBroken) as error:
            failed = FailedParent(str(parent), type(error).__name__, str(error)[:300])
            read = _Read(index, failed=failed)
        else:
            proof = reader.tally.contiguous, reader.tally.rests_on
            read = _Read(index, table, arrow_bytes, *proof)
        self._count(reader.tally)
        yield read

    def _count(self, of_parent: ExtractionProgress) -> None:
        self.tally.pages += of_parent.pages
        self.tally.gaps_refetched += of_parent.gaps_refetched
        self.tally.repeated_rows += of_parent.repeated_rows
        self.tally.passes = max(self.tally.passes, of_parent.passes)

    def _judge(self) -> None:
        share = len(self.failed) / max(1, len(self.parents.groups))
        if not self.failed or share <= self.children.max_failed_share:
            return
        first = self.failed[0]
        dot = "" if first.reason.endswith((".", "?")) else "."
        raise ContractBroken(
            f"{len(self.failed)} of {len(self.parents.groups)} parents failed, and at most "
            f"{self.children.max_failed_share:.1%} may (parents.max_failed_share); the first is "
            f"{first.parent}: {first.reason}{dot} Those that are gone for good "
            f"go from the list when {self.children.endpoint} is materialized again for this day"
        )

    def summary(self) -> dict[str, Any]:
        """For the manifest: how many parents were asked, and who failed."""
        listed = [vars(each) for each in self.failed[:_MOST_LISTED]]
        return {
            "asked": len(self.parents.groups),
            "failed": len(self.failed),
            "failures": listed,
        }


def _as_one(pages: Sequence[pa.Table]) -> pa.Table:
    """The pages of one parent as one table.

    :raises ContractBroken: one has a whole number that no double of another one holds.
    """
    try:
        return pa.concat_tables([pa.table({}), *pages], promote_options="permissive")
    except pa.ArrowInvalid as error:
        raise ContractBroken(
            f"its pages can't be read as one table: {error}. Declare the column's type"
        ) from error
