"""A change token that the API has forgotten: which keys of the lake are gone, and which are not."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from pipeline.lake.s3 import Lake
from pipeline.partitions.bookmark import BookmarkSpan
from pipeline.run.staged_partition import StagedPartition
from tests.run.test_bookmarks import (
    DAYS,
    PAGE,
    Directory,
    after,
    changing,
    materialized,
    names,
)
from tests.support.responses import json_answer
from tests.support.runs import outcome_of, serving

pytestmark = pytest.mark.slow


def living(api: Directory) -> dict[int, str]:
    return {row["id"]: row["name"] for row in api.now()}


@pytest.mark.parametrize("kind", ["token", "link"])
@pytest.mark.parametrize("recorded_by", ["the API", "an expiry"])
def test_a_day_with_deleted_rows_is_materialized_again_once_its_token_has_expired(
    lake: Lake, kind: str, recorded_by: str
) -> None:
    api = Directory(as_link=kind == "link")
    with serving(api.app) as url:
        source = changing(url, kind=kind)
        materialized(source, lake, DAYS[0])
        api.log += [{"id": 4, "status": "gone"}, {"id": 6, "name": "n"}]
        if recorded_by == "an expiry":
            api.oldest = len(api.log)
        materialized(source, lake, DAYS[1])
        assert names(lake) == living(api)
        api.oldest = len(api.log)
        again = materialized(source, lake, DAYS[1])
        assert names(lake) == living(api)
        materialized(source, lake, DAYS[2])
    assert again.notes.deletions == 1
    assert names(lake) == living(api)


def test_the_remedy_for_many_keys_that_are_gone_leaves_none_of_them(lake: Lake) -> None:
    api = Directory()
    with serving(api.app) as url:
        source = changing(url)
        materialized(source, lake, DAYS[0])
        api.log += [{"id": n, "status": "gone"} for n in range(1, 13)]
        api.oldest = len(api.log)
        for _ in range(2):
            manifest = materialized(source, lake, DAYS[1])
            (said,) = [c["detail"] for c in manifest.checks if not c["passed"]]
            assert "12 of 25 keys are gone" in said
            assert names(lake) == living(api)


def test_a_key_that_only_the_replaced_day_had_needs_no_row_that_deletes_it(lake: Lake) -> None:
    api = Directory()
    with serving(api.app) as url:
        source = changing(url)
        materialized(source, lake, DAYS[0])
        api.log += [{"id": 70, "name": "for a day"}]
        materialized(source, lake, DAYS[1])
        api.log += [{"id": 70, "status": "gone"}]
        api.oldest = len(api.log)
        again = materialized(source, lake, DAYS[1])
    assert again.notes.deletions == 0
    assert names(lake) == living(api)


@pytest.mark.parametrize(("before", "now"), [("int64", "string"), ("string", "int64")])
def test_keys_whose_type_has_changed_are_held_against_those_of_the_lake(
    lake: Lake, before: str, now: str
) -> None:
    api = Directory()
    code = {"id": "A4", "name": "a code"}
    with serving(api.app) as url:
        api.log += [] if before == "int64" else [code]
        materialized(changing(url, key_type=before), lake, DAYS[0])
        api.log += [code] if before == "int64" else [{"id": "A4", "status": "gone"}]
        api.log += [{"id": 9, "status": "gone"}]
        api.oldest = len(api.log)
        manifest = materialized(changing(url, key_type=now), lake, DAYS[1])
    assert manifest.notes.deletions == (1 if before == "int64" else 2)
    current_names = {str(key): name for key, name in names(lake).items()}
    assert current_names == {str(key): name for key, name in living(api).items()}


class Sorted(Directory):
    """Lists all rows by their id, which is no order of time; a page token is the id before it."""

    async def answer(self, request: Request) -> Response:
        given = dict(request.query_params)
        if given.get("since") is not None:
            return await super().answer(request)
        self.asked.append(given)
        if len(self.asked) == self.fails_at:
            return json_answer({"error": "no"}, 403)
        low = int(given.get("cursor", -1))
        rows = [row for row in sorted(self.now(), key=lambda row: row["id"]) if row["id"] > low]
        body: dict[str, Any] = {"rows": rows[:PAGE]}
        if len(rows) > PAGE:
            body["next"] = str(rows[PAGE - 1]["id"])
        else:
            body["delta"] = str(len(self.log))
        return json_answer(body)


def without_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints as an earlier version wrote them."""
    as_now = BookmarkSpan.to_json

    def to_json(span: BookmarkSpan) -> dict[str, Any]:
        return {name: value for name, value in as_now(span).items() if name != "reread_at"}

    monkeypatch.setattr(BookmarkSpan, "to_json", to_json)


@pytest.mark.parametrize("checkpoint", ["of this version", "of the version before"])
def test_a_row_that_the_next_day_brought_while_all_was_read_is_not_gone(
    lake: Lake, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The day is cut off behind the page where the row would be, and is resumed."""
    api = Sorted()
    with serving(api.app) as url:
        source = changing(url)
        materialized(source, lake, DAYS[0])
        api.log += [{"id": 26 + n, "name": "n"} for n in range(10)]
        api.log += [{"id": 30, "status": "gone"}, {"id": 9, "status": "gone"}]
        api.oldest = len(api.log)
        api.fails_at = len(api.asked) + 4  # the expired token, two pages, and this
        with monkeypatch.context() as patched:
            if checkpoint == "of the version before":
                without_begin(patched)
            outcome, _ = outcome_of(source, lake, "things", [DAYS[1]], after(DAYS[1]), "run")
        assert outcome.failed
        api.log += [{"id": 0, "name": "new"}]
        materialized(source, lake, DAYS[2])
        assert 0 in names(lake)
        second = materialized(source, lake, DAYS[1])
        assert second.resumed_pages == 2
        assert names(lake) == living(api)
        materialized(source, lake, DAYS[3])
    assert names(lake) == living(api)


@pytest.mark.parametrize("moment", ["_refuse_if_moved", "_manifest"])
def test_a_row_that_another_run_commits_while_all_is_read_again_is_not_gone(
    lake: Lake, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the day is held against the lake, and between that and its commit."""
    api = Sorted()
    with serving(api.app) as url:
        source = changing(url)
        materialized(source, lake, DAYS[0])
        api.log += [{"id": 26 + n, "name": "n"} for n in range(10)]
        materialized(source, lake, DAYS[1])
        api.log += [{"id": 9, "status": "gone"}]
        api.oldest = 26  # the token of the first day has expired, that of the second has not
        then = getattr(StagedPartition, moment)

        def another_run(*args: Any) -> Any:
            monkeypatch.setattr(StagedPartition, moment, then)
            api.log.append({"id": 0, "name": "new"})
            materialized(source, lake, DAYS[2])
            return then(*args)

        monkeypatch.setattr(StagedPartition, moment, another_run)
        materialized(source, lake, DAYS[1])
        assert names(lake) == living(api)
        materialized(source, lake, DAYS[3])
    assert names(lake) == living(api)
