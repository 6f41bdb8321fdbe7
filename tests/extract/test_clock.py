"""The API's clock, as responses say it."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.extract.clock import clock_warning
from pipeline.lake.files import key_rows
from pipeline.lake.s3 import Lake
from pipeline.messages import server_time
from tests.support.runs import outcome_of, serving
from tests.support.yaml_sources import source_of

AT = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
DATE = {"date": "Fri, 20 Nov 2026 12:00:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "found"),
    [(DATE, AT), ({}, None), ({"date": "soon"}, None), ({"date": "-1"}, None)],
)
def test_the_time_of_a_response(headers: dict[str, str], found: datetime | None) -> None:
    assert server_time(headers) == found


@pytest.mark.parametrize(
    ("sent_s", "received_s", "said"),
    [
        (-1, 1, None),
        (-300, 1, None),  # it waited for its send slot
        (0, 300, None),  # its body took long
        (5, 6, None),
        (6, 7, "6 s behind"),
        (-900, -600, "600 s ahead of"),
    ],
)
def test_clocks_that_differ(sent_s: int, received_s: int, said: str | None) -> None:
    sent, received = AT + timedelta(seconds=sent_s), AT + timedelta(seconds=received_s)
    sentence = clock_warning(DATE, sent, received)
    assert (said is None) == (sentence is None)
    assert said is None or said in str(sentence)
    assert clock_warning({**DATE, "age": "3600"}, sent, received) is None


def test_the_watermark_is_not_later_than_a_page_from_a_cache(lake: Lake) -> None:
    """The second page is three hours old, and lacks a row that was made since."""
    rows = [{"id": n, "at": f"2026-11-02T0{n}:00:00Z"} for n in range(1, 4)]
    new = {"id": 4, "at": "2026-11-02T10:30:00Z"}
    noon = datetime(2026, 11, 2, 12, tzinfo=UTC)
    cached = True

    async def answer(request: Request) -> Response:
        given = request.query_params
        is_old = cached and given["page"] != "1"
        at = noon - timedelta(hours=3) if is_old else noon
        all_rows = rows if is_old else [*rows, new]
        inside = [r for r in all_rows if given.get("since", "") <= str(r["at"]) < given["until"]]
        begin = 2 * int(given["page"]) - 2
        return JSONResponse(
            inside[begin : begin + 2],
            headers={"date": format_datetime(at, usegmt=True), "age": "10800" if is_old else "0"},
        )

    with serving(Starlette(routes=[Route("/things", answer)]), date_header=False) as url:
        source = source_of(
            f"""
            source: api
            base_url: {url}
            start: 2026-11-02
            safety_margin_s: 0
            endpoints:
              things:
                request: {{params: {{since: "{{start}}", until: "{{end}}", page: "{{page}}"}}}}
                paging: {{kind: page, limit: 2}}
                key: [id]
                cursor: at
                columns: {{id: int64, at: "timestamp[iso]"}}
            """
        )
        first, _ = outcome_of(source, lake, "things", ["2026-11-02"], noon)
        cached = False
        day_later = noon + timedelta(days=1)
        second, _ = outcome_of(source, lake, "things", ["2026-11-03"], day_later)
    assert first.results[0].manifest.watermark_at == noon - timedelta(hours=3)
    found = key_rows(lake, second.results[0].manifest.files, ["id"])
    assert found["id"].to_pylist() == [4]
