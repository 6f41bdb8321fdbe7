"""The deployment of the tests: what it is started with, and what it works on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from emulator.testing import Emulator
from local.services import S3
from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from tests.assets.project import SLOWER, few_endpoints
from tests.assets.support import FIRST_BACK, IGDB, day, day_s
from tests.deploy.compose import DEPLOY, dotenv
from tests.deploy.deployment import Deployment
from tests.deploy.graphql import Webserver, wait_for
from tests.deploy.postgres import binary

LAKE = "s3://lake/deploy"
PASSWORD = "n0t2guess"
CHANGED = 3_000
"""Rows that change on a day: six requests of the four that the API allows in a second."""


@dataclass(frozen=True)
class Machines:
    """The deployment, and what it works on."""

    deployment: Deployment
    web: Webserver
    api: Emulator
    lake: Lake
    yaml: Path

    def touch(self, partition: str) -> None:
        """Have rows change on a day."""
        self.api.touch("games", count=CHANGED, updated_at=f"{partition}T12:00:00+00:00")

    def begin(self, partition: str) -> str:
        """A run of `games` that is in the middle of reading."""
        self.api.reset()
        run = self.web.launch(["games"], partition)
        wait_for(lambda: self.api.stats()["requests"] >= 2, self.deployment["code"])
        return run

    def is_whole(self, partition: str) -> bool:
        """Whether a partition has each row that has changed on its day, and each once."""
        found = dataset(self.lake, "igdb", "games", [partition]).to_table(columns=["id"])
        ids = found["id"].to_pylist()
        start_s = next(day_s(back) for back in range(FIRST_BACK + 1) if day(back) == partition)
        on_that_day = f"updated_at >= {start_s} & updated_at < {start_s + 86_400}"
        rows = {row["id"] for row in self.api.rows("games", on_that_day)}
        return len(ids) == len(set(ids)) and bool(rows) and set(ids) >= rows


TICK_S = 100
"""The schedule's tick, after the start: within the minute before."""


def write_yaml(file: Path) -> None:
    """IGDB with a few endpoints, each page a request of its own."""
    text = IGDB.read_text()
    tick = datetime.now(UTC) + timedelta(seconds=TICK_S)
    schedule = f"schedule: {{hour: {tick.hour}, minute: {tick.minute}, running: true}}"
    pieces = SLOWER | {"schedule: {hour: 1, minute: 30}": schedule}
    for piece, other in pieces.items():
        assert piece in text
        text = text.replace(piece, other)
    file.write_text(few_endpoints(text))


def settings(s3: S3, api: Emulator, yaml: Path) -> dict[str, str]:
    """`.env.example`, filled in."""
    return {
        **dotenv((DEPLOY / ".env.example").read_text()),
        **s3.env(),
        **api.env(),
        "HEADRACE_LAKE": LAKE,
        "HEADRACE_SOURCES": str(yaml),
        "POSTGRES_PASSWORD": PASSWORD,
        "IGDB_START": day(FIRST_BACK),
    }


@contextmanager
def machines_up(folder: Path, s3: S3, api: Emulator) -> Iterator[Machines]:
    """The services of the file without a profile."""
    for program in ("initdb", "redis-server"):
        binary(program)  # before anything is started
    yaml = folder / "igdb.yaml"
    write_yaml(yaml)
    deployment = Deployment(folder, settings(s3, api, yaml))
    try:
        deployment.up("postgres", "code", "webserver", "daemon")
        service = deployment["webserver"]
        web = Webserver(f"http://127.0.0.1:{deployment.ports['3000']}", service)
        web.wait_for_location()
        yield Machines(deployment, web, api, Lake(s3.client(), LAKE), yaml)
    finally:
        deployment.close()
