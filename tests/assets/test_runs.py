"""Runs through Dagster: which partitions, which events, which metadata, which checks."""

import warnings

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from assets.partitions import partitions_of
from pipeline.config.limits import RateWindowConfig
from pipeline.lake.read import manifests
from pipeline.run.context import RunContext
from pipeline.run.partition import stage
from tests.assets.support import (
    ALONE,
    FIRST_BACK,
    IMPATIENT,
    MARGIN_S,
    Headrace,
    Ran,
    day,
    day_s,
    failing,
    igdb,
)

pytestmark = pytest.mark.slow

RANGE = [day(back) for back in range(FIRST_BACK, 1, -1)]
"""The first partition, and four more."""


def value(metadata: object, name: str) -> object:
    found = metadata[name]  # type: ignore[index]
    return getattr(found, "value", found)


def test_one_partition_of_some_endpoints(headrace: Headrace) -> None:
    ran = headrace.run(["games", "genres"], day(FIRST_BACK))
    assert ran.success
    assert ran.materialized() == [("games", day(FIRST_BACK)), ("genres", day(FIRST_BACK))]
    before = f"updated_at < {day_s(FIRST_BACK - 1)} | updated_at = null"
    assert headrace.ids("games") == sorted(row["id"] for row in headrace.api.rows("games", before))
    checks = ran.checks()
    assert all(check.passed for check in checks.values())
    assert set(checks) >= {("games", "integrity"), ("games", "coverage"), ("genres", "integrity")}
    assert not [key for key in headrace.lake.list("igdb/") if "covers" in key.key]


def test_a_range_is_one_run_with_a_materialization_for_each_endpoint_and_day(
    headrace: Headrace,
) -> None:
    headrace.run(["games"], RANGE[0])
    before = len(headrace.rows("games"))
    late = headrace.api.touch("games", count=3, updated_at=f"{RANGE[0]}T23:30:00+00:00")
    ran = headrace.run(["games", "genres"], RANGE[1], RANGE[-1])
    assert ran.success
    made = ran.materializations()
    assert ran.materialized() == [(name, one) for name in ("games", "genres") for one in RANGE[1:]]
    by_day = {partition: metadata for name, partition, metadata in made if name == "games"}
    for one in RANGE[1:]:
        metadata = by_day[one]
        assert value(metadata, "watermark") == value(metadata, "window_end")
        assert str(value(metadata, "window_end")) > one
        assert value(metadata, "safety_margin_s") == MARGIN_S
        assert value(metadata, "contiguous") is True
        assert value(metadata, "outcome") == "committed"
        assert value(metadata, "throttled_429") == 0
        schema = metadata["dagster/column_schema"].schema
        columns = {column.name: column for column in schema.columns}
        assert {"id", "updated_at", "_extracted_at"} < set(columns)
        assert str(columns["rating"].description).startswith("mean of ")
        assert columns["id"].constraints == dg.TableColumnConstraints(nullable=False, unique=True)
        assert "requests/s" in metadata["requests_over_time"].value
        assert "no 429" in metadata["requests_over_time"].value
        assert float(str(value(metadata, "run_waited_slot_s"))) >= 0
        assert float(str(value(metadata, "run_waited_permit_s"))) >= 0
    assert by_day[RANGE[1]]["window_start"].value == f"{RANGE[0]}T23:00:00Z"
    assert value(by_day[RANGE[1]], "late_rows") == len(late)
    preview = by_day[RANGE[1]]["preview"]
    assert next(column.name for column in preview.schema.columns) == "id"
    assert preview.records
    assert all(record.data["id"].isdigit() for record in preview.records)
    rows = sum(
        int(str(value(metadata, "dagster/partition_row_count"))) for metadata in by_day.values()
    )
    baseline = len(headrace.rows("games")) - rows
    assert baseline == before
    assert len({value(metadata, "generation") for metadata in by_day.values()}) == len(by_day)


def test_days_without_rows_forget_no_inferred_column(headrace: Headrace) -> None:
    ran = headrace.run(["genres"], RANGE[0], RANGE[-1])
    columns = [
        {column.name: column.type for column in metadata["dagster/column_schema"].schema.columns}
        for _, _, metadata in ran.materializations()
    ]
    assert {"name", "slug"} < set(columns[0])
    assert all(each == columns[0] for each in columns)
    assert ran.checks()["genres", "schema"].passed
    headrace.api.touch("genres", ids=[2], updated_at=f"{RANGE[2]}T12:00:00+00:00")
    assert headrace.run(["genres"], RANGE[2]).success
    assert [row["name"] for row in headrace.rows("genres") if row["id"] == 2][-1]


def test_a_second_run_of_a_range_replaces_every_generation(headrace: Headrace) -> None:
    first = headrace.run(["genres"], RANGE[0], RANGE[-1])
    rows = headrace.rows("genres")
    again = headrace.run(["genres"], RANGE[0], RANGE[-1])
    assert first.success
    assert again.success
    assert again.materialized() == first.materialized()
    old = {str(value(metadata, "generation")) for _, _, metadata in first.materializations()}
    new = {str(value(metadata, "generation")) for _, _, metadata in again.materializations()}
    assert not old & new
    assert len(headrace.rows("genres")) == len(rows)
    files = [item.key for item in headrace.lake.list("igdb/genres/dt=")]
    assert all(key.rpartition("-")[0].count("part") for key in files)
    assert not [key for key in files for generation in old if generation in key]


def test_an_old_snapshot_alone_is_refused(headrace: Headrace) -> None:
    ran = headrace.run(["covers"], day(2), by_command=True)
    assert not ran.success
    assert ran.retries() == []
    assert ran.failure() == (
        f"igdb/covers {day(2)}: Partition `{day(2)}` of a snapshot is past: the API only shows how "
        f"things are now. Request the newest partition, `{day(0)}`"
    )


def test_an_old_snapshot_beside_others_is_skipped_and_the_log_says_so(headrace: Headrace) -> None:
    ran = headrace.run(["covers", "genres"], day(2))
    assert ran.success
    assert ran.materialized() == [("genres", day(2))]
    assert f"skipped covers on {day(2)}: a snapshot only shows how things are now" in ran.log


def test_in_a_range_a_snapshot_is_taken_for_its_newest_day_only(headrace: Headrace) -> None:
    ran = headrace.run(["covers", "genres"], day(3), day(1))
    assert ran.success
    assert ran.materialized() == [
        ("covers", "None"), ("genres", day(3)), ("genres", day(2)), ("genres", day(1)),
    ]  # fmt: skip
    past = f"from {day(3)} to {day(2)}"
    assert f"skipped covers {past}: a snapshot is of the newest day only, {day(1)}" in ran.log
    assert ran.checks()["covers", "integrity"].passed
    assert headrace.ids("covers") == [row["id"] for row in headrace.api.rows("covers")]


def test_missing_days_are_named_by_the_coverage_check(headrace: Headrace) -> None:
    headrace.run(["genres"], RANGE[0])
    ran = headrace.run(["genres"], RANGE[3])
    check = ran.checks()["genres", "coverage"]
    assert ran.success
    assert not check.passed
    assert check.description == f"missing: {RANGE[1]}, {RANGE[2]} (2 days): materialize them"
    assert f"genres: coverage: {check.description}" in ran.log
    first = headrace.run(["games"], RANGE[1])
    assert f"{RANGE[0]} is the baseline, and no other day has the rows from before it" in first.log


def test_lateness_near_the_margin_is_a_warning_with_a_proposal(headrace: Headrace) -> None:
    headrace.run(["games"], RANGE[0], RANGE[1])
    headrace.api.touch("games", count=1, updated_at=f"{RANGE[1]}T23:05:00+00:00")
    ran = headrace.run(["games"], RANGE[2])
    check = ran.checks()["games", "margin"]
    assert ran.success
    assert not check.passed
    assert "set safety_margin_s to 7200" in str(check.description)


def test_one_endpoint_that_fails_does_not_stop_the_others(headrace: Headrace) -> None:
    refused = {"kind": "status", "status": 400, "message": "Invalid Field"}
    headrace.api.faults(*failing("themes", **refused))
    ran = headrace.run(["games", "genres", "themes"], RANGE[0], RANGE[1])
    assert not ran.success
    assert ran.retries() == []
    assert ran.materialized() == [(name, one) for name in ("games", "genres") for one in RANGE[:2]]
    said = ran.failure()
    assert said.startswith(f"igdb/themes {RANGE[0]}: ")
    assert 'refused the request with status 400: {"message":"Invalid Field"}' in said
    assert f"Not attempted, since an earlier partition failed: igdb/themes {RANGE[1]}." in said
    assert "4 partitions of this run are committed, and stay." in said
    checks = ran.checks()
    assert {name for name, _ in checks} == {"games", "genres"}
    assert checks["games", "integrity"].description == (
        "2 partitions, every statement holds; complete by keys: no row can lie between two pages"
    )
    assert checks["games", "integrity"].target_materialization_data is not None
    headrace.api.clear_faults()
    assert headrace.run(["themes"], RANGE[0], RANGE[1]).success


def test_beside_a_bug_the_other_failures_are_told_too(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs = [ZeroDivisionError("a bug")]

    def buggy(run: RunContext, name: str, *rest: object, **named: object) -> object:
        if name == "games" and bugs:
            raise bugs.pop()
        return stage(run, name, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("pipeline.run.runner.stage", buggy)
    headrace.api.faults(*failing("themes", kind="status", status=400, message="Invalid Field"))
    ran = headrace.run(["games", "genres", "themes"], RANGE[0])
    first_try = ran.log.partition("has requested a retry")[0]
    assert f"igdb/themes {RANGE[0]}: " in first_try
    assert 'refused the request with status 400: {"message":"Invalid Field"}' in first_try


def test_a_retry_does_only_what_is_not_committed_yet(headrace: Headrace) -> None:
    headrace.source = igdb(headrace.api, IMPATIENT | ALONE)
    headrace.api.faults({"path": "/v4/themes", "kind": "status", "status": 500, "next": 2})
    ran = headrace.run(["genres", "themes"], RANGE[0], RANGE[1])
    assert ran.success, ran.failure()
    assert ran.retries()
    assert set(ran.retries()) == {0.2}
    assert ran.materialized() == [(name, one) for name in ("genres", "themes") for one in RANGE[:2]]
    outcomes = {name: value(metadata, "outcome") for name, _, metadata in ran.materializations()}
    assert outcomes == {"genres": "committed", "themes": "committed"}
    assert "Attempt 2 of 4 follows in 0.2 s" in ran.log
    asked = headrace.api.stats()["by_path"]
    assert asked["/v4/genres"] == {"200": 3}, "two days, of which the empty one is confirmed"
    assert_told_before_the_wait(ran, "genres", RANGE[:2])
    assert {name for name, check in ran.checks() if check == "integrity"} == {"genres", "themes"}


def assert_told_before_the_wait(ran: Ran, endpoint: str, days: list[str]) -> None:
    """A run may end while it waits. Which of its days an endpoint that fails has done is chance."""
    kinds = [entry.dagster_event_type for entry in ran.entries]
    before = ran.entries[: kinds.index(dg.DagsterEventType.STEP_UP_FOR_RETRY)]
    told = Ran(ran.result, before).materialized()
    assert [one for name, one in told if name == endpoint] == days


def test_what_is_downstream_of_a_retried_step_runs(headrace: Headrace) -> None:
    """Of the assets that an earlier try has told of too."""
    ran_of = []

    @dg.asset(
        deps=[dg.AssetKey(["igdb", "genres"])],
        partitions_def=partitions_of(headrace.source),
        backfill_policy=dg.BackfillPolicy.multi_run(headrace.source.partitions_per_run),
    )
    def report(context: dg.AssetExecutionContext) -> None:
        ran_of.append(context.partition_key)

    headrace.source = igdb(headrace.api, IMPATIENT | ALONE)
    headrace.api.faults({"path": "/v4/themes", "kind": "status", "status": 500, "next": 1})
    ran = headrace.run(["genres", "themes"], RANGE[0], further=[report])
    assert ran.success
    assert ran.retries() == [0.2]
    assert ran_of == [RANGE[0]]
    assert [name for name, _ in ran.materialized()] == ["genres", "report", "themes"]


def test_what_no_retry_mends_fails_after_four_tries(headrace: Headrace) -> None:
    headrace.source = igdb(headrace.api, IMPATIENT)
    headrace.api.faults(*failing("themes", kind="status", status=503))
    ran = headrace.run(["genres", "themes"], RANGE[0])
    assert not ran.success
    assert ran.retries() == [0.2] * 3
    assert ran.materialized() == [("genres", RANGE[0])]
    assert "503" in ran.failure()
    assert "Gave up after 4 attempts" in ran.failure()
    assert "the next attempt" not in ran.failure()


def test_a_snapshot_of_today_can_be_taken(headrace: Headrace) -> None:
    ran = headrace.run(["covers"], day(0), by_command=True)
    assert ran.success
    assert ran.materialized() == [("covers", "None")]
    assert [each.partition for each in manifests(headrace.lake, "igdb", "covers")] == [day(0)]


def test_a_snapshot_without_a_partition_is_of_the_one_that_is_running(headrace: Headrace) -> None:
    """As the UI and a backfill request it: for Dagster it has no partitions."""
    ran = headrace.run(["covers"], None)
    assert ran.success
    ((_, partition, metadata),) = ran.materializations()
    assert partition == "None"
    assert value(metadata, "partition") == day(0)
    assert value(metadata, "dagster/row_count") == 30
    assert [each.partition for each in manifests(headrace.lake, "igdb", "covers")] == [day(0)]


def test_the_plot_s_limit_is_that_of_the_window_that_binds(headrace: Headrace) -> None:
    windows = (RateWindowConfig(requests=4, per_s=1), RateWindowConfig(requests=75, per_s=30))
    limits = headrace.source.limits.model_copy(update={"windows": windows})
    headrace.source = headrace.source.model_copy(update={"limits": limits})
    ((_, _, metadata),) = headrace.run(["genres"], RANGE[0]).materializations()
    assert "limit = 2.5 requests/s" in metadata["requests_over_time"].value


def test_checks_are_executed_by_themselves(headrace: Headrace) -> None:
    """As the button *Execute* of the UI does: of the newest partition, and without a request."""
    key = dg.AssetKey(["igdb", "genres"])
    asked = dg.AssetSelection.checks(
        *(dg.AssetCheckKey(key, name) for name in ("coverage", "integrity"))
    )
    ran = headrace.run(asked, None)
    assert ran.success
    assert ran.checks()["genres", "coverage"].description == "0 days, none missing"
    assert headrace.run(["genres", "themes"], RANGE[0], RANGE[1]).success
    headrace.run(["genres"], RANGE[3])
    headrace.api.reset()
    ran = headrace.run(asked, None)
    assert ran.success
    assert ran.materialized() == []
    checks = ran.checks()
    assert set(checks) == {("genres", "coverage"), ("genres", "integrity")}
    assert checks["genres", "integrity"].description == (
        "1 partition, every statement holds; complete by keys: no row can lie between two pages"
    )
    assert f"missing: {RANGE[2]} (1 day)" in str(checks["genres", "coverage"].description)
    assert headrace.api.stats()["requests"] == 0
    ran = headrace.run(asked | dg.AssetSelection.assets(["igdb", "themes"]), RANGE[2])
    assert ran.materialized() == [("themes", RANGE[2])]
    assert set(checks) < set(ran.checks())


def test_assets_may_be_materialized_without_their_checks(headrace: Headrace) -> None:
    ran = headrace.run(dg.AssetSelection.assets(["igdb", "genres"]).without_checks(), RANGE[0])
    assert ran.success
    assert ran.materialized() == [("genres", RANGE[0])]
    assert ran.checks() == {}


def executed(
    headrace: Headrace, instance: dg.DagsterInstance, parent: str, tags: dict[str, str]
) -> str:
    """A run of the genres that has another for its parent, of which the first one is the root."""
    genres = dg.AssetSelection.assets(["igdb", "genres"])
    defs = dg.Definitions(
        [headrace.assets()],
        jobs=[dg.define_asset_job("job", genres)],
        resources=headrace.resources(),
        executor=dg.in_process_executor,
    )
    job, before = defs.resolve_job_def("job"), instance.get_run_by_id(parent)
    assert before is not None
    run = instance.create_run_for_job(
        job,
        tags={"dagster/partition": RANGE[0], **tags},
        root_run_id=before.root_run_id or parent,
        parent_run_id=parent,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "InitResourceContext.dagster_run")
        assert execute_run(InMemoryJob(job), run, instance).success
    return run.run_id


def test_a_run_that_a_user_starts_anew_is_read_anew_and_its_retry_resumes_it(
    headrace: Headrace,
) -> None:
    def generation() -> str:
        (manifest,) = manifests(headrace.lake, "igdb", "genres", RANGE[0])
        return manifest.generation

    with dg.instance_for_test() as instance:
        first = headrace.run(["genres"], RANGE[0], instance=instance).result.run_id
        of_first = generation()
        anew = executed(headrace, instance, first, {})
        of_anew = generation()
        assert of_anew != of_first, "a user who starts a run anew wants its rows anew"
        retry = {"dagster/retry_number": "2"}  # as the daemon starts it if its process was killed
        executed(headrace, instance, anew, retry)
        assert generation() == of_anew, "what it has committed stays"
        headrace.run(["genres"], RANGE[0], instance=instance)  # replaces it
        of_other = generation()
        executed(headrace, instance, anew, retry)
        assert generation() != of_other
