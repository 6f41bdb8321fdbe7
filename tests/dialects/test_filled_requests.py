"""What goes out is what the API means: numbers, spaces, slashes, parts that have no value."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from pipeline.auth import AuthContext
from pipeline.auth.api_key import ApiKeyAuth
from pipeline.config.endpoint import Endpoint
from pipeline.config.request import WindowFormat
from pipeline.dialects.http_request import build_count_request, build_page_request
from pipeline.messages import HttpRequest
from pipeline.pagination.page import JsonToken, PageRequest
from pipeline.partitions.window import Window

END = datetime(2026, 11, 5, tzinfo=UTC)
DAY = Window("incremental", END - timedelta(days=1), END, 3600.0)
BASELINE = Window("baseline", None, END, 3600.0)
MS = {"format": "epoch_ms"}
END_MS = int(END.timestamp()) * 1000


def endpoint(request: Mapping[str, object], **more: object) -> Endpoint:
    given = {
        "key": ["id"],
        "cursor": "at",
        "columns": {"id": "int64", "at": "timestamp[ms]"},
        "paging": {"kind": "python", "path": "pager:next", "limit": 50},
        "request": request,
    }
    return Endpoint.model_validate({**given, **more})


def built(spec: Endpoint, ask: PageRequest, window: Window = DAY) -> HttpRequest:
    return build_page_request("https://api.test/v1/", "items", spec, window, ask)


def body(spec: Endpoint, ask: PageRequest, window: Window = DAY) -> object:
    return json.loads(built(spec, ask, window).content or b"")


MANGO = {
    "method": "POST",
    "json": {
        "selector": {"id": {"$gt": "{after}"}, "at": {"$gte": "{start}", "$lt": "{end}"}},
        "search_after": ["{after}"],
        "label": "from {start}",
        "fixed": {},
        "limit": "{limit}",
    },
}


def test_numbers_are_numbers_in_json_since_databases_compare_none_with_text() -> None:
    spec = endpoint(MANGO, window=MS)
    assert body(spec, PageRequest(50, after=2**53 + 1)) == {
        "selector": {
            "id": {"$gt": 2**53 + 1},
            "at": {"$gte": END_MS - 86_400_000, "$lt": END_MS},
        },
        "search_after": [2**53 + 1],
        "label": f"from {END_MS - 86_400_000}",
        "fixed": {},
        "limit": 50,
    }
    text = endpoint(MANGO, columns={"id": "string", "at": "timestamp[iso]"})
    selector = {"id": {"$gt": "7"}, "at": {"$gte": "2026-11-04T00:00:00Z"}}
    asked = body(text, PageRequest(50, after="7"))
    assert isinstance(asked, dict)
    assert asked["selector"]["id"] == selector["id"]
    assert asked["selector"]["at"].items() >= selector["at"].items()
    instants = endpoint(MANGO, columns={"id": "timestamp[s]", "at": "timestamp[ms]"}, window=MS)
    assert body(instants, PageRequest(50, after=END))["search_after"] == [END_MS // 1000]  # type: ignore[index]


def test_what_is_empty_only_since_its_members_have_no_value_is_left_out_as_well() -> None:
    spec = endpoint(MANGO, window=MS)
    assert body(spec, PageRequest(50), BASELINE) == {
        "selector": {"at": {"$lt": END_MS}},
        "fixed": {},
        "limit": 50,
    }
    floored = endpoint(MANGO, window=MS | {"floor": "0"})
    assert body(floored, PageRequest(50), BASELINE)["selector"]["at"] == {"$gte": 0, "$lt": END_MS}  # type: ignore[index]
    nothing = endpoint({"method": "POST", "json": {"a": ["{token}"]}}, cursor=None)
    assert body(nothing, PageRequest(50)) == {}


@pytest.mark.parametrize(
    ("form", "floor", "sent"),
    [
        ("epoch_s", "1970-01-02", 86_400),
        ("epoch_ms", "1970-01-02T00:00:00Z", 86_400_000),
        ("epoch_s", "-5", -5),
        ("iso", "2020-01-01", "2020-01-01T00:00:00Z"),
        ("%d.%m.%Y %H:%M", "2020-01-31", "31.01.2020 00:00"),
        ("%Y-%m-%d %H:%M:%S.000Z", "1970-01-01 00:00:00.000Z", "1970-01-01 00:00:00.000Z"),
        ("%d.%m.%Y", "01.01.1970", "01.01.1970"),
        ("%d.%m.%Y %H:%M", "2020-01-31T00:00:00+02:00", "30.01.2020 22:00"),
    ],
)
def test_a_floor_is_written_as_the_bounds_are(form: str, floor: str, sent: object) -> None:
    """A day in place of a number is an error to one API, and ignored by another."""
    window = {"format": form, "resolution_s": 86_400, "floor": floor}
    asked = body(endpoint(MANGO, window=window), PageRequest(50), BASELINE)
    assert asked["selector"]["at"]["$gte"] == sent  # type: ignore[index]


def test_a_number_may_be_asked_for_as_its_text() -> None:
    """DynamoDB writes numbers so, and refuses others."""
    values = {":s": {"N": "[[{start}]]"}, ":e": {"N": "[[{end}]]"}}
    dynamo = endpoint({"method": "POST", "json": values}, window=MS | {"floor": "1970-01-01"})
    asked = {":s": {"N": "0"}, ":e": {"N": str(END_MS)}}
    assert body(dynamo, PageRequest(50), BASELINE) == asked


def test_a_floor_that_is_a_number_is_an_instant_too_so_that_a_long_baseline_is_cut() -> None:
    form = WindowFormat(format="epoch_ms", floor="86400000")
    assert form.floor_at == datetime(1970, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("form", ["epoch_s", "epoch_ms", "iso"])
def test_a_floor_that_is_no_time_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match="`floor: ever` is no day or time: expected"):
        endpoint(MANGO, window={"format": form, "floor": "ever"})


@pytest.mark.parametrize(
    ("token", "in_json", "in_text"),
    [
        ("7", "7", "7"),
        (7, 7, "7"),
        (1.5, 1.5, "1.5"),
        (JsonToken('[1793491200000,"ü"]'), [1793491200000, "ü"], '[1793491200000,"ü"]'),
        (JsonToken('{"id":{"N":"5"}}'), {"id": {"N": "5"}}, '{"id":{"N":"5"}}'),
    ],
)
def test_a_token_goes_back_as_it_came(token: object, in_json: object, in_text: str) -> None:
    ask = PageRequest.from_json(json.loads(json.dumps(PageRequest(5, token=token).to_json())))  # type: ignore[arg-type]
    assert ask.token == token
    assert len({ask, PageRequest(5)}) == 2
    spec = endpoint({"method": "POST", "json": {"after": "{token}"}}, cursor=None)
    assert body(spec, ask) == {"after": in_json}
    spec = endpoint({"params": {"after": "{token}"}}, cursor=None)
    assert built(spec, ask).params == (("after", in_text),)


FILTER = "[[id gt {after} and ]][[changed ge {start} and ]]changed lt {end}"


def test_a_part_of_a_text_is_left_out_where_it_has_no_value() -> None:
    spec = endpoint({"params": {"$filter": FILTER}})

    def asked(ask: PageRequest, window: Window) -> str:
        return dict(built(spec, ask, window).params)["$filter"]

    whole = "id gt 7 and changed ge 2026-11-04T00:00:00Z and changed lt 2026-11-05T00:00:00Z"
    assert asked(PageRequest(5, after=7), DAY) == whole
    assert asked(PageRequest(5), DAY) == whole.removeprefix("id gt 7 and ")
    assert asked(PageRequest(5), BASELINE) == "changed lt 2026-11-05T00:00:00Z"
    soql = {"method": "POST", "json": {"q": f"SELECT Id WHERE {FILTER}", "none": "a{token}"}}
    assert body(endpoint(soql), PageRequest(5), BASELINE) == {
        "q": "SELECT Id WHERE changed lt 2026-11-05T00:00:00Z"
    }
    kept = endpoint({"text": "x [[1, 2], [3]] [[{token}, ]]{limit}", "method": "POST"}, cursor=None)
    assert built(kept, PageRequest(5)).content == b"x [[1, 2], [3]] 5"


@pytest.mark.parametrize("name", ["after", "token", "start"])
@pytest.mark.parametrize("where", ["params", "json"])
def test_a_text_that_a_request_without_a_value_would_lose_is_refused(name: str, where: str) -> None:
    text = f"id > {{{name}}} and changed < {{end}}"
    request: dict[str, object] = {"method": "POST", where: {"filter": text}}
    with pytest.raises(ValidationError) as raised:
        endpoint(request)
    said = str(raised.value)
    assert f"has no {{{name}}}, so that {text!r} would be left out with its {{end}}" in said
    assert "put the part that it may lack into [[ ]]" in said


def test_a_space_in_a_query_is_written_as_all_servers_read_it() -> None:
    spec = endpoint({"params": {"$filter": "a eq 'x+y & z' and at lt {end}"}})
    url = built(spec, PageRequest(5)).whole_url
    assert "+" not in url
    assert "a%20eq%20%27x%2By%20%26%20z%27" in url
    assert dict(parse_qsl(urlsplit(url).query))["$filter"].startswith("a eq 'x+y & z' and")


def test_a_key_in_the_query_leaves_the_rest_of_a_url_as_it_is_written() -> None:
    spec = ApiKeyAuth(kind="api_key", place="query", name="key", key=SecretStr("k 1+"))
    asked = httpx.Request("GET", "https://api.test/x?a=b%20c&key=old&cursor=a%2Bb&flag&d=e+f")
    (signed,) = spec.make(AuthContext()).auth_flow(asked)
    assert str(signed.url) == "https://api.test/x?a=b%20c&cursor=a%2Bb&flag&d=e+f&key=k%201%2B"
    (alone,) = spec.make(AuthContext()).auth_flow(httpx.Request("GET", "https://api.test/x"))
    assert str(alone.url) == "https://api.test/x?key=k%201%2B"


@pytest.mark.parametrize(
    ("path", "url", "counted"),
    [
        (None, "/v1/items", "/v1/items/count"),
        ("orders", "/v1/orders", "/v1/orders/count"),
        ("orders/", "/v1/orders/", "/v1/orders/count"),
        ("/orders/{parent}/lines/", "/v1/orders/7/lines/", "/v1/orders/7/lines/count"),
        ("", "/v1", "/v1/count"),
        ("/", "/v1/", "/v1/count"),
    ],
)
def test_a_slash_at_the_end_of_a_path_stays(path: str | None, url: str, counted: str) -> None:
    """Django answers 404, or a redirect, at the address without it."""
    spec = endpoint({}, path=path, count={}, cursor=None, parents={"endpoint": "x"})
    ask = PageRequest(5, parent="7")
    assert built(spec, ask).url == f"https://api.test{url}"
    assert spec.count is not None
    request = build_count_request("https://api.test/v1", "items", spec, spec.count, DAY, ask)
    assert request.url == f"https://api.test{counted}"


def test_times_before_now_are_the_same_for_all_pages() -> None:
    sent = {"params": {"to": "{now}", "from": "{now-7d}", "day": "since {now-90m}", "p": "{page}"}}
    snapshot = Window("snapshot", None, END + timedelta(hours=9), 0.0)
    spec = Endpoint.model_validate(
        {
            "key": ["id"],
            "request": sent,
            "paging": {"kind": "page", "limit": 5},
            "window": {"format": "%Y-%m-%dT%H:%M"} | {"resolution_s": 60},
        }
    )
    first = dict(built(spec, PageRequest(5, page=1), snapshot).params)
    assert first == {
        "to": "2026-11-05T09:00",
        "from": "2026-10-29T09:00",
        "day": "since 2026-11-05T07:30",
        "p": "1",
    }
    assert dict(built(spec, PageRequest(5, page=2), snapshot).params) == first | {"p": "2"}


@pytest.mark.parametrize("text", ["{now-7w}", "{now+1d}", "until {now-d}"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    given = {"key": ["id"], "request": {"params": {"from": text}}}
    with pytest.raises(
        ValidationError, match=r"no placeholder: expected \{now\}, or a time before"
    ):
        Endpoint.model_validate(given)


def test_a_link_is_followed_by_post_where_the_api_wants_it() -> None:
    page = PageRequest(5, url="https://api.test/v1/items?after=2")
    sent = {"method": "POST", "json": {"ids": ["a"]}}
    spec = endpoint(sent, cursor=None, paging={"kind": "link", "limit": 5, "post": True})
    asked = built(spec, page)
    assert (asked.method, asked.url, asked.content) == ("POST", page.url, b'{"ids":["a"]}')
    spec = endpoint(sent, cursor=None, paging={"kind": "link", "limit": 5})
    asked = built(spec, page)
    assert (asked.method, asked.content) == ("GET", None)
