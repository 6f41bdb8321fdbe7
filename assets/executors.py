"""The executor of steps: the deployment's choice, or processes of the run's machine.

    HEADRACE_EXECUTOR=dagster_celery:celery_executor
    HEADRACE_EXECUTOR_CONFIG=deploy/celery.yaml

``none`` leaves the executor out of our ``Definitions``, so that those of another project, with an
executor of their own, can be merged with them.

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
from collections.abc import Callable, Collection, Coroutine, Mapping
from importlib import import_module
from multiprocessing import parent_process
from pathlib import Path
from types import FrameType
from typing import Any, Self, TypeVar, cast

import dagster as dg
import yaml

from assets.compat import HARMLESS_THREADS, with_executor_config
from pipeline.errors import ConfigError

T = TypeVar("T")
NONE = "none"
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

    Dagster's handler raises wherever the main thread is. Amidst a callback that is an error of the
    callback: asyncio logs it and goes on, and no second interrupt follows. So the handler is called
    when the work has ended. The work is cancelled, and cancels its own: a request for a token ends
    first (`pipeline.http.session`). Then ``asyncio`` waits for all threads: for minutes, if one of
    them waits for S3. So the process is given ``GRACE_S`` seconds, and is then ended outright, as a
    kill may do at any time.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(work)
        with _Interrupt(lambda: loop.call_soon_threadsafe(task.cancel)) as interrupt:
            runner.run(_ended(task))
        interrupt.raise_if_received()
        return task.result()


async def _ended(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task})


class _Interrupt:
    """The first SIGINT or SIGTERM within ``with``: it calls ``cancel`` and is raised afterwards.

    A second one goes to the handler that was there before, wherever the main thread is.
    """

    def __init__(self, cancel: Callable[[], object]) -> None:
        self._cancel = cancel
        self._before: dict[int, Any] = {}
        self._received: int | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other one can have handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def raise_if_received(self) -> None:
        """Have Dagster's handler raise what it means by an interrupt."""
        if self._received is not None:
            signal.raise_signal(self._received)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._received is None:
            self._received = number
            _end_soon()
            self._cancel()
            return
        self._restore()
        signal.raise_signal(number)


def _end_soon() -> None:
    """Have the kernel end this process: a lock or a stuck call can't keep it then."""
    if parent_process() is None:  # in the run's own process, which others may share
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, GRACE_S)


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


def chosen_executor(
    reference: str | None, config_file: str | None, folder: Path
) -> dg.ExecutorDefinition | None:
    """The executor of ``Definitions``; None leaves it to Dagster or to whoever merges them.

    :param reference: ``module:attribute``; None for the project's own, ``none`` for no executor.
    :param config_file: a YAML file with ``execution: config:``, as Dagster's own commands read it.
    :param folder: a relative ``config_file`` is looked for here.
    :raises ConfigError: no such executor, or it refuses the configuration.
    """
    if reference == NONE:
        return None
    executor = _load_executor(reference) if reference else step_executor
    if config_file is None:
        return executor
    config = _executor_config(folder / config_file)
    _validate_config(executor, config, config_file)
    return executor.configured(config)


def _load_executor(reference: str) -> dg.ExecutorDefinition:
    module, colon, attribute = reference.partition(":")
    if not (module and colon and attribute):
        raise ConfigError(
            f"HEADRACE_EXECUTOR is `{reference}`: expected `module:attribute`, for example "
            f"`dagster_celery:celery_executor`, or `{NONE}`"
        )
    try:
        executor = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"HEADRACE_EXECUTOR is `{reference}`, which can't be loaded: {error}. Check: 1. the "
            "spelling; 2. that its package is installed wherever a run can start"
        ) from None
    if not isinstance(executor, dg.ExecutorDefinition):
        raise ConfigError(
            f"HEADRACE_EXECUTOR is `{reference}`, a {type(executor).__name__}: expected a Dagster "
            "`ExecutorDefinition`"
        )
    return executor


def _executor_config(file: Path) -> dict[str, Any]:
    """The settings under ``execution: config:``. A flat file is refused: Dagster ignores it."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        config = content["execution"]["config"]
    except OSError as error:
        raise ConfigError(f"HEADRACE_EXECUTOR_CONFIG: {file} can't be read: {error}") from None
    except (yaml.YAMLError, KeyError, TypeError):
        raise ConfigError(
            f"HEADRACE_EXECUTOR_CONFIG: {file} has no `execution: config:`: expected a YAML file "
            "with the executor's configuration under these two keys"
        ) from None
    return dict(config or {})


def _validate_config(executor: dg.ExecutorDefinition, config: dict[str, Any], file: str) -> None:
    """Find out now what each run would fail with."""

    @dg.job(executor_def=executor)
    def nothing() -> None: ...

    try:
        dg.validate_run_config(nothing, {"execution": {"config": config}})
    except dg.DagsterInvalidConfigError as error:
        reasons = "; ".join(problem.message for problem in error.errors)
        raise ConfigError(
            f"HEADRACE_EXECUTOR_CONFIG: {file} does not suit the executor: {reasons}"
        ) from None
