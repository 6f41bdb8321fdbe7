"""Errors about a response that no retry can mend, or about none: the finding and the remedy."""

from collections.abc import Mapping
from copy import copy
from typing import Final

import httpx

from pipeline.auth.token_auth import FOR_TOKENS
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

NOT_QUOTED: Final = "The response is not quoted, since it repeats a secret."
_NO_SUCH: Final = (
    ". Check: 1. `base_url` and `path`; 2. that the requested resource still exists at the API."
)
_REMEDIES: Final = {
    403: ". Check that the credentials are right, and allowed to read this.",
    **dict.fromkeys((404, 405, 410), _NO_SUCH),
}


def refusal(
    kind: ResponseKind,
    status: int,
    headers: Mapping[str, str],
    body: Body,
    page_label: str,
    *,
    has_secret: bool,
) -> Permanent:
    """The error of a response that no retry can mend.

    :param page_label: the page in the user's words.
    :param has_secret: the response contains a secret, so that nothing of it is quoted.
    """
    if 300 <= status < 400:
        slash = headers.get("location", "").partition("?")[0].endswith("/")
        return ContractBroken(
            f"{page_label}: the API redirects ({status}) to another address. Headrace does not "
            "follow, since the credentials would go there. Set `base_url` and `path` to the new "
            "address" + (", which ends with a slash." if slash else ".")
        )
    quote = f". {NOT_QUOTED[:-1]}" if has_secret else _quote(headers, body)
    if kind is ResponseKind.AUTH:
        return AuthError(
            f"{page_label}: the API refused the credentials (401){quote}. Check that the key and "
            "the secret are right, and allowed to read this."
        )
    remedy = _REMEDIES.get(status, "")
    refused = f"the API refused the request with status {status}{quote}{remedy}"
    return RequestRefused(f"{page_label}: {refused}", status)


def no_response(error: httpx.HTTPError) -> str:
    """Why there is no response, without the URL."""
    of_token = is_of_token(error)
    if isinstance(error, httpx.TimeoutException):
        return "no response from the token endpoint in time" if of_token else "no response in time"
    if isinstance(error, httpx.ConnectError):
        return f"no connection to {error.request.url.netloc.decode()}"
    connection = "the connection to the token endpoint" if of_token else "the connection"
    return f"{connection} failed ({type(error).__name__})"


def is_of_token(error: httpx.HTTPError) -> bool:
    """True if the request went to the token endpoint, and not to the API."""
    return FOR_TOKENS in error.request.extensions


def endpoint_name(source: Source, *, of_token: bool) -> str:
    """The API or its token endpoint, at the start of a sentence."""
    if of_token:
        return f"The token endpoint at {source.auth.token_host}"
    return f"The API at {httpx.URL(source.base_url).host}"


def with_settings_named(error: HeadraceError, source: Source) -> HeadraceError:
    """The error; if the credentials may be wrong, with the settings that they come from."""
    of_credentials = isinstance(error, AuthError) or getattr(error, "status", None) == 403
    if not (of_credentials and source.credentials):
        return error
    longer = copy(error)  # a refusal of a token is kept, for all requests that wait for it
    longer.args = (f"{error} The credentials come from {', '.join(source.credentials)}.",)
    return longer


def _quote(headers: Mapping[str, str], body: Body) -> str:
    """The start of the response's text, on one line."""
    text = headers.get("message") or cut_bytes(body, 2_000)
    line = " ".join(text.split())
    return f": {cut(line, 300)}" if line else ""
