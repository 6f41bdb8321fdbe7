"""An emulated NVD, strict to https://nvd.nist.gov/developers/vulnerabilities.

Both dates or neither, with an offset, at most 120 days apart; a bad key is 404 with the reason in a
header; over the limit come 403, 429 and 503 by turns, without Retry-After. CVEs are made up.
"""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.responses import json_answer

MOST = 2000
KNOWN = {"startIndex", "resultsPerPage", "lastModStartDate", "lastModEndDate"}
REFUSALS = (403, 429, 503)


def cves(number: int, first: datetime, last: datetime, seed: int = 1) -> list[dict[str, Any]]:
    """CVEs that were last modified between two instants, in order of their id."""
    rng = random.Random(seed)
    span_s = (last - first).total_seconds()
    return [_cve(i, first + timedelta(seconds=rng.uniform(0, span_s)), rng) for i in range(number)]


def _cve(number: int, modified: datetime, rng: random.Random) -> dict[str, Any]:
    score = round(rng.uniform(0, 10), 1)
    cve = {
        "id": f"CVE-2026-{number:05}",
        "sourceIdentifier": "cve@example.org",
        "published": _written(modified - timedelta(days=rng.randrange(900))),
        "lastModified": _written(modified),
        "vulnStatus": rng.choice(["Analyzed", "Awaiting Analysis", "Rejected"]),
        "cveTags": [],
        "descriptions": [
            {"lang": "en", "value": f"Flaw {number}"},
            {"lang": "es", "value": "Señal"},
        ],
        "metrics": {"cvssMetricV31": [{"cvssData": {"baseScore": score}}]} if number % 3 else {},
        "weaknesses": [{"type": "Primary", "description": [{"lang": "en", "value": "CWE-79"}]}],
        "references": [{"url": f"https://example.org/{number}", "source": "x", "tags": ["Patch"]}],
    }
    if number % 50 == 0:
        cve |= {"cisaExploitAdd": "2026-05-01", "cisaVulnerabilityName": "A name"}
    return {"cve": cve}


def _written(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}"


@dataclass
class Nvd:
    """:ivar refuse: the numbers of the requests that are too many."""

    rows: list[dict[str, Any]]
    key: str = "the-key"
    inclusive: bool = True
    refuse: tuple[int, ...] = ()
    asked: list[str] = field(default_factory=list)
    keyed: int = 0

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/rest/json/cves/2.0", self.cves)])

    async def cves(self, request: Request) -> Response:
        number = len(self.asked)
        self.asked.append(request.url.query)
        key = request.headers.get("apikey")
        if key is not None and key != self.key:
            return Response(status_code=404, headers={"message": "Invalid apiKey."})
        self.keyed += key is not None
        if number in self.refuse:
            return Response(status_code=REFUSALS[number % 3])
        params = dict(request.query_params)
        found = self._matching(params, request.url.query)
        if isinstance(found, str):
            return Response(status_code=404, headers={"message": found})
        first, size = int(params.get("startIndex", "0")), int(params.get("resultsPerPage", MOST))
        page = found[first : first + min(size, MOST)]
        return json_answer(
            {
                "resultsPerPage": len(page),
                "startIndex": first,
                "totalResults": len(found),
                "format": "NVD_CVE",
                "version": "2.0",
                "timestamp": "2026-11-05T00:00:00.000",
                "vulnerabilities": page,
            }
        )

    def _matching(self, params: dict[str, str], raw: str) -> list[dict[str, Any]] | str:
        if params.keys() - KNOWN:
            return f"Invalid parameter: {min(params.keys() - KNOWN)}"
        bounds = [params.get("lastModStartDate"), params.get("lastModEndDate")]
        if bounds == [None, None]:
            return self.rows
        if None in bounds:
            return "lastModStartDate and lastModEndDate are both required."
        if "+" in raw and any(" " in unquote_plus(part) for part in raw.split("&")):
            return "Invalid date: a plus sign has to be written as %2B."
        start, end = (datetime.fromisoformat(str(text)) for text in bounds)
        if start.tzinfo is None or end.tzinfo is None or end - start > timedelta(days=120):
            return "The date range must be at most 120 days, with an offset."
        return [row for row in self.rows if self._inside(row, start, end)]

    def _inside(self, row: dict[str, Any], start: datetime, end: datetime) -> bool:
        at = datetime.fromisoformat(row["cve"]["lastModified"]).replace(tzinfo=UTC)
        return start <= at <= end if self.inclusive else start < at < end
