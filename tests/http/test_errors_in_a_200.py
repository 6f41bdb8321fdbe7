"""What an answer with status 200 says instead of rows: to wait, an error, or nothing at all."""

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.config import Source
from pipeline.errors import ApiUnavailable, ContractBroken
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from tests.support.runs import extract, outcome_of, serving
from tests.support.yaml_sources import source_of

DAY = ["2026-11-02"]
NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
LAGGED = {"code": "maxlag", "info": "Waiting for a database server: 7 seconds lagged."}
LIMITED = {"code": "ratelimited", "info": "You've exceeded your rate limit. Please wait some time."}


class Api:
    """Answers ``refusals`` first, then its pages of rows by token, as MediaWiki does."""

    def __init__(self, *refusals: Response, pages: tuple[Any, ...] = ()) -> None:
        self.refusals = list(refusals)
        self.pages = pages or ({"things": [{"id": 1}], "continue": {"after": 1}}, {"things": []})
        self.app = Starlette(routes=[Route("/things", self.answer)])

    async def answer(self, request: Request) -> Response:
        if self.refusals:
            return self.refusals.pop(0)
        return JSONResponse(self.pages[int(request.query_params.get("after", "0"))])


def source_at(url: str, more: str = "errors_at: error") -> Source:
    return source_of(
        f"""
        source: api
        base_url: {url}
        start: 2026-11-01
        answers: {{throttled_text: exceeded your rate limit}}
        retries: {{errors: 2, first_wait_s: 0.001, max_wait_s: 0.002}}
        endpoints:
          things:
            key: [id]
            columns: {{id: int64}}
            request: {{params: {{after: "{{token}}"}}}}
            paging: {{kind: token, limit: 2, next: continue.after}}
            rows: things
            {more}
        """
    )


def error_of(api: Api, lake: Lake, more: str) -> str:
    with serving(api.app) as url:
        outcome, _ = outcome_of(source_at(url, more), lake, "things", DAY, NOW)
    assert not outcome.results
    error = outcome.failed[0].error
    assert isinstance(error, ContractBroken)
    return str(error)


def lagged() -> Response:
    """As MediaWiki: status 200, and the header."""
    return JSONResponse({"error": LAGGED}, headers={"Retry-After": "0"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "refused", [lagged, lambda: JSONResponse({"error": LIMITED})], ids=["header", "text"]
)
def test_an_error_in_a_200_that_asks_to_wait_is_waited_for(refused: Any, lake: Lake) -> None:
    """More often than odd pages are asked for again, and than errors are."""
    api = Api(*(refused() for _ in range(8)))
    with serving(api.app) as url:
        (manifest,) = extract(source_at(url), lake, "things", DAY, NOW)
    assert not api.refusals
    assert manifest.throttled == 8
    assert key_rows(lake, manifest.files, ["id"])["id"].to_pylist() == [1]


CODES: dict[str, Any] = {
    "number": {"error": {"code": 429, "message": "Slowly"}},
    "word": {"code": "TooManyRequests", "message": "later", "things": []},
    "graphql": {"data": None, "errors": [{"extensions": {"code": "THROTTLED"}}]},
}


@pytest.mark.parametrize("name", CODES)
def test_a_code_of_too_many_requests_is_waited_for_without_a_word_in_the_yaml(
    lake: Lake, name: str
) -> None:
    """More often than odd pages are asked for again; the budget is told of each."""
    api = Api(*(JSONResponse(CODES[name]) for _ in range(3)))
    with serving(api.app) as url:
        (manifest,) = extract(source_at(url, ""), lake, "things", DAY, NOW)
    assert not api.refusals
    assert manifest.throttled == 3
    assert key_rows(lake, manifest.files, ["id"])["id"].to_pylist() == [1]


def test_such_a_code_in_a_row_is_data(lake: Lake) -> None:
    page = JSONResponse({"things": [{"id": "x", "code": 429, "error": "rate_limit_exceeded"}]})
    api = Api(*[page] * 9)
    said = error_of(api, lake, "")
    assert "column `id` is declared int64" in said
    assert len(api.refusals) == 6


def test_another_error_in_a_200_is_for_good_and_said(lake: Lake) -> None:
    said = error_of(
        Api(*(JSONResponse({"error": {"code": "badvalue"}}) for _ in range(9))),
        lake,
        "errors_at: error",
    )
    assert 'The API sent an error in a 200: {"code": "badvalue"}' in said
    assert "path to the rows" not in said


def test_without_errors_at_an_error_is_no_reason_to_wait_but_its_remedy_is_named(
    lake: Lake,
) -> None:
    """Some APIs send Retry-After with every answer: a wrong path would be waited for."""
    said = error_of(Api(*(lagged() for _ in range(9))), lake, "")
    assert "7 seconds lagged" in said
    assert said.endswith("in the YAML of api; 3. errors_at: error, if only an error has it")


def test_retry_after_beside_rows_is_no_reason_to_wait(lake: Lake) -> None:
    page = JSONResponse({"things": [{"id": 7}]}, headers={"Retry-After": "60"})
    with serving(Api(page).app) as url:
        (manifest,) = extract(source_at(url), lake, "things", DAY, NOW)
    assert (manifest.rows, manifest.throttled) == (1, 0)


@pytest.mark.parametrize("pages", [({"total_size": 0},), ({"continue": {"after": 1}}, {})])
def test_rows_that_are_left_out_where_there_are_none(pages: tuple[Any, ...], lake: Lake) -> None:
    """As Mailman (``total_size`` and no ``entries``) and Google (``{}``, or only a next token)."""
    with serving(Api(pages=pages).app) as url:
        (manifest,) = extract(source_at(url, "rows_may_lack: true"), lake, "things", DAY, NOW)
    assert (manifest.rows, manifest.files) == (0, ())


def test_rows_that_are_left_out_have_to_be_told(lake: Lake) -> None:
    said = error_of(Api(pages=({"total_size": 0},)), lake, "")
    assert "there is no `things` among `total_size`" in said
    assert "rows_may_lack: true" in said
    assert "if the API leaves the member out where it has no rows" in said


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ({"message": "not now"}, "the API says: "),
        ({"errors": ["not now"]}, "3. errors_at: errors"),
        ({"thing": [{"id": 1}]}, "there is no `things` among `thing`. "),
        ([], "the body is "),
    ],
)
def test_what_is_there_instead_of_rows_is_not_taken_for_none(
    page: Any, found: str, lake: Lake
) -> None:
    said = error_of(Api(pages=(page,)), lake, "rows_may_lack: true")
    assert "expected a list of rows at `things`" in said
    assert found in said


TOLD: dict[str, tuple[Any, str]] = {
    "null": (
        {"status": "error", "message": "upstream timeout", "things": None},
        '`message` is "upstream timeout"',
    ),
    "false": ({"success": False, "things": []}, "`success` is false"),
    "list": ({"errors": [{"message": "shard 3 is away"}], "things": []}, "shard 3 is away"),
    "code": ({"code": 503, "msg": "busy", "things": []}, '`msg` is "busy"'),
    "meta": ({"meta": {"status": 500}, "things": []}, "`meta.status` is 500"),
    "number": ({"errno": 17, "things": []}, "`errno` is 17"),
    "flag": ({"hasError": True, "things": []}, "`hasError` is true"),
    "shards": ({"_shards": {"failed": 2}, "things": []}, "`_shards.failed` is 2"),
    "timed out": ({"timed_out": True, "things": []}, "`timed_out` is true"),
    "bybit": ({"retCode": 10006, "retMsg": "Too many visits!", "things": []}, "`retMsg` is"),
    "header": (
        {"header": {"resultCode": "99", "resultMsg": "SERVICE KEY ERROR"}, "things": []},
        "`header.resultMsg` is",
    ),
    "note": ({"Note": "Our call frequency is 5 calls per minute", "things": []}, "`Note` is"),
    "complaint": ({"code": 0, "msg": "rate limit exceeded", "things": []}, "`msg` is"),
    "words": ({"message": "Please upgrade your plan", "things": []}, "upgrade your plan"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOLD)
def test_an_error_beside_no_rows_is_no_empty_day(lake: Lake, name: str) -> None:
    body, quoted = TOLD[name]
    said = error_of(Api(*(JSONResponse(body) for _ in range(9))), lake, "")
    assert quoted in said
    assert "is no error: `ok_when`" in said
    assert "or `errors_at`" in said


@pytest.mark.parametrize(
    "body",
    [
        {"status": "ok", "error": None, "errors": [], "things": []},
        {"code": 200, "message": "Success", "things": []},
        {"errcode": 0, "errmsg": "ok", "things": None},
        {"message": "No records match your query.", "things": []},
        {"filters": {"status": "failed"}, "things": []},
        {"header": {"resultCode": "00", "resultMsg": "NORMAL SERVICE."}, "things": []},
        {"header": {"resultCode": "03", "resultMsg": "NODATA_ERROR"}, "things": []},
        {"code": 0, "msg": "成功", "things": []},
        {"code": 0, "msg": "Lista vacía", "things": []},
        {"info": "Data as of yesterday", "things": []},
    ],
)
def test_words_of_success_beside_no_rows_are_an_empty_day(lake: Lake, body: Any) -> None:
    with serving(Api(pages=(body, body)).app) as url:
        (manifest,) = extract(source_at(url, ""), lake, "things", DAY, NOW)
    assert manifest.rows == 0


def test_an_error_that_is_gone_when_asked_again_costs_nothing(lake: Lake) -> None:
    api = Api(JSONResponse({"status": "error", "things": []}))
    with serving(api.app) as url:
        (manifest,) = extract(source_at(url, ""), lake, "things", DAY, NOW)
    assert manifest.rows == 1


OK_WHEN = "ok_when: {at: state, values: [0, fine]}"


@pytest.mark.parametrize("state", [0, "0", "Fine"])
def test_ok_when_says_what_success_is_whatever_else_is_told(lake: Lake, state: Any) -> None:
    pages = (
        {"state": state, "message": "read me", "things": [{"id": 1}], "continue": {"after": 1}},
        {"state": state, "message": "read me", "things": []},
    )
    with serving(Api(pages=pages).app) as url:
        (manifest,) = extract(source_at(url, OK_WHEN), lake, "things", DAY, NOW)
    assert manifest.rows == 1


@pytest.mark.parametrize("body", [{"state": 7, "things": [{"id": 1}]}, {"things": []}])
def test_anything_but_ok_when_is_an_error_with_rows_or_without(lake: Lake, body: Any) -> None:
    said = error_of(Api(*(JSONResponse(body) for _ in range(9))), lake, OK_WHEN)
    assert f'`state` is {body.get("state", "null")}, expected 0, "fine" (`ok_when`)' in said


def test_accepted_and_no_rows_is_not_ready_and_no_empty_day(lake: Lake) -> None:
    ready = JSONResponse({"things": [{"id": 1}]})
    soon = [JSONResponse({"things": []}, 202) for _ in range(2)]
    with serving(Api(*soon, ready).app) as url:
        (manifest,) = extract(source_at(url), lake, "things", DAY, NOW)
    assert manifest.rows == 1
    with serving(Api(*[JSONResponse({"things": []}, 202) for _ in range(9)]).app) as url:
        outcome, _ = outcome_of(source_at(url), lake, "things", ["2026-11-01"], NOW)
        error = outcome.failed[0].error
        assert isinstance(error, ApiUnavailable)
        assert "`answers: {empty: [202]}`" in str(error)


def test_rows_that_are_still_being_made_are_no_empty_day(lake: Lake) -> None:
    ready = JSONResponse({"things": [{"id": 1}]})
    soon = [JSONResponse({"state": "processing", "things": []}) for _ in range(2)]
    with serving(Api(*soon, ready).app) as url:
        (manifest,) = extract(source_at(url, ""), lake, "things", DAY, NOW)
    assert manifest.rows == 1
    fine = 'ok_when: {at: state, values: ["processing"]}'
    pages = ({"state": "processing", "things": []},) * 2
    with serving(Api(pages=pages).app) as url:
        (manifest,) = extract(source_at(url, fine), lake, "things", ["2026-11-01"], NOW)
    assert manifest.rows == 0


def test_the_words_of_an_error_in_place_of_rows_are_said(lake: Lake) -> None:
    body = {"Information": "API rate limit is 25 requests per day"}
    said = error_of(Api(*(JSONResponse(body) for _ in range(9))), lake, "")
    assert 'the API says: "API rate limit is 25 requests per day"' in said
    assert "errors_at: Information, if only an error has it" in said


def test_accepted_may_mean_that_there_are_none(lake: Lake) -> None:
    empty = "errors_at: error\n            answers: {empty: [202]}"
    with serving(Api(*[JSONResponse({"things": []}, 202) for _ in range(9)]).app) as url:
        (manifest,) = extract(source_at(url, empty), lake, "things", DAY, NOW)
    assert manifest.rows == 0
