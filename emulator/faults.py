"""Injected faults: which of the rules fall on a request. Carrying them out is done elsewhere.

A rule matches by the start of the path and by a text in the body, and then fires by
`probability`, `every` nth match, or the `next` n matches after the first `after`; with none of
these it always fires. Of the rules that fire on one request, latencies add up, changes of rows
all happen, and the first other one is carried out.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

FaultKind: TypeAlias = Literal[
    "latency", "change_rows",  # before the answer
    "status", "token_401", "html_200", "error_200",  # instead of the answer
    "empty_page", "duplicate_page", "missing_result",  # another answer
    "drop", "reset", "reset_mid_body", "cut_body", "cut_json", "stall",  # on the wire
]  # fmt: skip
_ADDED = frozenset({"latency", "change_rows"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, as posted."""

    kind: FaultKind
    path: str = "/v4/"
    contains: str = ""
    probability: float | None = None
    every: int | None = None
    next: int | None = None
    after: int = 0
    latency_s: float | None = None
    """Of a latency, 1 if not said; of a stall, an hour if not said."""
    status: int = 500
    retry_after: str | None = None
    message: str = "Internal Server Error"
    change: Mapping[str, object] | None = None
    seed: int = 0

    @classmethod
    def read(cls, given: object) -> "Rule":
        """From JSON; ValueError says what is wrong."""
        if not isinstance(given, dict):
            raise ValueError(f"a fault rule is an object, got {given!r}")
        known = set(cls.__dataclass_fields__)
        if unknown := set(given) - known:
            raise ValueError(f"unknown in a fault rule: {sorted(unknown)}; known: {sorted(known)}")
        kind = given.get("kind")
        if kind not in get_args(FaultKind):
            raise ValueError(f"fault kind {kind!r}: expected one of {get_args(FaultKind)}")
        if sum(name in given for name in ("probability", "every", "next")) > 1:
            raise ValueError("a fault rule has one of probability, every and next")
        if (kind == "change_rows") != ("change" in given):
            raise ValueError("a fault rule has a change if its kind is change_rows")
        if given.get("every", 1) < 1:
            raise ValueError("every: expected at least 1")
        numbers = dict(given)
        if numbers.get("retry_after") is not None:
            numbers["retry_after"] = str(numbers["retry_after"])
        return cls(**cast(dict[str, object], numbers))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is to happen to one request."""

    latency_s: float = 0.0
    changes: tuple[Mapping[str, object], ...] = ()
    fault: Rule | None = None


class _Live:
    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.matched = 0
        self.fired = 0
        self._random = random.Random(rule.seed)

    def fires(self, path: str, body: str) -> bool:
        rule = self.rule
        if not path.startswith(rule.path) or rule.contains not in body:
            return False
        self.matched += 1
        turn = self.matched - rule.after
        if turn < 1:
            return False
        if rule.probability is not None:
            fires = self._random.random() < rule.probability
        elif rule.every is not None:
            fires = turn % rule.every == 0
        else:
            fires = rule.next is None or self.fired < rule.next
        self.fired += fires
        return fires


def _latency_s(rule: Rule) -> float:
    return 1.0 if rule.latency_s is None else rule.latency_s


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self._live: list[_Live] = []

    def set(self, rules: Sequence[Rule]) -> None:
        """Replace all rules."""
        self._live = [_Live(rule) for rule in rules]

    def choose(self, path: str, body: str) -> Chosen:
        """What falls on this request."""
        fired: list[Rule] = []
        for live in self._live:
            taken = any(rule.kind not in _ADDED for rule in fired)
            if (live.rule.kind in _ADDED or not taken) and live.fires(path, body):
                fired.append(live.rule)
        return Chosen(
            sum(_latency_s(rule) for rule in fired if rule.kind == "latency"),
            tuple(rule.change for rule in fired if rule.change is not None),
            next((rule for rule in fired if rule.kind not in _ADDED), None),
        )

    def shown(self) -> list[dict[str, object]]:
        """Each rule's kind and path, and how often it matched and fired."""
        return [
            {"kind": live.rule.kind, "path": live.rule.path, "matched": live.matched,
             "fired": live.fired}
            for live in self._live
        ]  # fmt: skip
