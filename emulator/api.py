"""`/v4`: one request from its arrival to the last byte of its answer."""

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from math import ceil

import orjson
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from emulator.answers import Answers
from emulator.auth import Tokens, unauthorized
from emulator.deliver import deliver, instead
from emulator.faults import Chosen, Faults
from emulator.limits import EmulatedLimits
from emulator.reply import Reply, json_reply
from emulator.settings import EmulatorSettings
from emulator.stats import Stats
from emulator.wire import send_reply


class Api:
    """An ASGI application for everything under `/v4/`."""

    def __init__(
        self,
        settings: EmulatorSettings,
        answers: Answers,
        tokens: Tokens,
        data_thread: ThreadPoolExecutor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._answers = answers
        self._tokens = tokens
        self._data_thread = data_thread
        self._clock = clock
        self.limits = EmulatedLimits(settings)
        self.faults = Faults()
        self.stats = Stats(time.time() - clock())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._settings.jitter_s:
            await asyncio.sleep(random.uniform(0, 2 * self._settings.jitter_s))
        now = self._clock()
        path = str(scope["path"])
        if not self.limits.enter(now):
            self.stats.refused(now, path)
            await send_reply(self._too_many(), send, gzip=False)
            return
        self.stats.accepted(now, self.limits.open)
        try:
            await self._accepted(path, scope, receive, send)
        finally:
            self.limits.leave()

    async def _accepted(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await Request(scope, receive).body()).decode(errors="replace")
        chosen = self.faults.choose(path, body)
        if delay_s := self._settings.latency_s + chosen.latency_s:
            await asyncio.sleep(delay_s)
        headers = Headers(scope=scope)
        reply = await self._reply(scope, headers, path.removeprefix("/v4/"), body, chosen)
        gzip = self._settings.gzip and "gzip" in headers.get("accept-encoding", "")
        outcome, size = await deliver(reply, chosen.fault, scope, receive, send, gzip=gzip)
        self.stats.answered(path, outcome, reply.rows, reply.subqueries, size)

    async def _reply(
        self, scope: Scope, headers: Headers, path: str, body: str, chosen: Chosen
    ) -> Reply:
        if (faulty := instead(chosen.fault)) is not None:
            return faulty
        if not self._tokens.allows(headers.get("client-id"), headers.get("authorization")):
            return unauthorized()
        if scope["method"] != "POST":
            return json_reply(405, {"message": "Method Not Allowed"})
        loop = asyncio.get_running_loop()
        kind = None if chosen.fault is None else chosen.fault.kind
        return await loop.run_in_executor(
            self._data_thread,
            lambda: self._answers.answer(path, body, kind, chosen.changes, int(time.time())),
        )

    def _too_many(self) -> Reply:
        body = orjson.dumps({"message": "Too Many Requests"})
        wait_s = self._settings.retry_after_s
        if self._settings.retry_after == "seconds":
            return Reply(429, body, headers=((b"retry-after", str(ceil(wait_s)).encode()),))
        if self._settings.retry_after == "date":
            date = formatdate(ceil(time.time() + wait_s), usegmt=True)
            return Reply(429, body, headers=((b"retry-after", date.encode()),))
        return Reply(429, body)
