"""``RunContext``: what all partitions of a run share. ``PartitionResult``: what came of one."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from pipeline.config.source import Source
from pipeline.extract.partition_values import PartitionValue
from pipeline.extract.prefetch import ahead_of
from pipeline.lake.index import ManifestIndex
from pipeline.lake.manifest import Manifest
from pipeline.lake.stores.base import ObjectStore
from pipeline.messages import Sender
from pipeline.partitions import Calendar
from pipeline.partitions.window import Window
from pipeline.run.verify import Check
from pipeline.run.writer import BufferedBytes


@dataclass
class RunContext:
    """The objects that all partitions of a run share: what it is given, and what it finds out.

    :ivar run_id: of the orchestrator; a partition that this run has committed is not done again.
    :ivar lanes: is passed before a lane of the source is read: so many at once; None: as many as
        come.
    :ivar attempt: of the orchestrator at this run's step, from 1.
    :ivar sleep: waits so many seconds, such as between an end and its confirmation.
    :ivar buffered: the bytes of all rows that are not written yet.
    :ivar values: of endpoints whose values come from committed rows, by their names: read once.
    :ivar warned: warnings that a run logs once.
    :ivar windows_with_rows: the last window in which an endpoint had rows, by its name.
    """

    source: Source
    lake: ObjectStore
    sender: Sender
    run_id: str
    now: Callable[[], datetime]
    lanes: asyncio.Semaphore | None = None
    attempt: int = 1
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    buffered: BufferedBytes = field(default_factory=BufferedBytes)
    values: dict[str, tuple[PartitionValue, ...]] = field(default_factory=dict)
    values_lock: threading.Lock = field(default_factory=threading.Lock)
    warned: set[str] = field(default_factory=set)
    windows_with_rows: dict[str, Window] = field(default_factory=dict)

    @cached_property
    def index(self) -> ManifestIndex:
        """The manifests that the run knows: each is read once."""
        return ManifestIndex(self.lake)

    @property
    def ahead(self) -> int:
        """Pages of one endpoint requested or waiting for their turn at the same time."""
        return ahead_of(self.source.limits.in_flight * self.source.pack)

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
