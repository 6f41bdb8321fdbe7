"""Error handlers: what statuses mean, and how long to wait.

They hold for the whole source, but for those that mean no rows.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sourcetool.credentials import masked
from sourcetool.importers.manifest import Component
from sourcetool.importers.moments import seconds

_RETRIED_ANYWAY = frozenset({429, *range(500, 600)})
_MEANS = {"retry": "a failure that passes", "throttled": "too many requests"}
_LOOKS = ("FAIL", "RETRY", "RATE_LIMITED")
_RETRY_AFTER = "retry-after"
_REFUSED = 400


def components_in(value: Any) -> list[Component]:
    """The components of a list; nothing of what is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def error_handlers(requester: Component) -> Iterator[Component]:
    """The plain handlers of a requester."""
    waiting = [requester.get("error_handler")]
    while waiting:
        handler = waiting.pop(0)
        if not isinstance(handler, dict):
            continue
        if handler.get("type") == "CompositeErrorHandler":
            waiting += components_in(handler.get("error_handlers"))
        elif handler:
            yield handler


def answers(requesters: list[Component]) -> tuple[dict[str, list[int]], list[str]]:
    """``answers`` of the source, and what of the manifests' handlers is left out."""
    codes_of: dict[str, Counter[int]] = {
        "retry": Counter(),
        "throttled": Counter(),
        "success": Counter(),
    }
    custom, predicates = Counter[str](), Counter[str]()
    for requester in requesters:
        for handler in error_handlers(requester):
            if "class_name" in handler:
                custom[str(handler["class_name"])] += 1
            for response_filter in components_in(handler.get("response_filters")):
                _filter(response_filter, codes_of)
                if response_filter.get("action") in _LOOKS and (
                    what := _looked_for(response_filter)
                ):
                    predicates[what] += 1
    bodies = codes_of.pop("success")
    most = len(requesters) / 2
    common = {
        name: sorted(code for code, n in codes.items() if n >= most)
        for name, codes in codes_of.items()
        if any(n >= most for n in codes.values())
    }
    left_out = [
        f"the manifest takes {code} for {_MEANS[name]}, in {n} endpoints only: it is an error here"
        for name, codes in codes_of.items()
        for code, n in codes.items()
        if n < most
    ]
    left_out += [
        f"the manifest reads rows from a response with status {code}: it is an error here"
        for code in bodies
    ]
    left_out += [
        f"the manifest looks for errors in responses ({text}): see errors_at and ok_when"
        for text in predicates
    ]
    left_out += [f"the error handler {name} is Python of the connector's own" for name in custom]
    return common, left_out


def _looked_for(response_filter: Component) -> str:
    """The condition on a body by which a filter takes a response for an error."""
    predicate, text = (
        response_filter.get(name) for name in ("predicate", "error_message_contains")
    )
    if not predicate and (not text or response_filter.get("action") == "FAIL"):
        return ""  # a text of an error that is an error anyway
    return " ".join(str(predicate or repr(text)).split())


def _codes(response_filter: Component) -> list[int]:
    """The statuses of a filter; what is no number is none."""
    codes = response_filter.get("http_codes")
    listed = codes if isinstance(codes, list) else [codes]
    return [int(str(code)) for code in listed if str(code).isdigit()]


def _filter(response_filter: Component, codes_of: dict[str, Counter[int]]) -> None:
    codes = _codes(response_filter)
    action = response_filter.get("action")
    if action == "RETRY":
        codes_of["retry"].update(code for code in codes if code not in _RETRIED_ANYWAY)
    elif action == "SUCCESS":
        codes_of["success"].update(code for code in codes if code >= _REFUSED)
    elif action == "RATE_LIMITED":
        codes_of["throttled"].update(code for code in codes if code != 429)


_PAGES = frozenset({"RESET_PAGINATION", "REDUCE_PAGE_SIZE", "SPLIT_REQUEST_WINDOW"})


def ignored(requester: Component) -> tuple[dict[str, Any], list[str]]:
    """``answers`` of one endpoint: what it takes for no rows, and what of that is left out."""
    codes: list[int] = []
    texts: list[str] = []
    left_out: list[str] = []
    for handler in error_handlers(requester):
        for response_filter in components_in(handler.get("response_filters")):
            if (action := str(response_filter.get("action"))) in _PAGES:
                left_out.append(f"the manifest's action {action} on a response: an error here")
            if action != "IGNORE":
                continue
            if response_filter.get("predicate"):
                what = f"a response with {response_filter['predicate']!r}"
                left_out.append(f"the manifest takes {what} for no rows: it is an error here")
            # One of them is enough: a status, a text or a predicate.
            if text := response_filter.get("error_message_contains"):
                texts.append(str(text))
            codes += [code for code in _codes(response_filter) if code >= _REFUSED]
    if codes:
        left_out += [f"the manifest takes a response with {t!r} for no rows, too" for t in texts]
        return {"empty": sorted(set(codes))}, left_out
    if texts:
        left_out += [
            f"the manifest takes a response with {t!r} for no rows, too" for t in texts[1:]
        ]
        return {"empty_text": texts[0]}, left_out
    return {}, left_out


def limits(
    requesters: list[Component], budget: Component | None
) -> tuple[dict[str, Any], list[str]]:
    """``limits`` of the source, and what is left out."""
    settings: dict[str, Any] = {}
    windows, left_out = _windows(budget)
    if windows:
        settings["windows"] = windows
    for member in _BUDGET_HEADERS:
        if name := (budget or {}).get(member):
            note = f"the manifest reads the limit from the header {name}: see limits.headers"
            left_out.append(note)
    if (codes := (budget or {}).get("status_codes_for_ratelimit_hit")) not in (None, [], [429]):
        left_out.append(f"the manifest takes {codes} for too many requests: see answers.throttled")
    waits = Counter[float]()
    headers = Counter[str]()
    for requester in requesters:
        for handler in error_handlers(requester):
            for strategy in components_in(handler.get("backoff_strategies")):
                if (note := _wait(strategy, waits, headers)) and note not in left_out:
                    left_out.append(note)
    if waits:
        settings["throttle_wait_s"] = max(waits)
    left_out += [
        f"the manifest waits as the header {name} says: name it in limits.headers"
        for name in headers
        if name.lower() != _RETRY_AFTER
    ]
    return settings, left_out


_BUDGET_HEADERS = ("ratelimit_remaining_header", "ratelimit_reset_header")


def _windows(budget: Component | None) -> tuple[list[dict[str, int]], list[str]]:
    """The windows of ``limits``, and a note on each rate that is none."""
    windows: list[dict[str, int]] = []
    left_out: list[str] = []
    for policy in components_in((budget or {}).get("policies")):
        kind = policy.get("type")
        if kind == "UnlimitedCallRatePolicy":
            continue
        names = _RATES.get(str(kind))
        if names is None or policy.get("matchers"):
            left_out.append("the rate limits of single endpoints (api_budget) are left out")
            continue
        rates = components_in(policy.get("rates")) if "rates" in policy else [policy]
        for rate in rates:
            requests, interval = (rate.get(name) for name in names)
            per_s, number = seconds(interval), _whole(requests)
            if per_s and number:
                windows.append({"requests": number, "per_s": per_s})
            else:
                left_out.append(
                    f"the manifest's rate limit of {requests} requests in {interval} is left out: "
                    "add limits: {windows: [{requests: …, per_s: …}]}"
                )
    return windows, list(dict.fromkeys(map(masked, left_out)))


_RATES = {
    "MovingWindowCallRatePolicy": ("limit", "interval"),
    "FixedWindowCallRatePolicy": ("call_limit", "period"),
}
"""Of each policy the members that say how many requests, and in which time."""


def _whole(number: Any) -> int | None:
    """A whole number above 0, also as a text; None if it is none."""
    try:
        value = float(str(number)) if not isinstance(number, bool) else 0.0
    except ValueError:
        return None
    return int(value) if value.is_integer() and value > 0 else None


def _wait(strategy: Component, waits: Counter[float], headers: Counter[str]) -> str:
    """Count what a strategy says; the note on a time that can't be read."""
    if strategy.get("type") == "ConstantBackoffStrategy":
        wait = strategy.get("backoff_time_in_seconds")
        try:
            waits[float(str(wait))] += 1
        except ValueError:
            return f"the manifest waits {masked(str(wait))} s where it is refused: see limits"
    elif strategy.get("type") in ("WaitTimeFromHeader", "WaitUntilTimeFromHeader"):
        headers[str(strategy.get("header"))] += 1
    return ""
