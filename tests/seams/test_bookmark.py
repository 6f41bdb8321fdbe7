"""A kind of bookmark that is registered in this file alone: a revision in a header, end to end."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.bookmarks import BOOKMARKS, BookmarkCursor
from pipeline.lake.read import current, manifests
from pipeline.lake.s3 import Lake
from pipeline.pagination.page import PageContent
from pipeline.partitions.bookmark import BookmarkSpan
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
DAYS = ["2026-11-01", "2026-11-02", "2026-11-03"]
PAGE = 10


@pytest.fixture(autouse=True)
def revision() -> Iterator[None]:
    @BOOKMARKS.register("revision")
    class RevisionCursor(BookmarkCursor):
        kind: Literal["revision"] = "revision"
        header: str

        @property
        def of(self) -> str:
            return self.header

        def of_page(self, content: PageContent) -> str | None:
            return content.headers.get(self.header.lower())

        def ended(
            self, span: BookmarkSpan | None, *, of_page: str | None, greatest: int | None
        ) -> int | str | None:
            return of_page

    yield
    BOOKMARKS.forget("revision")


class Wiki:
    """Pages of a wiki, each with the revision that changed it last."""

    def __init__(self) -> None:
        self.revisions = [{"id": n, "rev": n} for n in range(30)]
        self.asked: list[str | None] = []
        self.fails_at = -1
        self.app = Starlette(routes=[Route("/pages", self.answer)])

    async def answer(self, request: Request) -> Response:
        since = request.query_params.get("since")
        self.asked.append(since)
        if len(self.asked) == self.fails_at:
            return JSONResponse({"error": "no"}, 403)
        rows = self.revisions[int(since or 0) :]
        at = int(request.query_params.get("token", 0))
        body = {"rows": rows[at : at + PAGE]}
        following = {"next": str(at + PAGE)} if at + PAGE < len(rows) else {}
        head = {} if following else {"X-Revision": str(len(self.revisions))}
        return JSONResponse({**body, **following}, headers=head)


def test_days_start_by_a_kind_that_is_registered_here_and_are_resumed(lake: Lake) -> None:
    api = Wiki()
    with serving(api.app) as url:
        source = source_of(
            f"""
            source: wiki
            base_url: {url}
            start: 2026-11-01
            endpoints:
              pages:
                key: [id]
                cursor: {{kind: revision, header: X-Revision}}
                columns: {{id: int64, rev: int64}}
                request: {{params: {{since: "{{start}}", token: "{{token}}"}}}}
                paging: {{kind: token, limit: {PAGE}, next: next, numbered: false}}
                rows: rows
                batch_rows: 10
            """
        )
        api.fails_at = 3
        failed, _ = outcome_of(source, lake, "pages", DAYS[:1], NOW, "run")
        assert failed.failed
        first, _ = outcome_of(source, lake, "pages", DAYS[:1], NOW, "run")
        assert first.results[0].manifest.resumed_pages == 2
        api.revisions += [{"id": 3, "rev": 30}, {"id": 77, "rev": 31}]
        second, _ = outcome_of(source, lake, "pages", DAYS[1:], NOW)
    assert not second.failed
    assert api.asked == [None, None, None, None, "30", "32"]
    ends = [each.notes.bookmark for each in manifests(lake, "wiki", "pages")]
    assert [each and each.value for each in ends] == ["30", "32", "32"]
    rows = {row["id"]: row["rev"] for row in current(lake, "wiki", "pages").to_pylist()}
    assert rows == {**{n: n for n in range(30)}, 3: 30, 77: 31}
