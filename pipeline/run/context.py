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
    """The objects that all partitions of a run share: those it begins with, and what it learns.

    :ivar run_id: the orchestrator's id of the run. A partition that a manifest says this run has
        committed is not read again.
    :ivar lanes: limits how many lanes of the source are read at once; None: no limit.
    :ivar attempt: which attempt at the run's step this is, counted by the orchestrator from 1.
    :ivar sleep: waits for a number of seconds, for example before the end is confirmed.
    :ivar buffered: counts the bytes of all rows that are not written yet.
    :ivar values: by endpoint, the values that it is read for, if they come from committed rows or
        are lanes. They are read once a run.
    :ivar warned: the warnings that the run has logged, so that each is logged once.
    :ivar windows_with_rows: by endpoint, the last window in which it had rows.
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
        """How many pages of an endpoint may be in flight, or be waiting for the reader."""
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
