"""Feeds, and what a 304 to the validators of the day before makes of a partition."""

import asyncio
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config import Source, load_source
from pipeline.errors import ConfigError
from pipeline.extract.feed import Feed, FeedPage, reaches_back, validators_of
from pipeline.http.client import open_client
from pipeline.lake.files import key_rows
from pipeline.lake.manifest import Manifest
from pipeline.lake.s3 import Lake
from pipeline.messages import HttpRequest, HttpResponse, RequestCounts
from pipeline.ratelimit import Limits, RateWindow, open_budget
from sourcetool.check import Wanted, check
from tests.support.runs import extract, outcome_of, serving

pytestmark = pytest.mark.slow

FIRST, SECOND, THIRD, FOURTH = (f"2026-11-0{day}" for day in range(1, 5))


def night(day: str, hour: int = 1, minute: int = 30) -> datetime:
    """When the daily run of a day comes: in the night after it."""
    return datetime.fromisoformat(f"{day}T00:00Z") + timedelta(days=1, hours=hour, minutes=minute)


def row(key: int, at: str) -> dict[str, Any]:
    return {"id": key, "at": f"2026-{at}Z"}


@dataclass
class Api:
    """A feed with the ETag of its page's bytes, newest row first unless told otherwise."""

    url: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)
    page: int = 1_000
    newest_first: bool = True

    async def answer(self, request: Request) -> Response:
        at = int(request.query_params.get("from", "0"))
        rows = sorted(self.rows, key=lambda one: str(one["at"]), reverse=self.newest_first)
        body = json.dumps(rows[at : at + self.page]).encode()
        headers = {"ETag": f'W/"{hashlib.sha256(body).hexdigest()[:16]}"'}
        self.asked.append(request.headers.get("if-none-match"))
        if self.asked[-1] == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        if at + self.page < len(rows):
            headers["Link"] = f'<{self.url}/feed?from={at + self.page}>; rel="next"'
        return Response(body, headers=headers, media_type="application/json")


@pytest.fixture
def api() -> Iterator[Api]:
    found = Api()

    async def plain(request: Request) -> Response:
        return Response(json.dumps(found.rows), media_type="application/json")

    routes = [Route("/feed", found.answer), Route("/plain", plain)]
    with serving(Starlette(routes=routes)) as url:
        found.url = url
        yield found


def yaml_of(
    url: str, more: str = "conditional: true", window: str = "start: none, end: none"
) -> str:
    return (
        f"source: shop\nbase_url: {url}\nstart: {FIRST}\nendpoints:\n  feed:\n"
        f"    window: {{{window}}}\n    key: [id]\n    cursor: at\n"
        f'    columns: {{id: int64, at: "timestamp[iso]"}}\n'
        + "".join(f"    {line}\n" for line in more.splitlines())
    )


def source_of(folder: Path, url: str, *args: str) -> Source:
    file = folder / "shop.yaml"
    file.write_text(yaml_of(url, *args))
    return load_source(file, {})


class Days:
    """Runs a day at a time, as the schedule does."""

    def __init__(self, source: Source, lake: Lake) -> None:
        self.source, self.lake = source, lake

    def run(self, day: str, **when: int) -> Manifest:
        return extract(self.source, self.lake, "feed", [day], night(day, **when))[0]

    def keys(self, manifest: Manifest) -> list[int]:
        return sorted(key_rows(self.lake, manifest.files, ["id"])["id"].to_pylist())


@pytest.fixture
def days(api: Api, lake: Lake, tmp_path: Path) -> Days:
    api.rows = [row(1, "10-20T12:00:00"), row(2, "11-01T12:00:00")]
    return Days(source_of(tmp_path, api.url), lake)


def test_a_304_is_an_empty_partition_until_something_is_new(days: Days, api: Api) -> None:
    assert days.keys(days.run(FIRST)) == [1, 2]
    for day in (SECOND, THIRD):
        quiet = days.run(day)
        assert (quiet.files, quiet.rows, quiet.requests) == ((), 0, 1)
        assert quiet.proof.not_modified
        assert quiet.watermark == f"{night(day):%Y-%m-%d}T00:00:00Z"
    assert api.asked == [None, api.asked[1], api.asked[1]]
    api.rows.append(row(3, "11-04T12:00:00"))
    fresh = days.run(FOURTH)
    assert days.keys(fresh) == [3]
    assert not fresh.proof.not_modified
    assert [column["name"] for column in fresh.columns] == ["id", "at", "_extracted_at"]


def test_rows_that_came_after_the_day_are_not_lost_by_the_next_ones_304(
    days: Days, api: Api
) -> None:
    api.rows.append(row(3, "11-02T00:30:00"))  # there when the first day is read, an hour later
    assert days.keys(days.run(FIRST)) == [1, 2]
    assert days.keys(days.run(SECOND)) == [3]
    assert api.asked == [None, None]
    assert days.run(THIRD).proof.not_modified


def test_a_day_with_rows_is_read_and_not_asked_about(days: Days, api: Api) -> None:
    before = [*api.rows]
    days.run(FIRST)
    api.rows.append(row(3, "11-02T12:00:00"))
    assert days.keys(days.run(SECOND)) == [3]
    assert days.keys(days.run(SECOND, hour=3)) == [3]
    api.rows = before  # as the first day saw it: a 304, if it were asked for
    assert days.run(SECOND, hour=4).proof.not_modified is False
    assert api.asked[2:] == [None, None]


def test_the_baseline_is_always_read(days: Days, api: Api) -> None:
    days.run(FIRST)
    days.run(SECOND)
    assert days.keys(days.run(FIRST, hour=30)) == [1, 2]
    assert api.asked[-1] is None


def test_days_side_by_side_are_read(days: Days, api: Api) -> None:
    api.rows.append(row(3, "11-02T12:00:00"))
    first, second = extract(days.source, days.lake, "feed", [FIRST, SECOND], night(SECOND))
    assert (days.keys(first), days.keys(second)) == ([1, 2], [3])
    assert api.asked == [None, None]
    assert days.run(THIRD).proof.not_modified
    del api.asked[:]
    extract(days.source, days.lake, "feed", [THIRD, FOURTH], night(FOURTH))
    assert sum(asked is None for asked in api.asked) == 1  # what THIRD knew is being replaced


def test_validators_of_another_definition_are_not_used(
    days: Days, api: Api, tmp_path: Path
) -> None:
    days.run(FIRST)
    more = "conditional: true\nsafety_margin_s: 200000"
    wider = Days(source_of(tmp_path, api.url, more), days.lake)
    assert wider.keys(wider.run(SECOND)) == [2]
    assert api.asked == [None, None]


def test_without_conditional_no_condition_is_sent(api: Api, lake: Lake, tmp_path: Path) -> None:
    api.rows = [row(1, "10-20T12:00:00")]
    plain = Days(source_of(tmp_path, api.url, "batch_rows: 10"), lake)
    assert [plain.run(day).rows for day in (FIRST, SECOND)] == [1, 0]
    assert api.asked == [None, None]


@pytest.mark.parametrize(("newest_first", "sent"), [(True, True), (False, False)])
def test_a_first_page_tells_of_a_chain_only_if_new_rows_come_first(
    api: Api, lake: Lake, tmp_path: Path, newest_first: bool, sent: bool
) -> None:
    api.page, api.newest_first = 4, newest_first
    api.rows = [row(key, f"10-{10 + key}T12:00:00") for key in range(1, 11)]
    more = "conditional: true\npaging: {kind: link, limit: 4}"
    days = Days(source_of(tmp_path, api.url, more), lake)
    assert days.run(FIRST).rows == 10
    days.run(SECOND)
    assert [asked is not None for asked in api.asked] == [False] * 3 + (
        [True] if sent else [False] * 3
    )
    api.rows.append(row(11, "11-03T12:00:00"))
    assert days.keys(days.run(THIRD)) == [11]


def test_a_feed_that_has_forgotten_is_said(days: Days, api: Api, lake: Lake) -> None:
    days.run(FIRST)
    api.rows = [row(9, "11-02T12:00:00")]
    outcome, _ = outcome_of(days.source, lake, "feed", [SECOND], night(SECOND))
    checks = {check.name: check for check in outcome.results[0].checks}
    assert not checks["feed_reaches_back"].passed
    assert "rows may have left the feed unseen" in checks["feed_reaches_back"].detail


@pytest.mark.parametrize(
    ("more", "window", "said"),
    [
        ("conditional: true", "start: none", r"shop.yaml:\d+: .*needs the window in its request"),
        (
            'conditional: true\nrequest: {params: {from: "{start}"}}',
            "end: none",
            "`conditional` needs a request that is the same every day: take {start} and {end} out",
        ),
        ("conditional: true\ncursor: null", "end: none", "is the whole collection: use `cache`"),
        (
            'conditional: true\npaging: {kind: page, limit: 9}\nrequest: {params: {p: "{page}"}}',
            "start: none, end: none",
            "`conditional` can't be used with paging of kind `page`",
        ),
        (
            "conditional: true\nrequest: {method: POST}",
            "start: none, end: none",
            "`conditional` is for GET",
        ),
        ("conditional: true\ncount: {}", "start: none, end: none", "leave `count` out"),
        ("sweep: true", "start: none, end: none", "a sweep would take them for deleted"),
        (
            'request: {params: {from: "{start}"}}',
            "start: none, end: none",
            "the request has {start}, but `window.start` is none",
        ),
        ("paging: {kind: link, limit: 9, slices: 2}", "start: none, end: none", "in slices"),
    ],
)
def test_what_would_lose_rows_is_refused(tmp_path: Path, more: str, window: str, said: str) -> None:
    if "cursor: null" in more:
        text = yaml_of("http://h", more.replace("\ncursor: null", ""), window)
        text = text.replace("    cursor: at\n", "")
    else:
        text = yaml_of("http://h", more, window)
    file = tmp_path / "shop.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as refused:
        load_source(file, {})
    assert "shop.yaml:" in str(refused.value)


def test_which_validators_are_relied_on() -> None:
    modified = datetime(2026, 11, 1, 12, tzinfo=UTC)
    date = {"last-modified": format_datetime(modified, usegmt=True)}

    def answered(seconds: int) -> str:
        return format_datetime(modified + timedelta(seconds=seconds), usegmt=True)

    assert validators_of({**date, "date": answered(1)}) == {
        "If-Modified-Since": date["last-modified"]
    }
    assert validators_of({**date, "date": answered(0)}) == {}  # it may change within that second
    assert validators_of(date) == {}
    assert validators_of({**date, "date": answered(9), "etag": '"x"'}) == {"If-None-Match": '"x"'}
    for odd in ('"é"', '"a\nb"', "x" * 600, " "):
        assert validators_of({"etag": odd}) == {}
    assert validators_of({"last-modified": "yesterday", "date": answered(9)}) == {}


END = datetime(2026, 11, 2, tzinfo=UTC)
ETAG = {"etag": '"x"'}


def kept(*pages: list[int | None], chain: bool = True) -> bool:
    """Whether the validators of a feed with these cursors are kept."""
    return bool(watched(*pages, chain=chain).notes().validators)


def watched(*pages: list[int | None], chain: bool = True) -> Feed:
    """A feed whose pages had these cursors, minutes before the end."""
    feed = Feed(None, END, chain=chain)
    for number, page in enumerate(pages or [[]]):
        at = [None if m is None else END - timedelta(minutes=m) for m in page]
        cursors = pa.chunked_array([pa.array(at, pa.timestamp("us", tz="UTC"))])
        feed.record(FeedPage.of(cursors, ETAG), is_first=number == 0)
    return feed


@pytest.mark.parametrize(
    ("pages", "chain", "told"),
    [
        ([[1, 2, 3]], True, True),
        ([[1, 2], [2, 3]], True, True),
        ([[]], True, True),
        ([[3, 2, 1]], True, False),
        ([[2, 2]], True, False),  # which of the two orders it is, is not known
        ([[2, 3], [1, 4]], True, False),
        ([[1, 2], [3, None]], True, False),
        ([[3, None, 1]], False, True),
        ([[0, 1]], False, False),  # at the end: of the next partition
        ([[1, -5]], False, False),
    ],
)
def test_when_an_unchanged_first_page_means_nothing_new(
    pages: list[list[int | None]], chain: bool, told: bool
) -> None:
    assert kept(*pages, chain=chain) is told


def test_how_far_a_feed_reaches_back() -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    assert reaches_back("2026-10-31T23:59:59+00:00", start)[0]
    assert not reaches_back("2026-11-01T00:00:00+00:00", start)[0]
    assert not reaches_back(None, start)[0]


@pytest.mark.parametrize(
    ("pages", "reach"),
    [
        ([[1, 2], [3, 4]], 4),
        ([[4, 3], [2, 1]], 4),
        ([[99, 1, 2], [3, 4]], 4),  # the first one is pinned there
        ([[99, 98, 1]], 99),
        ([[1, 3, 2]], 2),  # which is less than there is, and errs on the safe side
        ([[5]], 5),
        ([[None, 5], [None]], 5),
        ([[]], None),
    ],
)
def test_how_far_a_feed_reaches_is_how_old_the_row_is_that_leaves_it_next(
    pages: list[list[int | None]], reach: int | None
) -> None:
    found = watched(*pages).notes().feed_from
    assert found == (None if reach is None else (END - timedelta(minutes=reach)).isoformat())


@pytest.mark.parametrize("free", [True, False])
def test_a_304_that_the_api_does_not_count_is_given_back(
    api: Api, tmp_path: Path, free: bool
) -> None:
    windows = "windows: [{requests: 3, per_s: 3600}, {requests: 2, per_s: 0.1}]"
    limits = f"limits: {{{windows}, not_modified_is_free: {str(free).lower()}}}\n"
    file = tmp_path / "shop.yaml"
    file.write_text(yaml_of(api.url).replace("endpoints:", f"{limits}endpoints:"))
    hourly = Limits((RateWindow(3, 3600.0), RateWindow(2, 0.1)), 1)

    async def nothing(answer: HttpResponse) -> int:
        return answer.status

    async def main() -> list[int]:
        opened = open_budget(f"free-{free}", hourly, "memory")
        async with open_client(load_source(file, {}), opened) as client:
            plain = HttpRequest("GET", f"{api.url}/feed")
            etag = {"If-None-Match": (await client.fetch(plain, header, "page", RequestCounts()))}
            again = HttpRequest("GET", f"{api.url}/feed", headers=etag)
            async with asyncio.timeout(1.5):
                return [
                    await client.fetch(again, nothing, "page", RequestCounts()) for _ in range(9)
                ]

    async def header(answer: HttpResponse) -> str:
        return answer.headers["etag"]

    if free:
        assert asyncio.run(main()) == [304] * 9
    else:
        with pytest.raises(TimeoutError):
            asyncio.run(main())
        assert len(api.asked) == 3


def test_what_is_free_needs_a_second_window_for_its_pace(tmp_path: Path) -> None:
    limits = "limits: {windows: [{requests: 9, per_s: 60}], not_modified_is_free: true}\n"
    file = tmp_path / "shop.yaml"
    file.write_text(yaml_of("http://h").replace("endpoints:", f"{limits}endpoints:"))
    with pytest.raises(ConfigError, match="needs a second, shorter window"):
        load_source(file, {})


@pytest.mark.parametrize("tagged", [True, False])
def test_check_source_says_if_there_can_be_no_304(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tagged: bool
) -> None:
    monkeypatch.setenv("HEADRACE_BUDGET", "memory")
    api.rows = [row(1, "10-20T12:00:00"), row(2, "11-01T12:00:00")]
    file = tmp_path / "shop.yaml"
    path = "feed" if tagged else "plain"
    file.write_text(yaml_of(api.url, f"conditional: true\npath: {path}"))
    console = Console(file=io.StringIO(), width=120, soft_wrap=True)
    assert check(str(file), Wanted([], 2, 30), console) == 0
    assert isinstance(console.file, io.StringIO)
    assert ("there can be no 304" in console.file.getvalue()) is not tagged
