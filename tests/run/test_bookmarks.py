"""Cursors that are no time: each partition starts with what the one before it ended with."""

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from assets.asset_checks import check_specs, coverage, margin
from assets.metadata import metadata_of
from pipeline.config import Source
from pipeline.errors import (
    ConfigError,
    ContractBroken,
    LakeUnavailable,
    ReadAnew,
    WindowRefused,
)
from pipeline.lake.manifest import Manifest
from pipeline.lake.read import current, dataset, manifests
from pipeline.lake.s3 import Lake
from pipeline.lake.stores.base import compare_and_swap
from pipeline.run.other_runs import gaps
from pipeline.run.staged_partition import StagedPartition
from tests.support.responses import json_answer
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

pytestmark = pytest.mark.slow

DAYS = [f"2026-11-{day:02}" for day in range(1, 10)]
PAGE = 10


def after(day: str) -> datetime:
    """Two hours after a day has ended, as the daily run comes."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=26)


def materialized(source: Source, lake: Lake, *days: str, run_id: str | None = None) -> Manifest:
    """The newest of the days, committed; the others before it in the same run.

    :raises HeadraceError: why one of them is not.
    """
    outcome, _ = outcome_of(source, lake, "things", days, after(days[-1]), run_id)
    if outcome.failed:
        raise outcome.failed[0].error
    return outcome.results[-1].manifest


def ids(lake: Lake, day: str) -> list[int]:
    return sorted(dataset(lake, "api", "things", day).to_table()["id"].to_pylist())


def bookmark(manifest: Manifest) -> Any:
    assert manifest.notes.bookmark is not None
    return manifest.notes.bookmark.value


def start(manifest: Manifest) -> Any:
    span = manifest.window.bookmarks
    assert span is not None
    return span.start.value if span.start else None


class Ledger:
    """Entries by number; ``since_id`` gives those behind a number, ``inclusive`` with it."""

    def __init__(self, entries: int = 25, *, inclusive: bool = False) -> None:
        self.entries = {n: n for n in range(1, entries + 1)}
        self.inclusive, self.ignores = inclusive, False
        self.asked: list[dict[str, str]] = []
        self.fails_at = -1
        self.before_answer: Callable[[], None] = lambda: None
        self.app = Starlette(routes=[Route("/things", self.answer)])

    async def answer(self, request: Request) -> Response:
        given = dict(request.query_params)
        self.asked.append(given)
        self.before_answer()
        if len(self.asked) == self.fails_at:
            return json_answer({"error": "no"}, 403)
        low = -1 if self.ignores else int(given.get("since_id", -1))
        found = [n for n in sorted(self.entries) if n > low or (self.inclusive and n == low)]
        at = int(given.get("cursor", 0))
        rows = [{"id": n, "amount": self.entries[n]} for n in found[at : at + PAGE]]
        following = str(at + PAGE) if at + PAGE < len(found) else None
        return json_answer({"rows": rows, "next": following})

    def add(self, *numbers: int) -> None:
        self.entries |= {n: n for n in numbers}


def numbered(url: str, cursor: str = "id", key: str = "[id]") -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        endpoints:
          things:
            key: {key}
            cursor: {cursor}
            columns: {{id: int64, amount: int64}}
            request: {{params: {{since_id: "{{start}}", cursor: "{{token}}"}}}}
            paging: {{kind: token, limit: {PAGE}, next: next, numbered: false}}
            rows: rows
            batch_rows: 10
        """
    )


@pytest.mark.parametrize("inclusive", [False, True])
def test_a_day_has_the_numbers_behind_those_of_the_day_before(lake: Lake, inclusive: bool) -> None:
    api = Ledger(inclusive=inclusive)
    with serving(api.app) as url:
        source = numbered(url)
        first = materialized(source, lake, DAYS[0])
        assert (start(first), bookmark(first), "since_id" in api.asked[0]) == (None, 25, False)
        api.add(26, 27)
        second = materialized(source, lake, DAYS[1])
        third = materialized(source, lake, DAYS[2])
        api.add(28)
        fourth = materialized(source, lake, DAYS[3])
    assert [ids(lake, day) for day in DAYS[1:4]] == [[26, 27], [], [28]]
    days = (first, second, third, fourth)
    assert [bookmark(day) for day in days] == [25, 27, 27, 28]
    assert [start(day) for day in days] == [None, 25, 27, 27]
    assert {given.get("since_id") for given in api.asked} == {None, "25", "27"}
    assert not [*gaps(source, "things", manifests(lake, "api", "things"))]
    assert all(check["passed"] for day in days for check in day.checks)
    said = {check["name"]: check["detail"] for check in fourth.checks}
    assert said["bookmark"] == "from `id` = 27 of 2026-11-03 to `id` = 28"


def test_a_manifest_keeps_its_bookmark_with_its_type(lake: Lake) -> None:
    api = Ledger()
    with serving(api.app) as url:
        materialized(numbered(url), lake, *DAYS[:2])
    first, second = manifests(lake, "api", "things")
    again = Manifest.from_json(second.to_json())
    assert again == second
    assert again.window.bookmarks is not None
    assert again.window.bookmarks.start == first.notes.bookmark
    assert (second.notes.bookmark and second.notes.bookmark.kind) == "number"


def test_a_backfill_stages_its_days_one_after_the_other(lake: Lake) -> None:
    api = Ledger()
    with serving(api.app) as url:
        materialized(numbered(url), lake, *DAYS[:5])
    assert [given.get("since_id") for given in api.asked[-4:]] == ["25"] * 4
    assert ids(lake, DAYS[0]) == [*range(1, 26)]


def test_a_day_that_was_missed_loses_nothing_and_may_be_read_later(lake: Lake) -> None:
    api = Ledger()
    with serving(api.app) as url:
        source = numbered(url)
        materialized(source, lake, DAYS[0])
        api.add(26, 27)
        fourth = materialized(source, lake, DAYS[3])
        assert (start(fourth), ids(lake, DAYS[3])) == (25, [26, 27])
        api.add(28)
        materialized(source, lake, DAYS[1], DAYS[2])
        assert ids(lake, DAYS[1]) == ids(lake, DAYS[2]) == []
        fifth = materialized(source, lake, DAYS[4])
    assert (start(fifth), ids(lake, DAYS[4])) == (27, [28])
    assert not [*gaps(source, "things", manifests(lake, "api", "things"))]


def test_a_day_that_is_read_again_has_no_row_of_the_day_after_it(lake: Lake) -> None:
    api = Ledger()
    with serving(api.app) as url:
        source = numbered(url, key="none")
        materialized(source, lake, DAYS[0])
        api.add(26, 27)
        materialized(source, lake, DAYS[1])
        api.add(28, 29)
        materialized(source, lake, DAYS[2])
        del api.entries[27]
        again = materialized(source, lake, DAYS[1])
    assert [ids(lake, day) for day in DAYS[1:3]] == [[26], [28, 29]]
    assert bookmark(again) == 27
    assert not [*gaps(source, "things", manifests(lake, "api", "things"))]


def test_without_a_first_day_no_other_can_start(lake: Lake) -> None:
    api = Ledger()
    with serving(api.app) as url, pytest.raises(WindowRefused) as caught:
        materialized(numbered(url), lake, DAYS[3])
    assert "none before it that is committed has one of `id`" in str(caught.value)
    assert "Materialize `2026-11-01` first" in str(caught.value)
    assert not api.asked


def test_the_first_day_may_begin_at_a_number_and_may_be_empty(lake: Lake) -> None:
    api = Ledger(0)
    with serving(api.app) as url:
        source = numbered(url, "{kind: number, column: id, start: 100}")
        first = materialized(source, lake, DAYS[0])
        assert (bookmark(first), api.asked[0]["since_id"]) == (100, "100")
        everything = numbered(url)
        api.add(7)
        outcome, _ = outcome_of(everything, lake, "things", DAYS[:1], after(DAYS[0]))
        assert bookmark(outcome.results[0].manifest) == 7


def test_an_empty_first_day_is_followed_by_all_that_there_is_then(lake: Lake) -> None:
    api = Ledger(0)
    with serving(api.app) as url:
        source = numbered(url)
        assert bookmark(materialized(source, lake, DAYS[0])) is None
        api.add(1, 2)
        materialized(source, lake, DAYS[1])
    assert ids(lake, DAYS[1]) == [1, 2]


def test_numbers_that_show_late_are_found_by_the_margin_and_counted(lake: Lake) -> None:
    api = Ledger(25)
    del api.entries[22]
    with serving(api.app) as url:
        source = numbered(url, "{kind: number, column: id, safety_margin: 5}")
        materialized(source, lake, DAYS[0])
        api.add(22, 26)
        second = materialized(source, lake, DAYS[1])
    assert ids(lake, DAYS[1]) == [*range(21, 27)]
    assert (second.late_rows, second.margin_rows, second.notes.late_by) == (1, 5, 4)
    assert second.latest_late_s is None
    assert current(lake, "api", "things").num_rows == 26


def test_an_api_that_ignores_the_number_is_refused(lake: Lake) -> None:
    api = Ledger()
    with serving(api.app) as url:
        source = numbered(url)
        materialized(source, lake, DAYS[0])
        api.ignores = True
        with pytest.raises(ContractBroken) as caught:
            materialized(source, lake, DAYS[1])
    assert "`id` = 1, expected numbers behind 25" in str(caught.value)


@pytest.mark.parametrize("fails_at", range(1, 6))
def test_a_run_of_numbers_that_is_cut_off_is_resumed(lake: Lake, fails_at: int) -> None:
    api = Ledger(45)
    api.fails_at = fails_at
    with serving(api.app) as url:
        source = numbered(url)
        outcome, _ = outcome_of(source, lake, "things", DAYS[:1], after(DAYS[0]), "run")
        assert outcome.failed
        manifest = materialized(source, lake, DAYS[0], run_id="run")
    assert ids(lake, DAYS[0]) == [*range(1, 46)]
    assert bookmark(manifest) == 45
    # The confirmation of the end is one request more; no page came twice.
    assert len(api.asked) <= 7


def test_a_day_before_that_is_committed_meanwhile_is_where_the_day_starts(lake: Lake) -> None:
    """Two runs of days that follow each other: neither loses a row nor has one of the other's."""
    api = Ledger()
    with serving(api.app) as url:
        source = numbered(url, key="none")
        materialized(source, lake, DAYS[0])
        api.add(26, 27)

        def another_run() -> None:
            api.before_answer = lambda: None
            with suppress(ReadAnew):
                materialized(source, lake, DAYS[1])

        # The server's loop may not wait for a run that asks it.
        other = threading.Thread(target=another_run)

        def begin() -> None:
            api.before_answer = lambda: None
            other.start()

        api.before_answer = begin
        with suppress(ReadAnew):
            materialized(source, lake, DAYS[2])
        other.join()
        materialized(source, lake, DAYS[1])  # whichever of the two has lost
        materialized(source, lake, DAYS[2])
    assert sorted([*ids(lake, DAYS[1]), *ids(lake, DAYS[2])]) == [26, 27]


def test_the_days_beside_a_day_are_listed_alone_before_its_commit(lake: Lake) -> None:
    """Not the files of all days, nor is a manifest read twice that is as it was."""
    api, sent = Ledger(), list[tuple[str, str]]()
    with serving(api.app) as url:
        source = numbered(url)
        materialized(source, lake, *DAYS[:3])
        lake.on_operation = lambda operation, key: sent.append((operation, key))
        materialized(source, lake, DAYS[3])
        lake.on_operation = None
    assert [operation for operation, key in sent if key == "api/things/"].count("list") == 1
    assert sent.count(("list", "api/things/_manifests/")) == 1
    assert sent.count(("get", f"api/things/_manifests/dt={DAYS[2]}.json")) == 1


class Directory:
    """People, and a log of their changes: a token is a place in the log.

    ``as_link``: the token comes as a URL. ``oldest``: tokens before this place have expired.
    """

    def __init__(self, *, as_link: bool = False, status: int = 410) -> None:
        self.as_link, self.status, self.oldest = as_link, status, 0
        self.log: list[dict[str, Any]] = [{"id": n, "name": f"p{n}"} for n in range(1, 26)]
        self.asked: list[dict[str, str]] = []
        self.fails_at = -1
        self.fails_from = 1000
        self.elsewhere = self.pages_die = False
        self.app = Starlette(routes=[Route("/things", self.answer)])

    def now(self) -> list[dict[str, Any]]:
        state = {row["id"]: row for row in self.log}
        return [row for row in state.values() if row.get("status") != "gone"]

    async def answer(self, request: Request) -> Response:
        given = dict(request.query_params)
        self.asked.append(given)
        if len(self.asked) == self.fails_at or len(self.asked) >= self.fails_from:
            return json_answer({"error": "no"}, 403)
        since = given.get("since")
        if since is not None and "cursor" in given and self.pages_die:
            return json_answer({"error": "no such page"}, 400)
        if since is not None and int(since) < self.oldest:
            return json_answer({"error": {"code": "resyncRequired"}}, self.status)
        rows = self.now() if since is None else self.log[int(since) :]
        at = int(given.get("cursor", 0))
        body: dict[str, Any] = {"rows": rows[at : at + PAGE]}
        if at + PAGE < len(rows):
            body["next"] = str(at + PAGE)
        else:
            base = "http://elsewhere.example/things" if self.elsewhere else str(request.url)
            link = f"{base.partition('?')[0]}?since={len(self.log)}"
            body["delta"] = link if self.as_link else str(len(self.log))
        return json_answer(body)


DELETED = "deleted: {at: status, values: [gone]}"


def changing(
    url: str,
    *,
    kind: str = "token",
    at: str = "delta",
    more: str = DELETED,
    answers: str = "",
    key_type: str = "int64",
) -> Source:
    params = {"token": 'since: "{start}", ', "link": ""}[kind]
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        endpoints:
          things:
            key: [id]
            cursor: {{kind: {kind}, at: {at}}}
            columns: {{id: {key_type}, name: string, status: string}}
            request: {{params: {{{params}cursor: "{{token}}"}}}}
            paging: {{kind: token, limit: {PAGE}, next: next, numbered: false}}
            rows: rows
            batch_rows: 10
            {answers}
            {more}
        """
    )


def names(lake: Lake) -> dict[int, str]:
    return {row["id"]: row["name"] for row in current(lake, "api", "things").to_pylist()}


@pytest.mark.parametrize("kind", ["token", "link"])
def test_a_day_starts_with_the_token_of_the_day_before(lake: Lake, kind: str) -> None:
    api = Directory(as_link=kind == "link")
    with serving(api.app) as url:
        source = changing(url, kind=kind)
        first = materialized(source, lake, DAYS[0])
        api.log += [{"id": 3, "name": "new"}, {"id": 4, "status": "gone"}, {"id": 99, "name": "x"}]
        second = materialized(source, lake, DAYS[1])
        third = materialized(source, lake, DAYS[2])
    assert [given.get("since") for given in api.asked] == [None, None, None, "25", "28"]
    assert names(lake) == {row["id"]: row["name"] for row in api.now()}
    assert start(second) == bookmark(first)
    assert start(third) == bookmark(second)
    assert third.rows == 0
    assert not [*gaps(source, "things", manifests(lake, "api", "things"))]
    (said,) = [check["detail"] for check in second.checks if check["name"] == "bookmark"]
    assert said.startswith("from the change token of 2026-11-02 02:00:00 UTC of 2026-11-01 to the")
    assert "25" not in said


def test_of_several_changes_of_a_row_the_last_is_kept(lake: Lake) -> None:
    """In one page, over two pages, back to what it was, and over a run that was cut off."""
    api = Directory()
    with serving(api.app) as url:
        source = changing(url)
        materialized(source, lake, DAYS[0])
        api.log += [{"id": 1, "name": f"v{n}"} for n in (1, 2, 1)]
        api.log += [{"id": n, "name": "same"} for n in range(100, 109)]
        api.log += [{"id": 1, "name": "last"}, {"id": 1, "name": "v1"}]
        materialized(source, lake, DAYS[1])
    assert names(lake)[1] == "v1"
    assert ids(lake, DAYS[1]) == [1, *range(100, 109)]


@pytest.mark.parametrize("fails_at", range(4, 8))
def test_a_chain_of_changes_that_is_cut_off_is_resumed(lake: Lake, fails_at: int) -> None:
    """Where its last batch was staged before the end was known, too."""
    api = Directory()
    with serving(api.app) as url:
        source = changing(url)
        materialized(source, lake, DAYS[0])
        api.log += [{"id": n % 33, "name": f"n{n}"} for n in range(40)]
        api.fails_at = fails_at
        outcome, _ = outcome_of(source, lake, "things", DAYS[1:2], after(DAYS[1]), "run")
        assert bool(outcome.failed)
        manifest = materialized(source, lake, DAYS[1], run_id="run")
    assert bookmark(manifest) == "65"
    assert names(lake) == {row["id"]: row["name"] for row in api.now()}


@pytest.mark.parametrize(
    ("status", "answers"),
    [(410, ""), (400, "answers: {dead_page_token_text: resyncRequired}")],
)
@pytest.mark.parametrize("kind", ["token", "link"])
def test_a_token_that_has_expired_reads_all_and_records_what_is_gone(
    lake: Lake, kind: str, status: int, answers: str
) -> None:
    api = Directory(as_link=kind == "link", status=status)
    with serving(api.app) as url:
        source = changing(url, kind=kind, answers=answers)
        materialized(source, lake, DAYS[0])
        api.log += [
            {"id": 4, "status": "gone"},
            {"id": 5, "status": "gone"},
            {"id": 6, "name": "n"},
        ]
        api.oldest = len(api.log)
        second = materialized(source, lake, DAYS[1])
        assert names(lake) == {row["id"]: row["name"] for row in api.now()}
        assert second.notes.deletions == 2
        (said,) = [c for c in second.checks if c["name"] == "bookmark"]
        assert said["passed"]
        assert "2 of 25 keys are gone, and recorded as deleted" in said["detail"]
        api.log += [{"id": 7, "name": "later"}]
        third = materialized(source, lake, DAYS[2])
    assert start(third) == bookmark(second)
    assert third.rows == 1
    assert names(lake) == {row["id"]: row["name"] for row in api.now()}
    assert not [*gaps(source, "things", manifests(lake, "api", "things"))]


@pytest.mark.parametrize("resumes", ["position", "not resumable", "another version"])
def test_a_token_that_has_expired_where_an_attempt_is_not_resumed_reads_all(
    lake: Lake, resumes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page token is refused as any bad request is, and then the bookmark as expired."""
    api = Directory()
    with serving(api.app) as url:
        answers = "answers: {dead_page_token: [410]}"
        source = changing(url, answers=answers)
        if resumes == "not resumable":
            things = source.endpoints["things"]
            paging = things.paging.model_copy(update={"resumable": False})
            endpoints = {"things": things.model_copy(update={"paging": paging})}
            source = source.model_copy(update={"endpoints": endpoints})
        materialized(source, lake, DAYS[0])
        api.log += [{"id": n, "name": f"n{n}"} for n in range(40, 75)]
        api.log += [{"id": 4, "status": "gone"}]
        api.fails_from = len(api.asked) + 3
        with monkeypatch.context() as patched:
            if resumes == "another version":
                patched.setattr("pipeline.run.partition_progress._VERSION", 0)
            outcome, _ = outcome_of(source, lake, "things", DAYS[1:2], after(DAYS[1]), "run")
        assert outcome.failed
        api.fails_from, api.oldest, api.pages_die = 1000, len(api.log), True
        second = materialized(source, lake, DAYS[1], run_id="run")
    assert second.notes.deletions == 1
    assert names(lake) == {row["id"]: row["name"] for row in api.now()}


def test_keys_that_an_attempt_recorded_before_it_died_are_counted_by_the_next(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has put the rows with `_deleted` into its file, and has not decided its commit."""
    api = Directory()
    with serving(api.app) as url:
        source = changing(url, more="")
        materialized(source, lake, DAYS[0])
        api.log += [{"id": 4, "status": "gone"}]
        api.oldest = len(api.log)
        with monkeypatch.context() as patched:

            def dies(*args: object) -> None:
                raise LakeUnavailable("the store is away", wait_s=1)

            patched.setattr(StagedPartition, "_manifest", dies)
            outcome, _ = outcome_of(source, lake, "things", DAYS[1:2], after(DAYS[1]), "run")
            assert "the store is away" in str(outcome.failed[0].error)
        asked = len(api.asked)
        second = materialized(source, lake, DAYS[1], run_id="run")
    assert len(api.asked) == asked, "nothing is read again"
    assert second.notes.deletions == 1
    assert second.rows == 25
    assert "_deleted" in {column["name"] for column in second.columns}
    (said,) = [check["detail"] for check in second.checks if check["name"] == "bookmark"]
    assert "1 of 25 keys are gone, and recorded as deleted" in said
    assert names(lake) == {row["id"]: row["name"] for row in api.now()}


def test_a_few_keys_are_not_called_recorded_where_no_row_came(lake: Lake) -> None:
    """No file could have the rows that record them."""
    api = Directory()
    api.log = api.log[:5]
    with serving(api.app) as url:
        source = changing(url)
        materialized(source, lake, DAYS[0])
        api.log += [{"id": n, "status": "gone"} for n in range(1, 6)]
        api.oldest = len(api.log)
        with pytest.raises(ContractBroken, match="expected those of the 5 keys that the lake has"):
            materialized(source, lake, DAYS[1])
    assert len(names(lake)) == 5


def test_all_is_read_after_a_run_that_was_cut_off_while_it_did(lake: Lake) -> None:
    api = Directory()
    with serving(api.app) as url:
        source = changing(url)
        materialized(source, lake, DAYS[0])
        api.log += [{"id": 4, "status": "gone"}]
        api.oldest, api.fails_at = len(api.log), 7
        outcome, _ = outcome_of(source, lake, "things", DAYS[1:2], after(DAYS[1]), "run")
        assert outcome.failed
        asked = len(api.asked)
        second = materialized(source, lake, DAYS[1], run_id="run")
        assert api.asked[asked].get("cursor") == "20"
        assert "since" not in api.asked[asked]
    assert second.notes.deletions == 1
    assert names(lake) == {row["id"]: row["name"] for row in api.now()}


def test_many_keys_that_are_gone_are_said_and_none_at_all_is_refused(lake: Lake) -> None:
    api = Directory()
    with serving(api.app) as url:
        source = changing(url)
        materialized(source, lake, DAYS[0])
        api.log += [{"id": n, "status": "gone"} for n in range(1, 15)]
        api.oldest = len(api.log)
        second = materialized(source, lake, DAYS[1])
        (said,) = [c["detail"] for c in second.checks if not c["passed"]]
        assert "14 of 25 keys are gone" in said
        assert "more than a tenth" in said
        assert current(lake, "api", "things").num_rows == 11
        api.log = [{"id": n, "status": "gone"} for n in range(99)]
        api.oldest = len(api.log)
        with pytest.raises(ContractBroken) as caught:
            materialized(source, lake, DAYS[2])
    assert "no row came, expected those of the 11 keys that the lake has" in str(caught.value)


def test_a_last_page_without_a_token_is_refused(lake: Lake) -> None:
    api = Directory()
    with serving(api.app) as url, pytest.raises(ContractBroken) as caught:
        materialized(changing(url, at="nowhere"), lake, DAYS[0])
    assert "The last page has no change token at `nowhere`" in str(caught.value)


def test_a_link_to_elsewhere_is_never_followed(lake: Lake) -> None:
    api = Directory(as_link=True)
    api.elsewhere = True
    with serving(api.app) as url, pytest.raises(ContractBroken) as caught:
        materialized(changing(url, kind="link"), lake, DAYS[0])
    assert "leads to http://elsewhere.example" in str(caught.value)


def test_a_link_that_was_changed_in_the_lake_gets_no_credentials(lake: Lake) -> None:
    api = Directory(as_link=True)
    with serving(api.app) as url:
        source = changing(url, kind="link")
        materialized(source, lake, DAYS[0])
        key = "api/things/_manifests/dt=2026-11-01.json"
        found = lake.get(key)
        assert found is not None
        body = found.body.replace(url.encode() + b"/things?", b"http://127.0.0.1:9/things?")
        lake.delete_exactly(key, found.etag)
        compare_and_swap(lake, key, body, replaces=None)
        with pytest.raises(ContractBroken) as caught:
            materialized(source, lake, DAYS[1])
    assert "leads to http://127.0.0.1:9" in str(caught.value)


def test_deletions_have_a_column_where_the_api_marks_none(lake: Lake) -> None:
    """Readers of a partition and of all see it, though no row of the API has it."""
    api = Directory()
    with serving(api.app) as url:
        source = changing(url, more="")
        materialized(source, lake, DAYS[0])
        api.log = [row for row in api.log if row["id"] != 9]
        api.oldest = len(api.log) + 2
        api.log += [{"id": 30, "name": "a"}] * 3
        materialized(source, lake, DAYS[1])
    assert {*names(lake)} == {*range(1, 26), 30} - {9}
    rows = dataset(lake, "api", "things").to_table()
    assert rows.filter(rows["_deleted"])["id"].to_pylist() == [9]


def test_coverage_says_that_days_join_and_names_those_that_do_not(lake: Lake) -> None:
    """A manifest that was put back from before a day was read again: what lies between is named."""
    api = Ledger()
    with serving(api.app) as url:
        source = numbered(url)
        materialized(source, lake, DAYS[0])
        key = "api/things/_manifests/dt=2026-11-01.json"
        old = lake.get(key)
        api.add(26, 27)
        materialized(source, lake, DAYS[0])
        materialized(source, lake, DAYS[1])
        joined = coverage(source, lake, "things")
        assert joined.passed
        assert joined.description == (
            "2 days, none missing; each day starts with the number that the day before it ended "
            "with"
        )
        now = lake.get(key)
        assert old is not None
        assert now is not None
        lake.delete_exactly(key, now.etag)
        compare_and_swap(lake, key, old.body, replaces=None)
        apart = coverage(source, lake, "things")
        assert "not read in full: `id` = 25 to `id` = 27: materialize 2026-11-02 again" in str(
            apart.description
        )
        materialized(source, lake, DAYS[1])
    assert "not read in full" not in str(coverage(source, lake, "things").description)
    assert ids(lake, DAYS[1]) == [26, 27]


def test_what_the_metadata_and_the_check_of_the_margin_say(lake: Lake) -> None:
    api = Ledger(25)
    del api.entries[22]
    with serving(api.app) as url:
        source = numbered(url, "{kind: number, column: id, safety_margin: 4}")
        materialized(source, lake, DAYS[0])
        api.add(22, 26)
        outcome, _ = outcome_of(source, lake, "things", DAYS[1:2], after(DAYS[1]))
    (result,) = outcome.results
    metadata = metadata_of(result, source)
    assert (metadata["starts_with"], metadata["ends_with"]) == ("`id` = 25", "`id` = 26")
    assert metadata["latest_late_by"] == 4
    checked = margin(source, "things", [result])
    assert not checked.passed
    assert str(checked.description).endswith(
        "the latest by 4 of a margin of 4 numbers. Rows may come later than that: set "
        "cursor.safety_margin to 8"
    )
    assert "margin" not in [spec.name for spec in check_specs(changing("http://a.test"), "things")]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("columns: {id: int64", "columns: {id: string", "is declared as `string`: expected"),
        ('since: "{start}", ', "", "put {start} into `params`"),
        (
            'since: "{start}"',
            'since: "{start}", to: "{end}"',
            "the request has {end}",
        ),
        ("rows: rows", "rows: rows\n    window: {max_s: 60}", "`window.max_s` is about times"),
        (
            "rows: rows",
            "rows: rows\n    each: {values: [a, b]}\n    path: x/{each}",
            "`each` and `parents` read an endpoint once a value, and `cursor` of kind `number`",
        ),
        ("next: next", "next: next, slices: 2", "`paging.slices` cuts a window of time"),
        (
            "rows: rows",
            "rows: rows\n    conditional: true",
            "say `window: {start: none",
        ),
        ("rows: rows", "rows: rows\n    cache: low", "an endpoint with a cursor can't be cached"),
        ("rows: rows", "rows: rows\n    search_cap: 99", "`search_cap` cuts the window"),
        (
            "cursor: id",
            "cursor: {kind: token}",
            "of the change token, and has none",
        ),
        ("cursor: id", "cursor: {kind: token, at: a, header: b}", "and has two: `at`"),
        ("cursor: id", "cursor: {kind: link, at: a}", "take {start} out, or say `kind: token`"),
        ("cursor: id", "cursor: {kind: tokn, at: a}", "did you mean `token`?"),
        (
            "cursor: id",
            "cursor: {kind: number, column: no}",
            "the cursor `no` needs a declared",
        ),
        (
            "cursor: id",
            "cursor: 5",
            "expected the name of a column, a list",
        ),
        (
            "key: [id]\n    cursor: id",
            "key: none\n    cursor: {kind: token, at: a}",
            "name the key",
        ),
    ],
)
def test_what_does_not_go_together_is_said_with_file_and_line(
    old: str, new: str, sentence: str
) -> None:
    text = """source: api
base_url: http://127.0.0.1:1
start: 2026-11-01
endpoints:
  things:
    key: [id]
    cursor: id
    columns: {id: int64}
    request: {params: {since: "{start}", page: "{token}"}}
    paging: {kind: token, limit: 10, next: next}
    rows: rows
"""
    source_of(text)
    assert old in text
    with pytest.raises(ConfigError) as caught:
        source_of(text.replace(old, new))
    assert re.search(r"api\.yaml:\d+: endpoints\.things", str(caught.value))
    assert sentence in str(caught.value)
