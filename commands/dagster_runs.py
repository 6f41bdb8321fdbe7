"""``load``, ``sweep``, ``backfill``, ``sync``: Dagster's commands, with the assets' log alone."""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from commands import choice
from local import dagster_cli
from local.instance import prepare_home
from local.paths import ROOT
from local.process import LocalError
from pipeline.config.settings import Settings
from pipeline.errors import ConfigError

_LAUNCHED = re.compile(r"Launched backfill job `(?P<id>\w+)`")
_RECORDED = re.compile(
    r"(?P<recorded>[\d,]+) partitions? recorded with Dagster, (?P<recorded_before>[\d,]+)"
)
_NAME = re.compile(r"[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*){0,2}")


def partitions_of(what: str, days: str | None) -> tuple[str, str]:
    """The first and the last partition to load.

    :param days: ``A`` or ``A...B``; None: the partition that is running now.
    :raises HeadraceError: the sources have no such endpoint or partition.
    """
    selection(what)
    return choice.partitions_chosen(choice.endpoint_named(what), days)


def load(what: str, days: str | None, *, quiet: bool = False) -> int:
    """Materialize a partition or a range of them. :return: 1 if the run failed.

    :param quiet: the log goes to standard error, line by line.
    :raises HeadraceError: as ``partitions_of``: Dagster has not started.
    """
    first, last = partitions_of(what, days)
    partitions = (
        ["--partition", first] if first == last else ["--partition-range", f"{first}...{last}"]
    )
    chosen = ["--select", selection(what), *partitions]
    return _run(["asset", "materialize", "-f", "definitions.py", *chosen], quiet=quiet)


def sweep(what: str, *, quiet: bool = False) -> int:
    """Materialize the asset of the keys that are gone. :return: 1 if the run failed.

    :param quiet: the log goes to standard error, line by line.
    """
    if "/" not in what:
        raise ConfigError(f"sweep reads one endpoint: expected SOURCE/ENDPOINT, found `{what}`")
    chosen = ["--select", selection(f"{what}_gone")]
    source, endpoint = choice.endpoint_named(what), what.partition("/")[2]
    if endpoint not in source.endpoints or not source.endpoints[endpoint].sweep:
        raise ConfigError(f"`{what}` has no sweep: say `sweep: true` in its YAML")
    return _run(["asset", "materialize", "-f", "definitions.py", *chosen], quiet=quiet)


def sync(source: str, *, quiet: bool = False) -> int:
    """Record with Dagster, from the manifests, what the lake has. :return: 1 if the run failed.

    :param quiet: one JSON object on standard output: ``recorded`` and ``recorded_before``, the
        numbers of partitions; null where Dagster's log is set to leave them out.
    """
    if source and ("/" in source or not _NAME.fullmatch(source)):
        raise ConfigError(f"sync takes a source: expected SOURCE, found `{source}`")
    if source:
        choice.source_named(source)
    config = {"ops": {"tell_dagster": {"config": {"source": source}}}}
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        file = Path(folder, "config.yaml")
        file.write_text(json.dumps(config))
        log: list[str] = []
        job = ["job", "execute", "-f", "definitions.py", "-j", "sync", "-c", str(file)]
        code = _run(job, quiet=quiet, log=log)
    if quiet and code == 0:
        recorded = [each.groupdict() for each in _RECORDED.finditer("".join(log))]
        total = recorded[-1] if recorded else {}  # that of all endpoints comes last
        numbers = {
            name: int(total[name].replace(",", "")) if total else None
            for name in _RECORDED.groupindex
        }
        print(json.dumps({"source": source or None, **numbers}))
    return code


def backfill(source: str, days: str, *, quiet: bool = False) -> int:
    """Queue a run a partition of the source's job. :return: 1 if Dagster refused.

    :param quiet: one JSON object on standard output: ``backfill`` (its id, as
        `dagster job backfill` and the UI name it), ``job``, ``first``, ``last``.
    """
    if "/" in source:
        raise ConfigError(f"backfill takes a source: expected SOURCE, found `{source}`")
    chosen = choice.source_named(source)
    first, last = choice.partitions_chosen(chosen, days)
    job = f"{source}_{chosen.partitions.frequency}"
    queue = ["job", "backfill", "-j", job, "--from", first, "--to", last, "--noprompt"]
    log: list[str] = []
    code = _run(queue, quiet=quiet, log=log)
    if code == 0:
        launched = _LAUNCHED.search("".join(log))
        backfill_id = launched["id"] if launched else None
        if quiet:
            print(json.dumps({"backfill": backfill_id, "job": job, "first": first, "last": last}))
        else:
            print(
                f"Backfill `{backfill_id}` is queued: a run of `{job}` for each partition of "
                f"{first}...{last}. `dagster dev` (or the daemon) over the instance "
                f"{environment()['DAGSTER_HOME']} executes them; *Runs* in its UI shows them."
            )
    return code


def selection(what: str) -> str:
    """Dagster's selection of a source's assets, or of one of them.

    :raises ConfigError: it can't be the name of a source, an endpoint or a table.
    """
    if not _NAME.fullmatch(what):
        raise ConfigError(f"expected SOURCE or SOURCE/ENDPOINT, found `{what}`")
    return f'key:"{what}"' if "/" in what else f"group:{what}"


def _run(arguments: Sequence[str], *, quiet: bool = False, log: list[str] | None = None) -> int:
    """Run Dagster; the folder of its log stays if that failed, since the message names it.

    :param log: gets the text of the log of a run that succeeded.
    """
    Settings.read(os.environ)
    screen = partial(dagster_cli.PlainScreen, sys.stderr) if quiet else None
    folder = Path(tempfile.mkdtemp(prefix="headrace-"))
    file, failed = folder / "dagster.log", False
    try:
        seconds = dagster_cli.run(dagster_cli.dagster(*arguments), environment(), file, screen)
        if log is not None:
            log.append(file.read_text(errors="replace"))
    except LocalError as error:
        failed = True
        print(f"headrace: {error}", file=sys.stderr)
        return 1
    finally:
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"Done in {seconds:.0f} s.", file=sys.stderr if quiet else sys.stdout)
    return 0


def environment() -> Mapping[str, str]:
    """The environment of Dagster's commands: the project's own instance, unless one is set."""
    home = os.environ.get("DAGSTER_HOME") or str(prepare_home(ROOT / ".dagster"))
    return {**os.environ, "DAGSTER_HOME": home}
