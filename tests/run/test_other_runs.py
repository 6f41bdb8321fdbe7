"""Two runs at midnight: a day that is still being read when the next one is materialized.

Each day is sound by itself, so only the two together show whether anything lies between them.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from assets.asset_checks import coverage
from pipeline.config import Source
from pipeline.errors import LakeUnavailable, ReadAnew
from pipeline.lake.files import key_rows
from pipeline.lake.index import manifest_of
from pipeline.lake.maintenance import clean
from pipeline.lake.read import manifests
from pipeline.lake.s3 import Lake
from pipeline.run.runner import RunOutcome
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

YESTERDAY, TODAY = "2026-11-02", "2026-11-03"
BEGINS = datetime(2026, 11, 2, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 3, tzinfo=UTC)
AFTER_MIDNIGHT = MIDNIGHT + timedelta(minutes=5)
ROWS = [(n, BEGINS + timedelta(minutes=n)) for n in range(36 * 60)]
EARLY = [(MIDNIGHT - timedelta(minutes=10), 0), (MIDNIGHT - timedelta(hours=2), 3600)]


async def parts(request: Request) -> Response:
    return JSONResponse([{"id": int(n)} for n in request.query_params["ids"].split(",")])


class Api:
    """A thing a minute. ``meanwhile`` runs once, before a page up to ``until`` is answered."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], Any] | None = None
        self.until = ""
        self.app = Starlette(routes=[Route("/things", self.answer), Route("/parts", parts)])

    async def answer(self, request: Request) -> Response:
        asked = request.query_params
        if self.meanwhile is not None and asked["until"] == self.until:
            meanwhile, self.meanwhile = self.meanwhile, None
            await asyncio.to_thread(meanwhile)
        since = datetime.fromisoformat(asked["since"]) if "since" in asked else BEGINS
        until = datetime.fromisoformat(asked["until"])
        rows = [{"id": n, "at": at.isoformat()} for n, at in ROWS if since <= at < until]
        return JSONResponse(rows)


def source_at(url: str, margin_s: int) -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        safety_margin_s: {margin_s}
        retries: {{errors: 1, first_wait_s: 0.001}}
        endpoints:
          things:
            request: {{params: {{since: "{{start}}", until: "{{end}}"}}}}
            key: [id]
            cursor: at
            columns: {{id: int64, at: "timestamp[iso]"}}
          parts:
            request: {{params: {{ids: "{{parent}}"}}}}
            key: [id]
            columns: {{id: int64}}
            parents: {{endpoint: things, group: 2000}}
        """
    )


def materialize(
    source: Source, lake: Lake, day: str, now: datetime, run_id: str | None = None
) -> RunOutcome:
    return outcome_of(source, lake, "things", [day], now, run_id)[0]


def text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def lost(lake: Lake) -> list[datetime]:
    """The instants of rows that are in no partition, up to the latest watermark."""
    found = manifests(lake, "api", "things")
    got = {n for m in found for n in key_rows(lake, m.files, ["id"])["id"].to_pylist()}
    last = max(m.watermark_at for m in found if m.watermark_at)
    return [at for n, at in ROWS if at < last and n not in got]


def mended(source: Source, lake: Lake, failed: RunOutcome, day: str, run_id: str) -> None:
    """The try that Dagster makes next reads the rest."""
    [failure] = failed.failed
    assert isinstance(failure.error, ReadAnew)
    assert failed.retry_wait_s is not None
    assert len(failed.results) == 1, "what is in the lake is told"
    assert lost(lake)
    again = materialize(source, lake, day, AFTER_MIDNIGHT, run_id)
    assert not again.failed
    assert lost(lake) == []
    once_more = materialize(source, lake, day, AFTER_MIDNIGHT, run_id)
    assert [r.outcome for r in once_more.results] == ["already committed"]


@pytest.mark.parametrize(("began", "margin_s"), EARLY)
def test_yesterday_is_still_being_read_when_today_is_committed(
    lake: Lake, began: datetime, margin_s: int
) -> None:
    api = Api()
    with serving(api.app) as url:
        source = source_at(url, margin_s)

        def today() -> None:
            assert not materialize(source, lake, TODAY, AFTER_MIDNIGHT).failed

        api.meanwhile, api.until = today, text(began)
        outcome = materialize(source, lake, YESTERDAY, began, "evening")
        mended(source, lake, outcome, YESTERDAY, "evening")


@pytest.mark.parametrize(("began", "margin_s"), EARLY)
def test_yesterday_is_committed_while_today_is_being_read(
    lake: Lake, began: datetime, margin_s: int
) -> None:
    api = Api()
    with serving(api.app) as url:
        source = source_at(url, margin_s)

        def yesterday() -> None:
            assert not materialize(source, lake, YESTERDAY, began).failed

        api.meanwhile, api.until = yesterday, text(AFTER_MIDNIGHT)
        outcome = materialize(source, lake, TODAY, AFTER_MIDNIGHT, "night")
        mended(source, lake, outcome, TODAY, "night")


def test_a_commit_lost_to_a_winner_that_has_not_read_as_far_is_read_anew(lake: Lake) -> None:
    began, margin_s = EARLY[1]
    api = Api()
    with serving(api.app) as url:
        source = source_at(url, margin_s)

        def evening() -> None:
            assert not materialize(source, lake, YESTERDAY, began).failed

        api.meanwhile, api.until = evening, text(MIDNIGHT)
        outcome = materialize(source, lake, YESTERDAY, AFTER_MIDNIGHT, "night")
        [failure] = outcome.failed
        assert isinstance(failure.error, ReadAnew)
        assert f"was committed by another run up to {text(began)}" in str(failure.error)
        assert not materialize(source, lake, YESTERDAY, AFTER_MIDNIGHT, "night").failed
        assert lost(lake) == []


def cut_off_at_its_manifest(source: Source, lake: Lake, day: str, now: datetime) -> None:
    """The commit is decided, and not carried out."""

    def strike(operation: str, key: str) -> None:
        if operation == "put" and "_manifests" in key:
            raise LakeUnavailable("S3 is away")

    lake.on_operation = strike
    [failed] = materialize(source, lake, day, now).failed
    lake.on_operation = None
    assert isinstance(failed.error, LakeUnavailable)
    assert manifest_of(lake, "api", "things", day) is None


@pytest.mark.parametrize("day", [TODAY, YESTERDAY])
def test_what_maintenance_commits_days_later_is_named_where_it_ends_too_early(
    lake: Lake, day: str
) -> None:
    began, margin_s = EARLY[1]
    api = Api()
    with serving(api.app) as url:
        source = source_at(url, margin_s)
        materialize(source, lake, "2026-11-01", AFTER_MIDNIGHT)
        cut_off_at_its_manifest(source, lake, YESTERDAY, began)
        assert not materialize(source, lake, TODAY, AFTER_MIDNIGHT).failed
        assert coverage(source, lake, "things").description == (
            f"missing: {YESTERDAY} (1 day): materialize them"
        )
        later = datetime.now(UTC) + timedelta(days=4)
        [left] = clean(lake, dry_run=False, now=later).leftovers
        assert left.kind == "commit"
        assert len(lost(lake)) == 60
        check = coverage(source, lake, "things")
        assert not check.passed
        assert check.description == (
            "not read in full: 2026-11-02T22:00:00Z to 2026-11-03T00:00:00Z: materialize "
            f"{TODAY} again"
        )
        assert not materialize(source, lake, day, AFTER_MIDNIGHT).failed
        assert lost(lake) == []
        assert coverage(source, lake, "things").passed


def test_a_commit_of_an_earlier_try_that_begins_too_late_is_not_enough(lake: Lake) -> None:
    began, margin_s = EARLY[1]
    api = Api()
    with serving(api.app) as url:
        source = source_at(url, margin_s)
        cut_off_at_its_manifest(source, lake, TODAY, AFTER_MIDNIGHT)
        assert not materialize(source, lake, YESTERDAY, began).failed
        assert not materialize(source, lake, TODAY, AFTER_MIDNIGHT).failed
        assert lost(lake) == []


def test_what_an_earlier_try_has_staged_from_too_late_on_is_read_anew(lake: Lake) -> None:
    began, margin_s = EARLY[1]
    api = Api()
    with serving(api.app) as url:
        source = source_at(url, margin_s)

        def strike(operation: str, key: str) -> None:
            if operation == "put" and "part-" in key:
                raise LakeUnavailable("S3 is away")

        lake.on_operation = strike
        assert materialize(source, lake, TODAY, AFTER_MIDNIGHT).failed
        lake.on_operation = None
        assert not materialize(source, lake, YESTERDAY, began).failed
        assert not materialize(source, lake, TODAY, AFTER_MIDNIGHT).failed
        assert lost(lake) == []


def test_children_are_read_anew_with_their_parents(lake: Lake) -> None:
    began, margin_s = EARLY[1]
    api = Api()
    with serving(api.app) as url:
        source = source_at(url, margin_s)

        def today() -> None:
            assert not materialize(source, lake, TODAY, AFTER_MIDNIGHT).failed

        api.meanwhile, api.until = today, text(began)
        both = ["things", "parts"]
        first, _ = outcome_of(source, lake, both, [YESTERDAY], began, "evening")
        assert [each.endpoint for each in first.failed] == ["things"]
        again, _ = outcome_of(source, lake, both, [YESTERDAY], AFTER_MIDNIGHT, "evening")
        assert not again.failed
        things, parts = (manifest_of(lake, "api", name, YESTERDAY) for name in both)
        assert things
        assert parts
        assert things.rows == parts.rows
        assert parts.window == things.window


def test_days_of_children_that_were_left_out_of_a_run_are_named(lake: Lake) -> None:
    """Their parents were read once more when their day had ended: tomorrow's begin behind that."""
    began, margin_s = EARLY[1]
    both = ["things", "parts"]

    def named() -> str:
        check = coverage(source, lake, "parts")
        return "" if check.passed else str(check.description)

    with serving(Api().app) as url:
        source = source_at(url, margin_s)
        assert not outcome_of(source, lake, both, [YESTERDAY], began)[0].failed
        assert not materialize(source, lake, YESTERDAY, AFTER_MIDNIGHT).failed
        assert named() == (
            "missing: 2026-11-01 (1 day): materialize them; 2026-11-01 is the baseline, and no "
            "other day has the rows from before it"
        )
        for day in ("2026-11-01", TODAY):
            assert not outcome_of(source, lake, both, [day], AFTER_MIDNIGHT)[0].failed
        assert named() == (
            "not read in full: 2026-11-02T22:00:00Z to 2026-11-03T00:00:00Z: materialize "
            f"{YESTERDAY} again"
        )
        assert not outcome_of(source, lake, "parts", [YESTERDAY], AFTER_MIDNIGHT)[0].failed
        assert not named()
