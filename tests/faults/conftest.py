"""One emulator and one S3 server for all tests of faults; each test has a lake of its own."""

import itertools
from collections.abc import Iterator

import pytest

from emulator.testing import Emulator, running
from tests.faults.support import MANY, UNTIL

_numbers = itertools.count()


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    sizes = {
        "keywords": MANY,
        "games": 2_500,
        "genres": 20,
        "themes": 8_000,
        "characters": 8_000,
        "release_dates": 3_000,
        "collections": 500,
        "platforms": 300,
    }
    with running(rows=sizes, rate=0, in_flight=0, until=UNTIL) as server:
        yield server


@pytest.fixture
def api(emulator: Emulator) -> Iterator[Emulator]:
    """The emulator without faults, and with its own settings again afterwards."""
    emulator.clear_faults()
    emulator.reset()
    before = emulator.config()
    yield emulator
    emulator.clear_faults()
    before.pop("cast")
    emulator.config(**before)
