"""`/_control`: looking at the emulator and changing it, outside all limits."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emulator.api import Api
from emulator.apicalypse import parse
from emulator.auth import Tokens
from emulator.changes import change_rows
from emulator.faults import Rule
from emulator.query import Query, QueryError
from emulator.settings import EmulatorSettings
from emulator.store import Store

T = TypeVar("T")


class Control:
    """The handlers; each answers 200 with JSON, or 400 with `{"error": …}`."""

    def __init__(
        self,
        settings: EmulatorSettings,
        store: Store,
        tokens: Tokens,
        api: Api,
        data_thread: ThreadPoolExecutor,
    ) -> None:
        self._settings = settings
        self._store = store
        self._tokens = tokens
        self._api = api
        self._data_thread = data_thread

    def routes(self) -> list[Route]:
        """To be mounted at `/_control`."""
        return [
            Route("/health", self.health),
            Route("/stats", self.stats),
            Route("/reset", self.reset, methods=["POST"]),
            Route("/rows", self.change, methods=["POST"]),
            Route("/rows/{endpoint}", self.rows),
            Route("/faults", self.faults, methods=["GET", "POST", "DELETE"]),
            Route("/tokens/revoke", self.revoke, methods=["POST"]),
            Route("/config", self.config, methods=["GET", "POST"]),
        ]

    async def health(self, request: Request) -> Response:
        """That it runs."""
        return _json({"status": "ok"})

    async def stats(self, request: Request) -> Response:
        """See `Stats.shown`, and the tokens minted."""
        shown = self._api.stats.shown(self._api.limits.open, self._settings.per_s)
        return _json({**shown, "tokens_minted": self._tokens.minted})

    async def reset(self, request: Request) -> Response:
        """Forget the statistics."""
        self._api.stats.reset()
        return _json({"reset": True})

    async def change(self, request: Request) -> Response:
        """See `change_rows`."""
        change = await request.json()
        now_s = int(time.time())
        try:
            if not isinstance(change, dict):
                raise ValueError("a change is an object")
            ids = await self._in_thread(lambda: change_rows(self._store, change, now_s))
        except (ValueError, QueryError) as error:
            return _json({"error": str(error)}, 400)
        return _json({"ids": ids, "count": len(ids)})

    async def rows(self, request: Request) -> Response:
        """All rows of an endpoint by id, or those that match `?where=`."""
        name = request.path_params["endpoint"]
        where = request.query_params.get("where")

        def read() -> bytes:
            query = parse(f"where {where};") if where else Query()
            table = self._store.table(name)
            found = (table.encoded(id_) for id_ in self._store.select(name, query))
            return b"[" + b",".join(found) + b"]"

        try:
            body = await self._in_thread(read)
        except QueryError as error:
            return _json({"error": str(error)}, error.status)
        return Response(body, media_type="application/json")

    async def faults(self, request: Request) -> Response:
        """GET the rules, POST new ones in place of the old, DELETE them."""
        if request.method == "DELETE":
            self._api.faults.set([])
        elif request.method == "POST":
            given = await request.json()
            try:
                rules = given if isinstance(given, list) else [given]
                self._api.faults.set([Rule.read(rule) for rule in rules])
            except (ValueError, TypeError) as error:
                return _json({"error": str(error)}, 400)
        return _json({"faults": self._api.faults.shown()})

    async def revoke(self, request: Request) -> Response:
        """One token, `{"token": …}`, or all."""
        given = orjson.loads(await request.body() or b"{}")
        return _json({"revoked": self._tokens.revoke(given.get("token"))})

    async def config(self, request: Request) -> Response:
        """GET the settings, or POST those to change."""
        if request.method == "POST":
            try:
                self._settings.update(await request.json())
            except ValueError as error:
                return _json({"error": str(error)}, 400)
        return _json(self._settings.shown())

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._data_thread, work)


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
