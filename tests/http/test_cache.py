"""The response cache, against a server that counts what comes over the socket."""

import asyncio
import io
import json
import logging
import resource
import sqlite3
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline import ratelimit
from pipeline.config import Source, load_source
from pipeline.decode.body_checks import BadBody
from pipeline.errors import ConfigError
from pipeline.http.cache import CachingSender, cached
from pipeline.http.client import open_client
from pipeline.http.request_batching import batching
from pipeline.http.response_store import FILE, MAX_BYTES, listed, open_store
from pipeline.messages import CachePolicy, HttpRequest, HttpResponse, RequestCounts
from sourcetool.deployment import cache
from sourcetool.probe import look, window_of
from tests.support.runs import LIMITS, serving

KEY = "k3y-that-nobody-may-read"
BODY = b'[{"id": 1, "name": "new"}]'


@dataclass
class Api:
    """What came, and what the next answers are."""

    url: str = ""
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    status: int = 200
    body: bytes = BODY
    headers: dict[str, str] = field(default_factory=dict)

    async def answer(self, request: Request) -> Response:
        self.seen.append((str(request.url), dict(request.headers), await request.body()))
        asked = request.headers.get("if-none-match") or request.headers.get("if-modified-since")
        if asked is not None and asked in self.headers.values():
            return Response(status_code=304, headers=self.headers)
        return Response(self.body, self.status, {**self.headers, "set-cookie": f"s={KEY}"})


@pytest.fixture
def api() -> Iterator[Api]:
    found = Api()
    route = Route("/v1/{rest:path}", found.answer, methods=["GET", "POST"])
    with serving(Starlette(routes=[route])) as url:
        found.url = url
        yield found


def source_of(api: Api, folder: Path, place: str = "header", key: str = KEY) -> Source:
    file = folder / "shop.yaml"
    file.write_text(
        f"source: shop\nbase_url: {api.url}/v1\nstart: 2026-11-01\n"
        f"auth: {{kind: api_key, name: x-key, place: {place}, key: {key}}}\n"
        "retries: {errors: 1, first_wait_s: 0.01}\n"
        "endpoints:\n  statuses: {key: [id], cache: medium}\n  plain: {key: [id]}\n"
    )
    return load_source(file, {})


class Runs:
    """Requests as runs send them: each call is a run of its own, with its own client."""

    def __init__(self, source: Source, folder: Path | None) -> None:
        self.source = source
        self.folder = folder
        self.now_s = 1_800_000_000.0
        self.slots = 0

    @property
    def file(self) -> Path:
        assert self.folder is not None
        return self.folder / FILE

    def ask(self, path: str = "statuses", times: int = 1, **more: Any) -> list[Any]:
        return asyncio.run(self._ask(path, times, **more))

    async def _ask(
        self, path: str, times: int, keep: bool = True, content: bytes | None = None
    ) -> list[Any]:
        async def read(answer: HttpResponse) -> Any:
            try:
                return json.loads(bytes(answer.body))
            except ValueError:
                raise BadBody("not JSON") from None

        request = HttpRequest(
            "GET" if content is None else "POST",
            f"{self.source.base_url}/{path}",
            content=content,
            keep=CachePolicy(path, 3600.0) if keep else None,
        )
        async with AsyncExitStack() as stack:
            opened = ratelimit.open_budget("shop", LIMITS, "memory")
            # No certificates are read: they would take most of this test's time.
            plain = httpx.AsyncHTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
            client = await stack.enter_async_context(
                open_client(self.source, opened, transport=plain)
            )
            others = await stack.enter_async_context(batching(client, self.source))
            folder = None if self.folder is None else str(self.folder)
            store = await stack.enter_async_context(open_store(folder))
            sender = CachingSender(
                client, others, store, self.source, client.secrets, lambda: self.now_s
            )
            found = [
                await sender.fetch(request, read, "page", RequestCounts()) for _ in range(times)
            ]
            self.slots += client.budget.stats.requests
        return found


def labels(runs: Runs) -> list[str]:
    return [entry.label for entry in listed(str(runs.folder))]


def indexes_of(runs: Runs) -> list[str]:
    """Those that the store has made, and not SQLite for the key."""
    made = "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
    with closing(sqlite3.connect(runs.file)) as db:
        return [name for (name,) in db.execute(made)]


@pytest.fixture
def runs(api: Api, tmp_path: Path) -> Runs:
    return Runs(source_of(api, tmp_path), tmp_path / "cache")


def test_a_young_answer_sends_nothing_and_takes_no_place_in_the_budget(
    api: Api, runs: Runs
) -> None:
    assert runs.ask() == runs.ask() == [json.loads(BODY)]
    runs.now_s += 3599
    assert runs.ask() == [json.loads(BODY)]
    assert len(api.seen) == 1
    assert runs.slots == 1


def test_an_old_answer_is_asked_for_again(api: Api, runs: Runs) -> None:
    runs.ask()
    api.body = b"[]"
    runs.now_s += 3600
    assert runs.ask() == [[]]
    assert runs.ask() == [[]]
    assert len(api.seen) == 2


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"etag": '"v1"'}, "if-none-match"),
        ({"last-modified": "Sun, 01 Nov 2026 00:00:00 GMT"}, "if-modified-since"),
    ],
)
def test_a_304_serves_what_is_kept_and_makes_it_young(
    api: Api, runs: Runs, given: dict[str, str], asked: str
) -> None:
    api.headers = given
    runs.ask()
    runs.now_s += 7200
    assert runs.ask() == [json.loads(BODY)]
    assert asked in api.seen[1][1]
    runs.now_s += 3599
    assert runs.ask() == [json.loads(BODY)]
    assert len(api.seen) == 2
    api.headers, api.body = {"etag": '"v2"'}, b"[2]"
    runs.now_s += 1
    assert runs.ask() == [[2]]
    assert runs.ask() == [[2]]
    assert len(api.seen) == 3


def test_who_asks_and_the_body_tell_requests_apart(api: Api, runs: Runs, tmp_path: Path) -> None:
    runs.ask()
    Runs(source_of(api, tmp_path, key="another-key"), runs.folder).ask()
    assert [seen[1]["x-key"] for seen in api.seen] == [KEY, "another-key"]
    for content in (b"offset 0;", b"offset 1;", b"offset 0;"):
        runs.ask("games", content=content)
    assert [seen[2] for seen in api.seen[2:]] == [b"offset 0;", b"offset 1;"]


@pytest.mark.parametrize("place", ["header", "query"])
def test_no_credential_is_in_the_folder(api: Api, tmp_path: Path, place: str) -> None:
    runs = Runs(source_of(api, tmp_path, place), tmp_path / "cache")
    runs.ask()
    api.body = json.dumps({"next": f"/v1/statuses?x-key={KEY}&page=2"}).encode()
    runs.ask("echo", times=2)
    assert len(api.seen) == 3, "an answer that repeats the key is not kept"
    assert KEY in api.seen[0][0] + api.seen[0][1].get("x-key", "")
    kept = b"".join(f.read_bytes() for f in (tmp_path / "cache").iterdir())
    assert BODY in kept
    assert KEY.encode() not in kept


def test_only_what_was_read_well_is_kept(api: Api, runs: Runs) -> None:
    api.body = b"<html>"
    with pytest.raises(Exception, match="not JSON"):
        runs.ask()
    api.body, api.status = BODY, 206
    runs.ask()
    api.status = 200
    before = len(api.seen)
    runs.ask()
    runs.ask()
    assert len(api.seen) == before + 1


def test_what_is_asked_twice_in_a_run_is_doubted(api: Api, runs: Runs) -> None:
    runs.ask()
    runs.ask(times=2)
    assert len(api.seen) == 2


def test_other_endpoints_are_as_they_were(api: Api, runs: Runs) -> None:
    runs.ask("plain", keep=False)
    runs.ask("plain", keep=False)
    assert len(api.seen) == runs.slots == 2
    assert listed(str(runs.folder)) == []


def test_an_endpoint_of_the_yaml_has_its_cache(api: Api, tmp_path: Path) -> None:
    source = source_of(api, tmp_path)

    async def read(name: str, folder: str | None) -> int:
        async with (
            open_client(source, ratelimit.open_budget("shop", LIMITS, "memory")) as client,
            batching(client, source) as others,
            cached(client, others, source, folder) as sender,
        ):
            window = window_of(source.endpoints[name], datetime.now(UTC), 1)
            seen = await look(source, name, sender, window)
            assert seen.error is None
            return int(seen.pages[0].table.num_rows)

    for name, folder in (
        ("statuses", str(tmp_path / "cache")),
        ("statuses", None),
        ("plain", None),
    ):
        assert [asyncio.run(read(name, folder)) for _ in range(2)] == [1, 1]
    asked = [url.rpartition("/")[2] for url, _, _ in api.seen]
    assert asked == ["statuses", "statuses", "plain", "plain"]


def test_a_disk_that_is_full_costs_the_cache_and_no_answer(
    api: Api, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    api.body = json.dumps([{"id": 1, "name": "x" * 500_000}]).encode()
    api.headers = {"etag": '"one"'}
    assert runs.ask() == [json.loads(api.body)]  # the file is there
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, before[1]))
    try:
        assert runs.ask("another", times=2) == [json.loads(api.body)] * 2
        runs.now_s += 3601
        assert runs.ask() == [json.loads(api.body)]  # a 304, of which no note can be made
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert KEY not in caplog.text
    assert runs.ask() == [json.loads(api.body)]


@pytest.mark.parametrize("what", ["no database", "a folder", "nothing, in a folder for readers"])
def test_a_file_that_can_t_be_used_is_said_at_once(api: Api, runs: Runs, what: str) -> None:
    """And not by a stack trace for each request, while the API is asked for everything anew."""
    assert runs.folder is not None
    there = runs.folder / "responses.db"
    there.parent.mkdir(exist_ok=True)
    if what == "no database":
        there.write_text("power was lost while this was written " * 200)
    elif what == "a folder":
        there.mkdir()
    elif Path("/sys/kernel").is_dir():
        runs.folder = Path("/sys/kernel")  # where root may not write either
    else:
        pytest.skip("a folder that root can't write is to be had on Linux only")
    with pytest.raises(
        ConfigError, match=r"HEADRACE_CACHE: .*responses\.db can't be used \(\w.*\)"
    ):
        runs.ask()
    assert api.seen == []


def test_only_its_owner_may_read_the_folder(runs: Runs) -> None:
    runs.ask()
    assert runs.folder is not None
    assert runs.folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in runs.folder.iterdir()} == {0o600}


def test_what_was_used_longest_ago_makes_room(
    api: Api, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.body = json.dumps(["x" * 100_000]).encode()
    monkeypatch.setitem(MAX_BYTES, "folder", 260_000)
    for path in ("first", "second", "first", "third"):
        runs.ask(path)
    assert labels(runs) == ["shop/first", "shop/third"]


def test_a_response_that_has_no_room_leaves_the_others_alone(
    api: Api, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it leave an earlier one under its key, which would be read as young again."""
    monkeypatch.setitem(MAX_BYTES, "folder", 260_000)
    runs.ask("small")
    runs.ask("large")
    api.body = json.dumps(["x" * 300_000]).encode()
    assert runs.ask("large", times=2) == [json.loads(BODY), json.loads(api.body)]
    assert labels(runs) == ["shop/small"]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """SQLite's own count of its steps, on all connections that are opened."""
    connect, counts = sqlite3.connect, Counter[str]()

    def counting(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*args, **kwargs)
        db.set_progress_handler(lambda: counts.update(["steps"]), 1)
        return db

    monkeypatch.setattr(sqlite3, "connect", counting)
    return counts


def filled(runs: Runs, entries: int, *, expired: bool) -> int:
    """Copy the one entry of a file, which stays the youngest. Returns the bytes in use."""
    stored_at_s, kept_s = ("0.0", "0.0") if expired else ("stored_at_s", "kept_s")
    with closing(sqlite3.connect(runs.file)) as db, db:
        db.execute(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers "
            "WHERE n < ?) INSERT INTO responses SELECT key || n, status, "
            f"{stored_at_s}, used_at_s - 1000 + n / 10.0, {kept_s}, can_ask, bytes, headers, body "
            "FROM responses, numbers",
            (entries - 1,),
        )
        pages, free, page_bytes = (
            int(db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * page_bytes


@pytest.mark.parametrize("state", ["young", "expired", "full"])
def test_an_entry_costs_the_same_however_many_there_are(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Counter[str], state: str
) -> None:
    costs = []
    for entries in (300, 3_000):
        runs = Runs(source_of(api, tmp_path), tmp_path / f"cache-of-{entries}")
        runs.ask("first")
        used_bytes = filled(runs, entries, expired=state == "expired")
        if state == "full":
            monkeypatch.setitem(MAX_BYTES, "folder", used_bytes - 3 * 4096)
        steps.clear()
        runs.ask("new")
        costs.append(steps["steps"])
        with closing(sqlite3.connect(runs.file)) as db:
            (rows,) = db.execute("SELECT count(*) FROM responses").fetchone()
        assert (rows < entries) == (state != "young")
        monkeypatch.setitem(MAX_BYTES, "folder", 2**30)
    assert costs[1] < 3 * costs[0], costs


def test_what_has_expired_goes_bit_by_bit(api: Api, runs: Runs) -> None:
    runs.ask("first")
    filled(runs, 250, expired=True)
    left = []
    for path in ("second", "third", "fourth"):
        runs.ask(path)
        with closing(sqlite3.connect(runs.file)) as db:
            left += db.execute("SELECT count(*) FROM responses").fetchone()
    assert left == [151, 52, 4]


def test_entries_of_an_earlier_version_stay(api: Api, runs: Runs) -> None:
    """Their file has no indexes, and gets them."""
    runs.ask()
    dropped = indexes_of(runs)
    with closing(sqlite3.connect(runs.file)) as db:
        for index in dropped:
            db.execute(f"DROP INDEX {index}")
    runs.ask()
    runs.ask("another")
    assert [url.rpartition("/")[2] for url, _, _ in api.seen] == ["statuses", "another"]
    assert len(dropped) == 2
    assert indexes_of(runs) == dropped


def test_a_store_of_another_version_begins_anew(
    api: Api, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    runs.ask()
    with closing(sqlite3.connect(runs.file)) as db:
        db.execute("DROP INDEX responses_by_use")
        db.execute("DROP INDEX responses_by_end")
        db.execute("ALTER TABLE responses DROP COLUMN used_at_s")
        db.execute("PRAGMA user_version = 7")
    runs.ask()
    runs.ask()
    assert len(api.seen) == 2
    assert "of version 7 and begins anew" in caplog.text


def test_the_memory_of_the_process(api: Api, runs: Runs) -> None:
    runs.folder = None
    assert runs.ask() == runs.ask()
    assert len(api.seen) == 1


def test_the_commands(api: Api, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("statuses", "posts/1/votes", "posts/2/votes"):
        runs.ask(path)
    monkeypatch.setenv("HEADRACE_CACHE", str(runs.folder))

    def said(clearing: bool, source: str | None = None, pattern: str | None = None) -> str:
        console = Console(file=(text := io.StringIO()), width=200)
        assert cache(source, pattern, console, clearing=clearing) == 0
        return text.getvalue()

    assert "shop/posts/1/votes" in said(False)
    assert said(True, "other") == "0 removed\n"
    assert said(True, "shop", "shop/posts/*") == "2 removed\n"
    assert said(True, pattern="nothing of that") == "0 removed\n"
    assert said(False).endswith("1 responses\n")
    runs.ask("posts/1/votes")
    runs.ask("statuses")
    assert len(api.seen) == 4
    assert said(True, pattern="status") == "1 removed\n"
    runs.ask("statuses")
    assert len(api.seen) == 5


def test_without_a_folder_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_CACHE", raising=False)
    console = Console(file=(text := io.StringIO()), width=200)
    assert cache(None, None, console, clearing=False) == 2
    assert "HEADRACE_CACHE is not set" in text.getvalue()


def test_levels_and_seconds(api: Api, tmp_path: Path) -> None:
    source = source_of(api, tmp_path)
    spec = source.endpoints["statuses"]
    assert spec.cache_s == 3600
    assert [spec.model_copy(update={"cache": c}).cache_s for c in ("low", "high", 9.0)] == [
        300,
        86400,
        9,
    ]
    assert source.endpoints["plain"].cache_s is None
    file = tmp_path / "shop.yaml"
    file.write_text(
        file.read_text().replace(
            "cache: medium}",
            "cache: low, cursor: at, columns: {at: 'timestamp[s]'},"
            " request: {params: {since: '{start}', until: '{end}'}}}",
        )
    )
    with pytest.raises(ConfigError, match="an endpoint with a cursor can't be cached"):
        load_source(file, {})
