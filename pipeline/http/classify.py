"""The meaning of a response: a table that says whether the request is retried, and the errors.
Pure.

============  ==============================================================================
kind          responses
============  ==============================================================================
OK            2xx; an error in it (``errors_at``) may mean THROTTLED: ``asks_to_wait``
EMPTY         204, and statuses and words that the YAML calls empty
NOT_MODIFIED  304, to a conditional request: an earlier response still holds
THROTTLED     429; 503 with Retry-After; 403 with Retry-After or an exhausted rate limit;
              statuses and words that the YAML adds
RETRY         5xx, 408, 425; transport failures and bad bodies come here too
AUTH          401, after the token was renewed once
SIGNED_OUT    statuses and words that the YAML gives a dead token: as 401
EXPIRED       statuses and words that the YAML gives a page token that has expired
PERMANENT     every other status
============  ==============================================================================

The errors about a response that no retry can mend, or about none, have the finding and the remedy.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from copy import copy
from enum import Enum
from typing import Final

import aiohttp
import httpx

from pipeline.auth.token_auth import FOR_TOKENS
from pipeline.config.limits import RateHeadersConfig, ResponsesConfig
from pipeline.config.source import Source
from pipeline.errors import (
    AuthError,
    ContractBroken,
    HeadraceError,
    PageTokenDead,
    Permanent,
    RequestRefused,
    cut,
    cut_bytes,
)
from pipeline.http.retry import number_in
from pipeline.messages import Body


class ResponseKind(Enum):
    OK = "ok"
    EMPTY = "empty"
    NOT_MODIFIED = "not modified"
    THROTTLED = "throttled"
    RETRY = "retry"
    AUTH = "auth"
    SIGNED_OUT = "signed out"
    EXPIRED = "expired"
    PERMANENT = "permanent"


def classify(
    status: int,
    headers: Mapping[str, str],
    meanings: ResponsesConfig,
    rate: RateHeadersConfig | None,
    body: Body = b"",
) -> ResponseKind:
    """The kind of a response, by its status and by the headers and words that change its meaning.

    :param headers: names in lower case.
    """
    if _means_empty(status, meanings, body):
        return ResponseKind.EMPTY
    if status >= 400 and _says(body, meanings.dead_token_text):
        return ResponseKind.SIGNED_OUT
    if status >= 400 and _says(body, meanings.dead_page_token_text):
        return ResponseKind.EXPIRED
    for statuses, kind in (
        (meanings.dead_token, ResponseKind.SIGNED_OUT),
        (meanings.dead_page_token, ResponseKind.EXPIRED),
        (meanings.throttled, ResponseKind.THROTTLED),
        (meanings.retry, ResponseKind.RETRY),
        (meanings.permanent, ResponseKind.PERMANENT),
    ):
        if status in statuses:
            return kind
    if 200 <= status < 300:
        return ResponseKind.EMPTY if status == 204 else ResponseKind.OK
    if status == 304:
        return ResponseKind.NOT_MODIFIED
    has_wait = "retry-after" in headers
    is_used_up = rate is not None and _is_used_up(headers, rate.remaining)
    if (
        status == 429
        or (status == 503 and has_wait)
        or (status == 403 and (has_wait or is_used_up))
    ):
        return ResponseKind.THROTTLED
    if status >= 500 or status in (408, 425):
        return ResponseKind.RETRY
    if status == 401:
        return ResponseKind.AUTH
    return (
        ResponseKind.THROTTLED if _says(body, meanings.throttled_text) else ResponseKind.PERMANENT
    )


def _means_empty(status: int, meanings: ResponsesConfig, body: Body) -> bool:
    if meanings.empty_text is None:
        return status in meanings.empty
    fits = status in meanings.empty if meanings.empty else 400 <= status < 500
    return fits and _says(body, meanings.empty_text)


def _is_used_up(headers: Mapping[str, str], name: str) -> bool:
    remaining = number_in(headers.get(name.lower(), ""))
    return remaining is not None and remaining <= 0


def asks_to_wait(headers: Mapping[str, str], meanings: ResponsesConfig, body: Body) -> bool:
    """Whether an error in a 2xx means too many requests (MediaWiki, Shopify).

    Only for a 2xx with an error: some APIs send ``Retry-After`` with every response, and rows may
    have any words.
    """
    return "retry-after" in headers or _says(body, meanings.throttled_text)


def is_dead_token(meanings: ResponsesConfig, body: Body) -> bool:
    """Whether an error in a 2xx means that the token of ``auth`` is dead."""
    return _says(body, meanings.dead_token_text)


def is_dead_page_token(meanings: ResponsesConfig, body: Body) -> bool:
    """Whether an error in a 2xx means that the page token has expired."""
    return _says(body, meanings.dead_page_token_text)


def _says(body: Body, text: str | None) -> bool:
    """True if a refusal's body has the words, in any case."""
    return text is not None and text.lower().encode() in bytes(body[:10_000]).lower()


NOT_QUOTED: Final = "The response is not quoted, since it repeats a secret."
_NO_SUCH: Final = (
    ". Check: 1. `base_url` and `path`; 2. that the requested resource still exists at the API."
)
_REMEDIES: Final = {
    407: ". The proxy expects a user and a password. Check those in `proxy`.",
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
            f"{page_label}: the API refused the credentials ({status}){quote}. Check that the key "
            "and the secret are right, and allowed to read this."
        )
    remedy = _REMEDIES.get(status, "")
    refused = f"the API refused the request with status {status}{quote}{remedy}"
    kind_of_error = PageTokenDead if kind is ResponseKind.EXPIRED else RequestRefused
    return kind_of_error(f"{page_label}: {refused}", status)


def no_response(error: httpx.HTTPError) -> str:
    """Why there is no response, without the URL."""
    of_token = is_of_token(error)
    if isinstance(error, httpx.TimeoutException):
        return "no response from the token endpoint in time" if of_token else "no response in time"
    if isinstance(error, httpx.ConnectError):
        return _no_connection(error)
    if isinstance(error.__cause__, aiohttp.ClientHttpProxyError):
        return f"the proxy refused the connection with status {error.__cause__.status}"
    connection = "the connection to the token endpoint" if of_token else "the connection"
    return f"{connection} failed ({type(error).__name__})"


def _no_connection(error: httpx.ConnectError) -> str:
    host, cause = error.request.url.netloc.decode(), error.__cause__
    if isinstance(cause, aiohttp.ClientProxyConnectionError):
        return f"no connection to the proxy {cause.host}:{cause.port}"
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return f"no connection to {host} (the name of the host is not known)"
    if isinstance(cause, aiohttp.ClientConnectorError) and cause.errno:
        return f"no connection to {host} ({os.strerror(cause.errno).lower()})"
    return f"no connection to {host}"


def wrong_tls(error: httpx.HTTPError) -> str | None:
    """The fault of a certificate, as a sentence; None for another error.

    No retry changes it.
    """
    reason = next((text for each in _causes(error) if (text := _tls_reason(each))), None)
    if reason is None:
        return None
    host = error.request.url.netloc.decode()
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return (
            f"{host} ends the TLS handshake ({reason}). Check: 1. whether it wants a certificate "
            "of the client: `tls: {cert, key}`; 2. `base_url`."
        )
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason:
        return (
            f"{host} does not speak TLS ({reason}). Check: 1. whether `base_url` is http://; 2. "
            "its port; 3. `proxy`."
        )
    return (
        f"The certificate of {host} is not trusted ({reason}). Check: 1. `tls.ca`, or "
        "SSL_CERT_FILE or REQUESTS_CA_BUNDLE: a PEM file with the certificate of the authority, "
        "also of a proxy that opens TLS; 2. `base_url`; 3. the clock of this machine."
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        inner = (getattr(cause, name, None) for name in ("certificate_error", "os_error"))
        cause = next(filter(None, (*inner, cause.__cause__, cause.__context__)), None)


def _tls_reason(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(getattr(error, "verify_message", "")) or None
    if isinstance(error, ssl.SSLError):
        kinds = ("CERTIFICATE", "HANDSHAKE_FAILURE", "WRONG_VERSION_NUMBER", "HTTP_REQUEST")
        reason = str(getattr(error, "reason", None) or "")
        return reason if any(kind in reason for kind in kinds) else None
    return None


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
