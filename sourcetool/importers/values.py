"""What an expression of a manifest is made of, before it has a value. Pure data.

A manifest's Jinja reads settings (``config``), the page (``response``, ``headers``,
``last_record``), the row (``record``), the partition value (``stream_partition``) and the window
(``stream_interval``). None of them is known here, so that an expression becomes a tree of these.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


class Value:
    """A part of an expression."""

    def parts(self) -> Iterator["Value"]:
        """Iterate over this value and all that it is made of."""
        yield self


@dataclass(frozen=True)
class Literal(Value):
    value: Any


@dataclass(frozen=True)
class Setting(Value):
    """A member of the connector's configuration.

    :ivar default: what holds without it; None = nothing.
    """

    path: tuple[str, ...]
    default: Any = None


@dataclass(frozen=True)
class Member(Value):
    """A member of something that comes at run time.

    :ivar of: response, headers, record, last_record, slice, interval, state, token or page_size.
    """

    of: str
    path: tuple[Any, ...]


@dataclass(frozen=True)
class Now(Value):
    """The instant of the run, or one before it.

    :ivar before_m: by how many minutes; None = not known.
    """

    before_m: int | None = 0


@dataclass(frozen=True)
class Formatted(Value):
    """An instant, written by a strftime pattern."""

    value: Value
    format: str

    def parts(self) -> Iterator[Value]:
        yield self
        yield from self.value.parts()


@dataclass(frozen=True)
class Joined(Value):
    """Texts, one after the other."""

    values: tuple[Value, ...]

    def parts(self) -> Iterator[Value]:
        yield self
        for value in self.values:
            yield from value.parts()


@dataclass(frozen=True)
class Applied(Value):
    """An operation: ``not``, ``==``, ``in``, ``is none``, ``+``, a filter, a function.

    :ivar name: of the operation; of a filter or function, its name.
    """

    name: str
    values: tuple[Value, ...]

    def parts(self) -> Iterator[Value]:
        yield self
        for value in self.values:
            yield from value.parts()


@dataclass(frozen=True)
class Choice(Value):
    """A choice between two values, by a condition."""

    test: Value
    then: Value
    otherwise: Value

    def parts(self) -> Iterator[Value]:
        yield self
        for value in (self.test, self.then, self.otherwise):
            yield from value.parts()


@dataclass(frozen=True)
class Unknown(Value):
    """A part of a template that is beyond the subset of Jinja that is read here."""

    why: str


def reads(value: Value) -> frozenset[str]:
    """The sources that a value depends on: settings, now, unknown, or those of :class:`Member`."""
    sources = set()
    for part in value.parts():
        if isinstance(part, Setting):
            sources.add("settings")
        elif isinstance(part, Now):
            sources.add("now")
        elif isinstance(part, Unknown):
            sources.add("unknown")
        elif isinstance(part, Member):
            sources.add(part.of)
    return frozenset(sources)


def only_settings(value: Value) -> bool:
    """Whether a value is known as soon as the settings are."""
    return reads(value) <= {"settings"}
