"""``RunContext``: what all partitions of a run share. ``PartitionResult``: what came of one."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from pipeline.config.source import Source
from pipeline.extract.fan_out import PartitionValue
from pipeline.extract.plan import paging_of
from pipeline.extract.prefetch import ahead_of
from pipeline.lake.index import ManifestIndex
from pipeline.lake.manifest import Manifest
from pipeline.lake.stores.base import ObjectStore
from pipeline.messages import Sender
from pipeline.pagination.page import PageRequest
from pipeline.partitions import Calendar
from pipeline.partitions.window import Window
from pipeline.run.verify import Check
from pipeline.run.writer import BufferedBytes

_LOOK_BACK: Final = 10
"""Partitions among which one with rows is looked for."""


@dataclass(frozen=True)
class RunContext:
    """The objects that all partitions of a run share.

    :ivar run_id: of the orchestrator; a partition that this run has committed is not done again.
    :ivar held: the bytes of all rows that are not written yet.
    :ivar values: of endpoints whose values come from committed rows, by their names: read once.
    :ivar warned: warnings that a run logs once.
    :ivar windows_with_rows: the last window in which an endpoint had rows, by its name.
    :ivar lanes: is passed before a lane of the source is read: so many at once; None: as many as
        come.
    :ivar attempt: of the orchestrator at this run's step, from 1.
    :ivar sleep: waits so many seconds, such as between an end and its confirmation.
    """

    source: Source
    lake: ObjectStore
    sender: Sender
    run_id: str
    now: Callable[[], datetime]
    held: BufferedBytes = field(default_factory=BufferedBytes)
    values: dict[str, tuple[PartitionValue, ...]] = field(default_factory=dict)
    values_lock: threading.Lock = field(default_factory=threading.Lock)
    warned: set[str] = field(default_factory=set)
    windows_with_rows: dict[str, Window] = field(default_factory=dict)
    lanes: asyncio.Semaphore | None = None
    attempt: int = 1
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @cached_property
    def index(self) -> ManifestIndex:
        """The manifests that the run knows: each is read once."""
        return ManifestIndex(self.lake)

    @property
    def ahead(self) -> int:
        """Pages of one endpoint requested or waiting for their turn at the same time."""
        return ahead_of(self.source.limits.in_flight * self.source.pack)

    def pages_with_rows(self, endpoint: str, read_before: Window | None) -> Iterator[PageRequest]:
        """Pages that should have rows: the first one of a partition that had some, then the first
        one of all that there is, since those rows may have changed or gone.

        None if none is known, or the window does not tell one partition from another. What a
        bookmark brought comes only once.

        :param read_before: the window of this partition, if an earlier attempt has read rows of it.
        """
        spec, source = self.source.endpoints[endpoint], self.source.source
        if not spec.incremental or spec.feed or spec.fans_out or spec.bookmark is not None:
            return
        known = read_before or self.windows_with_rows.get(endpoint)
        if known is None:
            committed = self.index.partitions(source, endpoint)[: -_LOOK_BACK - 1 : -1]
            manifests = (self.index.get(source, endpoint, key) for key in committed)
            known = next(
                (manifest.window for manifest in manifests if manifest and manifest.rows), None
            )
        if known is None:
            return
        all_rows = Window("baseline", spec.window.floor_at, self.now(), 0.0)
        for window in (known, all_rows):
            if spec.window.max_s is None or window.length_s <= spec.window.max_s:
                yield replace(paging_of(spec).first_request(), window=window.as_text)

    @property
    def calendar(self) -> Calendar:
        return self.source.calendar


ALREADY_COMMITTED = "already committed"
"""The outcome of a partition that an earlier attempt of this run has committed."""


@dataclass(frozen=True)
class PartitionResult:
    """The result of one partition.

    :ivar outcome: ``committed``, ``already committed`` (by an earlier attempt of this run), or
        ``lost`` (another run committed the partition meanwhile; the manifest is the winner's).
    """

    endpoint: str
    manifest: Manifest
    outcome: str
    checks: tuple[Check, ...] = ()
    duration_s: float = 0.0
    preview: tuple[dict[str, Any], ...] = ()
