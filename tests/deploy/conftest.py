"""One deployment for all tests of the session, over a local S3 and the emulator of IGDB."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import run

import dagster as dg
import pytest

from emulator.testing import running
from local import process
from local.ports import free_port
from local.services import S3
from tests.assets.support import FIRST_BACK, SECRET, day
from tests.deploy.compose import DEPLOY
from tests.deploy.postgres import Postgres, binary
from tests.deploy.project import PASSWORD, Machines, machines_up

GAMES = 9_000
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


@contextmanager
def data_folder() -> Iterator[Postgres]:
    """A fresh data folder of Postgres."""
    postgres = Postgres("dagster", PASSWORD, "dagster")
    try:
        yield postgres
    finally:
        postgres.remove()


@contextmanager
def serving(postgres: Postgres, port: int, log: Path) -> Iterator[process.Child]:
    """Postgres answers at the port while the block lasts."""
    ready = [binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "30"]
    with process.running(postgres.command(port), env=dict(os.environ), log=log) as child:
        while run(ready, check=False).returncode:
            pass
        yield child


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Postgres of these tests alone."""
    port, log = free_port(), tmp_path_factory.mktemp("postgres") / "log"
    with data_folder() as postgres, serving(postgres, port, log):
        yield port


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of Dagster that ``opened`` has."""
    return tmp_path


@pytest.fixture
def opened(port: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the instance of deploy/dagster.yaml, by what is in the environment."""
    with opener(port, home, monkeypatch) as found:
        yield found


@contextmanager
def opener(port: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the instance of deploy/dagster.yaml at a Postgres; all are closed with the block."""
    found = {"HOST": "127.0.0.1", "PORT": str(port), "USER": "dagster", "PASSWORD": PASSWORD}
    for name, value in {**found, "DB": "dagster"}.items():
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", value)
    (home / "dagster.yaml").write_text((DEPLOY / "dagster.yaml").read_text())
    monkeypatch.syspath_prepend(DEPLOY)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(dg.DagsterInstance.from_config(str(home)))
