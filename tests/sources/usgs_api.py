"""An emulated USGS event service, strict to https://earthquake.usgs.gov/fdsnws/event/1/.

Unknown parameters are 400, as text; more than 20,000 events without a limit as well; without
``starttime`` only the last 30 days come. Events are made up.
"""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.support.responses import json_answer

MOST = 20_000
ORDERS = {"time", "time-asc", "magnitude", "magnitude-asc"}
KNOWN = {"format", "starttime", "endtime", "updatedafter", "orderby", "limit", "offset"}
Event = dict[str, Any]


def events(number: int, first: datetime, last: datetime, seed: int = 1) -> list[Event]:
    """Events whose updates lie between two instants."""
    rng = random.Random(seed)
    span_ms = int((last - first).total_seconds() * 1000)
    begin_ms = int(first.timestamp() * 1000)
    return [_event(i, begin_ms + rng.randrange(span_ms), rng) for i in range(number)]


def _event(number: int, updated: int, rng: random.Random) -> Event:
    return {
        "type": "Feature",
        "id": f"xx{number:08}",
        "properties": {
            "mag": round(rng.uniform(-0.5, 7), 2) if number % 97 else None,
            "place": f"{rng.randrange(99)} km NW of Ánywhere",
            "time": updated - rng.randrange(20 * 86_400_000),
            "updated": updated,
            "tz": None,
            "url": f"https://example.org/{number}",
            "felt": rng.randrange(500) if number % 7 == 0 else None,
            "alert": rng.choice(["green", None]),
            "status": rng.choice(["automatic", "reviewed"]),
            "tsunami": number % 2,
            "sig": rng.randrange(1000),
            "net": "xx",
            "code": f"{number:08}",
            "dmin": 0.25,
            "magType": "ml",
            "type": "earthquake",
        },
        "geometry": {
            "type": "Point",
            "coordinates": [
                rng.uniform(-180, 180),
                rng.uniform(-90, 90),
                None if number % 31 == 0 else 5.5,
            ],
        },
    }


@dataclass
class Usgs:
    """:ivar inclusive: whether ``updatedafter`` includes its instant, which is not documented."""

    rows: list[Event]
    now: datetime
    inclusive: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/query", self.query), Route("/count", self.count)])

    async def query(self, request: Request) -> Response:
        params = dict(request.query_params)
        self.asked.append(params)
        found = self._matching(params)
        if isinstance(found, str):
            return PlainTextResponse(f"Error 400: Bad Request\n\n{found}", 400)
        limit, offset = params.get("limit"), int(params.get("offset", "1"))
        if limit is None and len(found) > MOST:
            return PlainTextResponse(f"Error 400: {len(found)} matching events exceeds 20000", 400)
        size = MOST if limit is None else int(limit)
        page = found[offset - 1 : offset - 1 + size]
        return json_answer({"type": "FeatureCollection", "metadata": {}, "features": page})

    async def count(self, request: Request) -> Response:
        found = self._matching(dict(request.query_params))
        if isinstance(found, str):
            return PlainTextResponse(found, 400)
        return json_answer({"count": len(found), "maxAllowed": MOST})

    def _matching(self, params: dict[str, str]) -> list[Event] | str:
        unknown = params.keys() - KNOWN
        if unknown:
            return f"Unknown parameter {min(unknown)}"
        if params.get("format") != "geojson":
            return "expected format=geojson"
        if params.get("orderby", "time") not in ORDERS:
            return "Bad orderby value"
        if not 1 <= int(params.get("limit", "1")) <= MOST or int(params.get("offset", "1")) < 1:
            return "Bad limit or offset value"
        start = params.get("starttime")
        since = _ms(start) if start else _ms((self.now - timedelta(days=30)).isoformat())
        rows = [row for row in self.rows if row["properties"]["time"] >= since]
        if "updatedafter" in params:
            after = _ms(params["updatedafter"]) + (0 if self.inclusive else 1)
            rows = [row for row in rows if row["properties"]["updated"] >= after]
        ascending = params.get("orderby", "time").endswith("asc")
        return sorted(rows, key=lambda row: row["properties"]["time"], reverse=not ascending)


def _ms(text: str) -> int:
    found = datetime.fromisoformat(text)
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
