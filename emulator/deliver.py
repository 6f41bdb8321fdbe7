"""A reply and the fault that falls on it, to bytes on the wire."""

import orjson
from starlette.types import Receive, Scope, Send

from emulator.auth import unauthorized
from emulator.faults import Rule
from emulator.reply import Reply, json_reply
from emulator.wire import send_broken, send_reply

HTML = b"<!DOCTYPE html><html><head><title>Just a moment</title></head><body></body></html>"
ERROR_200 = [{"title": "Internal Error", "status": 500, "cause": "Something went wrong"}]
STALL_S = 3_600.0
_ON_THE_WIRE = frozenset({"drop", "reset", "reset_mid_body", "cut_body", "stall"})


def instead(rule: Rule | None) -> Reply | None:
    """The reply that a fault puts in place of the real one, if it does."""
    if rule is None:
        return None
    if rule.kind == "status":
        wait = rule.retry_after
        headers = () if wait is None else ((b"retry-after", wait.encode()),)
        return Reply(rule.status, orjson.dumps({"message": rule.message}), headers=headers)
    if rule.kind == "token_401":
        return unauthorized()
    if rule.kind == "html_200":
        return Reply(200, HTML, b"text/html; charset=utf-8")
    return json_reply(200, ERROR_200) if rule.kind == "error_200" else None


async def deliver(
    reply: Reply, rule: Rule | None, scope: Scope, receive: Receive, send: Send, *, gzip: bool
) -> tuple[str, int]:
    """Send it, whole or broken; the status, or the kind of the fault, and the body's bytes."""
    if rule is not None and rule.kind in _ON_THE_WIRE:
        stall_s = STALL_S if rule.latency_s is None else rule.latency_s
        await send_broken(rule.kind, stall_s, reply, scope, receive, send)
        return rule.kind, 0
    if rule is not None and rule.kind == "cut_json":
        await send_reply(Reply(reply.status, reply.body[: len(reply.body) // 2]), send, gzip=gzip)
        return rule.kind, 0
    return str(reply.status), await send_reply(reply, send, gzip=gzip)
