"""`python -m local demo`: two daily runs against a strict API at its limit, in some 20 seconds.

The story: two days are materialized; then rows change in the API, among them some whose change is
dated within the first two days; then the next two days are materialized, and everything that the
lake holds is read back from S3 and compared with the API.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from rich.console import Console

from emulator.testing import Emulator
from emulator.testing import running as emulator_running
from local.compare import compare, latest_in_lake
from local.dagster_cli import materialize, run
from local.dagster_host import Start
from local.instance import prepare_home
from local.manifests import Committed, download, read_manifests
from local.paths import DEMO_LAKE, ROOT
from local.process import LocalError, side_by_side
from local.report import pace, table
from local.services import S3, seaweedfs
from local.settings import BUCKET, LAKE, SAFETY_MARGIN_S, dagster_env

GAMES = 20_000
LIMIT_PER_S = 4
ENDPOINTS = ("games", "companies", "platforms", "genres", "covers")
SELECTION = " or ".join(f"key:igdb/{endpoint}" for endpoint in ENDPOINTS)
COMPARED = "games"
OTHER_ROWS = {"companies": 2_000, "covers": 3_000}
LATE_ROWS = 7
CHANGED_ROWS = 250


@dataclass(frozen=True)
class Days:
    """The four days before today: a baseline and the next, then two more."""

    baseline: date
    second: date
    third: date
    fourth: date

    @classmethod
    def before(cls, today: date) -> "Days":
        return cls(*(today - timedelta(days=back) for back in (4, 3, 2, 1)))

    @property
    def end(self) -> date:
        return self.fourth + timedelta(days=1)


@dataclass(frozen=True)
class Stage:
    """All that the steps of the demo work with."""

    folder: Path
    s3: S3
    api: Emulator
    env: dict[str, str]
    days: Days
    start: Start


@contextmanager
def services(folder: Path, days: Days, start: Start) -> Iterator[Stage]:
    """S3 and the API on loopback.

    :param folder: takes what they keep.
    :param start: starts a command of Dagster's.
    """
    with side_by_side(
        seaweedfs(folder / "s3", buckets=[BUCKET]),
        emulator_running(
            games=GAMES, rows=OTHER_ROWS, rate=LIMIT_PER_S, until=days.end.isoformat()
        ),
    ) as (s3, api):
        home = prepare_home(folder / "dagster")
        env = dagster_env(s3, api.env(), home, days.baseline)
        yield Stage(folder, s3, api, env, days, start)


def at(day: date, hour: int, minute: int = 0) -> str:
    return datetime.combine(day, time(hour, minute), UTC).isoformat()


def materialize_days(stage: Stage, first: date, last: date) -> None:
    stage.api.reset()
    say(
        f"\n▸ dagster asset materialize -f definitions.py --select '{SELECTION}' "
        f"--partition-range {first}...{last}"
    )
    log = stage.folder / f"{first}.log"
    took_s = run(materialize(SELECTION, first, last), stage.env, log, start=stage.start)
    print(f"  {pace(stage.api.stats(), LIMIT_PER_S)} {took_s:.0f} s in all.")


def change_rows(stage: Stage) -> None:
    """Rows change on the days to come, and some late: inside a day that is committed already."""
    stage.api.touch(COMPARED, count=CHANGED_ROWS, updated_at=at(stage.days.third, 12))
    stage.api.touch(COMPARED, count=CHANGED_ROWS, updated_at=at(stage.days.fourth, 9))
    late = at(stage.days.second, 23, 40)
    stage.api.touch(COMPARED, count=LATE_ROWS, updated_at=late)
    say(
        f"\n▸ In the API {2 * CHANGED_ROWS} games change, and {LATE_ROWS} more are dated "
        f"{stage.days.second} 23:40, a day that is committed already. The next run reaches back "
        f"{SAFETY_MARGIN_S // 60} minutes, and finds them."
    )


def say(text: str, style: str = "bold") -> None:
    """Print a line of the story; in colour on a terminal."""
    Console().print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def show_lake(stage: Stage) -> None:
    partitions = read_manifests(stage.s3, LAKE)
    if not partitions:
        raise LocalError(f"The runs ended well, but there is no manifest under {LAKE}.")
    fetch_copy(stage, partitions)
    compare_with_api(stage, partitions)
    say(f"\n▸ How it came about, read back from the manifests under {LAKE}:\n")
    print(table(partitions))


def fetch_copy(stage: Stage, partitions: list[Committed]) -> None:
    shutil.rmtree(DEMO_LAKE, ignore_errors=True)
    download(stage.s3, LAKE, partitions, DEMO_LAKE)


def compare_with_api(stage: Stage, partitions: list[Committed]) -> None:
    files = [
        DEMO_LAKE / path
        for partition in partitions
        if partition.endpoint == COMPARED
        for path in partition.paths
    ]
    latest = latest_in_lake(files, "id", "updated_at")
    found = compare(stage.api.rows(COMPARED), latest, "id", "updated_at")
    whole = not found.missing and not found.outdated
    say(f"\n▸ {COMPARED}: {found}", "bold green" if whole else "bold red")
    if found.missing or found.outdated:
        raise LocalError("The lake does not hold what the API holds.")


def farewell() -> None:
    copy = DEMO_LAKE.relative_to(ROOT)
    query = f"from '{copy}/igdb/{COMPARED}/*/*.parquet'"
    print(
        f"\nA copy of the files is in {copy}; look at it with\n"
        f"""  .venv/bin/python -c "import duckdb; duckdb.sql(\\"{query}\\").show()"\n"""
        "and start the same in Dagster's UI with `make ui`."
    )


def demo(folder: Path, start: Start) -> None:
    """The whole story.

    :param folder: takes what it keeps while it lasts.
    :param start: starts a command of Dagster's.
    """
    days = Days.before(datetime.now(UTC).date())
    print(
        f"Starting S3 (SeaweedFS) and an API of {GAMES:,} games that allows {LIMIT_PER_S} requests "
        "a second and counts them …",
        flush=True,
    )
    with services(folder, days, start) as stage:
        materialize_days(stage, days.baseline, days.second)
        change_rows(stage)
        materialize_days(stage, days.third, days.fourth)
        show_lake(stage)
    farewell()
