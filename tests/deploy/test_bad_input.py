"""What Dagster says of a Postgres that is down, that refuses the password, or that is of another
release, with deploy/dagster.yaml as it ships."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess, run

import dagster as dg
import pytest
import sqlalchemy
from dagster_postgres.utils import DagsterPostgresException

from local.ports import free_port
from local.services import S3
from pipeline.lake.read import manifests
from pipeline.lake.s3 import Lake
from tests.deploy.compose import DEPLOY
from tests.deploy.conftest import Open
from tests.deploy.image import built
from tests.support.shop import DAYS, shop

pytestmark = pytest.mark.slow
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


def test_a_postgres_of_an_older_dagster_works_and_is_migrated(opened: Open, home: Path) -> None:
    instance = opened()
    assert nothing.execute_in_process(instance=instance).success
    with postgres_of(instance) as change:
        change("ALTER TABLE concurrency_limits DROP COLUMN using_default_limit")
        change("UPDATE alembic_version SET version_num = '6b7fb194ff9c'")
        assert nothing.execute_in_process(instance=opened()).success
        assert migrated(home).returncode == 0
        change("SELECT using_default_limit FROM concurrency_limits")


def test_a_postgres_of_a_newer_dagster_is_said(opened: Open, home: Path) -> None:
    """After one has gone back to an older image."""
    instance = opened()
    assert nothing.execute_in_process(instance=instance).success
    with postgres_of(instance) as change:
        change("UPDATE alembic_version SET version_num = 'f00000000000'")
        change("ALTER TABLE event_logs RENAME COLUMN step_key TO step")
        with pytest.raises(sqlalchemy.exc.ProgrammingError, match="UndefinedColumn"):
            nothing.execute_in_process(instance=opened())
        done = migrated(home)
        change("ALTER TABLE event_logs RENAME COLUMN step TO step_key")
    assert done.returncode
    said = "Can't locate revision identified by 'f00000000000'"
    assert said in done.stdout + done.stderr
    assert "`Can't locate revision identified by" in (DEPLOY / "README.md").read_text()


@contextmanager
def postgres_of(instance: dg.DagsterInstance) -> Iterator[Callable[[str], object]]:
    """Changes the tables to those of another release; the revision is put back."""
    engine = sqlalchemy.create_engine(
        instance.event_log_storage.postgres_url,  # type: ignore[attr-defined]
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        revision = connection.execute(sqlalchemy.text(REVISION)).scalar_one()
        yield lambda change: connection.execute(sqlalchemy.text(change))
        connection.execute(
            sqlalchemy.text(f"UPDATE alembic_version SET version_num = '{revision}'")
        )
    engine.dispose()


REVISION = "SELECT version_num FROM alembic_version"


def migrated(home: Path) -> CompletedProcess[str]:
    """The remedy of deploy/README.md."""
    assert "dagster instance migrate" in (DEPLOY / "README.md").read_text()
    command = [sys.executable, "-m", "dagster", "instance", "migrate"]
    env = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(DEPLOY)}
    return run(command, env=env, check=False, capture_output=True, text=True)


def test_a_code_location_whose_folder_can_not_be_written_runs(s3: S3, folder: Path) -> None:
    """As `read_only: true` of a container has it."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a folder read-only")
    root, home = built(folder / "opt"), folder / "readonly"
    home.mkdir()
    with shop() as source:
        yaml = home / "shop.yaml"
        yaml.write_text(YAML.format(url=source.base_url, start=DAYS[0]))
        settings = {
            "DAGSTER_HOME": str(home), "HEADRACE_LAKE": "s3://lake/readonly",
            "HEADRACE_SOURCES": str(yaml), "HEADRACE_BUDGET": str(home / "budget"),
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
