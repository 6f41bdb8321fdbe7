"""``load``, ``sweep``, ``backfill``, ``sync``: Dagster's commands, with the assets' log alone."""

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from local import dagster_cli
from local.instance import prepare_home
from local.paths import ROOT
from local.process import LocalError
from pipeline.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)?")


def today() -> str:
    """The partition of days that now lies in, UTC."""
    return datetime.now(UTC).date().isoformat()


def load(what: str, days: str | None, *, quiet: bool = False) -> int:
    """Materialize a partition or a range of them. :return: 1 if the run failed.

    :param quiet: the log goes to standard error, line by line.
    """
    first, last = days_range(days or today())
    partitions = (
        ["--partition", first] if first == last else ["--partition-range", f"{first}...{last}"]
    )
    chosen = ["--select", selection(what), *partitions]
    return _run(["asset", "materialize", "-f", "definitions.py", *chosen], quiet=quiet)


def sweep(what: str) -> int:
    """Materialize the asset of the keys that are gone. :return: 1 if the run failed."""
    if "/" not in what:
        raise ConfigError(f"sweep reads one endpoint: expected SOURCE/ENDPOINT, found `{what}`")
    return _run(
        ["asset", "materialize", "-f", "definitions.py", "--select", selection(f"{what}_gone")]
    )


def sync(source: str) -> int:
    """Tell Dagster from the manifests what the lake has. :return: 1 if the run failed."""
    if source and not _NAME.fullmatch(source):
        raise ConfigError(f"sync takes a source: expected SOURCE, found `{source}`")
    config = {"ops": {"tell_dagster": {"config": {"source": source}}}}
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        file = Path(folder, "config.yaml")
        file.write_text(json.dumps(config))
        return _run(["job", "execute", "-f", "definitions.py", "-j", "sync", "-c", str(file)])


def backfill(source: str, days: str) -> int:
    """Queue a run a partition of the source's job. :return: 1 if Dagster refused."""
    first, last = days_range(days)
    return _run(
        ["job", "backfill", "-j", f"{source}_daily", "--from", first, "--to", last, "--noprompt"]
    )


def selection(what: str) -> str:
    """Dagster's selection of a source's assets, or of one of them.

    :raises ConfigError: it can't be the name of a source or an endpoint.
    """
    if not _NAME.fullmatch(what):
        raise ConfigError(f"expected SOURCE or SOURCE/ENDPOINT, found `{what}`")
    return f'key:"{what}"' if "/" in what else f"group:{what}"


def days_range(days: str) -> tuple[str, str]:
    """The first and the last partition of ``A`` or ``A...B``.

    :raises ConfigError: it is neither.
    """
    first, separator, last = days.partition("...")
    if not first or (separator and not last):
        raise ConfigError(f"--days is `{days}`: expected one partition, or two as A...B")
    return first, last or first


def _run(arguments: Sequence[str], *, quiet: bool = False) -> int:
    screen = partial(dagster_cli.PlainScreen, sys.stderr) if quiet else None
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        log = Path(folder, "dagster.log")
        try:
            seconds = dagster_cli.run(dagster_cli.dagster(*arguments), environment(), log, screen)
        except LocalError as error:
            print(f"headrace: {error}", file=sys.stderr)
            return 1
    print(f"Done in {seconds:.0f} s.", file=sys.stderr if quiet else sys.stdout)
    return 0


def environment() -> Mapping[str, str]:
    """The environment of Dagster's commands: the project's own instance, unless one is set."""
    home = os.environ.get("DAGSTER_HOME") or str(prepare_home(ROOT / ".dagster"))
    return {**os.environ, "DAGSTER_HOME": home}
