"""An API whose clock is behind, soon after midnight: yesterday ends before today begins."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from assets.asset_checks import coverage
from pipeline.config import Source
from pipeline.errors import ReadAnew, WindowRefused
from pipeline.lake.index import manifest_of
from pipeline.lake.s3 import Lake
from pipeline.run.runner import RunOutcome
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

BASELINE, YESTERDAY, TODAY = "2026-11-01", "2026-11-02", "2026-11-03"
BEGINS = datetime(2026, 11, 2, tzinfo=UTC)
NOW = datetime(2026, 11, 3, 0, 1, tzinfo=UTC)
ITS_NOW = "2026-11-02T23:51:00Z"
ROWS = [(n, BEGINS + timedelta(minutes=n)) for n in range(24 * 60 + 1)]


async def things(request: Request) -> Response:
    """What the API has by its own clock, as it is for a row that comes late."""
    query = request.query_params
    since = datetime.fromisoformat(query["since"]) if "since" in query else BEGINS
    until = datetime.fromisoformat(query["until"])
    rows = [{"id": n, "at": at.isoformat()} for n, at in ROWS if since <= at < until]
    its_now = format_datetime(datetime.fromisoformat(ITS_NOW), usegmt=True)
    return JSONResponse(rows, headers={"date": its_now})


APP = Starlette(routes=[Route("/things", things)])


def source_at(url: str) -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: {BASELINE}
        safety_margin_s: 3600
        endpoints:
          things:
            request: {{params: {{since: "{{start}}", until: "{{end}}"}}}}
            key: [id]
            cursor: at
            columns: {{id: int64, at: "timestamp[iso]"}}
        """
    )


def materialize(source: Source, lake: Lake, *days: str, attempt: int = 1) -> RunOutcome:
    """An attempt of the run of these days."""
    return outcome_of(source, lake, "things", days, NOW, "+".join(days), attempt=attempt)[0]


def joined(lake: Lake) -> bool:
    """Whether today is read from where yesterday ended."""
    first, second = (manifest_of(lake, "api", "things", day) for day in (YESTERDAY, TODAY))
    assert first
    assert second
    assert first.watermark == ITS_NOW
    starts = second.window.start
    return starts == datetime.fromisoformat(ITS_NOW) - timedelta(seconds=3600)


def test_the_next_attempt_reads_today_from_where_yesterday_ended(lake: Lake) -> None:
    with serving(APP, date_header=False) as url:
        source = source_at(url)
        assert not materialize(source, lake, BASELINE).failed
        [failure] = materialize(source, lake, YESTERDAY, TODAY).failed
        assert isinstance(failure.error, ReadAnew)
        assert f"{YESTERDAY} was committed meanwhile, and ends before {TODAY} begins" in str(
            failure.error
        )
        again = materialize(source, lake, YESTERDAY, TODAY, attempt=2)
        assert not again.failed
        assert [each.outcome for each in again.results] == ["already committed", "committed"]
        assert joined(lake)
        once_more = materialize(source, lake, YESTERDAY, TODAY, attempt=3)
        assert {each.outcome for each in once_more.results} == {"already committed"}


def test_yesterday_alone_names_today_as_the_day_to_materialize(lake: Lake) -> None:
    with serving(APP, date_header=False) as url:
        source = source_at(url)
        assert not materialize(source, lake, BASELINE).failed
        assert not materialize(source, lake, TODAY).failed
        outcome = materialize(source, lake, YESTERDAY)
        assert [each.outcome for each in outcome.results] == ["committed"]
        [failure] = outcome.failed
        assert isinstance(failure.error, WindowRefused)
        assert outcome.retry_wait_s is None
        assert str(failure.error) == (
            f"api/things {YESTERDAY} is committed up to {ITS_NOW} (the `Date` of the API's "
            f"responses), and {TODAY}, which another run has committed, begins later: neither has "
            f"the rows of {ITS_NOW} to 2026-11-03T00:00:00Z. Materialize `{TODAY}` again: it then "
            f"begins where `{YESTERDAY}` ends"
        )
        assert not coverage(source, lake, "things").passed
        assert not outcome_of(source, lake, "things", [TODAY], NOW)[0].failed
        assert joined(lake)
        assert coverage(source, lake, "things").passed
