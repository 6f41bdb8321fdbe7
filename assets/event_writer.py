"""A thread that writes a step's events to Dagster's storage while the step's loop goes on.

An event costs Dagster 10 to 40 ms, in which the loop would read no page. Events that are waiting
when the storage has time are written together. An event that the storage refuses is kept, and
written when the step ends; what Dagster still does not know then, the job ``sync`` tells it.
"""

import queue
import threading
from collections.abc import Callable, Sequence

import dagster as dg

from assets.compat import log_materializations

Event = dg.AssetMaterialization | Callable[[], None]
"""A function writes an event itself: a line of the log, the results of checks."""
_MOST_TOGETHER = 100


class EventWriter:
    """Writes events in the order in which they come.

    writer = EventWriter(context)
    writer.put(dg.AssetMaterialization("things", partition="2026-11-02"))
    writer.put(lambda: context.log.info("written after it"))
    writer.close()
    """

    def __init__(self, context: dg.AssetExecutionContext) -> None:
        self._context = context
        self._waiting: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._refused: list[Event] = []
        self._thread: threading.Thread | None = None

    def put(self, event: Event) -> None:
        """Have it written soon. Any thread may call."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="write-events", daemon=True)
            self._thread.start()
        self._waiting.put(event)

    def close(self) -> None:
        """Wait until all is written. :raises Exception: what the storage refuses for good."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None
        refused, self._refused = self._refused, []
        for event in refused:
            self._write([event])

    def _run(self) -> None:
        ended = False
        while not ended:
            events: list[Event] = []
            event = self._waiting.get()
            while event is not None and len(events) < _MOST_TOGETHER:
                events.append(event)
                if self._waiting.empty():
                    break
                event = self._waiting.get()
            else:
                ended = event is None
                if event is not None:
                    events.append(event)
            for together in _runs(events):
                try:
                    self._write(together)
                except Exception:  # whatever the storage raises: the reading goes on
                    self._refused.extend(together)

    def _write(self, events: Sequence[Event]) -> None:
        made = [event for event in events if isinstance(event, dg.AssetMaterialization)]
        if made:
            log_materializations(self._context, made)
        for event in events:
            if not isinstance(event, dg.AssetMaterialization):
                event()


def _runs(events: Sequence[Event]) -> list[list[Event]]:
    """Materializations that follow each other together, everything else by itself."""
    runs: list[list[Event]] = []
    for event in events:
        joins = runs and isinstance(event, dg.AssetMaterialization)
        if joins and isinstance(runs[-1][-1], dg.AssetMaterialization):
            runs[-1].append(event)
        else:
            runs.append([event])
    return runs
