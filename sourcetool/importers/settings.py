"""Settings: a name for each member of a connector's configuration. None is filled with a value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sourcetool.credentials import SHORTEST, is_secret, looks_secret, masked


@dataclass
class SettingNames:
    """The settings of one source.

    :ivar source: its name; settings begin with it.
    :ivar spec: the JSON Schema of the connector's configuration.
    :ivar computed: of a member that the manifest makes or changes itself: how, by its path.
    :ivar used: what is known of each that the YAML names.
    :ivar samples: a value of each, made up or the specification's example, to load the YAML with.
    """

    source: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    computed: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    samples: dict[str, str] = field(default_factory=dict)
    _owners: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._owners[self.variable(("start",))] = ()  # where the source's partitions begin

    def variable_of(self, path: tuple[str, ...]) -> str:
        """The environment variable of a member of the configuration; no two have the same."""
        name, n = self.variable(path), 1
        while self._owners.setdefault(name, path) != path:
            n += 1
            name = self.variable((*path, str(n)))
        return name

    def variable(self, path: tuple[str, ...]) -> str:
        """The words of a setting as an environment variable."""
        words = [re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", part) for part in path]
        name = re.sub(r"[^A-Za-z0-9]+", "_", "_".join([self.source, *words])).strip("_").upper()
        return name if name[:1].isalpha() else f"X_{name}"

    def text(self, path: tuple[str, ...], default: Any = None) -> str:
        """``${NAME}``, or ``${NAME:-default}`` where the setting may lack."""
        spec, how = self.described(path), self.computed.get(path)
        if how and not spec:
            return self.derived(".".join(path), how, None if default is None else str(default))
        name = self.variable_of(path)
        title = str(spec.get("title") or ".".join(path))
        self.used.setdefault(name, f"{title} ({masked(how)})" if how else title)
        self.samples.setdefault(name, _sample(spec, name))
        if default is None:
            default = spec.get("default")
        secret = spec.get("airbyte_secret") or is_secret(path[-1] if path else "", str(default))
        if secret and default is not None and len(str(default)) >= SHORTEST:
            default = None  # a credential that the document has as it is: to be set
        if default is None and self.optional(path):
            default = ""
        if isinstance(default, bool):
            default = str(default).lower()
        if default is None or isinstance(default, dict | list) or "}" in str(default):
            return f"${{{name}}}"
        return f"${{{name}:-{default}}}"

    def literal(self, words: str, value: str) -> str:
        """A setting in place of a credential that the document has as it is.

        The same value has the same setting; its comment does not say the value.
        """
        name, n, owner = self.variable((words,)), 1, ("literal", words, value)
        while self._owners.setdefault(name, owner) != owner:
            n += 1
            name = self.variable((words, str(n)))
        self.used[name] = f"{words}, which stands in the document as it is"
        self.samples.setdefault(name, "sample")
        return f"${{{name}}}"

    def derived(self, words: str, how: str, default: str | None = None) -> str:
        """A setting in place of something computed from others; its comment says how."""
        name, n, owner = self.variable((words,)), 1, ("", words, how)
        while self._owners.setdefault(name, owner) != owner:
            n += 1
            name = self.variable((words, str(n)))
        self.used[name] = masked(how)
        self.samples.setdefault(name, _sample({}, name))
        fits = default is not None and not set("{}") & set(default) and not looks_secret(default)
        return f"${{{name}:-{default}}}" if fits else f"${{{name}}}"

    def described(self, path: tuple[str, ...]) -> Mapping[str, Any]:
        """The specification's schema of a member; of several forms the first one."""
        node: Any = self.spec
        for part in path:
            node = _member(node, part)
        return node if isinstance(node, Mapping) else {}

    def optional(self, path: tuple[str, ...]) -> bool:
        """Whether a connector works without it; unknown members are needed."""
        if not path or not self.described(path):
            return False
        above = self.spec if len(path) == 1 else self.described(path[:-1])
        forms = [above, *above.get("oneOf", [])]
        return not any(path[-1] in (form.get("required") or []) for form in forms)


def _member(schema: Any, name: str) -> Any:
    if not isinstance(schema, Mapping):
        return {}
    for form in [schema, *(schema.get("oneOf") or []), *(schema.get("anyOf") or [])]:
        member = (form.get("properties") or {}).get(name) if isinstance(form, Mapping) else None
        if member is not None:
            return member
    return {}


_KINDS = {"integer": "1", "number": "1", "boolean": "true", "array": "a,b"}
_TIMES = re.compile(r"date|start|since|(?:^|_)from(?:$|_)|(?:^|_)time(?:$|_)|until", re.IGNORECASE)


def _sample(spec: Mapping[str, Any], name: str) -> str:
    """A value that a setting may have."""
    offered = [spec.get("default"), *(spec.get("examples") or []), *(spec.get("enum") or [])]
    for value in offered:
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
            return str(value)
    declared = spec.get("type")
    kinds = declared if isinstance(declared, list) else [declared]
    if sample := next((_KINDS[str(kind)] for kind in kinds if str(kind) in _KINDS), None):
        return sample
    return "2024-01-01" if _TIMES.search(name) else "sample"
