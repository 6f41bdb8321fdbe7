"""An answer before it is sent."""

from dataclasses import dataclass

import orjson

JSON = b"application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """A status, a body and its type; `rows` and `subqueries` are for the statistics."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    rows: int = 0
    subqueries: int = 0


def json_reply(status: int, value: object) -> Reply:
    """A reply of any JSON value."""
    return Reply(status, orjson.dumps(value))
