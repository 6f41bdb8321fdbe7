"""The maintenance job as Dagster runs it."""

import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from assets import failures, maintenance
from local.ports import free_port
from local.services import S3
from pipeline.lake.s3 import Lake
from tests.assets.support import Headrace

pytestmark = pytest.mark.slow

KEY = "igdb/games/dt=2026-01-01/part-00000-20260101T000000000-0123abcd.parquet"


def cleaned(headrace: Headrace, **config: object) -> tuple[dg.ExecuteInProcessResult, str]:
    """A run of the job, and its log."""
    with warnings.catch_warnings(), dg.instance_for_test() as instance:
        # Dagster's own nested resources use what Dagster itself calls deprecated.
        warnings.filterwarnings("ignore", "InitResourceContext.dagster_run")
        result = maintenance.execute_in_process(
            run_config={"ops": {"clean_lake": {"config": config}}},
            resources={"lake": headrace.resources()["lake"]},
            instance=instance,
            raise_on_error=False,
        )
        return result, "\n".join(each.message for each in instance.all_logs(result.run_id))


def left_over(lake: Lake) -> list[str]:
    return [upload.key for upload in lake.uploads("")]


def test_what_is_left_over_is_told_and_on_request_removed(headrace: Headrace) -> None:
    headrace.lake.create_upload(KEY)
    result, said = cleaned(headrace, older_than_s=0)
    assert result.success
    assert f"found (dry run: nothing removed): upload {KEY}" in said
    assert "1 of 1 endpoints looked at, now igdb/games" in said
    assert left_over(headrace.lake) == [KEY]
    result, said = cleaned(headrace, older_than_s=0, dry_run=False)
    assert result.success
    assert f"removed: upload {KEY}" in said
    assert left_over(headrace.lake) == []


def test_a_lake_that_does_not_answer_is_tried_again(
    headrace: Headrace, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[Any] = []
    monkeypatch.setattr(failures, "time", SimpleNamespace(sleep=waits.append))
    nobody = replace(s3, endpoint_url=f"http://127.0.0.1:{free_port()}")
    result, _ = cleaned(replace(headrace, s3=nobody))
    assert waits == [30.0] * 3
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    found = failed.step_failure_data.user_failure_data
    assert found is not None
    assert "check `AWS_ENDPOINT_URL_S3` and the network.\nGave up after 4 attempts." in str(
        found.description
    )
