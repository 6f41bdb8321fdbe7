"""`/oauth2/token`: outside the API's limits and statistics, within reach of fault rules."""

import asyncio

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from emulator.auth import Tokens
from emulator.deliver import deliver, instead
from emulator.faults import Faults
from emulator.reply import json_reply


class TokenEndpoint:
    """An ASGI application that mints tokens, from a form or from query parameters."""

    def __init__(self, tokens: Tokens, faults: Faults) -> None:
        self._tokens = tokens
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        form = {str(name): str(value) for name, value in (await request.form()).items()}
        chosen = self._faults.choose(scope["path"], "")
        await asyncio.sleep(chosen.latency_s)
        reply = instead(chosen.fault)
        if reply is None and request.method != "POST":
            reply = json_reply(405, {"status": 405, "message": "method not allowed"})
        if reply is None:
            reply = self._tokens.grant({**request.query_params, **form})
        await deliver(reply, chosen.fault, scope, receive, send, gzip=False)
