"""One emulator and one S3 server for all tests of a session; each test has a lake of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator.testing import Emulator, running
from local.services import S3
from tests.assets.support import SECRET, Headrace, day, igdb


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    with running(
        games=1200,
        rows={"genres": 20, "themes": 15, "covers": 30},
        client_secret=SECRET,
        rate=0,
        until=day(0),
    ) as api:
        yield api


@pytest.fixture
def api(emulator: Emulator) -> Iterator[Emulator]:
    """The emulator without faults and statistics, and with its own settings again afterwards."""
    emulator.clear_faults()
    emulator.reset()
    before = emulator.config()
    yield emulator
    emulator.clear_faults()
    casts = before.pop("cast")
    now = emulator.config()["cast"]
    emulator.config(**before, cast=[{**rule, "as": None} for rule in now] + casts)


@pytest.fixture
def headrace(api: Emulator, s3: S3, tmp_path: Path) -> Headrace:
    return Headrace(igdb(api), s3, api, tmp_path / "budget")
