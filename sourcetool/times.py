"""How times are written in an API's rows, and in the parameters that filter by them. Pure."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_NAIVE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?")
_DAY = re.compile(r"\b\d{4}-\d\d-\d\d")
_TIMES: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"\d{12,}", {"format": "epoch_ms"}),
    (r"\d{9,11}", {"format": "epoch_s"}),
    (r"\d{4}-\d\d-\d\d", {"format": "%Y-%m-%d", "resolution_s": 86_400}),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", {"format": "%Y-%m-%d %H:%M:%S"}),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", {"format": "%Y-%m-%dT%H:%M:%S"}),
    (r"\d{4}-\d\d-\d\dT\S+", {"format": "iso"}),
)


def written_time(value: str) -> dict[str, Any] | None:
    """The ``window`` of the YAML by which a parameter's value is written; None if it is no time."""
    return next((form for pattern, form in _TIMES if re.fullmatch(pattern, value)), None)


def has_time(value: str) -> bool:
    """Whether a parameter's value is a time, or has one in it: ``><2026-11-01|2026-11-02``."""
    return written_time(value) is not None or _DAY.search(value) is not None


def is_instant(text: str) -> bool:
    """Whether a row's value is a time as ISO 8601 has it."""
    try:
        return bool(_ISO.match(text)) and datetime.fromisoformat(text) is not None
    except ValueError:
        return False


_JAVA_ZONE = re.compile(r"\[[\w/+-]{1,40}\]$")
_DOTNET = re.compile(r"/Date\(-?\d{1,15}(?:[+-]\d{4})?\)/")
_EPOCH = re.compile(r"[12]\d{9}\.\d{1,9}")


def form_of(texts: Sequence[str]) -> str | None:
    """The declared type that reads a column's texts as times; None if they are no times.

    >>> form_of(["/Date(1795132800000)/"])
    'timestamp[dotnet]'
    """
    if all(is_instant(_JAVA_ZONE.sub("", text)) for text in texts):
        return "timestamp[iso]"
    if all(_DOTNET.fullmatch(text) for text in texts):
        return "timestamp[dotnet]"
    return "timestamp[s]" if all(_EPOCH.fullmatch(text) for text in texts) else None


def is_naive(text: str) -> bool:
    """Whether it says no time zone."""
    return _NAIVE.fullmatch(text) is not None
