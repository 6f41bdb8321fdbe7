"""What can be set at the start and changed while the emulator runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

RetryAfter: TypeAlias = Literal["none", "seconds", "date"]
Cast: TypeAlias = Literal["string", "int", "float", "bool", "array", "object", "null", "absent"]

_WHOLE = frozenset({"rate", "in_flight", "page_cap"})


@dataclass(slots=True)
class EmulatorSettings:
    """Times in seconds; 0 switches a limit off."""

    rate: int = 4
    per_s: float = 1.0
    in_flight: int = 8
    latency_s: float = 0.0
    jitter_s: float = 0.0
    expires_in_s: float = 5_587_808
    multiquery: bool = True
    gzip: bool = True
    retry_after: RetryAfter = "none"
    retry_after_s: float = 1.0
    page_cap: int = 0
    """Silently return no more rows than this a page; 0: no cap."""
    ignore_where: bool = False
    ignore_sort: bool = False
    """Rows come in an order of their own, the same for every page."""
    casts: dict[tuple[str, str], Cast] = field(default_factory=dict)

    def update(self, changes: Mapping[str, object]) -> None:
        """Change settings by name; ValueError, and nothing changed, if one is wrong."""
        known = {spec.name for spec in fields(self)} - {"casts"}
        checked: dict[str, object] = {}
        for name, value in changes.items():
            if name == "cast":
                continue
            if name not in known:
                raise ValueError(f"no setting {name!r}; known: {', '.join(sorted(known))}, cast")
            checked[name] = _checked(name, value, getattr(self, name))
        casts = dict(self.casts)
        for rule in _rules(changes.get("cast", ())):
            key = (str(rule.get("endpoint")), str(rule.get("field")))
            wanted = rule.get("as")
            if wanted is None:
                casts.pop(key, None)
            elif wanted in get_args(Cast):
                casts[key] = wanted
            else:
                raise ValueError(f"cast as {wanted!r}: expected one of {get_args(Cast)} or null")
        for name, value in checked.items():
            setattr(self, name, value)
        self.casts = casts

    def shown(self) -> dict[str, object]:
        """As JSON."""
        names = [spec.name for spec in fields(self) if spec.name != "casts"]
        cast = [{"endpoint": e, "field": f, "as": as_} for (e, f), as_ in self.casts.items()]
        return {**{name: getattr(self, name) for name in names}, "cast": cast}


def _rules(value: object) -> list[Mapping[str, Any]]:
    rules = [value] if isinstance(value, dict) else value
    if not isinstance(rules, list | tuple) or not all(isinstance(rule, dict) for rule in rules):
        raise ValueError('cast: expected {"endpoint", "field", "as"} or a list of them')
    return list(rules)


def _checked(name: str, value: object, now: object) -> object:
    if name == "retry_after":
        if value not in get_args(RetryAfter):
            raise ValueError(f"retry_after: expected one of {get_args(RetryAfter)}, got {value!r}")
        return value
    if isinstance(now, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name}: expected true or false, got {value!r}")
        return value
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name}: expected a number of at least 0, got {value!r}")
    if name in _WHOLE and not isinstance(value, int):
        raise ValueError(f"{name}: expected a whole number, got {value!r}")
    return value


def cast_value(value: object, wanted: Cast) -> object:
    """The value as another type, as an API does that changes its mind. Not for "absent"."""
    if wanted == "null":
        return None
    if wanted == "array":
        return [value]
    if wanted == "object":
        return {"value": value}
    if wanted == "string":
        return str(value)
    if wanted == "bool":
        return bool(value)
    number = float(value) if isinstance(value, int | float) else float(len(str(value)))
    return int(number) if wanted == "int" else number
