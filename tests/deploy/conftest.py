"""One deployment for all tests of the session, over a local S3 and the emulator of IGDB."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import pytest

from emulator.testing import running
from local.ports import free_port
from local.services import S3
from tests.assets.support import FIRST_BACK, SECRET, day
from tests.deploy.compose import DEPLOY, load
from tests.deploy.postgres import Postgres, binary
from tests.deploy.project import LAKE, PASSWORD, Machines, machines_up
from tests.deploy.service import Service

GAMES = 9_000
OWNER = ("dagster", PASSWORD, "dagster")
"""User, password and database of `postgres`."""
Open = Callable[[], dg.DagsterInstance]


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """Short, as sockets have to be."""
    found = Path(tempfile.mkdtemp(prefix="headrace-deploy-"))
    yield found
    shutil.rmtree(found, ignore_errors=True)


@pytest.fixture(scope="session")
def machines(folder: Path, s3: S3) -> Iterator[Machines]:
    with (
        running(
            games=GAMES, rows={"genres": 20, "themes": 15, "covers": 30, "age_ratings": 40},
            client_secret=SECRET, until=day(FIRST_BACK - 1), warm=["games"],
        ) as api,
        machines_up(folder, s3, api) as found,
    ):  # fmt: skip
        yield found


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A Postgres without a deployment, which a test may kill and start again."""
    spec = load({"POSTGRES_PASSWORD": PASSWORD, "HEADRACE_LAKE": LAKE})["postgres"]
    home, port, data = tmp_path_factory.mktemp("postgres"), free_port(), Postgres(*OWNER)
    ready = [binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    service = Service(
        spec, data.command(port), ready, dict(os.environ), home, home / "log", port
    )  # fmt: skip
    service.start()
    service.wait_until_healthy()
    yield service
    service.stop()
    data.remove()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of Dagster that ``opened`` has."""
    return tmp_path


@pytest.fixture
def opened(postgres: Service, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the instance of deploy/dagster.yaml, by what is in the environment."""
    user, password, database = OWNER
    values = {"HOST": "127.0.0.1", "PORT": str(postgres.port), "USER": user, "PASSWORD": password}
    for name, value in {**values, "DB": database}.items():
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", value)
    (home / "dagster.yaml").write_text((DEPLOY / "dagster.yaml").read_text())
    monkeypatch.syspath_prepend(DEPLOY)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(dg.DagsterInstance.from_config(str(home)))
