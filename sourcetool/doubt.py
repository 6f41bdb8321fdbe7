"""A doubt: what was seen, and what to do about it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Doubt:
    """:ivar breaks: it would lose or mix up rows."""

    text: str
    remedy: str
    breaks: bool = False
