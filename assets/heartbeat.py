"""The heartbeat of a step: an event a minute for as long as its process lives.

A machine that dies takes its steps with it. No launcher of Dagster's notices every such death: not
that of a step on a Celery worker, nor that of a run which a command started. So the sensor
``lost_runs`` ends a run if one of its steps stops beating. A step also beats while it waits: for a
quota that is used up, for an API that is down, for the store.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dagster as dg

from assets.compat import EngineEventData

EVERY_S = 60.0
MARK = "headrace/heartbeat"
"""The name in the event's metadata by which it is found."""
_LAST_BEAT_S = 5.0
"""The end of a step waits for a beat that is being written, but no longer."""


@contextmanager
def heartbeat(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> Iterator[None]:
    """Send heartbeats from a thread of its own until the block ends.

    with heartbeat(context):
        work()
    """
    key = context.get_step_execution_context().step.key
    instance, run = context.instance, context.run
    ended = threading.Event()

    def beat() -> None:
        data = EngineEventData(metadata={MARK: key})
        while True:
            with suppress(Exception):  # the storage may be away: the next beat may find it
                instance.report_engine_event(f"Step `{key}` is at work", run, data, step_key=key)
            if ended.wait(EVERY_S):
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_LAST_BEAT_S)
