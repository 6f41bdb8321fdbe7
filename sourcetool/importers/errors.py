"""Error handlers: what statuses mean, and how long to wait.

They hold for the whole source, but for those that mean no rows.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sourcetool.importers.durations import seconds
from sourcetool.importers.manifest import Component

_RETRIED_ANYWAY = frozenset({429, *range(500, 600)})
_MEANS = {"retry": "a failure that passes", "throttled": "too many requests"}
_RETRY_AFTER = "retry-after"
_REFUSED = 400


def error_handlers(requester: Component) -> Iterator[Component]:
    """The plain handlers of a requester."""
    waiting = [requester.get("error_handler")]
    while waiting:
        here = waiting.pop(0)
        if not isinstance(here, dict):
            continue
        if here.get("type") == "CompositeErrorHandler":
            waiting += here.get("error_handlers") or []
        elif here:
            yield here


def answers(requesters: list[Component]) -> tuple[dict[str, list[int]], list[str]]:
    """``answers`` of the source, and what of the manifests' handlers is left out."""
    found: dict[str, Counter[int]] = {"retry": Counter(), "throttled": Counter()}
    custom = Counter[str]()
    for requester in requesters:
        for handler in error_handlers(requester):
            if "class_name" in handler:
                custom[str(handler["class_name"])] += 1
            for one in handler.get("response_filters") or []:
                if isinstance(one, dict):
                    _filter(one, found)
    most = len(requesters) / 2
    said = {
        name: sorted(code for code, n in codes.items() if n >= most)
        for name, codes in found.items()
        if any(n >= most for n in codes.values())
    }
    left = [
        f"the manifest takes {code} for {_MEANS[name]}, in {n} endpoints only: it is an error here"
        for name, codes in found.items()
        for code, n in codes.items()
        if n < most
    ]
    left += [f"the error handler {name} is Python of the connector's own" for name in custom]
    return said, left


def _filter(one: Component, found: dict[str, Counter[int]]) -> None:
    codes = [int(code) for code in one.get("http_codes") or []]
    plain = not (one.get("predicate") or one.get("error_message_contains"))
    action = one.get("action")
    if action == "RETRY" and plain:
        found["retry"].update(code for code in codes if code not in _RETRIED_ANYWAY)
    elif action == "RATE_LIMITED" and plain:
        found["throttled"].update(code for code in codes if code != 429)


def ignored(requester: Component) -> tuple[dict[str, Any], list[str]]:
    """``answers`` of one endpoint: what it takes for no rows, and what of that is left out."""
    codes: list[int] = []
    texts: list[str] = []
    left: list[str] = []
    for handler in error_handlers(requester):
        for one in handler.get("response_filters") or []:
            if not isinstance(one, dict) or one.get("action") != "IGNORE":
                continue
            if one.get("predicate"):
                what = f"a response with {one['predicate']!r}"
                left.append(f"the manifest takes {what} for no rows: it is an error here")
            elif text := one.get("error_message_contains"):
                texts.append(str(text))
            else:
                codes += [int(c) for c in one.get("http_codes") or [] if int(c) >= _REFUSED]
    if codes:
        left += [f"the manifest takes a response with {t!r} for no rows, too" for t in texts]
        return {"empty": sorted(set(codes))}, left
    if texts:
        left += [f"the manifest takes a response with {t!r} for no rows, too" for t in texts[1:]]
        return {"empty_text": texts[0]}, left
    return {}, left


def limits(
    requesters: list[Component], budget: Component | None
) -> tuple[dict[str, Any], list[str]]:
    """``limits`` of the source, and what is left out."""
    found: dict[str, Any] = {}
    left: list[str] = []
    for policy in (budget or {}).get("policies") or []:
        rates = policy.get("rates") or []
        if policy.get("type") == "MovingWindowCallRatePolicy" and not policy.get("matchers"):
            for rate in rates:
                per_s, requests = seconds(rate.get("interval")), rate.get("limit")
                if per_s and isinstance(requests, int):
                    window = {"requests": requests, "per_s": per_s}
                    found.setdefault("windows", []).append(window)
        else:
            left.append("the rate limits of single endpoints (api_budget) are left out")
    waits = Counter[float]()
    headers = Counter[str]()
    for requester in requesters:
        for handler in error_handlers(requester):
            for one in handler.get("backoff_strategies") or []:
                if isinstance(one, dict):
                    _wait(one, waits, headers)
    if waits:
        found["throttle_wait_s"] = max(waits)
    left += [
        f"the manifest waits as the header {name} says: name it in limits.headers"
        for name in headers
        if name.lower() != _RETRY_AFTER
    ]
    return found, left


def _wait(one: Component, waits: Counter[float], headers: Counter[str]) -> None:
    if one.get("type") == "ConstantBackoffStrategy":
        try:
            waits[float(one["backoff_time_in_seconds"])] += 1
        except (KeyError, TypeError, ValueError):
            return
    elif one.get("type") in ("WaitTimeFromHeader", "WaitUntilTimeFromHeader"):
        headers[str(one.get("header"))] += 1
