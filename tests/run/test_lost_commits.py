"""A commit that is lost to another run: green only if that run wrote what this one would have."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ReadAnew
from pipeline.lake.index import manifest_of
from pipeline.lake.s3 import Lake
from pipeline.run.runner import RunOutcome
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

DAY = "2026-11-02"
BEGINS = datetime(2026, 11, 2, tzinfo=UTC)
TEN = BEGINS + timedelta(hours=10)
LATER = TEN + timedelta(minutes=5)
OVER = BEGINS + timedelta(days=1, minutes=2)
ROWS = [(n, BEGINS + timedelta(minutes=n)) for n in range(24 * 60)]
PATIENCE_S = 60.0


class Api:
    """A thing a minute, and its parts. Hooks hold a response up, in a thread of their own."""

    def __init__(self) -> None:
        self.before_things: Callable[[str], Any] = lambda _: None
        self.before_parts: Callable[[int], Any] = lambda _: None
        self.app = Starlette(routes=[Route("/things", self.things), Route("/parts", self.parts)])

    async def things(self, request: Request) -> Response:
        query = request.query_params
        odd_only = query["only"] == "odd"
        await asyncio.to_thread(self.before_things, query["only"])
        since = datetime.fromisoformat(query["since"]) if "since" in query else BEGINS
        until = datetime.fromisoformat(query["until"])
        rows = [(n, at) for n, at in ROWS if since <= at < until and (n % 2 or not odd_only)]
        return JSONResponse([{"id": n, "at": at.isoformat()} for n, at in rows])

    async def parts(self, request: Request) -> Response:
        ids = [int(number) for number in request.query_params["ids"].split(",")]
        await asyncio.to_thread(self.before_parts, len(ids))
        return JSONResponse([{"id": number} for number in ids])


def source_at(url: str, only: str = "all") -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        safety_margin_s: 0
        endpoints:
          things:
            request: {{params: {{since: "{{start}}", until: "{{end}}", only: {only}}}}}
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


def rows(lake: Lake, endpoint: str) -> int:
    manifest = manifest_of(lake, "api", endpoint, DAY)
    return manifest.rows if manifest else 0


def lost_to(lake: Lake, mine: Source, theirs: Source, api: Api) -> RunOutcome:
    """A run whose partition is committed by another one while its page is on its way."""

    def once(_: str) -> None:
        api.before_things = lambda _: None
        assert not outcome_of(theirs, lake, "things", [DAY], OVER)[0].failed

    api.before_things = once
    return outcome_of(mine, lake, "things", [DAY], OVER, "mine")[0]


def test_a_commit_lost_to_a_run_of_the_same_yaml_is_green(lake: Lake) -> None:
    api = Api()
    with serving(api.app, date_header=False) as url:
        outcome = lost_to(lake, source_at(url), source_at(url), api)
    assert not outcome.failed
    assert [result.outcome for result in outcome.results] == ["lost"]
    assert rows(lake, "things") == len(ROWS)


def test_a_commit_lost_to_a_run_of_another_yaml_is_read_anew(lake: Lake) -> None:
    """As while a new YAML is being deployed."""
    api = Api()
    with serving(api.app, date_header=False) as url:
        new = source_at(url)
        outcome = lost_to(lake, new, source_at(url, only="odd"), api)
        [failure] = outcome.failed
        assert isinstance(failure.error, ReadAnew)
        assert "by another run with another YAML of this endpoint" in str(failure.error)
        assert not outcome_of(new, lake, "things", [DAY], OVER, "mine", attempt=2)[0].failed
    assert rows(lake, "things") == len(ROWS)


def test_children_lost_to_those_of_older_parents_are_read_anew(lake: Lake) -> None:
    api = Api()
    older_wait, older_go, older_done = (threading.Event() for _ in range(3))
    with serving(api.app, date_header=False) as url:
        source = source_at(url)
        for day in ("2026-11-01", DAY):
            assert not outcome_of(source, lake, "things", [day], TEN)[0].failed

        def in_step(parents: int) -> None:
            """The older children are committed while the newer ones are on their way."""
            if parents == 600:
                older_wait.set()
                assert older_go.wait(PATIENCE_S)
            else:
                older_go.set()
                assert older_done.wait(PATIENCE_S)

        def of_ten() -> None:
            older.append(outcome_of(source, lake, "parts", [DAY], TEN)[0])
            older_done.set()

        api.before_parts = in_step
        older = list[RunOutcome]()
        thread = threading.Thread(target=of_ten)
        thread.start()
        assert older_wait.wait(PATIENCE_S)
        both = ["things", "parts"]
        outcome, _ = outcome_of(source, lake, both, [DAY], LATER, "mine")
        thread.join(PATIENCE_S)
        assert not older[0].failed
        [failure] = outcome.failed
        assert isinstance(failure.error, ReadAnew)
        assert "from other rows of `things` than those that are committed now" in str(failure.error)
        assert (rows(lake, "things"), rows(lake, "parts")) == (605, 600)
        api.before_parts = lambda _: None
        again, _ = outcome_of(source, lake, both, [DAY], LATER, "mine", attempt=2)
        assert not again.failed
    assert (rows(lake, "things"), rows(lake, "parts")) == (605, 605)
