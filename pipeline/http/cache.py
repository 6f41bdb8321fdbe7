"""A cache of responses in front of the client, for endpoints whose YAML has ``cache``.

A response that is young enough is read without a request: no send slot is used, and no token is
needed. An older one is requested with its ETag or its date; a 304 makes it young again. A response
is kept once its reader has read it well, if its status is 2xx. Requests of other endpoints pass.

A request that an endpoint sends a second time within a run goes to the API: the engine repeats a
request only if it doubts the response, such as pages that do not join.

Of a response its status, headers and body are kept; of the request, nothing.
"""

import asyncio
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import httpx
from pydantic import SecretStr

from pipeline.auth import Secrets
from pipeline.config.source import Source
from pipeline.decode.body_checks import BadBody
from pipeline.errors import HeadraceError
from pipeline.http.client import Client
from pipeline.http.response_store import CachedResponse, ResponseStore, open_store
from pipeline.messages import (
    HttpRequest,
    HttpResponse,
    Read,
    RequestCounts,
    Sender,
    shows_end,
)

T = TypeVar("T")
log = logging.getLogger("headrace.cache")
_NOT_KEPT = ("set-cookie", "content-encoding", "content-length", "transfer-encoding")
"""Headers of a response: a secret, and what is no longer true of a decompressed body. A body whose
end its response showed is kept with its length."""


class _Unusable(Exception):
    """A cached response that the API calls good could not be read."""


@dataclass(frozen=True)
class _Fetch:
    """A request whose response is not in the store, and where it goes."""

    request: HttpRequest
    label: object
    sent: RequestCounts
    key: str
    ttl_s: float


class CachingSender:
    """Sends requests whose response the store does not have."""

    def __init__(
        self,
        direct: Sender,
        others: Sender,
        store: ResponseStore,
        source: Source,
        secrets: Secrets,
        now: Callable[[], float] = time.time,
    ) -> None:
        """:param others: sends for endpoints without a cache, perhaps in batches.
        :param secrets: a response that repeats one of them is not kept.
        """
        self._direct = direct
        self._others = others
        self._store = store
        self._source = source
        self._secrets = secrets
        self._now = now
        self._requested: set[tuple[str, str]] = set()
        self._locks: dict[str, asyncio.Lock] = {}
        self.counts: Counter[str] = Counter()

    async def fetch(
        self, request: HttpRequest, read: Read[T], label: object, sent: RequestCounts
    ) -> T:
        """As ``Client.fetch``. Requests that are alike go out one after the other."""
        policy = request.keep
        if policy is None:
            return await self._others.fetch(request, read, label, sent)
        key = key_of(self._source, request)
        async with self._locks.setdefault(key, asyncio.Lock()):
            doubted = (policy.endpoint, key) in self._requested
            self._requested.add((policy.endpoint, key))
            cached = None if doubted else await self._store.get(key)
            now_s = self._now()
            if cached is not None and 0 <= now_s - cached.stored_at_s < policy.ttl_s:
                try:
                    result = await read(_response(cached, request, now_s))
                except (BadBody, HeadraceError):
                    cached = None
                else:
                    self.counts["hits"] += 1
                    return result
            fetch = _Fetch(request, label, sent, key, policy.ttl_s)
            try:
                return await self._fetch(fetch, read, cached)
            except _Unusable:
                return await self._fetch(fetch, read, None)

    async def _fetch(
        self,
        fetch: _Fetch,
        read: Read[T],
        cached: CachedResponse | None,
    ) -> T:
        conditions = cached.conditions if cached else {}

        async def read_and_keep(response: HttpResponse) -> T:
            at_s = self._now()
            if cached is not None and conditions and response.status == 304:
                confirmed = _confirmed(cached, response, at_s)
                try:
                    result = await read(_response(confirmed, fetch.request, at_s))
                except (BadBody, HeadraceError):
                    raise _Unusable from None
                await self._store.confirm(confirmed)
                self.counts["not_modified"] += 1
                return result
            result = await read(response)
            headers = {n: text for n, text in response.headers.items() if n not in _NOT_KEPT}
            if shows_end(response.headers):
                headers["content-length"] = str(len(response.body))
            if await asyncio.to_thread(self._may_be_kept, response.status, headers, response):
                body = bytes(response.body)
                cacheable = CachedResponse(fetch.key, response.status, headers, body, at_s)
                await self._store.put(cacheable, ttl_s=fetch.ttl_s)
            return result

        headers = {**fetch.request.headers, **conditions}
        request = replace(fetch.request, headers=headers)
        return await self._direct.fetch(request, read_and_keep, fetch.label, fetch.sent)

    def _may_be_kept(self, status: int, headers: dict[str, str], response: HttpResponse) -> bool:
        """False for what is no whole success, or repeats a credential."""
        if not 200 <= status < 300 or status == 206:
            return False
        text = f"{' '.join(headers.values())} {str(response.body, 'utf-8', 'replace')}"
        return not self._secrets.are_in(text)


@asynccontextmanager
async def cached(
    client: Client, others: Sender, source: Source, folder: str | None
) -> AsyncIterator[Sender]:
    """A cache in front of a client if an endpoint of the source wants one.

    :param others: sends for endpoints without a cache, perhaps in batches.
    :param folder: where responses are kept; None = in the memory of this process.
    """
    if all(endpoint.cache is None for endpoint in source.endpoints.values()):
        yield others
        return
    async with open_store(folder) as store:
        sender = CachingSender(client, others, store, source, client.secrets)
        yield sender
        log.info(
            "%s: %d responses from the cache, %d not modified",
            source.source,
            sender.counts["hits"],
            sender.counts["not_modified"],
        )


def key_of(source: Source, request: HttpRequest) -> str:
    """Source and path in clear, and a digest of the credentials and the request with its body."""
    url = httpx.URL(request.url)
    path = url.path.removeprefix(httpx.URL(source.base_url).path.rstrip("/")).strip("/")
    label = (
        Secrets(source.auth, others=source.secrets)
        .redacted(f"{source.source}/{path}")
        .replace("#", "_")
    )
    who = json.dumps([source.auth.model_dump(), source.headers], sort_keys=True, default=_revealed)
    parts = [request.method, request.url, request.params, sorted(request.headers.items())]
    digest = hashlib.sha256(f"{who}\n{json.dumps(parts)}\n".encode())
    digest.update(request.content or b"")
    return f"{label}#{digest.hexdigest()}"


def _revealed(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _confirmed(cached: CachedResponse, not_modified: HttpResponse, at_s: float) -> CachedResponse:
    """A cached response that holds as of now, with the ``Date`` of the 304 that says so."""
    dates = {name: text for name, text in not_modified.headers.items() if name == "date"}
    others = {name: text for name, text in cached.headers.items() if name != "date"}
    return replace(cached, headers=others | dates, stored_at_s=at_s)


def _response(cached: CachedResponse, request: HttpRequest, now_s: float) -> HttpResponse:
    """What the API sent, as old as it is: rows are not newer than the response that has them.

    ``Age`` says so of its ``Date``, which says nothing of the API's clock any more.
    """
    age_s = round(now_s - cached.stored_at_s)
    headers = {**cached.headers, "age": str(age_s)} if age_s else cached.headers
    url = str(httpx.URL(request.whole_url))
    return HttpResponse(cached.status, headers, cached.body, url, received_at_s=cached.stored_at_s)
