"""An emulated GitHub, strict to https://docs.github.com/rest: one repository's issues.

Pages are numbered, by ``Link`` headers, over rows that may move between two requests; closed issues
come with ``state=all`` only. Over the limit come 403 or 429 with what is left in headers, over the
secondary limit 403 with words. Issues are made up.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.responses import json_answer

PATH = "/repos/acme/rocket/issues"
KNOWN = {"state", "sort", "direction", "since", "per_page", "page"}
Issue = dict[str, Any]


def issues(number: int, first: datetime, last: datetime, seed: int = 1) -> list[Issue]:
    """Issues that were last updated between two instants."""
    rng = random.Random(seed)
    span_s = int((last - first).total_seconds())
    return [_issue(i, first + timedelta(seconds=rng.randrange(span_s)), rng) for i in range(number)]


def written(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _user(number: int) -> dict[str, Any]:
    return {"id": number, "login": f"user{number}", "type": "User", "site_admin": False}


def _issue(number: int, updated: datetime, rng: random.Random) -> Issue:
    closed = rng.random() < 0.5
    return {
        "id": 10_000_000 + number,
        "node_id": f"I_{number}",
        "number": number,
        "title": f"Rocket № {number} leaks",
        "state": "closed" if closed else "open",
        "state_reason": "completed" if closed else None,
        "body": None if number % 9 == 0 else f"Steps\n{number}",
        "comments": rng.randrange(50),
        "locked": False,
        "active_lock_reason": None,
        "author_association": "MEMBER",
        "created_at": written(updated - timedelta(days=rng.randrange(1, 400))),
        "updated_at": written(updated),
        "closed_at": written(updated) if closed else None,
        "user": _user(number % 40),
        "closed_by": _user(3) if closed else None,
        "assignee": None,
        "assignees": [_user(1), _user(2)] if number % 5 == 0 else [],
        "labels": [
            {"id": 7, "name": "bug", "color": "d73a4a", "description": None, "default": True}
        ],
        "milestone": None,
        "reactions": {"+1": rng.randrange(9), "total_count": 9},
        **({"pull_request": {"merged_at": None}} if number % 3 == 0 else {}),
    }


@dataclass
class GitHub:
    """:ivar before_page: called with the rows before each answer: what happens meanwhile.
    :ivar refuse: number of a request → how it is refused.
    """

    rows: list[Issue]
    inclusive: bool = True
    before_page: Callable[[list[Issue], int], None] = lambda rows, number: None
    refuse: dict[int, str] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)

    def app(self) -> Starlette:
        return Starlette(routes=[Route(PATH, self.issues)])

    async def issues(self, request: Request) -> Response:
        number = len(self.asked)
        params = dict(request.query_params)
        self.asked.append(params)
        self.tokens.add(request.headers.get("authorization"))
        headers = {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": str(4999 - number)}
        headers |= {
            "x-ratelimit-used": str(number + 1),
            "x-ratelimit-reset": str(int(time.time()) + 9),
        }
        if number in self.refuse:
            return _refused(self.refuse[number], headers)
        if params.keys() - KNOWN or request.headers.get("x-github-api-version") != "2022-11-28":
            return json_answer({"message": "Validation Failed"}, 422, headers)
        self.before_page(self.rows, number)
        rows, size, page = (
            self._matching(params),
            int(params.get("per_page", "30")),
            int(params.get("page", "1")),
        )
        size = min(size, 100)
        if page * size < len(rows):
            query = request.url.include_query_params(page=page + 1)
            last = request.url.include_query_params(page=-(-len(rows) // size))
            headers["link"] = f'<{query}>; rel="next", <{last}>; rel="last"'
        return json_answer(rows[(page - 1) * size : page * size], headers=headers)

    def _matching(self, params: dict[str, str]) -> list[Issue]:
        state = params.get("state", "open")
        rows = [row for row in self.rows if state in ("all", row["state"])]
        since = params.get("since")
        if since:
            datetime.strptime(since, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
            rows = [
                r
                for r in rows
                if r["updated_at"] > since or (self.inclusive and r["updated_at"] == since)
            ]
        by = {"updated": "updated_at", "created": "created_at"}[params.get("sort", "created")]
        rows.sort(key=lambda row: (row[by], row["id"]))
        return rows if params.get("direction", "desc") == "asc" else rows[::-1]


def _refused(how: str, headers: dict[str, str]) -> Response:
    if how == "secondary":
        return json_answer({"message": "You have exceeded a secondary rate limit."}, 403, headers)
    if how == "retry-after":
        return json_answer({"message": "Slow down"}, 429, {**headers, "retry-after": "0"})
    reset = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 1)}
    return json_answer({"message": "API rate limit exceeded"}, 403, {**headers, **reset})
