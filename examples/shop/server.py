"""The shop's API: `GET /orders`, with a token, pages by offset, and 10 requests a second."""

import time
from collections import deque
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.shop.orders import orders

TOKEN = "tutorial"  # noqa: S105 (of a shop that is not there)
MOST = 100
"""Orders in one response at most."""
LIMIT, PER_S = 10, 1.0
KNOWN = {"updated_from", "updated_to", "sort", "limit", "offset"}


def app() -> Starlette:
    """The API."""
    sent: deque[float] = deque(maxlen=LIMIT)

    async def list_orders(request: Request) -> Response:
        params = request.query_params
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _refused(401, "This shop wants its token: Authorization: Bearer …")
        if unknown := params.keys() - KNOWN:
            return _refused(400, f"unknown parameter: {', '.join(sorted(unknown))}")
        now = time.monotonic()
        if len(sent) == LIMIT and now - sent[0] < PER_S:
            return _refused(429, f"at most {LIMIT} requests a second", {"Retry-After": "1"})
        sent.append(now)
        low, high = params.get("updated_from", ""), params.get("updated_to", "9")
        rows = [row for row in orders(datetime.now(UTC)) if low <= row["updated_at"] < high]
        rows.sort(key=lambda row: row[params.get("sort", "id")])
        size, start = min(int(params.get("limit", "20")), MOST), int(params.get("offset", "0"))
        meta = {"total": len(rows), "limit": size, "offset": start}
        return JSONResponse({"meta": meta, "data": rows[start : start + size]})

    return Starlette(routes=[Route("/orders", list_orders)])


def _refused(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"message": message}, status, headers)
