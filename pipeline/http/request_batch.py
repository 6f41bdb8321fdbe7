"""Pages that ride together in one request, and what becomes of them. No I/O."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from pipeline.body import Body
from pipeline.dialects.http_request import HttpRequest
from pipeline.dialects.igdb import multiquery
from pipeline.http.client import HttpResponse, RequestCounts

_RARE: Final = "JKQVWXYZ"
"""Letters of names. They are rare in texts: a search for a long name then looks at few bytes."""


@dataclass(eq=False)
class PendingPage:
    """A page that waits for its answer."""

    request: HttpRequest
    what: str
    sent: RequestCounts
    answer: asyncio.Future[HttpResponse] = field(default_factory=asyncio.Future)


class RequestBatch:
    """Pages that ride together; one alone goes as it is."""

    def __init__(self, first: list[PendingPage], base_url: str, gone: Callable[[], None]) -> None:
        """:param gone: called once, when nobody gets on any more."""
        self.pages = first
        self.names: list[str] = []
        self._base_url = base_url
        self._gone = gone
        self.settled = False

    def settle(self, more: list[PendingPage]) -> None:
        self.settled = True
        self.pages += more
        self.names = ["".join(secrets.choice(_RARE) for _ in range(32)) for _ in self.pages]
        self._gone()

    def request(self) -> HttpRequest:
        first = self.pages[0].request
        if len(self.pages) == 1:
            return first
        paths = [page.request.url.removeprefix(self._base_url).strip("/") for page in self.pages]
        body = multiquery(
            [
                (path, name, page.request.content or b"")
                for path, name, page in zip(paths, self.names, self.pages, strict=True)
            ]
        )
        url = f"{self._base_url}/multiquery"
        return HttpRequest("POST", url, headers=first.headers, content=body)

    def __str__(self) -> str:
        many = len(self.pages)
        return self.pages[0].what if many == 1 else f"{many} pages in one request"


def mixed_up(requests: Sequence[HttpRequest], bodies: Sequence[Body]) -> set[int]:
    """The numbers of the pages that have the rows of another page of the same endpoint.

    Pages by key trust the API that nothing lies between the key and the first row: if it gave one
    page's answer to another, rows would be passed over, and nothing else would show it.
    """
    rows = [n for n, body in enumerate(bodies) if body[:1] == b"[" and len(body) > 2]
    mixed = (
        (one, other)
        for one, other in combinations(rows, 2)
        if bodies[one] == bodies[other]  # mostly told by their lengths
        and requests[one].url == requests[other].url
        and requests[one].content != requests[other].content
    )
    return {number for pair in mixed for number in pair}
