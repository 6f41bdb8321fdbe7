"""YAML to plain data, with the line on which each value stands.

Duplicate keys and aliases that multiply are refused. A scalar that holds ``${VAR}`` becomes text
(a number is made of it where a number is wanted), so that a key such as ``0123`` keeps its zero;
so does what YAML 1.1 reads otherwise than it is written.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from pipeline.config.settings import names_in

Setting = Callable[[str, int], str | None]
_MOST_NODES = 100_000
_REQUEST_PARTS = ("params", "headers", "form", "json")
LEFT_OUT: Final = object()
"""What stands for a part of a request whose setting is empty; ``without_left_out`` takes it out."""


@dataclass
class Lines:
    """The line (from 1) of each value, by its path, and the variables that it names, if any."""

    of: dict[tuple[str, ...], int] = field(default_factory=dict)
    variables: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)

    def nearest(self, path: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
        """The line of the deepest part of ``path`` that is in the file, and that part.

        What a file's ``defaults`` brought into an endpoint is found under ``defaults``. Parts that
        a validator put into the path (the kind of a union) are passed over.
        """
        best = self._deepest(path)
        if path[:1] == ("endpoints",) and len(path) > 2:
            shared = self._deepest(("defaults", *path[2:]))
            if len(shared) > 1 and len(shared) + 1 > len(best):
                best = shared
        return self.of.get(best, 1), best

    def _deepest(self, path: tuple[str, ...]) -> tuple[str, ...]:
        deepest: tuple[str, ...] = ()
        for part in path:
            if (*deepest, part) in self.of:
                deepest = (*deepest, part)
        return deepest


def read_yaml(text: str, setting: Setting) -> tuple[Any, Lines]:
    """The data of a YAML text, and the line of each value.

    :param setting: gives the text, or nothing, that a scalar with ``${VAR}`` on a line stands for.
    :raises yaml.YAMLError: not YAML.
    :raises ValueError: ``line: sentence``.
    """
    node = _composed(text)
    lines = Lines()
    if node is None:
        return None, lines
    reader = _Reader(setting, lines)
    return reader.value(node, ()), lines


def _composed(text: str) -> yaml.Node | None:
    """The tree of a YAML text: by libyaml, where PyYAML has it, which is ten times as fast.

    What libyaml refuses PyYAML's own parser reads again: its sentences say more.
    """
    try:
        fast: yaml.Node | None = yaml.compose(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return yaml.compose(text, yaml.SafeLoader)
    return fast


class _Reader:
    def __init__(self, setting: Setting, lines: Lines) -> None:
        self._setting = setting
        self._lines = lines
        self._nodes = 0
        self._constructor = yaml.SafeLoader("")

    def value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        self._nodes += 1
        line = node.start_mark.line + 1
        if self._nodes > _MOST_NODES:
            raise ValueError(
                f"{line}: more than {_MOST_NODES} values. Check for aliases (`*name`) that multiply"
            )
        self._lines.of.setdefault(path, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(n, (*path, str(i))) for i, n in enumerate(node.value)]
        return self._scalar(node, path, line)

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ValueError(f"{line}: a key must be plain text")
            key = str(key_node.value)
            if key == "<<":
                raise ValueError(
                    f"{line}: merge keys (<<) are not read: put what is shared under 'defaults'"
                )
            if key in members:
                raise ValueError(f"{line}: the key {key!r} stands here twice: take one away")
            self._lines.of[(*path, key)] = line
            members[key] = self.value(value_node, (*path, key))
        return members

    def _scalar(self, node: yaml.Node, path: tuple[str, ...], line: int) -> Any:
        if isinstance(node.value, str) and (names := names_in(node.value)):
            self._lines.variables[path] = names
            value = self._setting(node.value, line)
            return LEFT_OUT if value is None and _is_in_request(path) else value
        try:
            value = self._constructor.construct_object(node, deep=True)
            return node.value if _reads_otherwise(value, str(node.value)) else value
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError):
            # 2026-02-30, too many digits, !!int x: what it is for says what is wrong.
            return node.value


def _is_in_request(path: tuple[str, ...]) -> bool:
    """Whether a value is a parameter, a header, or a member of a body."""
    return path[:1] == ("headers",) or (
        "request" in path[:3] and any(part in _REQUEST_PARTS for part in path[:-1])
    )


def without_left_out(value: Any) -> Any:
    """Data without the parts of requests whose settings are empty.

    >>> without_left_out({"region": LEFT_OUT, "kinds": ["a", LEFT_OUT]})
    {'kinds': ['a']}
    """
    if isinstance(value, dict):
        return {k: without_left_out(v) for k, v in value.items() if v is not LEFT_OUT}
    if isinstance(value, list):
        return [without_left_out(item) for item in value if item is not LEFT_OUT]
    return value


def _reads_otherwise(value: Any, text: str) -> bool:
    """Whether YAML 1.1 makes of a text what it does not say: ``no``, ``0123``, ``1:30``.

    It stays as it is written; where a number or a yes or no is wanted, it is made of it still.
    """
    if isinstance(value, bool):
        return text.lower() not in ("true", "false")
    return isinstance(value, int) and str(value) != text.removeprefix("+")
