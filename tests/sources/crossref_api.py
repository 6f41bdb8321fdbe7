"""An emulated Crossref, strict to https://api.crossref.org: deep paging of works by cursor.

Unknown filters and parameters are 400; both ends of a filter are inclusive, to the second; a cursor
is state of one query, and one of another query or before is refused. Works are made up.
"""

import random
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.responses import json_answer

MOST = 1000
KNOWN = {"rows", "cursor", "filter", "mailto"}
Work = dict[str, Any]


def works(number: int, first: datetime, last: datetime, seed: int = 1) -> list[Work]:
    """Works that were last indexed between two instants."""
    rng = random.Random(seed)
    span_s = int((last - first).total_seconds())
    return [_work(i, first + timedelta(seconds=rng.randrange(span_s)), rng) for i in range(number)]


def written(at: datetime) -> dict[str, Any]:
    return {
        "date-parts": [[at.year, at.month, at.day]],
        "date-time": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "timestamp": int(at.timestamp() * 1000),
    }


def _work(number: int, indexed: datetime, rng: random.Random) -> Work:
    return {
        "DOI": f"10.5555/{number:07}.é",
        "indexed": written(indexed),
        "created": written(indexed - timedelta(days=rng.randrange(4000))),
        "deposited": written(indexed - timedelta(days=2)),
        "type": rng.choice(["journal-article", "book-chapter"]),
        "title": [f"On {number} things"] if number % 40 else [],
        "container-title": ["Annals"],
        "publisher": "Nobody",
        "member": "1",
        "prefix": "10.5555",
        "URL": f"https://doi.example.org/{number}",
        "ISSN": ["0000-0000"],
        "issued": {"date-parts": [[2020, 2] if number % 2 else [None]]},
        "is-referenced-by-count": rng.randrange(9),
        "references-count": 2,
        "author": [{"given": "A.", "family": f"B{number}", "affiliation": []}],
        "reference": [{"key": "r1", "unstructured": "x"}],
        **({"abstract": "<p>Short</p>"} if number % 3 == 0 else {}),
    }


@dataclass
class Crossref:
    """:ivar forget: the numbers of the requests that are refused, since the cursor is gone."""

    rows: list[Work]
    forget: tuple[int, ...] = ()
    asked: list[dict[str, str]] = field(default_factory=list)
    cursors: dict[str, tuple[str, int]] = field(default_factory=dict)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/works", self.works)])

    async def works(self, request: Request) -> Response:
        number, params = len(self.asked), dict(request.query_params)
        self.asked.append(params)
        headers = {"x-rate-limit-limit": "50", "x-rate-limit-interval": "1s"}
        size, query = int(params.get("rows", "20")), params.get("filter", "")
        try:
            if params.keys() - KNOWN or not 0 <= size <= MOST:
                raise ValueError(f"unknown parameter or rows over {MOST}")
            found = self._matching(query)
            at = self._position(params["cursor"], query, number)
        except (ValueError, KeyError) as error:
            said = [{"type": "parameter-not-allowed", "value": "x", "message": str(error)}]
            return json_answer({"status": "failed", "message": said}, 400, headers)
        page = found[at : at + size]
        token = f"Dn{secrets.token_hex(4)}+/="  # has to be encoded when it is sent back
        self.cursors[token] = (query, at + len(page))
        message = {
            "facets": {},
            "next-cursor": token,
            "total-results": len(found),
            "items": page,
            "items-per-page": size,
        }
        body = {"status": "ok", "message-type": "work-list", "message-version": "1.0.0"}
        return json_answer(body | {"message": message}, headers=headers)

    def _position(self, cursor: str, query: str, number: int) -> int:
        if cursor == "*":
            return 0
        of, at = self.cursors.pop(cursor, ("", 0))
        if of != query or number in self.forget:
            raise ValueError("the cursor is not known, or has expired")
        return at

    def _matching(self, query: str) -> list[Work]:
        rows = self.rows
        for one in filter(None, query.split(",")):
            name, _, value = one.partition(":")
            at = datetime.fromisoformat(value).replace(tzinfo=UTC)
            ms = int(at.timestamp() * 1000)
            if name == "from-index-date":
                rows = [row for row in rows if row["indexed"]["timestamp"] >= ms]
            elif name == "until-index-date":
                rows = [row for row in rows if row["indexed"]["timestamp"] <= ms]
            else:
                raise ValueError(f"filter {name} is not known")
        return rows
