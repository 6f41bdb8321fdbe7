"""Parameters of a URL or a form, by their names: one that comes twice has a list. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

Parameters = dict[str, Any]
"""Values by name: a text, or a list of texts where a name comes more than once."""


def by_name(pairs: Iterable[tuple[str, Any]]) -> Parameters:
    """Parameters as the YAML has them.

    >>> by_name([("state", "open"), ("limit", "5"), ("state", "closed")])
    {'state': ['open', 'closed'], 'limit': '5'}
    """
    parameters: Parameters = {}
    for name, value in pairs:
        parameters[name] = with_another(parameters[name], value) if name in parameters else value
    return parameters


def with_another(value: Any, other: Any) -> list[Any]:
    """A value, or a list of some, and another one behind."""
    return [*(value if isinstance(value, list) else [value]), other]


def in_query(query: str) -> Parameters:
    """The parameters of a text such as ``state=open&state=closed``."""
    return by_name(parse_qsl(query, keep_blank_values=True))


def single(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that come once, as texts: a list is neither a page nor a bound."""
    return {name: str(value) for name, value in parameters.items() if not isinstance(value, list)}
