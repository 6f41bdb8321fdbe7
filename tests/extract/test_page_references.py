"""Where APIs say what follows: in a header, in the last row, under names with dots, by a flag.

Each is read over a socket to its end: the keys in order, and the requests.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest

from pipeline.config import Source
from pipeline.errors import ConfigError, ContractBroken
from pipeline.extract.completeness import CountReconciliation
from pipeline.extract.fetcher import PageFetcher
from pipeline.extract.plan import reader_of, shape_of
from pipeline.extract.position import (
    CannotResume,
    ExtractionProgress,
    ResumePosition,
    SequentialPosition,
)
from pipeline.messages import RequestCounts
from pipeline.model import split_path
from pipeline.pagination.more_flag import MoreFlag
from pipeline.pagination.numbered import OffsetPaging
from pipeline.pagination.page import PageContent, PageRequest
from pipeline.partitions.window import Window
from tests.dialects.test_requests import NOON
from tests.support.wire import Seen, answer, client_of, serving
from tests.support.yaml_sources import source_of

ROWS = [{"id": f"k{(n * 7) % 10}", "n": n, "sort": [NOON.year, f"k{n}"]} for n in range(10)]
KEYS = [str(row["id"]) for row in ROWS]
SOURCE = """
source: api
base_url: {url}
start: 2026-11-01
endpoints:
  items:
    request: {request}
    paging: {{limit: 3, {paging}}}
    rows: data
    key: [id]
    columns: {{id: string, n: int64, sort: json}}
"""
GET = "{params: {after: '{token}'}}"
POST = "{method: POST, json: {size: '{limit}', search_after: '{token}'}}"
Answers = Callable[[int, Seen], bytes]


def source(url: str, paging: str, request: str = GET, text: str = SOURCE) -> Source:
    return source_of(text.format(url=url, paging=paging, request=request))


def read(
    answers: Answers,
    paging: str,
    request: str = GET,
    position: ResumePosition | None = None,
    text: str = SOURCE,
) -> tuple[list[str], list[Seen], ExtractionProgress]:
    async def run() -> tuple[list[str], list[Seen], ExtractionProgress]:
        async with serving(answers) as wire:
            made = source(wire.url, paging, request, text)
            spec, keys = made.endpoints["items"], []
            window = Window("snapshot", None, NOON, 0.0)
            reader = spec.format.decoder(shape_of(spec), label="api/items")
            async with client_of(made) as client:
                pages = PageFetcher(client, made, "items", window, reader, RequestCounts())
                extraction = reader_of(spec, pages, window, 2)
                async for handed in extraction.run(position):
                    keys += handed.table["id"].to_pylist()
            return keys, wire.seen, extraction.progress

    return asyncio.run(run())


def begin(seen: Seen) -> int:
    """Where the page begins that a GET asks for."""
    after = parse_qs(urlsplit(seen.target).query).get("after", [""])[0]
    return KEYS.index(after) + 1 if after in KEYS else int(after or 0)


def page(start: int, **more: Any) -> dict[str, Any]:
    return {"data": ROWS[start : start + 3], "has_more": start + 3 < len(ROWS), **more}


def stripe(number: int, seen: Seen) -> bytes:
    return answer(page(begin(seen)))


@pytest.mark.parametrize(("more", "requests"), [("", 6), (", more: has_more", 4)])
def test_the_last_row_names_the_page_after_it(more: str, requests: int) -> None:
    keys, seen, reading = read(stripe, f"kind: token, last: id{more}")
    assert keys == KEYS
    assert len(seen) == requests, "an empty page is the end once it has come twice"
    assert (reading.contiguous, reading.proof_basis) == (True, "chain")


@pytest.mark.parametrize("kind", ["token", "link"])
@pytest.mark.parametrize("nothing", [None, "", 0])
def test_the_next_page_stands_at_the_first_of_two_places_that_has_one(
    kind: str, nothing: object
) -> None:
    def api(number: int, seen: Seen) -> bytes:
        start = begin(seen)
        after = KEYS[start + 2] if start + 3 < len(ROWS) else nothing
        following = f"/items?after={after}" if kind == "link" and after else after
        at = {"next_uri": following} if number % 2 else {"meta": {"next": following}}
        return answer(page(start, **{"next_uri": nothing, **at}))

    request = GET if kind == "token" else "{}"
    keys, seen, reading = read(api, f"kind: {kind}, next: [next_uri, meta.next]", request)
    assert keys == KEYS
    assert len(seen) == 4
    assert (reading.contiguous, reading.proof_basis) == (True, "chain")


def test_a_next_page_of_two_places_that_is_no_url_names_its_own_place() -> None:
    def api(number: int, seen: Seen) -> bytes:
        return answer(page(0, meta={"next": {"href": "/items"}}))

    with pytest.raises(
        ContractBroken, match=r"URL of the next page at `meta.next`.*meta.next.href"
    ):
        read(api, "kind: link, next: [next_uri, meta.next]", "{}")


def test_a_last_row_that_names_no_page_ends_nothing_in_silence() -> None:
    rows: list[dict[str, Any]] = [{"id": "a", "n": 1}, {"id": "b", "n": 0}, {"id": "c", "n": None}]

    def api(number: int, seen: Seen) -> bytes:
        after = parse_qs(urlsplit(seen.target).query).get("after")
        return answer({"data": rows[:2] if after is None else rows[2:] if after == ["0"] else []})

    with pytest.raises(ContractBroken, match=r"the last row of the page has no `n`, by which the"):
        read(api, "kind: token, last: n")
    rows[2]["n"] = 7
    assert read(api, "kind: token, last: n")[0] == ["a", "b", "c"]


class Dagster:
    """Runs behind the one that a cursor names: none if that one is deleted, with status 200."""

    def __init__(self, delete_at: int | None) -> None:
        self.rows, self._delete_at = list(ROWS), delete_at

    def __call__(self, number: int, seen: Seen) -> bytes:
        after = parse_qs(urlsplit(seen.target).query).get("after", [""])[0]
        if after and number == self._delete_at:
            self.rows = [row for row in self.rows if row["id"] != after]
        keys = [row["id"] for row in self.rows]
        start = 0 if not after else keys.index(after) + 1 if after in keys else len(keys)
        return answer({"data": self.rows[start : start + 3]})


@pytest.mark.parametrize(("delete_at", "passes"), [(2, 2), (3, 2), (5, 2), (None, 1)])
def test_a_row_that_is_deleted_ends_no_chain_in_silence(delete_at: int | None, passes: int) -> None:
    """All rows come that were there throughout; of the last one (5) it can't be told."""
    api = Dagster(delete_at)
    keys, _, reading = read(api, "kind: token, last: id")
    assert {row["id"] for row in api.rows} <= set(keys)
    assert len(keys) == len(set(keys))
    assert (reading.passes, reading.contiguous) == (passes, True)


def test_a_try_that_goes_on_behind_a_deleted_row_begins_again() -> None:
    counts = CountReconciliation(chained=True, received={0: 3})
    position = SequentialPosition(0, PageRequest(3, token=KEYS[2]), None, counts)
    assert read(Dagster(None), "kind: token, last: id", position=position)[0] == KEYS[3:]
    with pytest.raises(CannotResume):
        read(Dagster(delete_at=1), "kind: token, last: id", position=position)


@pytest.mark.parametrize("paging", ["kind: token, last: sort", "kind: token, next: place"])
def test_a_token_that_is_a_list_goes_back_as_it_came(paging: str) -> None:
    def elastic(number: int, seen: Seen) -> bytes:
        asked = json.loads(seen.body)
        assert asked.keys() <= {"size", "search_after"}
        after = asked.get("search_after")
        start = 0 if after is None else [row["sort"] for row in ROWS].index(after) + 1
        rows = ROWS[start : start + 3]
        return answer({"data": rows, "place": rows[-1]["sort"] if rows else []})

    keys, _, _ = read(elastic, paging, POST)
    assert keys == KEYS


@pytest.mark.parametrize("none", [None, 0, "", False, [], {}])
def test_a_number_goes_back_as_a_number(none: object) -> None:
    """And 0 is none, as with Twitter's cursors."""

    def api(number: int, seen: Seen) -> bytes:
        start = json.loads(seen.body).get("search_after", 0)
        assert type(start) is int
        return answer(page(start, next=start + 3 if start + 3 < len(ROWS) else none))

    assert read(api, "kind: token, next: next", POST)[0] == KEYS
    keys, _, _ = read(lambda n, seen: answer(page(begin(seen), next=begin(seen) + 3)),
                      "kind: token, next: next, more: has_more")  # fmt: skip
    assert keys == KEYS


@pytest.mark.parametrize("paging", ["header: next-page", "next: '@odata\\.nextLink'"])
def test_a_link_in_a_header_of_its_own_or_under_a_name_with_a_dot(paging: str) -> None:
    def api(number: int, seen: Seen) -> bytes:
        start = begin(seen)
        link = f"items?after={start + 3}" if start + 3 < len(ROWS) else None
        head = f"Next-Page: {link}" if link else ""
        return answer(page(start, **{"@odata.nextLink": link}), head=head)

    keys, seen, _ = read(api, f"kind: link, {paging}", "{}")
    assert keys == KEYS
    assert len(seen) == 4


def test_a_flag_ends_links_that_lead_on_for_ever() -> None:
    """As Zendesk's do; without the flag they go round in a circle."""

    def api(number: int, seen: Seen) -> bytes:
        return answer(page(begin(seen), next=f"/items?after={min(begin(seen) + 3, 10)}"))

    keys, seen, _ = read(api, "kind: link, next: next, more: has_more", "{}")
    assert keys == KEYS
    assert len(seen) == 4
    with pytest.raises(ContractBroken, match="no new row"):
        read(api, "kind: link, next: next", "{}")


URL = "https://api.test/items?after=3"
AT_ONCE = SOURCE + "retries: {{errors: 0}}\n"
THROUGH = "kind: link, next: links.next"


@pytest.mark.parametrize(
    ("paging", "members", "said"),
    [
        (THROUGH, {"links": URL}, f'leads through `links`, which is "{URL}"'),
        (THROUGH, {"links": [{"next": URL}]}, "leads through `links`, which is [{"),
        (THROUGH, {"links": 3}, "`links`, which is 3: expected an object with `next` there"),
        (THROUGH, {"links": True}, "`links`, which is true"),
        ("kind: link, next: a.b.next", {"a": {"b": URL}}, "leads through `a.b`, which is"),
        ("kind: link, next: data.next", {}, "leads through `data`, which is [{"),
        (THROUGH, {"links": {"next": {"href": URL}}}, "further in where an object has the URL"),
        (THROUGH, {"links": {"next": 2}}, "expected the URL of the next page at `links.next`"),
        ("kind: token, next: meta.next", {"meta": "k1"}, 'leads through `meta`, which is "k1"'),
        ("kind: token, last: id, total: meta.total", {"meta": 10}, "through `meta`, which is 10"),
        ("kind: token, last: id, more: meta.more", {"meta": "yes"}, 'through `meta`, which is "'),
        ("kind: token, last: id, more: '!end'", {"end": {"is": False}}, "a single value at `end`"),
        ("kind: page, pages: meta.pages", {"meta": "4"}, 'leads through `meta`, which is "4"'),
        ("kind: page, more: meta.more", {"meta": [1]}, "leads through `meta`, which is [1]"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_path_that_leads_through_what_is_no_object_ends_nothing_in_silence(
    paging: str, members: dict[str, Any], said: str, first: bool
) -> None:
    """On the first page, and on a later one, which is read as the first one was."""
    kind = paging.split()[1].rstrip(",")
    link = {"next": "/items?after=3"}
    usual: dict[str, Any] = {"links": link, "meta": {"next": "3"}, "a": {"b": link}}
    usual = usual if "next" in paging else {}
    request = {"link": "{}", "page": "{params: {after: '{page}'}}"}.get(kind, GET)

    def api(number: int, seen: Seen) -> bytes:
        odd = first or number > 1
        return answer({"data": ROWS[:3] if odd else ROWS[3:6], **(members if odd else usual)})

    with pytest.raises(ContractBroken) as raised:
        read(api, paging, request, text=AT_ONCE)
    assert said in str(raised.value)


@pytest.mark.parametrize("end", [None, {}, [], "", {"next": None}, "absent"])
def test_what_is_absent_on_the_way_to_the_next_page_is_an_end(end: object) -> None:
    """An empty list is PHP's empty object."""

    def api(number: int, seen: Seen) -> bytes:
        start = begin(seen)
        if start + 3 < len(ROWS):
            return answer(page(start, links={"next": f"items?after={start + 3}"}))
        return answer(page(start, **({} if end == "absent" else {"links": end})))

    assert read(api, THROUGH, "{}")[0] == KEYS


def test_a_path_may_lead_through_an_item_of_a_list() -> None:
    def api(number: int, seen: Seen) -> bytes:
        start = begin(seen)
        links = [{"next": f"items?after={start + 3}"}] if start + 3 < len(ROWS) else []
        return answer(page(start, links=links))

    assert read(api, "kind: link, next: links.0.next", "{}")[0] == KEYS


def test_a_path_outside_the_rows_of_a_body_that_is_a_list_is_refused() -> None:
    with pytest.raises(ContractBroken, match="leads through the body, which is"):
        read(
            lambda n, seen: answer(ROWS[:3]), THROUGH, "{}", text=AT_ONCE.replace("rows: data", "")
        )


def test_a_flag_that_is_nowhere_ends_nothing() -> None:
    assert read(stripe, "kind: token, last: id, more: hasMore")[0] == KEYS


@pytest.mark.parametrize(
    ("paging", "said"),
    [
        ("kind: token", "`paging.last` (a column of the last row, e.g. `id`)"),
        ("kind: token, last: id, header: x", "keep one of `next`, `header` and `last`"),
        ("kind: link, next: a, header: x", "keep one of `next`, `header` and `last`"),
        ("kind: token, last: uid", "the token is the last row's `uid`: declare it"),
        ("kind: link, next: '@odata.nextLink'", r"write '@odata\.nextLink'"),
        ("kind: link, next: a.odata.next", r"write 'a.odata\.next'"),
        ("kind: link, next: [a, b.odata.next]", r"write 'b.odata\.next'"),
        ("kind: token, next: []", "paging.next"),
    ],
)
def test_a_place_that_can_t_be_is_refused(paging: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        source("http://api.test", paging)
    assert said in str(raised.value)


def test_a_path_leads_through_members_and_a_name_may_have_dots() -> None:
    assert split_path("a.b") == ("a", "b")
    assert split_path("") == ()
    assert split_path(r"d.@odata\.nextLink") == ("d", "@odata.nextLink")
    assert split_path(r"a\.b\.c.d") == ("a.b.c", "d")


@pytest.mark.parametrize(
    ("value", "total"),
    [("0-24/60", 60), ("items 0-24/60", 60), ("0-24/*", None), ("*/0", 0), ("60", 60)],
)
def test_a_total_in_a_content_range(value: str, total: int | None) -> None:
    paging = OffsetPaging(limit=25, total_header="Content-Range")
    content = PageContent(pa.table({}), headers={"content-range": value})
    assert paging.total_of(content) == total


@pytest.mark.parametrize("word", ["N", "No", "FALSE", "false", "0", "off", 0, False, 0.0, " "])
def test_a_flag_that_says_no_in_words(word: object) -> None:
    assert MoreFlag(at="more").follows(word) is False
    assert MoreFlag(at="last", value=False).follows(word) is True
