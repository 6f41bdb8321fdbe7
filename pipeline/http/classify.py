"""What an answer means, and who tries again: a table. Pure.

============  ==============================================================================
verdict       answers
============  ==============================================================================
OK            2xx; an error in it (``errors_at``) may mean THROTTLED: ``asks_to_wait``
EMPTY         204, and statuses that the source's YAML calls empty
NOT_MODIFIED  304, to a request that asked whether an earlier answer still holds
THROTTLED     429; 503 with Retry-After; 403 with Retry-After or an exhausted rate limit;
              statuses and words that the YAML adds
RETRY         5xx, 408, 425; transport failures and bad bodies come here too
AUTH          401, after the token was renewed once
PERMANENT     every other status
============  ==============================================================================
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

from pipeline.body import Body
from pipeline.config.limits import RateHeadersConfig, ResponsesConfig
from pipeline.ratelimit.reservation import MAX_BLOCK_S

_LONGEST_S = 86_400.0 * 31


class ResponseKind(Enum):
    OK = "ok"
    EMPTY = "empty"
    NOT_MODIFIED = "not modified"
    THROTTLED = "throttled"
    RETRY = "retry"
    AUTH = "auth"
    PERMANENT = "permanent"


def classify(
    status: int,
    headers: Mapping[str, str],
    answers: ResponsesConfig,
    rate: RateHeadersConfig | None,
    body: Body = b"",
) -> ResponseKind:
    """What a status means, with the headers and the words that change its meaning.

    :param headers: names in lower case.
    """
    for statuses, meaning in (
        (answers.empty, ResponseKind.EMPTY),
        (answers.throttled, ResponseKind.THROTTLED),
        (answers.retry, ResponseKind.RETRY),
        (answers.permanent, ResponseKind.PERMANENT),
    ):
        if status in statuses:
            return meaning
    if 200 <= status < 300:
        return ResponseKind.EMPTY if status == 204 else ResponseKind.OK
    if status == 304:
        return ResponseKind.NOT_MODIFIED
    waits = "retry-after" in headers
    spent = rate is not None and headers.get(rate.remaining.lower()) == "0"
    if status == 429 or (status == 503 and waits) or (status == 403 and (waits or spent)):
        return ResponseKind.THROTTLED
    if status >= 500 or status in (408, 425):
        return ResponseKind.RETRY
    if status == 401:
        return ResponseKind.AUTH
    return (
        ResponseKind.THROTTLED
        if _says_throttled(body, answers.throttled_text)
        else ResponseKind.PERMANENT
    )


def asks_to_wait(headers: Mapping[str, str], answers: ResponsesConfig, body: Body) -> bool:
    """Whether an error in a 2xx means too many requests (MediaWiki, Shopify).

    Of other 2xx it is not asked: some APIs send ``Retry-After`` with every answer, and rows may
    have any words.
    """
    return "retry-after" in headers or _says_throttled(body, answers.throttled_text)


def _says_throttled(body: Body, text: str | None) -> bool:
    """True if a refusal's body has the words that mean too many requests, in any case."""
    return text is not None and text.lower().encode() in bytes(body[:10_000]).lower()


def retry_after_s(headers: Mapping[str, str], now: Callable[[], datetime]) -> float | None:
    """Seconds of ``Retry-After`` (RFC 9110, 10.2.3: a number or a date), at most a day; or None."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        wait_s = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, TypeError):
            return None
        wait_s = (date.replace(tzinfo=date.tzinfo or UTC) - now()).total_seconds()
    if wait_s != wait_s:
        return None
    return min(max(wait_s, 0.0), MAX_BLOCK_S)


def rate_left(
    headers: Mapping[str, str], rate: RateHeadersConfig | None, now: Callable[[], datetime]
) -> tuple[int | None, float | None]:
    """What the API says of its quota: requests left, and seconds until it is full again."""
    if rate is None:
        return None, None
    remaining, reset = _number(headers, rate.remaining), _number(headers, rate.reset)
    if reset is not None and (unit := reset_unit(reset)) != "seconds":
        reset = (reset / 1000 if unit == "epoch_ms" else reset) - now().timestamp()
    return None if remaining is None else int(remaining), None if reset is None else max(reset, 0.0)


def reset_unit(reset: float) -> str:
    """What a reset is, by its size: no quota takes thirty years, and no calendar is that young.

    So one word of the source's YAML that is wrong neither holds everybody for a day nor is lost.
    """
    return "epoch_ms" if reset > 1e12 else "epoch_s" if reset > 1e9 else "seconds"


def odd_unit(headers: Mapping[str, str], rate: RateHeadersConfig | None) -> str | None:
    """Words for a reset that is not in the unit that the source says."""
    reset = None if rate is None else _number(headers, rate.reset)
    if rate is None or reset is None or not reset or reset_unit(reset) == rate.reset_is:
        return None
    return (
        f"{rate.reset} is {reset:.0f}, which can't be {rate.reset_is} as limits.headers.reset_is "
        f"says: it is taken as {reset_unit(reset)}"
    )


_INTERVAL = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def limit_told(
    headers: Mapping[str, str], rate: RateHeadersConfig | None
) -> tuple[int, float] | None:
    """The limit that the API says it has: requests, and in how many seconds."""
    if rate is None or rate.limit is None:
        return None
    requests, per_s = _number(headers, rate.limit), rate.interval_s
    if rate.interval is not None:
        found = _INTERVAL.fullmatch(headers.get(rate.interval.lower(), "").strip())
        per_s = float(found[1]) * _UNIT_S[found[2] or "s"] if found else None
    if requests is None or requests < 1 or per_s is None or not 0 < per_s <= _LONGEST_S:
        return None
    return int(requests), per_s


def _number(headers: Mapping[str, str], name: str) -> float | None:
    try:
        found = float(headers[name.lower()])
    except (KeyError, ValueError):
        return None
    return found if math.isfinite(found) else None
