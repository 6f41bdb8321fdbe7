"""A page that looks like the first of several is not taken for the whole: of ``paging: none``, or
the last one of a chain."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.errors import ContractBroken
from pipeline.extract.capped_page import looks_capped, says_partial
from pipeline.lake.s3 import Lake
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
TAGS = [{"id": n, "next": "x", "total": 999, "more": True, "tags": [1]} for n in range(7)]


def body(**beside: Any) -> bytes:
    return json.dumps({"rows": TAGS} | beside).encode()


@pytest.mark.parametrize(
    "beside",
    [
        {"next": "https://api/things?page=2"},
        {"nextPageToken": "abc"},
        {"paging": {"next": 2}},
        {"@odata.nextLink": "https://api/x"},
        {"has_more": True},
        {"meta": {"hasMore": True}},
        {"partial": True},
        {"truncated": True},
        {"_links": {"next": {"href": "/things?page=2"}}},
        {"meta": {"links": [], "pagination": {"last_page": 3}}},
        {"totalPages": 4, "number": 0},
        {"page": {"last": False}},
        {"done": False, "nextRecordsUrl": "/query/01g-2000"},
        {"pageInfo": {"hasNextPage": True, "endCursor": "x"}},
        {"facets": [1], "paging": {"cursors": {"next": "abc"}}, "warnings": []},
        {"NextMarker": "m"},
        {"exceededTransferLimit": True},
        {"next_page_uri": "/2010-04-01/Calls.json?Page=1"},
        {"d": {"__next": "https://api/x?$skiptoken=2"}},
        {"page_context": {"has_more_page": True}},
        {"info": {"more_records": True}},
        {"moreResult": True},
        {"end_of_stream": False},
        {"jobComplete": False},
        {"resultTruncated": "true"},
        {"page_info": {"total_page": 3}},
        {"nextContinuationToken": "abc"},
    ],
)
def test_what_stands_beside_the_rows_is_believed(beside: dict[str, Any]) -> None:
    said = looks_capped(7, body(**beside), {}, ())
    assert said is not None
    assert "there is more" in said
    assert "`whole: true`" in said
    leading = json.dumps({**beside, "rows": TAGS}).encode()
    assert looks_capped(7, leading, {}, ()) == said


@pytest.mark.parametrize(
    "beside",
    [
        {"message": "Results limited to 7 rows"},
        {"meta": {"note": "window clamped to 30 days"}},
        {"warning": "Showing first 7 of 60 results"},
        {"message": "Displaying 1 to 7 of 1,060"},
        {"message": "Maximum number of results exceeded"},
        {"info": "Too many results: only the first 7 are returned"},
        {"notice": "More results are available"},
        {"warnings": ["Results limited to 7 rows"]},
        {"messages": [{"code": 7, "text": "Results limited to 7 rows"}]},
        {"meta": {"notices": ["see our terms", "Results limited to 7 rows"]}},
    ],
)
def test_a_remark_that_rows_were_left_out_is_believed(beside: dict[str, Any]) -> None:
    said = looks_capped(7, body(**beside), {}, (), ("rows",))
    assert said is not None
    assert "the response says" in said
    assert "`whole: true`" in said


@pytest.mark.parametrize(
    "beside",
    [
        {},
        {"message": "Showing 7 of 7 results", "note": "Values are truncated to two decimals"},
        {"message": "Showing 1-7 of 7", "note": "API calls are limited to 100 a day"},
        {"message": "Only the latest version of each row is given", "info": "Showing all, of 2026"},
        {"found": 7, "available": True},
        {"next": None},
        {"next": ""},
        {"has_more": False},
        {"total": 7},
        {"count": 7},
        {"total": 3},
        {"truncated": False},
        {"_links": {"next": None, "self": {"href": "/things"}}},
        {"totalPages": 1, "last": True, "done": True},
        {"next_page": 0},
        {"filters": [{"total": 900}]},
    ],
)
def test_a_page_that_is_all_there_is_is_believed_to_be(beside: dict[str, Any]) -> None:
    assert looks_capped(7, body(**beside), {}, ()) is None
    assert looks_capped(7, json.dumps(TAGS).encode(), {}, ()) is None


@pytest.mark.parametrize(
    "beside",
    [
        {"total": 8},
        {"meta": {"totalCount": 900}},
        {"count": 12},
        {"page_info": {"total_number": 60, "total_page": 9}},
        {"totalElements": "800"},
        {"hits": {"total": {"value": 9, "relation": "eq"}}},
        {"a": [1], "numFound": 8, "b": [2]},
    ],
)
def test_a_total_that_says_more_is_an_error(beside: dict[str, Any]) -> None:
    with pytest.raises(ContractBroken, match=r"7 rows came, and the response says"):
        looks_capped(7, body(**beside), {}, ())


@pytest.mark.parametrize(
    "headers",
    [{"x-total-count": "8"}, {"x-total": "80"}, {"content-range": "items 0-6/80"}],
)
def test_a_header_that_counts_more_is_an_error(headers: dict[str, str]) -> None:
    with pytest.raises(ContractBroken, match=r"7 rows came, and the response says"):
        looks_capped(7, json.dumps(TAGS).encode(), headers, ())


def test_headers_and_the_status_say_that_there_is_more() -> None:
    for headers in ({"x-next-page": "2"}, {"x-total-pages": "2"}, {"x-has-more": "true"}):
        assert "there is more" in str(looks_capped(7, b"[]", headers, ()))
    assert (
        looks_capped(7, b"[]", {"x-next-page": "", "x-total-pages": "1", "x-total": "7"}, ())
        is None
    )
    assert looks_capped(7, b"[]", {"content-range": "items 0-6/7"}, ()) is None
    assert "a part" in str(looks_capped(7, b"[]", {}, (), status=206))


@pytest.mark.slow
@pytest.mark.parametrize(
    "beside",
    [
        {"errors": [{"message": "a shard is down"}]},
        {"timed_out": True},
        {"_shards": {"total": 5, "failed": 2}},
        {"incomplete_results": True},
        {"error": {"code": "PartialError", "message": "There were some errors"}},
        {"status": "timeout"},
    ],
)
@pytest.mark.parametrize("kind", ["kind: keyset, limit: 10", "kind: page, limit: 10"])
def test_a_page_that_says_that_rows_are_missing_is_no_proof(
    beside: dict[str, Any], kind: str, lake: Lake
) -> None:
    async def answer(request: Request) -> Response:
        given = request.query_params
        is_first = given.get("after") is None and given.get("page", "1") == "1"
        return Response(
            json.dumps({"rows": TAGS if is_first else []} | (beside if is_first else {}))
        )

    with serving(Starlette(routes=[Route("/things", answer)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-02
            endpoints:
              things:
                request: {{params: {{after: "{{after}}", page: "{{page}}"}}}}
                paging: {{{kind}}}
                rows: rows
                key: [id]
            """.replace('page: "{page}"' if "keyset" in kind else 'after: "{after}", ', "")
        )
        outcome, _ = outcome_of(source, lake, "things", ["2026-11-02"], NOW)
    (receipt,) = outcome.results
    checks = {check["name"]: check for check in receipt.manifest.checks}
    assert not receipt.manifest.proof.contiguous
    assert f"`{next(iter(beside))}`" in checks["pages_contiguous"]["detail"]


def test_words_of_partial_pages_inside_rows_say_nothing() -> None:
    rows = [{"id": 1, "errors": ["x"], "timed_out": True, "_shards": {"failed": 1}}]
    assert says_partial(json.dumps({"rows": rows, "errors": []}).encode(), ("rows",)) is None
    assert says_partial(json.dumps(rows).encode(), ()) is None
    assert says_partial(json.dumps({"rows": rows, "timed_out": False}).encode(), ("rows",)) is None
    fine = {"rows": rows, "error": {"code": 0, "message": ""}, "status": "success"}
    assert says_partial(json.dumps(fine).encode(), ("rows",)) is None
    assert says_partial(json.dumps({"rows": rows, "error": "false"}).encode(), ("rows",)) is None


def test_members_of_rows_say_nothing_of_pages() -> None:
    row = {"id": 1, "total": 900, "next": "x", "count": 4, "has_more": True}
    of_one = json.dumps(row).encode()
    assert looks_capped(1, of_one, {}, (), ()) is None
    by_name = json.dumps({"data": {"a": row, "b": row}, "total": 2}).encode()
    assert looks_capped(2, by_name, {}, (), ("data",)) is None
    grouped = json.dumps({"data": {"a": {"rows": [], "total": 5}}}).encode()
    assert looks_capped(2, grouped, {}, (), ("data", "*", "rows")) is None


def test_a_link_to_a_next_page_and_a_full_looking_page_are_told() -> None:
    link = {"link": '<https://api/things?page=2>; rel="next"'}
    assert "names a next page" in str(looks_capped(7, b"[]", link, ()))
    assert "100 rows came" in str(looks_capped(100, b"[]", {}, ()))
    assert "12 rows came" in str(looks_capped(12, b"[]", {}, ("12",)))
    assert looks_capped(12, b"[]", {}, ()) is None


@pytest.mark.parametrize(
    ("rows", "more", "proved"),
    [
        (100, "", False),
        (100, "whole: true", True),
        (99, "", True),
        (0, "", True),
        (12, "paging: {kind: none, limit: 12}", False),
        (11, "paging: {kind: none, limit: 12}", True),
        (12, "request: {params: {n: 12}}", False),
    ],
)
def test_a_full_looking_page_is_no_proof_unless_the_yaml_says_that_it_is_whole(
    rows: int, more: str, proved: bool, lake: Lake
) -> None:
    async def answer(request: Request) -> Response:
        return Response(json.dumps([{"id": n} for n in range(rows)]))

    with serving(Starlette(routes=[Route("/things", answer)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-02
            endpoints: {{things: {{key: [id], {more}}}}}
            """
        )
        outcome, requests = outcome_of(source, lake, "things", ["2026-11-02"], NOW)
    (receipt,) = outcome.results
    checks = {check["name"]: check for check in receipt.manifest.checks}
    assert receipt.manifest.rows == rows
    assert (receipt.manifest.proof.contiguous, checks["pages_contiguous"]["passed"]) == (
        proved,
        proved,
    )
    assert requests == (1 if rows else 2)
    assert proved or "say `whole: true`" in checks["pages_contiguous"]["detail"]


@pytest.mark.parametrize(
    ("beside", "more", "refused"),
    [
        ({"total": 10}, "", True),
        ({"total": 10}, ", whole: true", False),
        ({"total": 0, "next": None}, "", False),
    ],
)
def test_no_rows_beside_a_total_of_some_are_no_empty_day(
    beside: dict[str, Any], more: str, refused: bool, lake: Lake
) -> None:
    async def answer(request: Request) -> Response:
        return Response(json.dumps({"rows": []} | beside))

    with serving(Starlette(routes=[Route("/things", answer)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-02
            retries: {{first_wait_s: 0.001, max_wait_s: 0.002}}
            endpoints: {{things: {{key: [id], rows: rows{more}}}}}
            """
        )
        outcome, _ = outcome_of(source, lake, "things", ["2026-11-02"], NOW)
    if refused:
        assert "0 rows came, and the response says `total` = 10" in str(outcome.failed[0].error)
    else:
        assert [receipt.manifest.rows for receipt in outcome.results] == [0]


NEXT = "request: {params: {after: '{token}'}}, paging: {kind: token, limit: 9, next: %s}"


@pytest.mark.parametrize(
    ("beside", "more", "reason"),
    [
        ({"next": "b"}, NEXT % "nextToken", "`next`"),
        ({"meta": {"next": "b"}}, NEXT % "meta.nxt", "`next`"),
        ({"has_more": True}, NEXT % "next, more: has_more", "`paging.more` says"),
        ({"hasMore": True, "next": None}, NEXT % "next", "`hasMore`"),
        ({"total": 60}, NEXT % "next", "`total` = 60"),
        ({"next": "/things?after=b"}, "paging: {kind: link, limit: 9}", "`next`"),
        ({}, NEXT % "next", "`Link` header"),
        ({"total": 60}, NEXT % "next" + ", whole: true", ""),
        ({"next": None, "pages": 3, "total": 7}, NEXT % "next", ""),
        ({"cursor": "b", "done": True, "has_more": True}, NEXT % "cursor, more: '!done'", ""),
    ],
)
def test_a_chain_that_ends_while_its_page_says_that_there_is_more_is_no_proof(
    beside: dict[str, Any], more: str, reason: str, lake: Lake
) -> None:
    link = {"Link": '</things?page=2>; rel="next"'} if "Link" in reason else {}

    async def answer(request: Request) -> Response:
        return Response(body(**beside), headers=link)

    with serving(Starlette(routes=[Route("/things", answer)])) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-02
            endpoints: {{things: {{key: [id], rows: rows, {more}}}}}
            """
        )
        outcome, _ = outcome_of(source, lake, "things", ["2026-11-02"], NOW)
    (result,) = outcome.results
    checks = {check["name"]: check for check in result.manifest.checks}
    assert result.manifest.proof.contiguous is not bool(reason)
    assert reason in checks["pages_contiguous"]["detail"]
    assert not reason or "say `whole: true`" in checks["pages_contiguous"]["detail"]
