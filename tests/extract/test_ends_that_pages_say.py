"""Numbered pages whose end a flag or a count of pages says, and what a request may be."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ConfigError
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.support.responses import json_answer
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 5, tzinfo=UTC)
IDS = list(range(1, 24))
SIZE = 5


class Api:
    """Pages of five ids; what came is kept."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.hidden: set[int] = set()
        self.sick_once: set[int] = set()
        self.more_than_there_is = False
        self.ids = IDS
        self.count: Callable[[int, int], int] = lambda number, count: count
        self.beyond = "empty"

    async def pages(self, request: Request) -> Response:
        self.requests.append((request.method, dict(request.query_params), await request.body()))
        number = int(request.query_params.get("page", 7)) - 7
        begin = int(request.query_params.get("skip", number * SIZE))
        number, count = begin // SIZE, -(-len(self.ids) // SIZE)
        if number >= count and self.beyond != "empty":
            if self.beyond == "refused":
                return json_answer({"message": "no such page"}, 404)
            begin = (count - 1) * SIZE
        rows = [{"id": n} for n in self.ids[begin : begin + SIZE] if n not in self.hidden]
        if number in self.sick_once:
            self.sick_once.discard(number)
            rows = []
        last = number >= count - 1 and not self.more_than_there_is
        state = "complete" if last else "partial"
        return json_answer(
            {
                "rows": rows,
                "is_last": last,
                "has_more": not last,
                "state": state,
                "n": self.count(number, count),
            }
        )

    async def refusing(self, request: Request) -> Response:
        status, text = int(request.query_params["status"]), request.query_params["text"]
        return json_answer({"message": text}, status)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/rows", self.pages, methods=["GET", "POST"]),
                Route("/refusing", self.refusing),
            ]
        )


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    with serving(api.app()) as found:
        yield found


def rows_of(source: Source, lake: Lake) -> list[int]:
    outcome, _ = outcome_of(source, lake, "rows", ["2026-11-04"], NOW)
    if outcome.failed:
        raise outcome.failed[0].error
    manifest = outcome.results[0].manifest
    if not manifest.files:
        return []
    return sorted(key_rows(lake, manifest.files, ["id"]).column("id").to_pylist())


def paged(url: str, paging: str, params: str = 'page: "{page}"', more: str = "") -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-04
        retries: {{errors: 1, first_wait_s: 0.001, max_wait_s: 0.002}}
        endpoints:
          rows:
            request: {{params: {{{params}}}}}
            paging: {paging}
            rows: rows
            key: [id]
            order: none
            columns: {{id: int64}}
            {more}
        """
    )


@pytest.mark.parametrize(
    "end",
    [
        "more: has_more",
        'more: "!is_last"',
        "more: {at: is_last, value: false}",
        "more: {at: state, value: partial}",
        "pages: n",
    ],
)
def test_a_flag_or_a_count_of_pages_ends_numbered_pages(
    api: Api, url: str, lake: Lake, end: str
) -> None:
    source = paged(url, f"{{kind: page, limit: {SIZE}, first: 7, {end}}}")
    assert rows_of(source, lake) == IDS
    assert sorted(query["page"] for _, query, _ in api.requests) == ["10", "11", *"789"]


def test_a_flag_that_says_of_each_page_that_it_is_the_last_ends_no_full_page(
    url: str, lake: Lake
) -> None:
    end = "more: {at: state, value: of something else}"
    assert rows_of(paged(url, f"{{kind: page, limit: {SIZE}, first: 7, {end}}}"), lake) == IDS


@pytest.mark.parametrize(
    "count", [lambda *_: 1, lambda *_: 0, lambda number, _: number + 1, lambda number, _: number]
)
@pytest.mark.parametrize("kind", ["page", "offset"])
def test_a_number_of_pages_that_is_something_else_ends_no_full_page(
    api: Api, url: str, lake: Lake, count: Callable[[int, int], int], kind: str
) -> None:
    """The number of this page, or of pages that are shown."""
    api.count = count
    by = ("page", f"first: 7, limit: {SIZE}") if kind == "page" else ("skip", f"limit: {SIZE}")
    more = "" if kind == "page" else ", overlap: false"
    source = paged(url, f"{{kind: {kind}, {by[1]}{more}, pages: n}}", f'{by[0]}: "{{{kind}}}"')
    assert rows_of(source, lake) == IDS


@pytest.mark.parametrize("beyond", ["empty", "refused", "the last one again"])
@pytest.mark.parametrize("pages", [1, 3])
@pytest.mark.parametrize("end", ["more: has_more", "pages: n"])
def test_a_full_last_page_is_not_believed_and_ends_all_the_same(
    api: Api, url: str, lake: Lake, end: str, pages: int, beyond: str
) -> None:
    api.ids, api.beyond = IDS[: pages * SIZE], beyond
    source = paged(url, f"{{kind: page, limit: {SIZE}, first: 7, {end}}}")
    assert rows_of(source, lake) == api.ids
    assert len(api.requests) <= pages + 5


@pytest.mark.parametrize("end", ["more: has_more", "pages: n"])
def test_a_page_whose_rows_are_all_filtered_out_is_not_the_end(
    api: Api, url: str, lake: Lake, end: str
) -> None:
    api.hidden = set(range(6, 11))
    source = paged(url, f"{{kind: page, limit: {SIZE}, first: 7, {end}}}")
    assert rows_of(source, lake) == [n for n in IDS if n not in api.hidden]


@pytest.mark.parametrize("end", ["more: has_more", "pages: n"])
def test_an_empty_page_amidst_others_is_requested_again(
    api: Api, url: str, lake: Lake, end: str
) -> None:
    api.sick_once = {2}
    assert rows_of(paged(url, f"{{kind: page, limit: {SIZE}, first: 7, {end}}}"), lake) == IDS


@pytest.mark.parametrize("end", ["more: has_more", 'more: "!is_last"', "pages: n"])
def test_a_flag_or_a_count_of_pages_ends_offsets(api: Api, url: str, lake: Lake, end: str) -> None:
    paging = f"{{kind: offset, limit: {SIZE}, overlap: false, {end}}}"
    assert rows_of(paged(url, paging, 'skip: "{offset}"'), lake) == IDS
    assert len(api.requests) == 5


def test_an_empty_page_by_offset_that_says_that_others_follow_is_refused(
    api: Api, url: str, lake: Lake
) -> None:
    api.more_than_there_is = True
    paging = f"{{kind: offset, limit: {SIZE}, overlap: false, more: has_more}}"
    with pytest.raises(Exception, match="where that one begins is not known"):
        rows_of(paged(url, paging, 'skip: "{offset}"'), lake)


def test_offsets_that_overlap_end_otherwise(url: str) -> None:
    with pytest.raises(ConfigError, match="say `overlap: false` in `paging`"):
        source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-04
            endpoints:
              rows:
                request: {{params: {{skip: "{{offset}}"}}}}
                paging: {{kind: offset, limit: 5, more: has_more}}
                key: [id]
                columns: {{id: int64}}
            """
        )


def test_a_get_may_have_a_body(api: Api, url: str, lake: Lake) -> None:
    source = source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-04
        endpoints:
          rows:
            request: {{method: GET, json: {{kinds: [a], size: "{{limit}}"}}}}
            paging: {{kind: none, limit: 100}}
            rows: rows
            key: [id]
        """
    )
    assert rows_of(source, lake) == IDS[:SIZE]
    method, _, body = api.requests[0]
    assert (method, json.loads(body)) == ("GET", {"kinds": ["a"], "size": 100})


def sent(env: dict[str, str]) -> dict[str, Any]:
    source = source_of(
        """
        source: api
        base_url: http://127.0.0.1:9
        start: 2026-11-04
        headers: {X-Tenant: "${TENANT:-}", X-Always: here}
        defaults:
          request: {params: {region: "${REGION:-}"}}
        endpoints:
          rows:
            request:
              method: POST
              params: {kind: "${KIND:-}", tags: ["${TAG:-}", b]}
              headers: {X-Kind: "${KIND:-}"}
              json: {filter: {kind: "${KIND:-}", none: null}, ids: ["${TAG:-}"]}
            key: [id]
        """,
        env,
    )
    request = source.endpoints["rows"].request.model_dump(by_alias=True)
    return {"source": source.headers} | {n: request[n] for n in ("params", "headers", "json")}


def test_what_has_an_empty_setting_is_left_out_of_a_request() -> None:
    assert sent({}) == {
        "source": {"X-Always": "here"},
        "params": {"tags": ["b"]},
        "headers": {},
        "json": {"filter": {"none": None}, "ids": []},
    }
    full = {"TENANT": "t", "REGION": "eu", "KIND": "k", "TAG": "a"}
    assert sent(full) == {
        "source": {"X-Tenant": "t", "X-Always": "here"},
        "params": {"region": "eu", "kind": "k", "tags": ["a", "b"]},
        "headers": {"X-Kind": "k"},
        "json": {"filter": {"kind": "k", "none": None}, "ids": ["a"]},
    }


@pytest.mark.parametrize(
    ("answers", "status", "text", "is_empty"),
    [
        ("{empty: [403, 404]}", 403, "no right", True),
        ("{empty: [403, 404]}", 410, "gone", False),
        ("{empty_text: not enabled}", 422, "Reports are Not Enabled here", True),
        ("{empty_text: not enabled}", 422, "wrong parameter", False),
        ("{empty: [403], empty_text: not enabled}", 403, "reports are not enabled", True),
        ("{empty: [403], empty_text: not enabled}", 403, "wrong key", False),
        ("{empty: [403], empty_text: not enabled}", 422, "not enabled", False),
    ],
)
def test_a_refusal_may_mean_no_rows_at_one_endpoint(
    url: str, new_lake: Callable[[], Lake], answers: str, status: int, text: str, is_empty: bool
) -> None:
    def source(own: str) -> Source:
        return source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-04
            endpoints:
              rows:
                path: refusing
                request: {{params: {{status: "{status}", text: "{text}"}}}}
                key: [id]
                {own}
            """
        )

    if is_empty:
        assert rows_of(source(f"answers: {answers}"), new_lake()) == []
    else:
        with pytest.raises(Exception, match=str(status)):
            rows_of(source(f"answers: {answers}"), new_lake())
    with pytest.raises(Exception, match=str(status)):
        rows_of(source(""), new_lake())
