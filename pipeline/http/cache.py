"""A cache of answers in front of the client, for endpoints whose YAML has ``cache``.

An answer that is young enough is read without a request: it takes no place in the budget, and needs
no token. An older one is asked for with its ETag or its date; a 304 makes it young again. An answer
is kept once its reader has read it well, if its status is 2xx. Other endpoints' requests pass.

A request that an endpoint sends a second time within a run goes to the API: the engine asks twice
only for what it doubts, such as pages that do not join.
"""

import asyncio
import hashlib
import importlib
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import httpx
from pydantic import SecretStr

from pipeline.config.source import Source
from pipeline.decode.body_checks import BadBody
from pipeline.dialects.http_request import HttpRequest
from pipeline.errors import HeadraceError
from pipeline.http.auth import hidden, says_a_secret
from pipeline.http.client import HttpResponse, RequestCounts
from pipeline.http.request_batching import Sender

if TYPE_CHECKING:
    from pipeline.http.cache_store import CachedResponse, ResponseStore

T = TypeVar("T")
log = logging.getLogger("headrace.cache")
_NOT_KEPT = ("set-cookie", "content-encoding", "content-length", "transfer-encoding")
"""Headers of an answer: a secret, and what is no longer true of a decompressed body."""


class _Unusable(Exception):
    """A kept answer that the API calls good could not be read."""


class CachingSender:
    """Sends what the store can't answer; has the interface of the client."""

    def __init__(
        self,
        direct: Sender,
        others: Sender,
        store: "ResponseStore",
        source: Source,
        now: Callable[[], float] = time.time,
    ) -> None:
        """:param others: sends for endpoints without a cache, perhaps in packs."""
        self._direct = direct
        self._others = others
        self._store = store
        self._source = source
        self._now = now
        self._asked: set[tuple[str, str]] = set()
        self._locks: dict[str, asyncio.Lock] = {}
        self.counts: Counter[str] = Counter()

    async def fetch(
        self,
        request: HttpRequest,
        read: Callable[[HttpResponse], Awaitable[T]],
        what: str,
        sent: RequestCounts,
    ) -> T:
        """As ``Client.fetch``. Requests that are alike go out one after the other."""
        keep = request.keep
        if keep is None:
            return await self._others.fetch(request, read, what, sent)
        key = key_of(self._source, request)
        async with self._locks.setdefault(key, asyncio.Lock()):
            doubted = (keep.endpoint, key) in self._asked
            self._asked.add((keep.endpoint, key))
            kept = None if doubted else await self._store.get(key)
            if kept is not None and 0 <= self._now() - kept.stored_at_s < keep.ttl_s:
                try:
                    found = await read(_answer(kept, request))
                except (BadBody, HeadraceError):
                    kept = None
                else:
                    self.counts["hits"] += 1
                    return found
            try:
                return await self._ask(request, read, what, sent, key, kept, keep.ttl_s)
            except _Unusable:
                return await self._ask(request, read, what, sent, key, None, keep.ttl_s)

    async def _ask(
        self,
        request: HttpRequest,
        read: Callable[[HttpResponse], Awaitable[T]],
        what: str,
        sent: RequestCounts,
        key: str,
        kept: "CachedResponse | None",
        ttl_s: float,
    ) -> T:
        conditions = kept.conditions if kept else {}
        began_s = self._now()

        async def keeping(answer: HttpResponse) -> T:
            if kept is not None and conditions and answer.status == 304:
                try:
                    found = await read(_answer(kept, request))
                except (BadBody, HeadraceError):
                    raise _Unusable from None
                await self._store.still_good(kept, began_s)
                self.counts["not_modified"] += 1
                return found
            found = await read(answer)
            headers = {n: text for n, text in answer.headers.items() if n not in _NOT_KEPT}
            answer = replace(answer, headers=headers)
            if await asyncio.to_thread(_may_be_kept, answer, self._source):
                await self._store.put(
                    key,
                    answer.status,
                    headers,
                    bytes(answer.body),
                    stored_at_s=began_s,
                    ttl_s=ttl_s,
                )
            return found

        asked = replace(request, headers={**request.headers, **conditions})
        return await self._direct.fetch(asked, keeping, what, sent)


@asynccontextmanager
async def cached(
    direct: Sender, others: Sender, source: Source, folder: str | None
) -> AsyncIterator[Sender]:
    """A cache in front of ``direct`` if an endpoint of the source wants one.

    :param folder: where answers are kept; None = in the memory of this process.
    """
    if all(endpoint.cache is None for endpoint in source.endpoints.values()):
        yield others
        return
    # hishel takes a third of a second to import: only who uses the cache pays.
    module = await asyncio.to_thread(importlib.import_module, "pipeline.http.cache_store")
    async with module.open_store(folder) as store:
        sender = CachingSender(direct, others, store, source)
        yield sender
        log.info(
            "%s: %d answers from the cache, %d not modified",
            source.source,
            sender.counts["hits"],
            sender.counts["not_modified"],
        )


def key_of(source: Source, request: HttpRequest) -> str:
    """Source and path in clear, and a digest of who asks for what, down to the body."""
    url = httpx.URL(request.url)
    path = url.path.removeprefix(httpx.URL(source.base_url).path.rstrip("/")).strip("/")
    label = hidden(f"{source.source}/{path}", source.auth).replace("#", "_")
    who = json.dumps([source.auth.model_dump(), source.headers], sort_keys=True, default=_revealed)
    asked = [request.method, request.url, request.params, sorted(request.headers.items())]
    digest = hashlib.sha256(f"{who}\n{json.dumps(asked)}\n".encode())
    digest.update(request.content or b"")
    return f"{label}#{digest.hexdigest()}"


def _revealed(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _answer(kept: "CachedResponse", request: HttpRequest) -> HttpResponse:
    return HttpResponse(kept.status, kept.headers, kept.body, str(httpx.URL(request.whole_url)))


def _may_be_kept(answer: HttpResponse, source: Source) -> bool:
    """False for what is no whole success, or repeats a credential."""
    if not 200 <= answer.status < 300 or answer.status == 206:
        return False
    text = f"{dict(answer.headers)}{str(answer.body, 'utf-8', 'replace')}"
    return not says_a_secret(text, source.auth)
