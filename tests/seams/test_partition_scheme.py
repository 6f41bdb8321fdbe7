"""A partition scheme that is registered in this file alone: partitions of an hour, end to end."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from assets import source_assets, source_job, source_schedule
from assets.asset_checks import coverage
from pipeline.config import Source
from pipeline.errors import ConfigError, ReadRefused, WindowRefused
from pipeline.lake.files import key_rows
from pipeline.lake.read import Between, dataset, manifests
from pipeline.lake.s3 import Lake
from pipeline.partitions import SCHEMES, PartitionScheme
from resources import ApiResource, BudgetResource, LakeResource
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
NOW = BEGIN + timedelta(hours=3, minutes=30)
HOURS = ["2026-11-01-00", "2026-11-01-01", "2026-11-01-02", "2026-11-01-03"]
ROWS = [(number, BEGIN + timedelta(minutes=number)) for number in range(5 * 60)]
PAGE = 20


@pytest.fixture(autouse=True)
def hours() -> Iterator[None]:
    @SCHEMES.register("hours")
    class Hours(PartitionScheme):
        kind: Literal["hours"] = "hours"
        noun: ClassVar[str] = "hour"
        frequency: ClassVar[str] = "hourly"
        key_format: ClassVar[str] = "%Y-%m-%d-%H"
        cron: ClassVar[str] = "0 * * * *"

        def floor(self, local: datetime) -> datetime:
            return local.replace(minute=0, second=0, microsecond=0)

        def after(self, begin: datetime) -> datetime:
            return begin + timedelta(hours=1)

        def schedule_cron(self, hour: int, minute: int) -> str:
            return f"{minute} * * * *"

    yield
    SCHEMES.forget("hours")


class Api:
    """A thing a minute, in pages.

    :ivar broken_from: refuse each page of rows from this number on.
    :ivar offsets: of all pages that were requested.
    """

    def __init__(self) -> None:
        self.broken_from: int | None = None
        self.offsets: list[tuple[str, int]] = []
        self.app = Starlette(routes=[Route("/things", self.respond), Route("/kinds", self.kinds)])

    async def kinds(self, request: Request) -> Response:
        return JSONResponse([{"id": 1}])

    async def respond(self, request: Request) -> Response:
        params = request.query_params
        since = datetime.fromisoformat(params["since"]) if "since" in params else BEGIN
        until = datetime.fromisoformat(params["until"])
        offset, limit = int(params["offset"]), int(params["limit"])
        self.offsets.append((params["until"], offset))
        page = [(n, at) for n, at in ROWS if since <= at < until][offset : offset + limit]
        if self.broken_from is not None and any(n >= self.broken_from for n, _ in page):
            return Response(status_code=400)
        return JSONResponse([{"id": n, "at": at.isoformat()} for n, at in page])


def source_at(url: str) -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        partitions: {{kind: hours}}
        safety_margin_s: 600
        limits: {{in_flight: 1}}
        retries: {{errors: 1, first_wait_s: 0.001}}
        schedule: {{minute: 5}}
        endpoints:
          things:
            request:
              params:
                {{since: "{{start}}", until: "{{end}}", offset: "{{offset}}", limit: "{{limit}}"}}
            paging: {{kind: offset, limit: {PAGE}}}
            key: [id]
            cursor: at
            batch_rows: {PAGE}
            columns: {{id: int64, at: "timestamp[iso]"}}
          kinds: {{key: [id], columns: {{id: int64}}}}
        """
    )


def ids(lake: Lake, partition: str) -> list[int]:
    (manifest,) = manifests(lake, "api", "things", partition)
    return sorted(key_rows(lake, manifest.files, ["id"])["id"].to_pylist())


def test_hours_are_read_committed_and_resumed_as_days_are(lake: Lake) -> None:
    api = Api()
    with serving(api.app) as url:
        source = source_at(url)
        api.broken_from = 100  # in the midst of the second hour
        outcome, _ = outcome_of(source, lake, ["things"], HOURS, NOW, "one")
        assert [failed.partition for failed in outcome.failed] == [HOURS[1]]
        assert [result.manifest.partition for result in outcome.results] == [HOURS[0]]
        api.broken_from, api.offsets = None, []
        outcome, _ = outcome_of(source, lake, ["things", "kinds"], HOURS, NOW, "one")
    assert not outcome.failed
    things = {r.manifest.partition: r for r in outcome.results if r.endpoint == "things"}
    assert [things[hour].outcome for hour in HOURS] == ["already committed", *["committed"] * 3]
    assert things[HOURS[1]].manifest.resumed_pages > 0
    of_second = [offset for until, offset in api.offsets if until.startswith("2026-11-01T02:00")]
    assert 0 not in of_second, "what was staged is not read again"
    assert ids(lake, HOURS[0]) == [*range(60)]
    assert ids(lake, HOURS[1]) == [*range(50, 120)]  # from the safety margin on
    assert ids(lake, HOURS[3]) == [*range(170, 210)]  # up to now
    [path] = {file.path.rpartition("/")[0] for file in things[HOURS[1]].manifest.files}
    assert path.endswith("api/things/dt=2026-11-01-01")
    rows = dataset(lake, "api", "things", Between(HOURS[0], HOURS[1])).to_table()
    assert rows.num_rows == 130
    with pytest.raises(ReadRefused):
        dataset(lake, "api", "things", "2026-11-01-1")
    kinds = [r.manifest.partition for r in outcome.results if r.endpoint == "kinds"]
    assert kinds == [HOURS[3]], "a snapshot is of the newest hour"
    checked = coverage(source, lake, "things")
    assert (checked.passed, checked.description) == (True, "4 hours, none missing")


def test_dagster_has_the_hours_and_a_schedule_for_them() -> None:
    source = source_at("http://localhost:1")
    job = source_job(source)
    schedule = source_schedule(source, job)
    resources = {
        "lake": LakeResource(url="s3://lake/hours", s3=S3Resource()),
        "api": ApiResource(budget=BudgetResource(where="memory")),
    }
    defs = dg.Definitions(
        [source_assets(source)], jobs=[job], schedules=[schedule], resources=resources
    )
    with dg.instance_for_test() as instance:
        asset = defs.resolve_asset_graph().get(dg.AssetKey(["api", "things"]))
        assert isinstance(asset.partitions_def, dg.TimeWindowPartitionsDefinition)
        at = NOW.replace(minute=5)
        with dg.build_schedule_context(
            instance, scheduled_execution_time=at, repository_def=defs.get_repository_def()
        ) as context:
            (request,) = schedule.evaluate_tick(context).run_requests or []
    keys = asset.partitions_def.get_partition_keys(NOW)
    assert [*keys] == HOURS
    window = asset.partitions_def.time_window_for_partition_key(HOURS[1])
    assert window.start.timestamp() == source.calendar.begins(HOURS[1]).timestamp()
    assert window.end.timestamp() == source.calendar.ends(HOURS[1]).timestamp()
    assert (schedule.name, schedule.cron_schedule) == ("api_hourly_schedule", "5 * * * *")
    assert request.partition_key == HOURS[2]


def test_a_key_of_another_scheme_is_refused_with_one_that_would_do() -> None:
    calendar = source_at("http://localhost:1").calendar
    with pytest.raises(WindowRefused) as caught:
        calendar.begins("2026-11-01")
    assert str(caught.value) == (
        "Partition `2026-11-01` is not one of a source with partitions by hour: "
        "expected a key such as `2026-11-01-00`"
    )


def test_a_kind_that_nobody_has_registered_is_refused() -> None:
    SCHEMES.forget("hours")
    with pytest.raises(ConfigError, match="partitions has no kind `hours`"):
        source_at("http://localhost:1")
