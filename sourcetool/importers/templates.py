"""The narrow Jinja of manifests, read into values: no expression is run.

Known: members and ``get`` of the names that a manifest has, ``or``, ``if … else``, comparisons,
tests, ``+`` and ``~``, ``format_datetime`` and ``strftime``, a few filters, and ``{% if %}`` around
texts. All else is an ``Unknown`` that says what it met.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, TemplateError, nodes

from sourcetool.importers.moments import NOW as _NOW
from sourcetool.importers.moments import Duration, moment, moved, seconds
from sourcetool.importers.simplified import either, simplified
from sourcetool.importers.values import (
    Applied,
    Choice,
    Formatted,
    Joined,
    Literal,
    Member,
    Now,
    Setting,
    Unknown,
    Value,
    only_settings,
)

_ENVIRONMENT = Environment(autoescape=False)  # noqa: S701 - parsed only, never rendered
_NAMES = {
    "response": "response",
    "headers": "headers",
    "record": "record",
    "last_record": "last_record",
    "stream_slice": "slice",
    "stream_partition": "slice",
    "stream_interval": "interval",
    "stream_state": "state",
    "next_page_token": "token",
    "last_page_size": "page_size",
    "components_values": "components",
    "creation_response": "job",
    "polling_response": "job",
    "download_target": "job",
}
_OF_PAGES = ("response", "headers", "last_record")
_CONSTANTS = {"true": True, "false": False, "none": None, "True": True, "False": False}


def read_template(text: Any, parameters: Mapping[str, Any] | None = None) -> Value:
    """The value of a text of a manifest, or of anything else, which stands for itself.

    :param parameters: the component's ``$parameters``.
    """
    if not isinstance(text, str) or ("{{" not in text and "{%" not in text):
        return Literal(text)
    try:
        tree = _parsed(text)
    except TemplateError as error:
        return Unknown(f"{text!r} is no Jinja: {error}")
    return simplified(_Reader(parameters or {}).body(tree.body))


@lru_cache(maxsize=4096)
def _parsed(text: str) -> nodes.Template:
    return _ENVIRONMENT.parse(text)


class _Reader:
    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.parameters = parameters
        self.variables: dict[str, Value] = {}

    def body(self, body: list[nodes.Node]) -> Value:
        """The texts and statements of a template, joined."""
        parts: list[Value] = []
        for node in body:
            if isinstance(node, nodes.Output):
                parts += [self.value(item) for item in node.nodes]
            elif isinstance(node, nodes.If):
                parts.append(self.choice(node))
            elif isinstance(node, nodes.Assign) and isinstance(node.target, nodes.Name):
                self.variables[node.target.name] = self.value(node.node)
            else:
                parts.append(Unknown(f"the statement {type(node).__name__.lower()}"))
        return parts[0] if len(parts) == 1 else Joined(tuple(parts))

    def choice(self, node: nodes.If) -> Value:
        before = dict(self.variables)
        otherwise: Value = self.body(node.else_) if node.else_ else Literal("")
        for branch in [*reversed(node.elif_), node]:
            behind, self.variables = self.variables, dict(before)
            test = self.value(branch.test)
            otherwise = Choice(test, self.body(branch.body), otherwise)
            self.variables = {
                name: Choice(
                    test,
                    self.variables.get(name, Literal("")),
                    behind.get(name, Literal("")),
                )
                for name in {**behind, **self.variables}
            }
        return otherwise

    def value(self, node: nodes.Node) -> Value:
        """An expression."""
        if isinstance(node, nodes.TemplateData):
            return Literal(node.data)
        if isinstance(node, nodes.Const):
            return Literal(node.value)
        if isinstance(node, nodes.Name):
            return self.name(node.name)
        if isinstance(node, nodes.Getattr):
            return self.member(self.value(node.node), Literal(node.attr))
        if isinstance(node, nodes.Getitem):
            return self.item(node)
        if isinstance(node, nodes.Call):
            return self.call(node)
        if isinstance(node, nodes.Filter) and node.node is not None:
            return self.filter(node)
        return self.operation(node)

    def name(self, name: str) -> Value:
        if name in self.variables:
            return self.variables[name]
        if name in _CONSTANTS:
            return Literal(_CONSTANTS[name])
        if name == "config":
            return Setting(())
        if name in ("parameters", "options"):
            return Literal(dict(self.parameters))
        return Member(_NAMES[name], ()) if name in _NAMES else Unknown(f"the name {name!r}")

    def item(self, node: nodes.Getitem) -> Value:
        if isinstance(node.arg, nodes.Slice):
            parts = [node.arg.start, node.arg.stop]
            ends = [Literal(None) if part is None else self.value(part) for part in parts]
            return Applied("slice", (self.value(node.node), *ends))
        return self.member(self.value(node.node), self.value(node.arg))

    def member(self, of: Value, key: Value) -> Value:
        key = simplified(key)
        if not isinstance(key, Literal):
            return Applied("item", (of, key))
        if isinstance(of, Literal) and isinstance(of.value, dict | list):
            try:
                return self.nested(of.value[key.value])
            except (KeyError, IndexError, TypeError):
                return Literal(None)
        if isinstance(of, Setting) and of.default is None:
            return Setting((*of.path, str(key.value)))
        if isinstance(of, Setting) and of.default == {}:
            return Setting((*of.path, str(key.value)))
        if isinstance(of, Member):
            return Member(of.of, (*of.path, key.value))
        if isinstance(of, Choice) and of.otherwise == Literal({}) and of.test == of.then:
            return self.member(of.then, key)
        if isinstance(of, Choice) and only_settings(of):
            return Choice(of.test, self.member(of.then, key), self.member(of.otherwise, key))
        return Applied("item", (of, key))

    def nested(self, value: Any) -> Value:
        """A parameter, which may have Jinja of its own."""
        return read_template(value, self.parameters) if isinstance(value, str) else Literal(value)

    def call(self, node: nodes.Call) -> Value:
        values = [self.value(item) for item in node.args]
        named = {item.key: self.value(item.value) for item in node.kwargs}
        if isinstance(node.node, nodes.Getattr):
            return self.method(self.value(node.node.node), node.node.attr, values, named)
        if isinstance(node.node, nodes.Name):
            return self.function(node.node.name, values, named)
        return Unknown("a call of what is no name")

    def method(
        self, of: Value, name: str, values: list[Value], named: Mapping[str, Value]
    ) -> Value:
        if name == "get" and values:
            member = self.member(of, values[0])
            default = values[1] if len(values) > 1 else Literal(None)
            if isinstance(member, Setting):
                return self.setting_or(member, default)
            if isinstance(member, Literal) and member.value is None:
                return default
            if isinstance(member, Member) and member.of == "state" and default != Literal(None):
                return either(member, default)
            if isinstance(member, Member) and member.of in _OF_PAGES and not _is_empty(default):
                return either(member, default)
            if _of_row(member) and default not in (Literal(None), Literal({})):
                return Applied("get", (member, default))
            return member
        if name in ("strftime", "isoformat") and reads_an_instant(of):
            pattern = values[0] if name == "strftime" and values else Literal("iso")
            if isinstance(pattern, Literal):
                return Formatted(of, str(pattern.value))
        return Applied(f".{name}", (of, *values, *named.values()))

    def setting_or(self, setting: Setting, default: Value) -> Value:
        """A setting with what holds without it."""
        if isinstance(default, Literal):
            return Setting(setting.path, default.value)
        return either(setting, default)

    def function(self, name: str, values: list[Value], named: Mapping[str, Value]) -> Value:
        if name in _NOW:
            return moment(name, values, named)
        if name == "duration" and values and isinstance(values[0], Literal):
            return Literal(Duration(seconds(values[0].value)))
        if name == "generate_uuid":
            return Unknown("a text that is another one each time")
        if name == "format_datetime" and len(values) > 1 and isinstance(values[1], Literal):
            return Formatted(values[0], str(values[1].value))
        if name == "timestamp" and len(values) == 1:
            return Formatted(values[0], "%s")
        if name in ("str_to_datetime", "str") and values:
            return Applied(name, (values[0],)) if _of_row(values[0]) else values[0]
        return Applied(name, (*values, *named.values()))

    def filter(self, node: nodes.Filter) -> Value:
        assert node.node is not None
        of = self.value(node.node)
        values = [self.value(item) for item in node.args]
        if node.name in ("default", "d") and values:
            return either(of, values[0])
        if node.name == "join" and isinstance(of, Applied) and of.name == "list":
            between = values[0] if values else Literal("")
            return Joined(tuple(part for item in of.values for part in (between, item))[1:])
        if node.name in CASTS and _of_row(of):
            return Applied(f"|{node.name}", (of,))
        if node.name in ("string", "tojson", "trim", "safe"):
            return of
        whole = isinstance(of, Formatted) and of.format in ("%s", "%ms")
        if node.name in ("int", "float") and (whole or isinstance(of, Setting | Member)):
            return of
        return Applied(f"|{node.name}", (of, *values))

    def operation(self, node: nodes.Node) -> Value:
        if isinstance(node, nodes.Or):
            return either(self.value(node.left), self.value(node.right))
        if isinstance(node, nodes.CondExpr):
            other = Literal("") if node.expr2 is None else self.value(node.expr2)
            return Choice(self.value(node.test), self.value(node.expr1), other)
        if isinstance(node, nodes.Concat):
            return Joined(tuple(self.value(item) for item in node.nodes))
        if isinstance(node, nodes.Not):
            return Applied("not", (self.value(node.node),))
        if isinstance(node, nodes.Compare):
            return self.comparison(node)
        if isinstance(node, nodes.Test):
            args = [self.value(item) for item in node.args]
            return Applied(f"is {node.name}", (self.value(node.node), *args))
        if isinstance(node, nodes.BinExpr):
            return self.binary(node)
        if isinstance(node, nodes.Neg):
            return self.negative(node)
        if isinstance(node, nodes.List | nodes.Tuple):
            items = tuple(self.value(item) for item in node.items)
            if all(isinstance(item, Literal) for item in items):
                return Literal([item.value for item in items if isinstance(item, Literal)])
            return Applied("list", items)
        if isinstance(node, nodes.Dict):
            return self.mapping(node)
        return Unknown(f"the expression {type(node).__name__.lower()}")

    def negative(self, node: nodes.Neg) -> Value:
        of = self.value(node.node)
        return Literal(-of.value) if isinstance(of, Literal) else Applied("-", (of,))

    def binary(self, node: nodes.BinExpr) -> Value:
        first, second = self.value(node.left), self.value(node.right)
        if isinstance(first, Now) or isinstance(second, Now):
            return moved(node.operator, first, second)
        times_1000 = node.operator == "*" and second == Literal(1000)
        if times_1000 and isinstance(first, Formatted) and first.format == "%s":
            return Formatted(first.value, "%ms")
        if node.operator == "+" and (_is_text(first) or _is_text(second)):
            return Joined((first, second))
        return Applied(node.operator, (first, second))

    def comparison(self, node: nodes.Compare) -> Value:
        comparisons, first = [], self.value(node.expr)
        for operand in node.ops:
            second = self.value(operand.expr)
            comparisons.append(Applied(operand.op, (first, second)))
            first = second
        return comparisons[0] if len(comparisons) == 1 else Applied("and", tuple(comparisons))

    def mapping(self, node: nodes.Dict) -> Value:
        pairs = [(self.value(item.key), self.value(item.value)) for item in node.items]
        members = {
            key.value: value.value
            for key, value in pairs
            if isinstance(key, Literal) and isinstance(value, Literal)
        }
        if len(members) == len(pairs):
            return Literal(members)
        return Applied("dict", tuple(part for pair in pairs for part in pair))


CASTS = frozenset({"string", "tojson", "trim", "int", "float"})
"""Filters that change a value's type or text: of a row's member they decide what it equals."""


def _of_row(value: Value) -> bool:
    """Whether a value is a member of a row, maybe converted."""
    if isinstance(value, Applied) and value.name.removeprefix("|") in {*CASTS, "get", "str"}:
        return _of_row(value.values[0])
    return isinstance(value, Member) and value.of == "record" and bool(value.path)


def _is_empty(value: Value) -> bool:
    return isinstance(value, Literal) and not value.value


def _is_text(value: Value) -> bool:
    return isinstance(value, Joined) or (
        isinstance(value, Literal) and isinstance(value.value, str)
    )


def reads_an_instant(value: Value) -> bool:
    """Whether a value may be an instant, so that ``strftime`` means what it says."""
    return isinstance(value, Now | Setting | Member | Applied | Formatted)
