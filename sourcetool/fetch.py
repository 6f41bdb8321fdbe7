"""One request of a tool, whose response is bounded in size and time."""

import time
from collections.abc import Mapping

import httpx

MOST_BYTES = 64 * 2**20
"""As the engine: a page of more would not be read either."""
TIMEOUT_S = 30.0
_MOST_S = 120.0


def fetch(
    method: str, url: str, headers: Mapping[str, str], content: bytes | None = None
) -> httpx.Response:
    """The response with its body.

    :raises ValueError: no response came, or it is too long. The sentence has no URL in it.
    """
    ends = time.monotonic() + _MOST_S
    try:
        with httpx.stream(
            method, url, headers=dict(headers), content=content, timeout=TIMEOUT_S
        ) as response:
            body = bytearray()
            for piece in response.iter_bytes():
                body += piece
                if len(body) > MOST_BYTES:
                    raise ValueError(
                        f"the response is longer than {MOST_BYTES // 2**20} MB: ask for fewer rows "
                        "a page, e.g. with limit=100"
                    )
                if time.monotonic() > ends:
                    raise ValueError(f"the response has not ended after {_MOST_S:g} s")
            status, named = response.status_code, response.headers
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError) as error:
        host = _host(url)
        raise ValueError(
            f"no response from {host} ({type(error).__name__}): check the URL, and that its server "
            "runs and can be reached from here"
        ) from None
    decoded_headers = [
        (k, v) for k, v in named.multi_items() if k not in ("content-encoding", "content-length")
    ]
    return httpx.Response(status, headers=decoded_headers, content=bytes(body))


def _host(url: str) -> str:
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return "the host"
    return parts.netloc.decode("ascii", "replace") or "the host"
