"""The process that a step runs in: one of its own, forked from the run's where that is safe.

A step has a process of its own, so that the run survives if it is killed, and retries. Dagster
*spawns* that process: it imports everything and reads all sources once more, which takes longer
than a small partition. A forked process has all that from its parent
(docs/decisions/0010-start-up.md).

Forking is unsafe while another thread holds a lock: the child gets the lock, but not the thread
that would release it. So a step is forked only beside threads that are known to be waiting;
otherwise it is spawned.

If a run's process is killed, the process of its step is left behind: it would go on beside the run
that is started in its place, and then wait for ever for a reader of its events. So it ends with its
run.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Collection, Coroutine, Mapping
from multiprocessing import parent_process
from typing import Any, TypeVar, cast

import dagster as dg

from assets.compat import HARMLESS_THREADS, with_executor_config

T = TypeVar("T")
GRACE_S = 3.0
_DAGSTERS = dg.multi_or_in_process_executor


def may_fork(platform: str, threads: Collection[str]) -> bool:
    """Whether forking is safe. Never on macOS, some of whose libraries break in a forked process.

    :param threads: the names of all Python threads.
    """
    return (
        platform == "linux" and len([name for name in threads if name not in HARMLESS_THREADS]) == 1
    )


def with_start_method(config: Mapping[str, Any], *, fork: bool) -> dict[str, Any]:
    """The executor's configuration; a start method that the run's own configuration names stays."""
    chosen = config.get("multiprocess")
    if not fork or chosen is None or chosen.get("start_method"):
        return dict(config)
    return {**config, "multiprocess": {**chosen, "start_method": {"fork": {}}}}


def end_with_the_run() -> None:
    """Have this process end when its run's does. What a step has staged stays in the lake."""
    run = parent_process()
    if run is None:  # in the run's own process
        return

    def wait() -> None:
        run.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="end-with-the-run", daemon=True).start()


def run_in_step(work: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``, for a step that has to end soon after it is interrupted.

    ``asyncio.run`` cancels all tasks at once then. Here the work is cancelled, and cancels its own:
    a request for a token ends first (`pipeline.http.session`). Then ``asyncio.run`` waits for all
    threads: for minutes, if one of them waits for S3. So the process is given ``GRACE_S`` seconds,
    and is then ended outright, as a kill may do at any time.
    """
    with asyncio.Runner() as runner:
        task = runner.get_loop().create_task(work)
        try:
            runner.run(_ended(task))
            return task.result()
        except Exception:
            raise
        except BaseException:
            _end_soon()
            task.cancel()
            runner.run(_ended(task))
            raise


async def _ended(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task})


def _end_soon() -> None:
    if parent_process() is None:  # in the run's own process, which others may share
        return
    timer = threading.Timer(GRACE_S, os._exit, (1,))
    timer.daemon = True
    timer.start()


@dg.executor(
    name="step_process",
    config_schema=cast("Any", _DAGSTERS.config_schema),
    requirements=_DAGSTERS.get_requirements,
)
def step_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """Dagster's own executors with their configuration: ``multiprocess``, ``in_process``."""
    fork = may_fork(sys.platform, [thread.name for thread in threading.enumerate()])
    config = with_start_method(context.executor_config, fork=fork)
    create = _DAGSTERS.executor_creation_fn
    assert create is not None  # only a definition without a body has none
    return create(with_executor_config(context, config))
