"""A made-up configuration of a connector, from the specification of its settings."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tests.catalogue.rows import DAYS, first_day, written_as


def configuration(
    spec: Any,
    url: str = "https://api.example.com",
    dates: Mapping[str, tuple[str, int]] | None = None,
) -> dict[str, Any]:
    """A value for each member; of several forms the first.

    :param url: what settings that are an address have.
    :param dates: of settings that are instants their formats, and how many days after the first.
    """
    found: dict[str, Any] = {}
    for name, said in (spec.get("properties") or {}).items():
        found[str(name)] = _value(str(name), said, url)
    for name, (pattern, days) in (dates or {}).items():
        if name in found:
            found[name] = str(written_as(pattern, first_day() + timedelta(days)))
    return found


def formats_of_dates(value: Any, days: int = 0) -> dict[str, tuple[str, int]]:
    """The formats of the settings that are the first and the last instants of cursors."""
    found: dict[str, tuple[str, int]] = {}
    for name, item in value.items() if isinstance(value, dict) else [("", one) for one in value]:
        if isinstance(item, dict | list):
            found = formats_of_dates(item, DAYS if name == "end_datetime" else days) | found
    if isinstance(value, dict) and "datetime" in value:
        named = _SETTING.findall(str(value["datetime"]))
        pattern = value.get("datetime_format")
        if len(named) == 1 and "datetime(" not in str(value["datetime"]):
            found[named[0]] = (str(pattern or "%Y-%m-%dT%H:%M:%S.%f%z"), days)
    return found


def in_place_of_all(streams: list[dict[str, Any]]) -> set[str]:
    """The settings that name one partition value in place of all; they stay empty."""
    return set(_OR_ALL.findall(str(streams)))


_OR_ALL = re.compile(
    r"config(?:\.get\(|\[|\.)[ '\"\\]*(\w+)[^{}]{0,40}? (?:or|else) +stream_(?:sl|p)"
)
_SETTING = re.compile(r"config(?:\.get\(|\[|\.)[ '\"]*(\w+)")


def _value(name: str, said: Any, url: str) -> Any:
    said = said if isinstance(said, dict) else {}
    forms = said.get("oneOf") or said.get("anyOf") or []
    if forms and "properties" not in said:
        return _value(name, forms[0], url)
    if "const" in said:
        return said["const"]
    if said.get("properties"):
        return configuration(said, url)
    kind = said.get("type")
    if kind == "array":
        items = said.get("items") if isinstance(said.get("items"), dict) else {}
        if items.get("enum"):
            return list(items["enum"][:2])
        return ["one", "two"] if items.get("type") not in ("integer", "number") else [11, 12]
    if kind in ("integer", "number"):
        return said.get("default") or 5
    if kind == "boolean":
        return said.get("default", False)
    if said.get("enum"):
        return said.get("default") or said["enum"][0]
    if said.get("format") in ("date-time", "date") or "date" in name or "time" in name:
        return _date(said)
    if "url" in name or "host" in name:
        return url
    return str(said.get("default") or f"{name}-1")


def _date(said: dict[str, Any]) -> str:
    day, pattern = first_day(), str(said.get("pattern", ""))
    if said.get("format") == "date" or pattern.endswith("{2}$"):
        return day.strftime("%Y-%m-%d")
    fraction = r"\.[0-9]{3}" in pattern or r"\.\d{3}" in pattern
    if r"[0-9]{2} [0-9]{2}" in pattern.replace("T", " ") and "T" not in pattern and pattern:
        return day.strftime("%Y-%m-%d %H:%M:%S")
    return day.strftime("%Y-%m-%dT%H:%M:%S.000Z" if fraction else "%Y-%m-%dT%H:%M:%SZ")
