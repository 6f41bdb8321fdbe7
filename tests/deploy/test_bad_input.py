"""What Dagster says of a Postgres that is down, that refuses the password, or that is of another
release, with deploy/dagster.yaml as it ships."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import run

import dagster as dg
import pytest
from dagster_postgres.utils import DagsterPostgresException

from local.ports import free_port
from local.process import running
from local.services import S3
from pipeline.lake.read import manifests
from pipeline.lake.s3 import Lake
from tests.deploy.compose import DEPLOY
from tests.deploy.image import build
from tests.deploy.postgres import Postgres, binary
from tests.support.shop import DAYS, shop

pytestmark = pytest.mark.slow
Open = Callable[[], dg.DagsterInstance]
PASSWORD = "n0t2guess"
YAML = """source: shop
base_url: {url}
start: {start}
endpoints:
  things:
    request: {{params: {{from: "{{start}}", to: "{{end}}"}}}}
    key: [id]
    cursor: at
    columns: {{id: int64, at: "timestamp[iso]"}}
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Postgres of these tests alone."""
    postgres, port = Postgres("dagster", PASSWORD, "dagster"), free_port()
    log = tmp_path_factory.mktemp("postgres") / "log"
    ready = [binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "30"]
    try:
        with running(postgres.command(port), env=dict(os.environ), log=log):
            while run(ready, check=False).returncode:
                pass
            yield port
    finally:
        postgres.remove()


@pytest.fixture
def opened(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the instance of deploy/dagster.yaml, by what is in the environment."""
    found = {"HOST": "127.0.0.1", "PORT": str(port), "USER": "dagster", "PASSWORD": PASSWORD}
    for name, value in {**found, "DB": "dagster"}.items():
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", value)
    (tmp_path / "dagster.yaml").write_text((DEPLOY / "dagster.yaml").read_text())
    with ExitStack() as stack:
        yield lambda: stack.enter_context(dg.DagsterInstance.from_config(str(tmp_path)))


@dg.job
def nothing() -> None: ...


def test_a_run_is_recorded(opened: Open) -> None:
    assert nothing.execute_in_process(instance=opened()).success


def test_a_bare_scheme_does_not_work(opened: Open, tmp_path: Path) -> None:
    """Why the scheme stands in dagster.yaml: when this fails, it can go."""
    file = tmp_path / "dagster.yaml"
    text, found = re.subn(r" +scheme: .*\n", "", file.read_text())
    assert found == 1
    file.write_text(text)
    with pytest.raises(Exception, match=r"NOTIFY run_events"):
        nothing.execute_in_process(instance=opened())


def test_a_postgres_that_is_down_is_said(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_PORT", str(free_port()))
    with pytest.raises(DagsterPostgresException, match="too many retries for DB connection") as why:
        opened().get_runs()
    assert "Connection refused" in str(why.value.__cause__)


def test_a_wrong_password_is_said_and_not_shown(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_PASSWORD", "wr0ngpassword")
    with pytest.raises(DagsterPostgresException) as why:
        opened().get_runs()
    reason = str(why.value.__cause__)
    assert 'password authentication failed for user "dagster"' in reason
    assert "wr0ngpassword" not in reason


def test_a_code_location_whose_folder_can_not_be_written_runs(s3: S3, folder: Path) -> None:
    """As `read_only: true` of a container has it."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a folder read-only")
    code, home = folder / "readonly", folder / "readonly-home"
    build(code)
    home.mkdir()
    root = code / "headrace"
    with shop() as source:
        yaml = YAML.format(url=source.base_url, start=DAYS[0])
        (root / "sources" / "shop.yaml").write_text(yaml)
        settings = {
            "DAGSTER_HOME": str(home), "HEADRACE_LAKE": "s3://lake/readonly",
            "HEADRACE_SOURCES": "sources/shop.yaml", "HEADRACE_BUDGET": str(home / "budget"),
            "PYTHONPATH": str(root),
        }  # fmt: skip
        mount = f"mount --bind {root} {root} && mount -o remount,ro,bind {root} && ! touch {root}/x"
        command = "asset materialize -f definitions.py --select * --partition"
        done = run(
            ["unshare", "-m", "sh", "-c", f'{mount} && cd {root} && exec "$@"', "sh",
             sys.executable, "-m", "dagster", *command.split(), DAYS[1]],
            env={**os.environ, **s3.env(), **settings}, check=False, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lake = Lake(s3.client(), settings["HEADRACE_LAKE"])
    assert manifests(lake, "shop", "things", DAYS[1])
