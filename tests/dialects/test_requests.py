"""What goes out: IGDB's language, HTTP templates, bounds of windows, and links to next pages."""

import asyncio
import json
import math
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.endpoint import Endpoint
from pipeline.config.request import WindowFormat
from pipeline.decode import DEFAULT_FORMAT
from pipeline.dialects.http_request import build_count_request, build_page_request
from pipeline.dialects.placeholders import bound, may_come
from pipeline.errors import ContractBroken
from pipeline.extract.fetcher import PageFetcher
from pipeline.extract.plan import reader_of, shape_of
from pipeline.messages import HttpRequest, RequestCounts
from pipeline.pagination.page import PageRequest
from pipeline.partitions.window import Window
from tests.support.thorough import THOROUGH
from tests.support.wire import Seen, answer, client_of, serving
from tests.support.yaml_sources import source_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 5, 12, tzinfo=UTC)
DAY = Window("incremental", NOON - timedelta(days=1), NOON, 3600.0)
BASELINE = Window("baseline", None, NOON, 3600.0)
END = int(NOON.timestamp())

ACCEPT = DEFAULT_FORMAT.accept


def instant(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def igdb(**more: object) -> Endpoint:
    given = {
        "request": {"dialect": "apicalypse", "fields": "*"},
        "paging": {"kind": "offset", "limit": 500},
        "count": {},
        "key": ["id"],
        "cursor": "updated_at",
        "columns": {"updated_at": "timestamp[s]"},
    }
    return Endpoint.model_validate({**given, **more})


def said(endpoint: Endpoint, window: Window, ask: PageRequest) -> str:
    request = build_page_request("https://api.test/v4/", "games", endpoint, window, ask)
    assert (request.method, request.url) == ("POST", "https://api.test/v4/games")
    return (request.content or b"").decode()


def test_a_page_in_igdb_s_language() -> None:
    assert said(igdb(), DAY, PageRequest(500)) == (
        f"fields *; where updated_at >= {END - 86400} & updated_at < {END}; sort id asc; limit 500;"
    )
    assert said(igdb(), DAY, PageRequest(500, offset=499)).endswith(
        "sort id asc; limit 500; offset 499;"
    )
    asked = {"dialect": "apicalypse", "fields": "id,name", "exclude": "url", "where": "a=1 | b=2"}
    assert said(igdb(request=asked, cursor=None), DAY, PageRequest(10)) == (
        "fields id,name; exclude url; where (a=1 | b=2); sort id asc; limit 10;"
    )
    assert said(igdb(cursor=None), DAY, PageRequest(10)) == "fields *; sort id asc; limit 10;"


def test_rows_without_a_cursor_value_are_in_the_baseline_and_bound_by_parentheses() -> None:
    asked = {"dialect": "apicalypse", "where": "category = 0"}
    ask = PageRequest(500, after=7, before=90)
    assert said(igdb(request=asked), BASELINE, ask) == (
        f"fields *; where (updated_at < {END} | updated_at = null) & id > 7 & id < 90 & "
        "(category = 0); sort id asc; limit 500;"
    )


def test_a_gap_is_asked_for_the_other_way_round_where_rows_descend() -> None:
    statement = said(igdb(order="descending", cursor=None), DAY, PageRequest(5, after=90, before=7))
    assert statement == "fields *; where id < 90 & id > 7; sort id desc; limit 5;"


def test_a_count_has_the_same_condition_and_nothing_else() -> None:
    def count(endpoint: Endpoint, window: Window, ask: PageRequest) -> HttpRequest:
        assert endpoint.count is not None
        return build_count_request(
            "https://api.test/v4", "games", endpoint, endpoint.count, window, ask
        )

    asked = count(igdb(), BASELINE, PageRequest(500, after=7))
    assert asked.url == "https://api.test/v4/games/count"
    condition = f"(updated_at < {END} | updated_at = null) & id > 7"
    assert asked.content == f"where {condition};".encode()
    assert count(igdb(cursor=None), DAY, PageRequest(500)).content == b""


def test_text_keys_are_quoted() -> None:
    statement = said(igdb(key=["slug"], cursor=None), DAY, PageRequest(5, after='a"; é\\'))
    assert statement == 'fields *; where slug > "a\\"; é\\\\"; sort slug asc; limit 5;'


@pytest.mark.slow
@given(
    st.integers(946_684_800_000_000, 2_208_988_800_000_000).map(instant),
    st.timedeltas(timedelta(0), timedelta(days=3)),
    st.integers(-3, 3),
)
def test_whole_seconds_in_the_window_are_those_asked_for(
    start: datetime, length: timedelta, near: int
) -> None:
    window = Window("incremental", start, start + length, 0.0)
    words = said(igdb(), window, PageRequest(5)).split("where ")[1].split(";")[0]
    low, high = (int(word) for word in words.replace("&", " ").split() if word.isdigit())
    for edge in (start, start + length):
        second = math.floor(edge.timestamp()) + near
        inside = start <= datetime.fromtimestamp(second, UTC) < start + length
        assert (low <= second < high) == inside


ANY_PAGING = {"kind": "python", "path": "pager:next", "limit": 50}


def http(request: dict[str, object], **more: object) -> Endpoint:
    given = {"key": ["id"], "request": request, "paging": ANY_PAGING}
    return Endpoint.model_validate({**given, **more})


def built(
    endpoint: Endpoint, ask: PageRequest, window: Window = DAY, name: str = "items"
) -> HttpRequest:
    return build_page_request("https://api.test/v1/", name, endpoint, window, ask)


def test_a_parameter_whose_value_is_missing_is_left_out() -> None:
    endpoint = http(
        {
            "params": {
                "page": "{page}",
                "size": "{limit}",
                "from": "{start}",
                "to": "{end}",
                "next": "{token}",
                "after": "id:{after}",
                "fixed": 1,
                "flag": True,
                "sort": ["a", "b", "{token}"],
            },
            "headers": {"X-Token": "t-{token}", "X-Size": "{limit}"},
        },
        cursor="at",
        columns={"at": "timestamp[iso]"},
    )
    request = built(endpoint, PageRequest(50, page=2), BASELINE)
    assert request.url == "https://api.test/v1/items"
    assert request.params == (
        ("page", "2"),
        ("size", "50"),
        ("to", "2026-11-05T12:00:00Z"),
        ("fixed", "1"),
        ("flag", "true"),
        ("sort", "a"),
        ("sort", "b"),
    )
    assert dict(request.headers) == {"Accept": ACCEPT, "X-Size": "50"}
    later = built(endpoint, PageRequest(50, page=1, token="", after=0))
    assert ("next", "") in later.params
    assert ("after", "id:0") in later.params
    assert ("from", "2026-11-04T12:00:00Z") in later.params


def test_values_are_not_read_as_templates() -> None:
    endpoint = http({"params": {"page": "{page}", "token": "{token}"}})
    assert ("token", "{limit}") in built(endpoint, PageRequest(5, page=1, token="{limit}")).params


def test_bodies() -> None:
    ask = PageRequest(50, page=3, token='a"b')
    endpoint = http(
        {
            "method": "POST",
            "json": {
                "page": "{page}",
                "text": "page {page}",
                "token": "{token}",
                "deep": [{"after": "{after}", "size": "{limit}"}, "{after}", None, 1.5],
            },
        }
    )
    request = built(endpoint, ask)
    assert json.loads(request.content or b"") == {
        "page": 3,
        "text": "page 3",
        "token": 'a"b',
        "deep": [{"size": 50}, None, 1.5],
    }
    assert request.headers["Content-Type"] == "application/json"
    form = built(
        http({"method": "POST", "form": {"p": "{page}", "t": "{token}&", "n": "{after}"}}), ask
    )
    assert form.content == b"p=3&t=a%22b%26"
    assert form.headers["Content-Type"] == "application/x-www-form-urlencoded"
    text = built(http({"method": "POST", "text": "give {page}"}), ask)
    assert text.content == b"give 3"


@pytest.mark.parametrize("parent", ["ü", "a\nx-evil: 1"])
def test_what_no_header_can_hold_is_refused(parent: str) -> None:
    endpoint = http({"headers": {"x-shop": "{parent}"}}, parents={"endpoint": "shops"})
    with pytest.raises(ContractBroken, match=r"the header x-shop has .* into params"):
        built(endpoint, PageRequest(limit=10, parent=parent))
    assert built(endpoint, PageRequest(limit=10, parent="a b")).headers["x-shop"] == "a b"


def test_what_stands_in_a_path_is_quoted() -> None:
    endpoint = http(
        {"params": {"page": "{page}"}}, path="things/{parent}/parts", parents={"endpoint": "x"}
    )
    request = built(endpoint, PageRequest(5, page=1, parent="a/b?c#d é,2"))
    assert request.url == "https://api.test/v1/things/a%2Fb%3Fc%23d%20%C3%A9,2/parts"


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=12), max_size=4))
def test_parameters_arrive_as_they_were_meant(params: dict[str, str]) -> None:
    endpoint = http(
        {
            "params": {
                **{k.replace("{", "("): v.replace("{", "(") for k, v in params.items()},
                "page": "{page}",
            }
        }
    )
    request = built(endpoint, PageRequest(5, page=1))
    url = str(httpx.Request("GET", request.whole_url).url)
    assert tuple(parse_qsl(urlsplit(url).query, keep_blank_values=True)) == request.params


def test_a_link_is_asked_for_as_it_is() -> None:
    endpoint = http({"params": {"size": "{limit}"}, "headers": {"X-A": "1", "X-T": "t"}},
                    paging={"kind": "link", "limit": 5})  # fmt: skip
    request = built(endpoint, PageRequest(5, url="https://api.test/v1/items?cursor=a%2Bb&x"))
    assert request == HttpRequest(
        "GET", "https://api.test/v1/items?cursor=a%2Bb&x", headers=request.headers
    )
    assert request.headers["X-A"] == "1"


CHAIN = """
source: api
base_url: {url}
start: 2026-11-01
headers: {{X-Tenant: one}}
endpoints:
  items:
    request:
      params: {{from: "{{start}}", to: "{{end}}", size: "{{limit}}"}}
      headers: {{X-Version: "3", X-Since: "{{start}}", X-Size: "{{limit}}"{more}}}
    paging: {{kind: link, limit: 2, next: next}}
    rows: rows
    key: [id]
    cursor: at
    columns: {{at: "timestamp[iso]"}}
"""


@pytest.mark.parametrize(("more", "accepts"), [("", ACCEPT), (", accept: a/b", "a/b")])
def test_the_headers_of_a_first_page_go_with_the_links_that_follow(more: str, accepts: str) -> None:
    def answering(number: int, seen: Seen) -> bytes:
        at = (NOON - timedelta(hours=1)).isoformat()
        rows = [{"id": 2 * number + n, "at": at} for n in (0, 1)]
        return answer({"rows": rows, "next": f"/more?n={number}" if number < 3 else None})

    async def run() -> list[Seen]:
        async with serving(answering) as wire:
            source = source_of(CHAIN.format(url=wire.url, more=more))
            spec = source.endpoints["items"]
            reader = spec.format.decoder(shape_of(spec), label="api/items")
            async with client_of(source) as client:
                pages = PageFetcher(client, source, "items", DAY, reader, RequestCounts())
                async for _ in reader_of(spec, pages, DAY, 2).run(None):
                    pass
            return wire.seen

    first, *following = asyncio.run(run())
    assert [seen.target for seen in following] == ["/more?n=1", "/more?n=2"]
    assert first.headers["accept"] == accepts
    assert first.headers["x-version"] == "3"
    assert {"x-since", "x-size", "x-tenant"} <= first.headers.keys()
    for seen in following:
        assert seen.headers == first.headers


FORMATS = {
    "epoch_s": (1.0, 60.0),
    "epoch_ms": (0.001, 0.25, 1.0),
    "iso": (0.000_001, 0.001, 1.0, 3600.0),
    "%Y-%m-%dT%H:%M:%SZ": (1.0, 30.0),
    "%Y%m%d%H%M": (60.0, 900.0),
    "%Y-%m-%d": (86_400.0,),
}


def read_back(form: str, text: str) -> datetime:
    if form == "epoch_s":
        return datetime.fromtimestamp(int(text), UTC)
    if form == "epoch_ms":
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(text))
    if form == "iso":
        return datetime.fromisoformat(text)
    return datetime.strptime(text, form).replace(tzinfo=UTC)


@pytest.mark.slow
@settings(max_examples=300 * THOROUGH)
@given(st.data())
def test_the_interval_asked_for_covers_the_window_and_neighbours_double_nothing(
    data: st.DataObject,
) -> None:
    written = data.draw(st.sampled_from(sorted(FORMATS)))
    form = WindowFormat(
        format=written,
        resolution_s=data.draw(st.sampled_from(FORMATS[written])),
        start=data.draw(st.sampled_from(["inclusive", "exclusive"])),
        end=data.draw(st.sampled_from(["inclusive", "exclusive"])),
    )
    step = timedelta(seconds=form.resolution_s)
    lengths = st.timedeltas(timedelta(0), 3 * step + timedelta(hours=1))
    moments = st.integers(10**15, 2 * 10**15).map(instant)
    start = data.draw(moments)
    middle = start + data.draw(lengths)
    end = middle + data.draw(lengths)
    edge = data.draw(st.sampled_from([start, middle, end]))
    # A value of the cursor near one of the edges: the API stores whole steps.
    cursor = EPOCH + ((edge - EPOCH) // step + data.draw(st.integers(-3, 3))) * step

    def arrives(low: datetime, high: datetime) -> bool:
        asked_low = read_back(written, str(bound(form, low, is_end=False)))
        asked_high = read_back(written, str(bound(form, high, is_end=True)))
        above = cursor > asked_low if form.start == "exclusive" else cursor >= asked_low
        below = cursor <= asked_high if form.end == "inclusive" else cursor < asked_high
        given = above and below
        if low <= cursor < high:
            assert given, "asked for less than the window"
        if given:
            earliest, latest = may_come(form, low, high)
            assert earliest is not None
            assert latest is not None
            assert earliest <= cursor <= latest, "a row that had to come would be an error"
        return given and low <= cursor < high

    parts = [arrives(start, middle), arrives(middle, end)]
    assert sum(parts) == int(start <= cursor < end)
