"""Dagster's instance folder, made before anything uses it.

Dagster sets up its SQLite storage on first use, and several processes that do so at once collide.
So one process does it alone: `make instance`, `make ui`.
"""

import shutil
from pathlib import Path

from local.paths import INSTANCE_TEMPLATE


def prepare_home(home: Path) -> Path:
    """The folder with its dagster.yaml; one that is there already is left as it is."""
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        shutil.copyfile(INSTANCE_TEMPLATE, settings)
    return home


def create_storage(home: Path) -> None:
    """Make the SQLite databases by using each of them once (some 2 s)."""
    from dagster import DagsterInstance

    prepare_home(home)
    with DagsterInstance.from_config(str(home)) as instance:
        instance.get_run_records(limit=1)
        instance.all_asset_keys()
        instance.all_instigator_state()
