"""Alerts to a webhook of the test, over a socket; by Dagster's own daemon, and by its sensors."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

import dagster as dg
import pytest
from dagster._core.definitions.freshness import CronFreshnessPolicy, FreshnessStateChange
from dagster._utils.schedules import schedule_execution_time_iterator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assets.alerts import ATTEMPTS, Alert, Webhook, alert_sensors
from assets.compat import FreshnessState
from assets.specs import freshness_policy
from emulator.testing import Emulator
from local.services import S3
from pipeline.errors import ConfigError, HeadraceError
from pipeline.partitions import SCHEMES, PartitionScheme
from tests.assets.project import project, served, wait_for
from tests.assets.support import FIRST_BACK, day, failing
from tests.support.runs import serving
from tests.support.yaml_sources import source_of

HIDDEN = "T000-secret-path"
GAMES = dg.AssetKey(["igdb", "games"])
POLICY = dg.FreshnessPolicy.time_window(timedelta(hours=26))
DEFS = dg.Definitions(
    assets=[dg.AssetSpec(GAMES, freshness_policy=POLICY), dg.AssetSpec(["igdb", "genres"])]
)


def report_freshness(instance: dg.DagsterInstance, key: dg.AssetKey, state: FreshnessState) -> None:
    """Say what Dagster's freshness daemon says of an asset."""
    change = FreshnessStateChange(
        key=key,
        previous_state=FreshnessState.UNKNOWN,
        new_state=state,
        state_change_timestamp=time.time(),
    )
    instance._report_runless_asset_event(asset_event=change)


@dataclass
class Hook:
    """The webhook: what came, and with which status it responds."""

    url: str = ""
    came: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


@pytest.fixture
def hook() -> Iterator[Hook]:
    found = Hook()

    async def take(request: Request) -> Response:
        found.came.append(json.loads(await request.body()))
        return Response(status_code=found.statuses.pop(0) if found.statuses else 200)

    with serving(Starlette(routes=[Route(f"/{HIDDEN}", take, methods=["POST"])])) as url:
        found.url = f"{url}/{HIDDEN}"
        yield found


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as found:
        yield found


def webhook(hook: Hook, form: str | None = None, ui: str | None = None) -> Webhook:
    found = Webhook.of(hook.url, form, ui)
    assert found is not None
    return found


@pytest.mark.slow
def test_the_daemon_tells_of_a_run_that_fails_for_good(
    tmp_path: Path, s3: S3, api: Emulator, hook: Hook
) -> None:
    fresh = project(tmp_path / "alerts", s3, api)
    fresh.env |= {"HEADRACE_ALERT_URL": hook.url, "HEADRACE_UI_URL": "http://ui.test/"}
    api.faults(*failing("genres", kind="status", status=403))
    with served(fresh) as server:
        run = server.launch(["genres"], day(FIRST_BACK))
        assert server.wait(run, "FAILURE", "SUCCESS") == "FAILURE"
        wait_for(lambda: hook.came, log=server.log)
    (alert,) = hook.came
    assert alert["event"] == "run_failed"
    assert alert["title"] == f"Headrace: igdb {day(FIRST_BACK)} failed"
    assert f"igdb/genres {day(FIRST_BACK)}: " in alert["text"]
    assert "403" in alert["text"]
    assert "Traceback" not in alert["text"]
    assert (alert["run_id"], alert["partition"]) == (run, day(FIRST_BACK))
    assert alert["link"] == f"http://ui.test/runs/{run}"
    assert HIDDEN not in server.log.read_text()


def failed_run(
    instance: dg.DagsterInstance, hook: Hook, tags: dict[str, str] | None = None, **of: Any
) -> Any:
    """What the sensor makes of a run that has failed."""

    @dg.op
    def breaks() -> None:
        raise ValueError("<!channel> no such host & more")

    @dg.job(tags=tags or {})
    def job() -> None:
        breaks()

    result = job.execute_in_process(instance=instance, raise_on_error=False)
    sensor, _ = alert_sensors(webhook(hook, **of))
    context = dg.build_run_status_sensor_context(
        sensor_name="alert_failed_runs",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
    ).for_run_failure()
    return sensor(context)


def test_an_exception_s_own_message_is_sent_and_is_no_markup(
    instance: dg.DagsterInstance, hook: Hook
) -> None:
    failed_run(instance, hook, form="slack")
    (sent,) = hook.came
    assert sent.keys() == {"text"}
    assert "ValueError: &lt;!channel&gt; no such host &amp; more" in sent["text"]
    assert "File " not in sent["text"]


def test_a_run_that_is_started_again_is_no_alert(instance: dg.DagsterInstance, hook: Hook) -> None:
    failed_run(instance, hook, {"dagster/will_retry": "true"})
    assert hook.came == []


def test_an_asset_that_is_out_of_date_is_told_once_and_again_after_it_was_fresh(
    instance: dg.DagsterInstance, hook: Hook
) -> None:
    _, sensor = alert_sensors(webhook(hook))
    cursor: str | None = None
    for state, told in [
        (FreshnessState.PASS, 0),
        (FreshnessState.FAIL, 1),
        (FreshnessState.FAIL, 1),
        (FreshnessState.PASS, 1),
        (FreshnessState.FAIL, 2),
    ]:
        report_freshness(instance, GAMES, state)
        context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=DEFS)
        sensor(context)
        cursor = context.cursor
        assert len(hook.came) == told
    assert hook.came[0]["title"] == "Headrace: igdb/games is out of date"
    assert hook.came[0]["assets"] == ["igdb/games"]


def test_an_alert_that_is_not_delivered_is_told_at_the_next_tick(
    instance: dg.DagsterInstance, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assets.alerts._WAIT_S", 0.0)
    _, sensor = alert_sensors(webhook(hook))
    report_freshness(instance, GAMES, FreshnessState.FAIL)
    hook.statuses[:] = [503] * ATTEMPTS
    context = dg.build_sensor_context(instance=instance, cursor="[]", definitions=DEFS)
    with pytest.raises(HeadraceError, match=r"not delivered: `127.0.0.1` responded with .* 503"):
        sensor(context)
    assert len(hook.came) == ATTEMPTS
    assert context.cursor == "[]"
    sensor(context)
    assert json.loads(str(context.cursor)) == ["igdb/games"]


def test_a_refusal_is_not_repeated_and_the_url_is_not_said(
    hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    hook.statuses[:] = [404]
    found = webhook(hook)
    caplog.set_level("DEBUG")
    caplog.set_level("DEBUG", logger="httpx")  # a run of ours makes it quieter
    with pytest.raises(HeadraceError) as why:
        found.send(Alert("run_failed", "title", "text"))
    assert len(hook.came) == 1
    assert "status 404" in str(why.value)
    assert "HTTP Request: POST" in caplog.text
    assert HIDDEN not in str(why.value) + repr(found) + caplog.text


def test_slack_is_known_by_its_host() -> None:
    found = Webhook.of("https://hooks.slack.com/services/x", None, None)
    assert found is not None
    assert found.form == "slack"


@pytest.mark.parametrize(
    ("url", "form", "said"),
    [
        (f"hooks.slack.com/{HIDDEN}", None, "HEADRACE_ALERT_URL is no URL"),
        (
            "https://hooks.test/x",
            "teams",
            "HEADRACE_ALERT_FORM is `teams`: expected one of",
        ),
    ],
)
def test_a_wrong_setting_is_said(url: str, form: str | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as why:
        Webhook.of(url, form, None)
    assert HIDDEN not in str(why.value)


def test_without_the_setting_there_is_no_sensor() -> None:
    assert alert_sensors(Webhook.of(None, None, None)) == []


def policy(text: str, timezone: str = "Europe/Berlin") -> dg.FreshnessPolicy | None:
    return freshness_policy(
        source_of(f"""
        source: shop
        base_url: http://api.test
        start: 2026-11-01
        timezone: {timezone}
        {text}
        endpoints: {{things: {{key: [id], columns: {{id: int64}}}}}}
    """)
    )


def test_the_freshness_policy_follows_the_schedule() -> None:
    found = policy("schedule: {hour: 23, minute: 30, running: true}")
    assert found == dg.FreshnessPolicy.cron("30 1 * * *", timedelta(hours=3), "Europe/Berlin")
    assert policy("schedule: {hour: 23, minute: 30}") is None
    found = policy("freshness: {late_s: 1800}")
    assert found == dg.FreshnessPolicy.cron("0 2 * * *", timedelta(minutes=90), "Europe/Berlin")
    found = policy("freshness: {late_s: 1800}", "Asia/Tokyo")
    assert found == dg.FreshnessPolicy.cron("0 2 * * *", timedelta(minutes=30), "Asia/Tokyo")
    found = policy("freshness: {late_s: 86000}")
    assert isinstance(found, CronFreshnessPolicy)
    assert found.lower_bound_delta == timedelta(days=1), "the most that Dagster takes"
    found = policy("freshness: {within_s: 90000}")
    assert found == dg.FreshnessPolicy.time_window(timedelta(hours=25))


@pytest.mark.parametrize(
    "timezone",
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"],
)
@pytest.mark.parametrize("hour", [0, 1, 2, 3, 23])
def test_a_run_right_after_its_tick_is_in_time_on_every_day(timezone: str, hour: int) -> None:
    """Also when clocks are set between the tick and the deadline: Dagster counts back seconds."""
    schedule = f"schedule: {{hour: {hour}, minute: 30, running: true}}"
    found = policy(schedule, timezone)
    assert isinstance(found, CronFreshnessPolicy)
    begin = datetime.now(UTC).timestamp()
    ticks = schedule_execution_time_iterator(begin, f"30 {hour} * * *", timezone, ascending=True)
    for tick in islice(ticks, 366):
        deadlines = schedule_execution_time_iterator(
            tick.timestamp() + 60, found.deadline_cron, found.timezone, ascending=True
        )
        from_then = next(deadlines).timestamp() - found.lower_bound_delta.total_seconds()
        assert from_then <= tick.timestamp()


@pytest.fixture
def other_schemes() -> Iterator[None]:
    @SCHEMES.register("weeks")
    class Weeks(PartitionScheme):
        kind: Literal["weeks"] = "weeks"
        noun: ClassVar[str] = "week"
        frequency: ClassVar[str] = "weekly"
        key_format: ClassVar[str] = "%Y-%m-%d"
        cron: ClassVar[str] = "0 0 * * 0"

        def floor(self, local: datetime) -> datetime:
            begin = local - timedelta(days=local.isoweekday() % 7)
            return begin.replace(hour=0, minute=0, second=0, microsecond=0)

        def after(self, begin: datetime) -> datetime:
            return begin + timedelta(days=7)

        def schedule_cron(self, hour: int, minute: int) -> str:
            return f"{minute} {hour} * * 6"

    @SCHEMES.register("months")
    class Months(Weeks):
        kind: Literal["months"] = "months"  # type: ignore[assignment]

        def schedule_cron(self, hour: int, minute: int) -> str:
            return f"{minute} {hour} 27 * *"

    @SCHEMES.register("hours")
    class Hours(Weeks):
        kind: Literal["hours"] = "hours"  # type: ignore[assignment]

        def after(self, begin: datetime) -> datetime:
            return begin + timedelta(hours=1)

        def schedule_cron(self, hour: int, minute: int) -> str:
            return f"{minute} * * * *"

    yield
    for name in ("weeks", "months", "hours"):
        SCHEMES.forget(name)


@pytest.mark.usefixtures("other_schemes")
@pytest.mark.parametrize(
    ("kind", "deadline", "hours"),
    [("weeks", "30 1 * * 0", 2), ("months", "30 1 28 * *", 2), ("hours", "30 * * * *", 1)],
)
def test_a_deadline_after_midnight_is_on_the_day_after_the_tick(
    kind: str, deadline: str, hours: int
) -> None:
    """Of hours, Dagster takes no more than from one tick to the next."""
    schedule = f"{{kind: {kind}}}\n        schedule: {{hour: 23, minute: 30, running: true}}"
    found = policy(f"partitions: {schedule}", "UTC")
    assert found == dg.FreshnessPolicy.cron(deadline, timedelta(hours=hours), "UTC")
