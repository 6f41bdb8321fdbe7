"""A made-up configuration of a connector, from the specification of its settings."""

from typing import Any


def configuration(spec: Any) -> dict[str, Any]:
    """A value for each member; of several forms the first."""
    found: dict[str, Any] = {}
    for name, said in (spec.get("properties") or {}).items():
        found[str(name)] = _value(str(name), said)
    return found


def _value(name: str, said: Any) -> Any:
    said = said if isinstance(said, dict) else {}
    forms = said.get("oneOf") or said.get("anyOf") or []
    if forms and "properties" not in said:
        return _value(name, forms[0])
    if "const" in said:
        return said["const"]
    if said.get("properties"):
        return configuration(said)
    kind = said.get("type")
    if kind == "array":
        return ["one", "two"]
    if kind in ("integer", "number"):
        return said.get("default") or 5
    if kind == "boolean":
        return said.get("default", False)
    if said.get("enum"):
        return said.get("default") or said["enum"][0]
    if said.get("format") in ("date-time", "date") or "date" in name or "time" in name:
        day = "2024-01-01"
        full = said.get("format") != "date" and not str(said.get("pattern", "")).endswith("{2}$")
        return f"{day}T00:00:00Z" if full else day
    if "url" in name or "host" in name:
        return "https://api.example.com"
    return str(said.get("default") or f"{name}-1")
