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
_LOOKS = ("FAIL", "RETRY", "RATE_LIMITED")
_RETRY_AFTER = "retry-after"
_REFUSED = 400


def components_in(value: Any) -> list[Component]:
    """The components of a list; nothing of what is none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def error_handlers(requester: Component) -> Iterator[Component]:
    """The plain handlers of a requester."""
    waiting = [requester.get("error_handler")]
    while waiting:
        here = waiting.pop(0)
        if not isinstance(here, dict):
            continue
        if here.get("type") == "CompositeErrorHandler":
            waiting += components_in(here.get("error_handlers"))
        elif here:
            yield here


def answers(requesters: list[Component]) -> tuple[dict[str, list[int]], list[str]]:
    """``answers`` of the source, and what of the manifests' handlers is left out."""
    found: dict[str, Counter[int]] = {
        "retry": Counter(),
        "throttled": Counter(),
        "success": Counter(),
    }
    custom, looks = Counter[str](), Counter[str]()
    for requester in requesters:
        for handler in error_handlers(requester):
            if "class_name" in handler:
                custom[str(handler["class_name"])] += 1
            for one in components_in(handler.get("response_filters")):
                _filter(one, found)
                if one.get("predicate") and one.get("action") in _LOOKS:
                    looks[" ".join(str(one["predicate"]).split())] += 1
    bodies = found.pop("success")
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
    left += [
        f"the manifest reads rows from a response with status {code}: it is an error here"
        for code in bodies
    ]
    left += [
        f"the manifest looks for errors in responses ({text}): see errors_at and ok_when"
        for text in looks
    ]
    left += [f"the error handler {name} is Python of the connector's own" for name in custom]
    return said, left


def _codes(one: Component) -> list[int]:
    """The statuses of a filter; what is no number is none."""
    given = one.get("http_codes")
    listed = given if isinstance(given, list) else [given]
    return [int(code) for code in listed if str(code).isdigit()]


def _filter(one: Component, found: dict[str, Counter[int]]) -> None:
    codes = _codes(one)
    plain = not (one.get("predicate") or one.get("error_message_contains"))
    action = one.get("action")
    if action == "RETRY" and plain:
        found["retry"].update(code for code in codes if code not in _RETRIED_ANYWAY)
    elif action == "SUCCESS" and plain:
        found["success"].update(code for code in codes if code >= _REFUSED)
    elif action == "RATE_LIMITED" and plain:
        found["throttled"].update(code for code in codes if code != 429)


_PAGES = frozenset({"RESET_PAGINATION", "REDUCE_PAGE_SIZE", "SPLIT_REQUEST_WINDOW"})


def ignored(requester: Component) -> tuple[dict[str, Any], list[str]]:
    """``answers`` of one endpoint: what it takes for no rows, and what of that is left out."""
    codes: list[int] = []
    texts: list[str] = []
    left: list[str] = []
    for handler in error_handlers(requester):
        for one in components_in(handler.get("response_filters")):
            if str(one.get("action")) in _PAGES:
                left.append(f"the manifest's action {one['action']} on a response: an error here")
            if one.get("action") != "IGNORE":
                continue
            if one.get("predicate"):
                what = f"a response with {one['predicate']!r}"
                left.append(f"the manifest takes {what} for no rows: it is an error here")
            elif text := one.get("error_message_contains"):
                texts.append(str(text))
            else:
                codes += [code for code in _codes(one) if code >= _REFUSED]
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
    for policy in components_in((budget or {}).get("policies")):
        rates = components_in(policy.get("rates"))
        if policy.get("type") == "MovingWindowCallRatePolicy" and not policy.get("matchers"):
            for rate in rates:
                per_s, requests = seconds(rate.get("interval")), rate.get("limit")
                if per_s and isinstance(requests, int):
                    window = {"requests": requests, "per_s": per_s}
                    found.setdefault("windows", []).append(window)
        elif policy.get("type") == "FixedWindowCallRatePolicy" and not policy.get("matchers"):
            per_s, requests = seconds(policy.get("period")), policy.get("call_limit")
            if per_s and isinstance(requests, int):
                found.setdefault("windows", []).append({"requests": requests, "per_s": per_s})
        elif policy.get("type") != "UnlimitedCallRatePolicy":
            left.append("the rate limits of single endpoints (api_budget) are left out")
    for member in _BUDGET_HEADERS:
        if name := (budget or {}).get(member):
            left.append(f"the manifest reads the limit from the header {name}: see limits.headers")
    waits = Counter[float]()
    headers = Counter[str]()
    for requester in requesters:
        for handler in error_handlers(requester):
            for one in components_in(handler.get("backoff_strategies")):
                _wait(one, waits, headers)
    if waits:
        found["throttle_wait_s"] = max(waits)
    left += [
        f"the manifest waits as the header {name} says: name it in limits.headers"
        for name in headers
        if name.lower() != _RETRY_AFTER
    ]
    return found, left


_BUDGET_HEADERS = ("ratelimit_remaining_header", "ratelimit_reset_header")


def _wait(one: Component, waits: Counter[float], headers: Counter[str]) -> None:
    if one.get("type") == "ConstantBackoffStrategy":
        try:
            waits[float(one["backoff_time_in_seconds"])] += 1
        except (KeyError, TypeError, ValueError):
            return
    elif one.get("type") in ("WaitTimeFromHeader", "WaitUntilTimeFromHeader"):
        headers[str(one.get("header"))] += 1
