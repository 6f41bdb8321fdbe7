"""What is told of an answer that is no, or of none: what the API said, and the remedy. Pure."""

from collections.abc import Mapping

import httpx

from pipeline.classify import Verdict
from pipeline.errors import AuthError, ContractBroken, Permanent, RequestRefused


def refusal(
    meaning: Verdict, status: int, headers: Mapping[str, str], body: bytes, what: str
) -> Permanent:
    """The error of an answer that no retry can mend.

    :param what: the page in the user's words.
    """
    said = _said(headers, body)
    if meaning is Verdict.AUTH:
        return AuthError(
            f"{what}: the API refused the credentials (401){said}: are the key and the secret "
            "right, and allowed to read this?"
        )
    if 300 <= status < 400:
        return ContractBroken(
            f"{what}: the API redirects ({status}) to another address, which is not "
            "followed since credentials would go there: set base_url to the new address"
        )
    return RequestRefused(f"{what}: the API refused the request with status {status}{said}")


def lost(error: httpx.HTTPError) -> str:
    """Why there is no answer, without the URL."""
    if isinstance(error, httpx.ConnectError):
        return f"no connection to {error.request.url.host}"
    return f"the connection failed ({type(error).__name__})"


def _said(headers: Mapping[str, str], body: bytes) -> str:
    """The start of what the API said, on one line."""
    text = headers.get("message") or body[:600].decode("utf-8", "replace")
    line = " ".join(text.split())
    return f": {line[:300]}" if line else ""
