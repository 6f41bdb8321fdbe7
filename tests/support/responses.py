"""Answers of emulated APIs."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response


def json_answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """As JSON, with a fast encoder: the server shares the machine with what is tested."""
    return Response(orjson.dumps(body), status, headers, media_type="application/json")
