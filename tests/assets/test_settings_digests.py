"""A worker with other settings, or other code, than the code server that planned its run."""

import warnings
from collections.abc import Mapping

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from assets import source_assets
from assets.settings_digests import settings_tag
from tests.assets.support import Headrace, day
from tests.support.yaml_sources import quick

PLANNED = {"HEADRACE_LAKE": "s3://lake/a", "HEADRACE_BUDGET": "postgresql://u:s3cret@db/x"}


def test_only_names_and_digests_are_kept_and_passwords_make_no_difference() -> None:
    source = quick("http://api.test")
    tag = settings_tag(source, PLANNED)
    assert not [word for word in ("s3cret", "s3://", "db/x") if word in tag]
    other_password = PLANNED | {"HEADRACE_BUDGET": "postgresql://u:other@db/x"}
    assert settings_tag(source, other_password) == tag
    assert settings_tag(source, PLANNED | {"HEADRACE_LAKE": "s3://lake/b"}) != tag


def job(headrace: Headrace, settings: Mapping[str, str]) -> dg.JobDefinition:
    genres = dg.AssetSelection.assets(["igdb", "genres"])
    defs = dg.Definitions(
        assets=[source_assets(headrace.source, settings=settings)],
        jobs=[dg.define_asset_job("daily", selection=genres)],
        executor=dg.in_process_executor,
        resources=headrace.resources(),
    )
    return defs.resolve_job_def("daily")


@pytest.mark.slow
@pytest.mark.parametrize("other", [{}, {"HEADRACE_BUDGET": "redis://elsewhere"}])
def test_a_worker_with_another_setting_is_told_by_its_name(
    headrace: Headrace, other: Mapping[str, str]
) -> None:
    """The run is planned with some settings, and executed by a process with others."""
    with dg.instance_for_test() as instance, warnings.catch_warnings():
        # Dagster's own nested resources use what Dagster itself calls deprecated.
        warnings.filterwarnings("ignore", "InitResourceContext.dagster_run")
        run = instance.create_run_for_job(
            job(headrace, PLANNED), tags={"dagster/partition": day(1)}
        )
        execute_run(InMemoryJob(job(headrace, {**PLANNED, **other})), run, instance)
        said = [entry.user_message for entry in instance.all_logs(run.run_id) if entry.level == 30]
    found = [text for text in said if text.startswith("These differ between this process and")]
    assert len(found) == len(other)
    assert all("planned the run: HEADRACE_BUDGET. Check" in text for text in found)
    assert not [text for text in found if "redis://" in text]
