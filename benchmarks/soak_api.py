"""The API of the soak: days of rows that never change, and faults by chance in one request of ten.

=============  ===================================================================================
path           how its pages follow
=============  ===================================================================================
``/keyset``    ``id > after``
``/offset``    offsets that overlap, with a total
``/token``     the token that the page names
=============  ===================================================================================

A fault is a 500, a 429 with ``Retry-After``, a body that is cut, a connection that is closed, HTML
with status 200, or a page that comes late. Besides, every page is empty for a while now and then
(``Away``), also where it is the confirmation of an end.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

KINDS: Final = ("keyset", "offset", "token")
FIRST_DAY: Final = date(2020, 1, 1)
PAGE: Final = 100
FAULTS: Final = ("500", "429", "cut body", "closed connection", "HTML", "slow page")


_FIRST_AWAY_S: Final = 20.0
"""Until then some day has come: of an endpoint that never had rows nothing tells an outage."""


@dataclass(frozen=True)
class Away:
    """How long all pages are empty, once that begins, and how long after that they are again.

    :ivar lasts_s: at least and at most, as ``apart_s``; by chance between them.
    """

    lasts_s: tuple[float, float] = (0.2, 3.0)
    apart_s: tuple[float, float] = (2.0, 6.0)


def rows_of(day: date) -> range:
    """The ids of a day: from 200 to 1,300 of them, by the day alone."""
    number = (day - FIRST_DAY).days
    return range(number * 10_000 + 1, number * 10_000 + 201 + number * 7919 % 1100)


def row_of(key: int, day: date) -> dict[str, Any]:
    at = f"{day}T{key % 24:02}:{key % 60:02}:00Z"
    return {"id": key, "at": at, "name": f"row {key}", "text": "x" * (key % 200)}


class SoakApi:
    """What the server does, and what it did.

    :ivar faults: those that happened, by kind. :ivar requests: all of them.
    """

    def __init__(self, share: float, seed: int, away: Away = Away()) -> None:
        """:param share: of the requests, in which something goes wrong."""
        self.share, self.faults, self.requests = share, Counter[str](), 0
        self._rng, self._lock, self._away = random.Random(seed), threading.Lock(), away
        self._away_at = time.monotonic() + _FIRST_AWAY_S
        self._back_at = self._away_at + self._rng.uniform(*away.lasts_s)

    def next_fault(self) -> str | None:
        with self._lock:
            self.requests += 1
            now = time.monotonic()
            if now > self._back_at:
                self._away_at = now + self._rng.uniform(*self._away.apart_s)
                self._back_at = self._away_at + self._rng.uniform(*self._away.lasts_s)
            if now >= self._away_at:
                self.faults["empty pages"] += 1
                return "empty pages"
            if self._rng.random() >= self.share:
                return None
            fault = self._rng.choice(FAULTS)
            self.faults[fault] += 1
            return fault

    def page(self, kind: str, given: dict[str, str], *, empty: bool) -> dict[str, Any]:
        """A page of the rows from ``since`` to ``until``, both ISO 8601 in UTC."""
        since, until = given.get("since", ""), given["until"]
        first = date.fromisoformat(since[:10]) if since else FIRST_DAY
        days = [
            first + timedelta(n) for n in range((date.fromisoformat(until[:10]) - first).days + 1)
        ]
        rows = [row_of(key, day) for day in days for key in rows_of(day)]
        rows = [row for row in rows if since <= row["at"] < until]
        total = len(rows)
        if kind == "offset":
            found = rows[int(given.get("offset", "0")) :][:PAGE]
        else:
            after = int(given.get("after", "0"))
            found = [row for row in rows if row["id"] > after][:PAGE]
        found = [] if empty else found
        more = bool(found) and found[-1] != rows[-1]
        return {"rows": found, "total": total, "next": found[-1]["id"] if more else None}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: SoakApi

    def do_GET(self) -> None:
        self._serve(self.api.next_fault())

    def _serve(self, fault: str | None) -> None:
        if fault == "500":
            return self._respond(500, b"{}")
        if fault == "429":
            return self._respond(429, b"{}", {"Retry-After": "1"})
        if fault == "HTML":
            return self._respond(200, b"<html><title>Maintenance</title></html>")
        if fault == "closed connection":
            self.close_connection = True
            self.connection.close()
            return None
        if fault == "slow page":
            time.sleep(0.5)
        parts = urlsplit(self.path)
        page = self.api.page(
            parts.path[1:], dict(parse_qsl(parts.query)), empty=fault == "empty pages"
        )
        body = json.dumps(page).encode()
        if fault == "cut body":
            self.close_connection = True
            return self._respond(200, body[: len(body) // 2], length=len(body))
        return self._respond(200, body)

    def _respond(
        self, status: int, body: bytes, more: dict[str, str] | None = None, length: int = -1
    ) -> None:
        self.send_response(status)
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def soak_api(share: float, seed: int, away: Away = Away()) -> Iterator[tuple[SoakApi, str]]:
    """The API on loopback, and its URL, as long as the ``with`` lasts."""
    api = SoakApi(share, seed, away)
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield api, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
