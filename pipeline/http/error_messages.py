"""What is told of an answer that is no, or of none: what the API said, and the remedy. Pure."""

from collections.abc import Mapping
from copy import copy
from typing import Final

import httpx

from pipeline.body import Body
from pipeline.config.source import Source
from pipeline.errors import (
    AuthError,
    ContractBroken,
    HeadraceError,
    Permanent,
    RequestRefused,
    cut,
    cut_bytes,
)
from pipeline.http.classify import ResponseKind
from pipeline.http.token_auth import FOR_TOKENS

_NO_SUCH: Final = ": are base_url and the path right, and is what is asked for still there?"
_REMEDIES: Final = {
    403: ": are the credentials right, and allowed to read this?",
    **dict.fromkeys((404, 405, 410), _NO_SUCH),
}


def refusal(
    meaning: ResponseKind, status: int, headers: Mapping[str, str], body: Body, what: str
) -> Permanent:
    """The error of an answer that no retry can mend.

    :param what: the page in the user's words.
    """
    said = _said(headers, body)
    if meaning is ResponseKind.AUTH:
        return AuthError(
            f"{what}: the API refused the credentials (401){said}: are the key and the secret "
            "right, and allowed to read this?"
        )
    if 300 <= status < 400:
        slash = headers.get("location", "").partition("?")[0].endswith("/")
        return ContractBroken(
            f"{what}: the API redirects ({status}) to another address, which is not "
            "followed since credentials would go there: set base_url and path to the new address"
            + (", which ends with a slash" if slash else "")
        )
    remedy = _REMEDIES.get(status, "")
    said = f"the API refused the request with status {status}{said}{remedy}"
    return RequestRefused(f"{what}: {said}", status)


def lost(error: httpx.HTTPError) -> str:
    """Why there is no answer, without the URL."""
    of_token = is_of_token(error)
    if isinstance(error, httpx.TimeoutException):
        return "the token endpoint did not answer in time" if of_token else "no answer in time"
    if isinstance(error, httpx.ConnectError):
        return f"no connection to {error.request.url.netloc.decode()}"
    where = "the connection to the token endpoint" if of_token else "the connection"
    return f"{where} failed ({type(error).__name__})"


def is_of_token(error: httpx.HTTPError) -> bool:
    """True if it was the token endpoint that was asked, and not the API."""
    return FOR_TOKENS in error.request.extensions


def whom(source: Source, *, of_token: bool) -> str:
    """Who was asked, for a sentence."""
    if of_token:
        return f"The token endpoint at {httpx.URL(getattr(source.auth, 'token_url', '')).host}"
    return f"The API at {httpx.URL(source.base_url).host}"


def with_whence(error: HeadraceError, source: Source) -> HeadraceError:
    """The error; if the credentials may be to blame, with the settings that they come from."""
    of_them = isinstance(error, AuthError) or getattr(error, "status", None) == 403
    if not (of_them and source.credentials):
        return error
    told = copy(error)  # a token's refusal is kept, for all who wait for it
    told.args = (f"{error} The credentials come from {', '.join(source.credentials)}.",)
    return told


def _said(headers: Mapping[str, str], body: Body) -> str:
    """The start of what the API said, on one line."""
    text = headers.get("message") or cut_bytes(body, 2_000)
    line = " ".join(text.split())
    return f": {cut(line, 300)}" if line else ""
