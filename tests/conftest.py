"""One real S3 server for all tests of a session; each test has a lake of its own in it.

All temporary files of the tests, and of processes that they start and kill, lie in one folder. A
session that passes removes it; after a failure it stays, and its name is said.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from local.services import S3, seaweedfs
from pipeline.lake.s3 import Lake
from tests.support.identities import READER

_numbers = count()
_FOLDER = pytest.StashKey[Path]()

# No example of a property has a time to keep: the machine may be busy.
settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")


def pytest_configure(config: pytest.Config) -> None:
    """Give the session's processes a temporary folder; those of xdist inherit it."""
    if hasattr(config, "workerinput") or config.option.basetemp:
        return
    for name in ("ARGS", "MAKEFLAGS", "MAKELEVEL"):  # of the make that runs the tests
        os.environ.pop(name, None)
    folder = Path(tempfile.mkdtemp(prefix="headrace-tests-"))
    folder.chmod(0o711)  # Postgres runs as a user of its own, and has its folder in here
    config.stash[_FOLDER] = folder
    (folder / "tmp").mkdir()
    os.environ["TMPDIR"] = str(folder / "tmp")
    tempfile.tempdir = None  # TMPDIR is read anew
    config.option.basetemp = str(folder / "pytest")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remove the folder, unless somebody will want to look into it."""
    folder = session.config.stash.get(_FOLDER, None)
    if folder is None:
        return
    if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"\nThe files of these tests are in {folder}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with the most slow tests first, so that none of them is alone at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with seaweedfs(tmp_path_factory.mktemp("s3"), buckets=["lake"], others=[READER]) as server:
        yield server


@pytest.fixture(scope="session")
def s3_client(s3: S3) -> Any:
    return s3.client()


@pytest.fixture
def new_lake(s3_client: Any) -> Callable[[], Lake]:
    """Lakes that are empty."""
    return lambda: Lake(s3_client, f"s3://lake/test-{next(_numbers)}")


@pytest.fixture
def lake(new_lake: Callable[[], Lake]) -> Lake:
    return new_lake()
