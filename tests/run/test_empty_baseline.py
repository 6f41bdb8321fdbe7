"""The first partition is asked for without a lower bound: what is left may mean something else."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sourcetool.check import Wanted, check
from tests.support.runs import serving

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
ROWS = [
    {"objectId": f"k{n:03}", "updatedAt": f"{YESTERDAY + timedelta(seconds=n):%Y-%m-%dT%H:%M:%SZ}"}
    for n in range(60)
]


def parse_server(where: dict[str, Any]) -> Response:
    """As Parse Server 7 does on Postgres: a date without its instant is none that a row has."""
    bounds = {name: date.get("iso", "") for name, date in where["updatedAt"].items()}
    low, high = bounds.get("$gte"), bounds["$lt"]
    found = [r for r in ROWS if low != "" and (low or "") <= r["updatedAt"] < high]
    after = where.get("objectId", {}).get("$gt", "")
    return JSONResponse({"results": [row for row in found if row["objectId"] > after]})


def strict(where: dict[str, Any]) -> Response:
    """As APIs that read their filters more closely: one without its value is refused."""
    if not where["updatedAt"].get("$gte", {}).get("iso"):
        return JSONResponse({"code": 102, "error": "bad date: $gte"}, 400)
    return parse_server(where)


@pytest.mark.parametrize(
    ("server", "window", "said"),
    [
        (parse_server, "", "without {start}, the API gave 0: the first partition would lack them"),
        (strict, "", "as the first partition will be: parse/units, page: the API refused"),
        (parse_server, 'window: {floor: "1970-01-01"}', ""),
        (strict, 'window: {floor: "1970-01-01"}', ""),
    ],
)
def test_the_first_partition_is_asked_for_too(
    tmp_path: Path, server: Any, window: str, said: str
) -> None:
    async def find(request: Request) -> Response:
        body = await request.json()
        answer: Response = server(body["where"])
        return answer

    file, console = tmp_path / "parse.yaml", Console(file=io.StringIO(), width=1000)
    with serving(Starlette(routes=[Route("/units", find, methods=["POST"])])) as url:
        file.write_text(
            f"""
source: parse
base_url: {url}
start: 2026-11-01
endpoints:
  units:
    request:
      method: POST
      json:
        where:
          updatedAt:
            $gte: {{__type: Date, iso: "{{start}}"}}
            $lt: {{__type: Date, iso: "{{end}}"}}
          objectId: {{$gt: "{{after}}"}}
    paging: {{kind: keyset, limit: 100}}
    {window}
    rows: results
    key: [objectId]
    cursor: updatedAt
    columns: {{objectId: string, updatedAt: "timestamp[iso]"}}
"""
        )
        code = check(str(file), Wanted([], 2, 2), console)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert said in shown
    assert code == bool(said), shown
    assert ("gives {start} a value there too" in shown) is bool(said)
