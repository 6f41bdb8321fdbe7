"""Which sources share a budget, and the limits that hold for it.

A budget is of a host and a key, whatever the path: ``/v1`` and ``/v2`` of one API count together.
``limits.budget`` gives it a name, for APIs that count otherwise. Where sources of one budget say
other limits, the stricter hold for all of them.
"""

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence

from pipeline.config.limits import LimitsConfig, RateWindowConfig
from pipeline.config.source import Source
from pipeline.origin import origin_of

log = logging.getLogger("headrace.config")


def budget_name(source: Source) -> str:
    """The name of a source's budget, without its key: the host, and a digest of host and key."""
    if source.limits.budget is not None:
        return f"named-{source.limits.budget}"
    origin = origin_of(source.base_url)
    who = source.auth.identity
    digest = hashlib.sha256(who.encode()).hexdigest() if who else "anonymous"
    host = re.sub(r"[^a-z0-9.-]", "-", origin.split("://")[1].rpartition(":")[0].lower())
    label = host.strip("-.")[:60] or "api"
    return f"{label}-{hashlib.sha256(f'{origin}|{digest}'.encode()).hexdigest()[:12]}"


def with_shared_limits(sources: Mapping[str, Source]) -> dict[str, Source]:
    """The sources, each with the limits that hold for its budget. A difference is logged."""
    by_budget: dict[str, list[Source]] = {}
    for source in sources.values():
        by_budget.setdefault(budget_name(source), []).append(source)
    found = dict(sources)
    for sharing in by_budget.values():
        given = {_text(source.limits) for source in sharing}
        if len(given) == 1:
            continue
        for source in sharing:
            limits = stricter(source.limits, [other.limits for other in sharing])
            found[source.source] = source.model_copy(update={"limits": limits})
        names = ", ".join(f"`{source.source}` ({_text(source.limits)})" for source in sharing)
        log.warning(
            "the sources %s share a budget, of one host and key, and say other limits: the "
            "stricter hold for all (%s). Check: 1. `limits` in their files; 2. `limits.budget`, a "
            "name for each, if the API counts them apart",
            names,
            _text(limits),
        )
    return found


def stricter(own: LimitsConfig, all_limits: Sequence[LimitsConfig]) -> LimitsConfig:
    """The limits of one source that keep to those of all that share its budget."""
    waits = [limits.throttle_wait_s for limits in all_limits if limits.throttle_wait_s is not None]
    return own.model_copy(
        update={
            "windows": _needed(window for limits in all_limits for window in limits.windows),
            "in_flight": min(limits.in_flight for limits in all_limits),
            "throttle_wait_s": max(waits, default=None),
            "not_modified_is_free": all(limits.not_modified_is_free for limits in all_limits),
        }
    )


def _needed(windows: Iterable[RateWindowConfig]) -> tuple[RateWindowConfig, ...]:
    """The windows without those that another one holds anyway."""
    distinct = list(dict.fromkeys(windows))
    return tuple(
        window
        for window in distinct
        if not any(
            other.requests <= window.requests and other.per_s >= window.per_s
            for other in distinct
            if other is not window
        )
    )


def _text(limits: LimitsConfig) -> str:
    windows = [f"{window.requests} requests in {window.per_s:g} s" for window in limits.windows]
    wait = [f"{limits.throttle_wait_s:g} s after a 429"] if limits.throttle_wait_s else []
    return ", ".join([*sorted(windows), f"{limits.in_flight} in flight", *wait])
