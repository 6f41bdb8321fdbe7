"""Children: an endpoint whose requests are made from the rows of another one.

The parents of a partition are the rows of the parent endpoint's partition of that day: those that
changed in its window. One parent that fails does not fail the others; who failed is listed, and a
threshold decides whether the partition commits.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from pipeline.errors import ContractBroken, RequestRefused, WindowRefused
from pipeline.extract import Handed, Tally
from pipeline.fetch import Pages
from pipeline.lanes import in_order
from pipeline.paging import Ask, Pager
from pipeline.readback import key_rows, manifest_of
from pipeline.spec.endpoint import Children
from pipeline.staged import Run
from pipeline.window import Window

_MOST_LISTED = 100
_MOST_PAGES = 100_000


@dataclass(frozen=True)
class Parents:
    """What a child's partition is made from.

    :ivar groups: one request's parents each: a value, or several joined by commas.
    :ivar generation: of the parent's partition; a checkpoint made from another one is void.
    """

    window: Window
    groups: tuple[str, ...]
    generation: str


def parents_of(run: Run, children: Children, partition: str) -> Parents:
    """:raises WindowRefused: the parent's partition is not committed."""
    found = manifest_of(run.lake, run.source.source, children.endpoint, partition)
    if found is None:
        raise WindowRefused(
            f"its parent {children.endpoint} is not committed for {partition}: materialize "
            f"{run.source.source}/{children.endpoint} first, or both together"
        )
    rows = key_rows(run.lake, found.files, [children.column])
    present = rows[children.column].drop_null().unique().to_pylist()
    values = [str(value) for value in sorted(present)]
    size = children.group
    groups = tuple(",".join(values[i : i + size]) for i in range(0, len(values), size))
    return Parents(Window.from_json(found.window), groups, found.generation)


@dataclass(frozen=True)
class FailedParent:
    """A parent (or a group of them) whose children could not be read."""

    parent: str
    kind: str
    reason: str


@dataclass(frozen=True)
class _Read:
    index: int
    tables: tuple[pa.Table, ...] = ()
    arrow_bytes: int = 0
    failed: FailedParent | None = None


@dataclass
class ByParent:
    """Reads the chain of pages of each parent; as many parents at a time as the YAML says."""

    pages: Pages
    pager: Pager
    parents: Parents
    children: Children
    tally: Tally = field(default_factory=Tally)
    failed: list[FailedParent] = field(default_factory=list)

    async def run(self, position: Mapping[str, Any] | None) -> AsyncGenerator[Handed, None]:
        """:raises ContractBroken: more parents failed than the threshold allows."""
        first = position["next"] if position else 0
        self.failed += [FailedParent(**each) for each in position["failed"]] if position else []
        numbered = list(enumerate(self.parents.groups))[first:]
        self.tally.total = None
        async with aclosing(
            in_order(numbered, self._one, lambda: self.children.concurrency)
        ) as done:
            async for read in done:
                for handed in self._handed(read):
                    yield handed
        self._judge()
        self.tally.contiguous = not self.failed

    def _handed(self, read: _Read) -> list[Handed]:
        if read.failed is not None:
            self.failed.append(read.failed)
        listed = [vars(each) for each in self.failed]
        position = {"next": read.index + 1, "failed": listed}
        if not read.tables:
            return []
        table = pa.concat_tables(read.tables, promote_options="permissive")
        self.tally.rows += table.num_rows
        return [Handed(table, position, read.arrow_bytes)]

    async def _one(self, numbered: tuple[int, str]) -> AsyncGenerator[_Read, None]:
        index, parent = numbered
        tables: list[pa.Table] = []
        arrow_bytes = 0
        try:
            async with asyncio.timeout(self.children.timeout_s):
                ask: Ask | None = replace(self.pager.first(), parent=parent)
                for _ in range(_MOST_PAGES):
                    if ask is None:
                        break
                    page = await self.pages.page(ask)
                    self.tally.pages += 1
                    tables.append(page.table)
                    arrow_bytes += page.arrow_bytes
                    ask = self.pager.after(ask, page.facts)
        except TimeoutError:
            reason = f"not read within {self.children.timeout_s:g} s"
            yield _Read(index, failed=FailedParent(parent, "timeout", reason))
        except (RequestRefused, ContractBroken) as error:
            yield _Read(index, failed=FailedParent(parent, type(error).__name__, str(error)[:300]))
        else:
            yield _Read(index, tuple(tables), arrow_bytes)

    def _judge(self) -> None:
        share = len(self.failed) / max(1, len(self.parents.groups))
        if not self.failed or share <= self.children.max_failed_share:
            return
        first = self.failed[0]
        raise ContractBroken(
            f"{len(self.failed)} of {len(self.parents.groups)} parents failed, and at most "
            f"{self.children.max_failed_share:.1%} may (parents.max_failed_share); the first is "
            f"{first.parent}: {first.reason}"
        )

    def summary(self) -> dict[str, Any]:
        """For the manifest: how many parents were asked, and who failed."""
        listed = [vars(each) for each in self.failed[:_MOST_LISTED]]
        return {
            "asked": len(self.parents.groups),
            "failed": len(self.failed),
            "failures": listed,
        }
