"""One deployment for all tests of the session, over a local S3 and the emulator of IGDB."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator.testing import running
from local.services import S3
from tests.assets.support import FIRST_BACK, SECRET, day
from tests.deploy.project import Machines, machines_up

GAMES = 9_000


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
