"""A thread that writes a step's events to Dagster's storage while the step's loop goes on.

Dagster takes 10 to 40 ms to write an event, and the loop would read no page in that time. So this
thread writes them. Events that have piled up are written together: lines of the log as one entry,
then the materializations of an asset in one batch, then the results of checks. Events that need
data from the lake are prepared by other threads. An event that the storage refuses is kept, and
written again when the step ends. If that fails, too, the job ``sync`` records it later.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import dagster as dg

from assets.compat import log_checks, log_materializations

LINE_BREAK = "\n· "
"""Between two lines of one entry of the log: the demo's screen shows those that begin so."""
_MOST_TOGETHER = 100
_PREPARED_AT_ONCE = 4


@dataclass(frozen=True)
class LogLine:
    """A line of the run's log."""

    text: str
    level: int = logging.INFO


@dataclass(frozen=True)
class CheckResults:
    """The results of the checks of one asset."""

    results: Sequence[dg.AssetCheckResult]


Event = dg.AssetMaterialization | LogLine | CheckResults
Preparation = Callable[[], Sequence[Event]]
"""Makes events, and may take long: it reads the lake."""


class EventWriter:
    """Writes events: those of one kind in the order in which they come.

    Example::

        writer = EventWriter(context)
        writer.put(dg.AssetMaterialization("things", partition="2026-11-02"))
        writer.put(LogLine("things 2026-11-02: committed"))
        writer.put(lambda: [CheckResults(checks_of("things"))])
        writer.close()
    """

    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self._context = context
        self._waiting: queue.SimpleQueue[Future[Sequence[Event]] | None] = queue.SimpleQueue()
        self._refused: list[Event | Preparation] = []
        self._preparations: dict[Future[Sequence[Event]], Preparation] = {}
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()

    def put(self, event: Event | Preparation) -> None:
        """Queue an event, or what prepares some. Any thread may call; nothing is waited for."""
        if callable(event):
            prepared = self._started().submit(event)
            self._preparations[prepared] = event
        else:
            self._started()
            prepared = Future()
            prepared.set_result([event])
        self._waiting.put(prepared)

    def _started(self) -> ThreadPoolExecutor:
        """The threads that prepare events; the one that writes runs."""
        with self._starting:
            if self._pool is None or self._thread is None:
                self._pool = ThreadPoolExecutor(_PREPARED_AT_ONCE, "prepare-events")
                self._thread = threading.Thread(target=self._run, name="write-events", daemon=True)
                self._thread.start()
            return self._pool

    def close(self) -> None:
        """Wait until everything is written, with another attempt at what the storage refused.

        :raises Exception: the first error, if events are refused again. The others are written.
        """
        if self._thread is not None and self._pool is not None:
            self._waiting.put(None)
            self._thread.join()
            self._pool.shutdown()
            self._thread = None
        refused, self._refused = self._refused, []
        errors: list[Exception] = []
        for event in refused:
            try:
                for each in event() if callable(event) else [event]:
                    self._write([each])
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _run(self) -> None:
        ended = False
        while not ended:
            waiting = [self._waiting.get()]
            while len(waiting) < _MOST_TOGETHER and not self._waiting.empty():
                waiting.append(self._waiting.get())
            ended = None in waiting
            events: list[Event] = []
            for prepared in waiting:
                if prepared is None:
                    continue
                preparation = self._preparations.pop(prepared, None)
                try:
                    events += prepared.result()
                except Exception:  # of the lake: tried again when the step ends
                    assert preparation is not None
                    self._refused.append(preparation)
            for together in in_groups(events):
                try:
                    self._write(together)
                except Exception:  # whatever the storage raises: the reading goes on
                    self._refused.extend(together)

    def _write(self, together: Sequence[Event]) -> None:
        materializations = [
            event for event in together if isinstance(event, dg.AssetMaterialization)
        ]
        if materializations:
            log_materializations(self._context, materializations)
        for event in together:
            if isinstance(event, LogLine):
                self._context.log.log(event.level, event.text)
            elif isinstance(event, CheckResults):
                log_checks(self._context, event.results)


def in_groups(events: Sequence[Event]) -> list[list[Event]]:
    """Group events that are written together, and written again together if the storage refuses
    one: lines of a level, materializations of an asset, each check.
    """
    levels: dict[int, list[str]] = {}
    by_asset: dict[dg.AssetKey, list[Event]] = {}
    checks: list[list[Event]] = []
    for event in events:
        if isinstance(event, LogLine):
            levels.setdefault(event.level, []).append(event.text)
        elif isinstance(event, CheckResults):
            checks.append([event])
        else:
            by_asset.setdefault(event.asset_key, []).append(event)
    lines: list[list[Event]] = [
        [LogLine(LINE_BREAK.join(texts), level)] for level, texts in levels.items()
    ]
    return [*lines, *by_asset.values(), *checks]
