"""The emulator as a client sees it, over HTTP."""

import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulator.parent import alive
from emulator.testing import ROOT, Emulator, running

UNTIL = "2026-09-01"
OPEN = {"rate": 0, "in_flight": 0}
USUAL = {
    "per_s": 1.0, "latency_s": 0.0, "jitter_s": 0.0, "expires_in_s": 5_587_808,
    "multiquery": True, "gzip": True, "retry_after": "none", "retry_after_s": 1.0,
    "page_cap": 0, "ignore_where": False, "ignore_sort": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def shared() -> Iterator[Emulator]:
    with running(games=1_200, seed=3, until=UNTIL) as emulator:
        yield emulator


@pytest.fixture
def emu(shared: Emulator) -> Emulator:
    """Without limits or faults."""
    casts = [{**cast, "as": None} for cast in shared.config()["cast"]]
    shared.config(**USUAL, **OPEN, cast=casts)
    shared.clear_faults()
    shared.reset()
    return shared


@pytest.fixture
def api(emu: Emulator) -> Iterator[httpx.Client]:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it speaks no TLS: read no certificates
    with httpx.Client(
        base_url=emu.base_url, headers=emu.headers(), timeout=60, trust_env=False, verify=nobody
    ) as client:
        yield client


def ask(api: httpx.Client, path: str, query: str) -> Any:
    reply = api.post(path, content=query.encode())
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_pages_and_their_defaults(emu: Emulator, api: httpx.Client) -> None:
    rows = emu.rows("games")
    assert len(rows) == 1_200
    assert ask(api, "games", "") == [{"id": row["id"]} for row in rows[:10]]
    assert ask(api, "games", "fields *; limit 500; offset 1000;") == rows[1000:]
    assert ask(api, "games", "fields *; offset 1200;") == []
    shown = ask(api, "games", "fields name, slug; sort id desc; limit 2;")
    assert shown == [{k: row[k] for k in ("id", "name", "slug")} for row in rows[:-3:-1]]
    without = ask(api, "games", "fields *; exclude summary, tags; limit 1;")
    assert without == [{k: v for k, v in rows[0].items() if k not in ("summary", "tags")}]


def test_where_sort_search_and_expansion(emu: Emulator, api: httpx.Client) -> None:
    rows = emu.rows("games")
    times = sorted(row["updated_at"] for row in rows if "updated_at" in row)
    low, high = times[100], times[200]
    where = f"where updated_at >= {low} & updated_at < {high};"
    found = ask(api, "games", f"fields updated_at; {where} limit 500;")
    expected = [r["id"] for r in rows if low <= r.get("updated_at", 0) < high]
    assert [row["id"] for row in found] == expected
    newest = ask(api, "games", "fields updated_at; sort updated_at desc; limit 3;")
    assert [row["updated_at"] for row in newest] == times[:-4:-1]
    word = rows[5]["name"].split()[0]
    names = ask(api, "games", f'search "{word.lower()}"; fields name; limit 500;')
    assert len(names) == sum(word.lower() in row["name"].lower() for row in rows) > 0
    cover = next(row for row in rows if "cover" in row)
    (row,) = ask(api, "games", f"fields cover.url; where id = {cover['id']};")
    (known,) = emu.rows("covers", f"id = {cover['cover']}")
    assert row["cover"] == {"id": known["id"], "url": known["url"]}
    url = known["url"]
    assert cover["id"] in [r["id"] for r in ask(api, "games", f'where cover.url = "{url}"; l 500;')]


def test_count(emu: Emulator, api: httpx.Client) -> None:
    assert ask(api, "games/count", "") == {"count": 1_200}
    wanted = sum(bool({6, 8} & set(row.get("platforms", []))) for row in emu.rows("games"))
    assert ask(api, "games/count", "where platforms = (6,8);") == {"count": wanted}


@pytest.mark.parametrize(
    ("path", "query", "status", "title"),
    [
        ("games", "fields *", 400, "Syntax Error"),
        ("games", "fields nope;", 400, "Invalid Field"),
        ("games", "where cover.nope = 1;", 400, "Invalid Field"),
        ("covers", "where updated_at > 1;", 400, "Invalid Field"),
        ("games", "limit 501;", 400, "Invalid Limit"),
        ("gamez", "", 404, "Not Found"),
        ("multiquery", 'query games "A" {};' * 15, 400, "Too Many Concurrent queries"),
    ],
)
def test_errors(api: httpx.Client, path: str, query: str, status: int, title: str) -> None:
    reply = api.post(path, content=query)
    assert reply.status_code == status
    assert reply.json()[0]["title"] == title


def test_multiquery(emu: Emulator, api: httpx.Client) -> None:
    emu.reset()
    query = (
        'query games "Page ü" { fields *; limit 3; offset 2; };'
        'query games/count "All" { where id > 0; };'
        'query covers "Covers" { limit 1; };'
    )
    first, count, covers = ask(api, "multiquery", query)
    assert first == {"name": "Page ü", "result": emu.rows("games")[2:5]}
    assert count == {"name": "All", "count": 1_200}
    assert list(covers) == ["name", "result"]
    stats = emu.stats()
    assert (stats["requests"], stats["subqueries"]) == (1, 3)
    emu.config(multiquery=False)
    assert api.post("multiquery", content=query).status_code == 403


def test_tokens(emu: Emulator, api: httpx.Client) -> None:
    good = {"client_id": "demo", "client_secret": "demo-secret", "grant_type": "client_credentials"}
    granted = httpx.post(emu.token_url, params=good).json()
    assert granted["token_type"] == "bearer"
    assert granted["expires_in"] == 5_587_808
    bad_secret = httpx.post(emu.token_url, data={**good, "client_secret": "x"})
    assert bad_secret.status_code == 403
    assert bad_secret.json() == {"status": 403, "message": "invalid client secret"}
    bad_id = httpx.post(emu.token_url, data={**good, "client_id": "x"})
    assert bad_id.json() == {"status": 400, "message": "invalid client"}
    assert httpx.post(emu.token_url).json() == {"status": 400, "message": "missing client id"}

    refused = httpx.post(f"{emu.base_url}/games", headers={"Client-ID": "demo"})
    assert refused.status_code == 401
    assert refused.json()["message"] == "Authorization Failure. Have you tried:"
    assert ask(api, "games", "limit 1;")
    assert emu.revoke_tokens() >= 1
    assert api.post("games", content="limit 1;").status_code == 401
    emu.config(expires_in_s=0.05)
    headers = emu.headers()
    time.sleep(0.1)
    assert api.post("games", content="limit 1;", headers=headers).status_code == 401


def test_the_limit_on_the_rate(emu: Emulator, api: httpx.Client) -> None:
    time.sleep(0.4)  # what came before counts as well
    emu.config(rate=4, in_flight=8, per_s=0.4)
    replies = [api.post("games", content="limit 1;") for _ in range(6)]
    assert [reply.status_code for reply in replies] == [200] * 4 + [429] * 2
    assert replies[5].json() == {"message": "Too Many Requests"}
    assert "retry-after" not in replies[5].headers
    emu.config(retry_after="seconds", retry_after_s=2)
    assert api.post("games").headers["retry-after"] == "2"
    emu.config(retry_after="date")
    date = parsedate_to_datetime(api.post("games").headers["retry-after"])
    assert 0 < date.timestamp() - time.time() < 4
    time.sleep(0.4)
    before = time.time()
    assert ask(api, "games", "limit 1;")
    stats = emu.stats()
    assert (stats["accepted"], stats["throttled"], stats["requests"]) == (5, 4, 9)
    assert stats["by_path"] == {"/v4/games": {"200": 5, "429": 4}}
    assert stats["max_in_window"] == 4
    assert len(stats["arrivals_epoch_s"]) == 5
    assert before <= stats["last_epoch_s"] <= time.time()


def test_the_limit_on_open_requests(emu: Emulator, api: httpx.Client) -> None:
    emu.config(in_flight=3, latency_s=0.4)
    with ThreadPoolExecutor(5) as pool:
        replies = list(pool.map(lambda _: api.post("games", content="limit 1;"), range(5)))
    assert sorted(reply.status_code for reply in replies) == [200] * 3 + [429] * 2
    stats = emu.stats()
    assert (stats["max_open"], stats["open"]) == (3, 0)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("drop", httpx.RemoteProtocolError, "disconnected without sending a response"),
        ("reset", httpx.ReadError, "reset"),
        ("reset_mid_body", httpx.ReadError, "reset"),
        ("cut_body", httpx.RemoteProtocolError, "without sending complete message body"),
        ("stall", httpx.ReadTimeout, "timed out"),
    ],
)
def test_broken_connections(
    emu: Emulator, api: httpx.Client, kind: str, error: type[Exception], message: str
) -> None:
    emu.faults({"kind": kind, "next": 1})
    limit_s = 0.3 if error is httpx.ReadTimeout else 60
    with pytest.raises(error, match=message):
        api.post("games", content="fields *; limit 50;", timeout=limit_s)
    assert len(ask(api, "games", "fields *; limit 50;")) == 50
    stats = emu.stats()
    assert stats["by_path"]["/v4/games"][kind] == 1
    assert stats["open"] == 0


def test_wrong_answers(emu: Emulator, api: httpx.Client) -> None:
    def faulty(kind: str, query: str = "limit 5;", **rule: object) -> httpx.Response:
        emu.faults({"kind": kind, **rule})
        return api.post("games", content=query)

    unavailable = faulty("status", status=503, retry_after=7)
    assert (unavailable.status_code, unavailable.headers["retry-after"]) == (503, "7")
    assert faulty("token_401").status_code == 401
    html = faulty("html_200")
    assert (html.status_code, html.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "title" in faulty("error_200").json()[0]
    assert faulty("empty_page").json() == []
    cut = faulty("cut_json")
    assert cut.status_code == 200
    with pytest.raises(ValueError, match="line 1"):
        cut.json()
    ids = [row["id"] for row in emu.rows("games")]
    again = faulty("duplicate_page", "limit 5; offset 5;").json()
    assert [row["id"] for row in again] == ids[:5]
    started = time.monotonic()
    assert faulty("latency", latency_s=0.2).status_code == 200
    assert time.monotonic() - started >= 0.2
    emu.faults({"kind": "status", "status": 500, "path": "/oauth2/token"})
    with pytest.raises(httpx.HTTPStatusError):
        emu.token()


def test_wrong_answers_in_a_multiquery(emu: Emulator, api: httpx.Client) -> None:
    query = 'query games "A" { limit 2; }; query games "B" { limit 2; offset 2; };'
    a, b = ask(api, "multiquery", query)
    emu.faults({"kind": "duplicate_page"})
    assert ask(api, "multiquery", query) == [a, {"name": "B", "result": a["result"]}]
    emu.faults({"kind": "missing_result"})
    assert ask(api, "multiquery", query) == [a]
    emu.clear_faults()
    assert ask(api, "multiquery", query) == [a, b]


def test_rows_change_at_a_chosen_request(emu: Emulator, api: httpx.Client) -> None:
    ids = emu.upsert("genres", count=3)
    doomed = {"endpoint": "genres", "action": "delete", "ids": ids}
    emu.faults({"kind": "change_rows", "contains": "offset 1", "next": 1, "change": doomed})
    assert len(ask(api, "genres", "limit 500;")) == 26
    assert len(ask(api, "genres", "limit 500; offset 1;")) == 22


def test_rows_are_changed_through_the_control_api(emu: Emulator, api: httpx.Client) -> None:
    moment = 1_900_000_000
    touched = emu.touch("themes", count=4, updated_at=moment)
    found = ask(api, "themes", f"where updated_at >= {moment}; limit 500;")
    assert [row["id"] for row in found] == touched
    emu.touch("themes", ids=touched[:1], updated_at="2031-01-01", set={"name": "Other"})
    assert emu.rows("themes", f"id = {touched[0]}")[0]["name"] == "Other"
    new = emu.upsert("themes", rows=[{"name": "New", "extra": 1}], updated_at=moment)
    (row,) = ask(api, "themes", f"fields *; where id = {new[0]};")
    assert (row["name"], row["extra"], row["updated_at"]) == ("New", 1, moment)
    assert emu.delete("themes", ids=new) == new
    assert emu.rows("themes", f"id = {new[0]}") == []
    with pytest.raises(ValueError, match="has no rows"):
        emu.delete("themes", ids=new)


def test_servers_that_do_not_do_as_asked(emu: Emulator, api: httpx.Client) -> None:
    emu.config(page_cap=100)
    assert len(ask(api, "games", "limit 500;")) == 100
    emu.config(page_cap=0, ignore_where=True)
    assert len(ask(api, "games", "where id = 2; limit 500;")) == 500
    emu.config(ignore_where=False, ignore_sort=True)
    ids = [row["id"] for row in ask(api, "games", "sort id asc; limit 500;")]
    assert ids != sorted(ids)
    emu.config(ignore_sort=False, cast={"endpoint": "games", "field": "game_type", "as": "string"})
    rows = ask(api, "games", "fields game_type; limit 5;")
    assert all(isinstance(row["game_type"], str) for row in rows)
    with pytest.raises(ValueError, match="no setting 'speed'"):
        emu.config(speed=3)


def test_gzip(emu: Emulator, api: httpx.Client) -> None:
    query = "fields *; limit 100;"
    packed = api.post("games", content=query)
    assert packed.headers["content-encoding"] == "gzip"
    plain = api.post("games", content=query, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json() == packed.json()


def test_two_emulators_of_one_seed_agree(emu: Emulator) -> None:
    with running(games=1_200, seed=3, until=UNTIL, rate=0) as other:
        assert other.rows("covers") == emu.rows("covers")
        pid = other.pid
    assert not alive(pid)


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "emulator", "--rows", "games=10", "--port-file"]
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child = subprocess.Popen(
        [*command, str(tmp_path / "port"), "--parent-pid", str(parent.pid)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while not (tmp_path / "port").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert child.poll() is None
        parent.communicate(b"\n")
        assert child.wait(2) == 0
    finally:
        child.kill()
        child.wait()
        parent.kill()
        parent.wait()
