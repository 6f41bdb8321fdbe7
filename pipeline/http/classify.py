"""What a response means, and whether the request is retried: a table. Pure.

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
EXPIRED       statuses and words that the YAML gives a page token that has expired
PERMANENT     every other status
============  ==============================================================================
"""

from collections.abc import Mapping
from enum import Enum

from pipeline.body import Body
from pipeline.config.limits import RateHeadersConfig, ResponsesConfig
from pipeline.http.waits import number_in


class ResponseKind(Enum):
    OK = "ok"
    EMPTY = "empty"
    NOT_MODIFIED = "not modified"
    THROTTLED = "throttled"
    RETRY = "retry"
    AUTH = "auth"
    EXPIRED = "expired"
    PERMANENT = "permanent"


def classify(
    status: int,
    headers: Mapping[str, str],
    answers: ResponsesConfig,
    rate: RateHeadersConfig | None,
    body: Body = b"",
) -> ResponseKind:
    """The kind of a response, by its status and by the headers and words that change its meaning.

    :param headers: names in lower case.
    """
    if _means_empty(status, answers, body):
        return ResponseKind.EMPTY
    if status >= 400 and _says(body, answers.dead_page_token_text):
        return ResponseKind.EXPIRED
    for statuses, kind in (
        (answers.dead_page_token, ResponseKind.EXPIRED),
        (answers.throttled, ResponseKind.THROTTLED),
        (answers.retry, ResponseKind.RETRY),
        (answers.permanent, ResponseKind.PERMANENT),
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
    return ResponseKind.THROTTLED if _says(body, answers.throttled_text) else ResponseKind.PERMANENT


def _means_empty(status: int, answers: ResponsesConfig, body: Body) -> bool:
    if answers.empty_text is None:
        return status in answers.empty
    fits = status in answers.empty if answers.empty else 400 <= status < 500
    return fits and _says(body, answers.empty_text)


def _is_used_up(headers: Mapping[str, str], name: str) -> bool:
    left = number_in(headers.get(name.lower(), ""))
    return left is not None and left <= 0


def asks_to_wait(headers: Mapping[str, str], answers: ResponsesConfig, body: Body) -> bool:
    """Whether an error in a 2xx means too many requests (MediaWiki, Shopify).

    Only for a 2xx with an error: some APIs send ``Retry-After`` with every response, and rows may
    have any words.
    """
    return "retry-after" in headers or _says(body, answers.throttled_text)


def is_dead_page_token(answers: ResponsesConfig, body: Body) -> bool:
    """Whether an error in a 2xx means that the page token has expired."""
    return _says(body, answers.dead_page_token_text)


def _says(body: Body, text: str | None) -> bool:
    """True if a refusal's body has the words, in any case."""
    return text is not None and text.lower().encode() in bytes(body[:10_000]).lower()
