"""The meaning of a response: a table that says whether the request is retried, and the errors.
Pure.

============  ==============================================================================
kind          responses
============  ==============================================================================
OK            2xx; an error in it (``errors_at``) may mean THROTTLED: ``asks_to_wait``
EMPTY         204, and statuses and words that the YAML calls empty
NOT_MODIFIED  304, to a conditional request: an earlier response still holds
THROTTLED     429; 503 with Retry-After; 403 with Retry-After or an exhausted rate limit;
              a code of too many requests in the body of a refusal (``RESOURCE_EXHAUSTED``);
              statuses and words that the YAML adds
RETRY         5xx, 408, 425; transport failures and bad bodies come here too
AUTH          401, after the token was renewed once
SIGNED_OUT    statuses and words that the YAML gives a dead token: as 401
EXPIRED       statuses and words that the YAML gives a page token that has expired
PERMANENT     every other status
============  ==============================================================================

The errors about a response that no retry can mend, or about none, have the finding and the remedy.
"""

import re
from collections.abc import Mapping
from copy import copy
from enum import Enum
from typing import Final
from urllib.parse import urljoin

import httpx

from pipeline.config.limits import RateHeadersConfig, ResponsesConfig
from pipeline.config.source import Source
from pipeline.decode.error_words import too_many_requests_in
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
from pipeline.http.rate_limit_headers import number_in
from pipeline.messages import Body, HttpResponse, names_a_wait


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
    has_wait = names_a_wait(headers)
    is_used_up = rate is not None and _is_used_up(headers, rate.remaining)
    if (
        status == 429
        or (status == 503 and has_wait)
        or (status == 403 and (has_wait or is_used_up))
        or (status >= 400 and too_many_requests_in(body))
    ):
        return ResponseKind.THROTTLED
    if status >= 500 or status in (408, 425):
        return ResponseKind.RETRY
    if status == 401:
        return ResponseKind.AUTH
    return (
        ResponseKind.THROTTLED if _says(body, meanings.throttled_text) else ResponseKind.PERMANENT
    )


_OF_ROWS: Final = (200, 203, 206)


def is_conditional(headers: Mapping[str, str]) -> bool:
    """Whether a request names an earlier response, so that 304 may be the response to it."""
    return any(name.lower() in ("if-none-match", "if-modified-since") for name in headers)


def _means_empty(status: int, meanings: ResponsesConfig, body: Body) -> bool:
    """Whether a response means no rows. A 200 does if its body is empty, or the text alone."""
    if status in _OF_ROWS and (text := bytes(body[:1000]).strip()):
        alone = (meanings.empty_text or "").strip().lower()
        return status in meanings.empty and text.lower() == alone.encode()
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
    return names_a_wait(headers) or _says(body, meanings.throttled_text)


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
    # Conflict, misdirected, locked, a dependency that failed, a client that nginx saw leave.
    **{
        status: f". If it passes by itself: `answers: {{retry: [{status}]}}`."
        for status in (409, 421, 423, 424, 499)
    },
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
        location = "" if has_secret else headers.get("location", "")
        return ContractBroken(f"{page_label}: {_redirect(status, location)}")
    quote = f". {NOT_QUOTED[:-1]}" if has_secret else _quote(headers, body)
    if kind is ResponseKind.AUTH:
        return AuthError(
            f"{page_label}: the API refused the credentials ({status}){quote}. Check that the key "
            "and the secret are right, and allowed to read this."
        )
    remedy = _REMEDIES.get(status, "")
    if status == 403 and (name := _quota_used_up(headers)):
        reset = name.replace("remaining", "reset")
        remedy = (
            f". `{name}` is {headers[name][:20]!r}. If that means too many requests: "
            f"`limits: {{headers: {{remaining: {name}, reset: {reset}}}}}`."
        )
    refused = f"the API refused the request with status {status}{quote}{remedy}"
    kind_of_error = PageTokenDead if kind is ResponseKind.EXPIRED else RequestRefused
    return kind_of_error(f"{page_label}: {refused}", status)


def _quota_used_up(headers: Mapping[str, str]) -> str | None:
    """The header that says that no requests are left, by its usual names."""
    names = (name for name in headers if re.search(r"rate-?limit-remaining", name))
    return next((name for name in names if _is_used_up(headers, name)), None)


_LOGIN: Final = re.compile(r"log-?in|sign-?in|sso|oauth|auth|saml|session", re.IGNORECASE)


def _redirect(status: int, location: str) -> str:
    """The sentence on a redirect, which Headrace does not follow.

    :param location: where it leads; empty: that is not known, or not to be shown.
    """
    address = httpx.URL(location).copy_with(query=None, fragment=None) if _is_url(location) else ""
    named = f": `{cut(str(address), 200)}`" if address else ""
    finding = (
        f"the API redirects ({status}) to another address{named}. Headrace does not follow, since "
        "the credentials would go there."
    )
    if _LOGIN.search(str(address)):
        return (
            f"{finding} Check: 1. the credentials: that address looks like a login, to which an "
            "API sends those that it does not know; 2. `base_url` and `path`."
        )
    if not address:
        return f"{finding} Check `base_url` and `path`."
    slash = ", which ends with a slash" if str(address).endswith("/") else ""
    return f"{finding} Set `base_url` and `path` to the new address{slash}."


def _is_url(text: str) -> bool:
    try:
        return bool(text) and not httpx.URL(text).userinfo
    except httpx.InvalidURL:
        return False


def endpoint_name(source: Source, *, of_token: bool) -> str:
    """The API or its token endpoint, at the start of a sentence."""
    if of_token:
        return f"The token endpoint at {source.auth.token_host}"
    return f"The API at {httpx.URL(source.base_url).host}"


_TOO_MANY: Final = re.compile(
    r"rate[ _-]?limit(?:ed| exceeded)?|too many requests|throttl(?:ed|ing)|slow down|"
    r"enhance your calm|quota exceeded|requests? limit",
    re.IGNORECASE,
)


_DEAD_TOKEN: Final = re.compile(
    r"(?:access[ _-]?token|session|jwt|credentials?)(?: has| have| is)?[ _-]?expired|"
    r"expired[ _-](?:access[ _-]?token|session|jwt|credentials)|invalid[ _-](?:access[ _-])?token|"
    r"(?<!page )(?<!page_)(?<!cursor )(?<!sync )(?<!next )\btoken(?: has| is)?[ _-]?expired",
    re.IGNORECASE,
)
_TO_LOGIN: Final = re.compile(r"redirects \((\d+)\).*looks like a login")


def _dead_token_remedy(error: HeadraceError) -> str:
    """The key under ``answers`` that renews a token, where a refusal sounds like a dead one."""
    text = str(error).partition(": ")[2]
    key = ""
    if redirect := _TO_LOGIN.search(text):
        key = f"`answers: {{dead_token: [{redirect[1]}]}}`"
    elif words := _DEAD_TOKEN.search(text):
        beside = "" if isinstance(error, RequestRefused) else "`errors_at`, the path to it, and "
        key = f"{beside}`answers: {{dead_token_text: {words[0]}}}`"
    return f"If the token has run out: {key} renews it." if key else ""


def with_remedies(error: HeadraceError, source: Source) -> HeadraceError:
    """The error, with what to look at in the YAML: the settings of the credentials that may be
    wrong, and the key under ``answers`` for too many requests or for a token that has run out,
    where its words sound like that."""
    additions = []
    status = getattr(error, "status", None)
    if isinstance(error, RequestRefused | ContractBroken):
        words = _TOO_MANY.search(str(error).partition(": ")[2])
        beside = "" if isinstance(error, RequestRefused) else "`errors_at`, the path to it, and "
        if words:
            additions.append(
                f"If it means too many requests: {beside}`answers: {{throttled_text: {words[0]}}}`."
            )
        elif status in _LIKE_429:
            additions.append(
                f"If it means too many requests: `answers: {{throttled: [{status}]}}`."
            )
        if source.auth.token_host and (remedy := _dead_token_remedy(error)):
            additions.append(remedy)
    if source.credentials and (isinstance(error, AuthError) or status == 403):
        additions.append(f"The credentials come from {', '.join(source.credentials)}.")
    if not additions:
        return error
    longer = copy(error)  # a refusal of a token is kept, for all requests that wait for it
    longer.args = (" ".join((f"{str(error).rstrip('.')}.", *additions)),)
    return longer


_LIKE_429: Final = (420, 430)
"""Twitter's and Shopify's of once."""


def _quote(headers: Mapping[str, str], body: Body) -> str:
    """The start of the response's text, on one line."""
    text = headers.get("message") or cut_bytes(body, 2_000)
    line = " ".join(text.split())
    return f": {cut(line, 300)}" if line else ""


def redirects_to_itself(response: HttpResponse) -> bool:
    """Whether a response redirects to where its request went, and sets a cookie for that."""
    location = response.headers.get("location")
    if not (300 <= response.status < 400 and location and "set-cookie" in response.headers):
        return False
    return urljoin(response.url, location) == response.url
