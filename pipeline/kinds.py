"""Families of kinds: a base, a file a kind, and one registry, which is the only list of them.

Pagination, bookmarks, auth, decoders, budget stores, object stores and partition schemes are
families. Who needs one of a kind asks the family's ``Kinds`` for it by its name, and calls what the
base has. Nobody asks which kind it is. The dialects of a request are no family but a closed pair
(``config.request``): the engine writes their HTTP requests, and users add none.

A kind whose settings come from a source's YAML is a pydantic model with a member ``kind``:

    >>> class Greeting(BaseModel):
    ...     '''The base: what every greeting can do.'''
    ...     kind: str
    ...     def text(self) -> str: ...
    >>> GREETINGS: Kinds[Greeting] = Kinds("greeting", Greeting)
    >>> @GREETINGS.register("hello")
    ... class Hello(Greeting):
    ...     kind: Literal["hello"] = "hello"
    ...     name: str
    ...     def text(self) -> str:
    ...         return f"Hello, {self.name}"
    >>> class Letter(BaseModel):
    ...     greeting: Annotated[Greeting, GREETINGS.field]
    >>> Letter.model_validate({"greeting": {"kind": "hello", "name": "Ada"}}).greeting.text()
    'Hello, Ada'
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from pipeline.errors import ConfigError

T = TypeVar("T")
K = TypeVar("K", bound=type)


class Kinds(Generic[T]):
    """The registry of one family.

    :param family: what a kind of it is called in sentences, e.g. ``paging``.
    :param base: what every kind is an instance of.
    """

    def __init__(self, family: str, base: type[T]) -> None:
        self.family = family
        self.base = base
        self._kinds: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[K], K]:
        """Add a kind under the name that YAML and settings call it by.

        :raises ValueError: another class has the name.
        """

        def add(kind: K) -> K:
            registered = self._kinds.get(name)
            if registered is not None and registered.__qualname__ != kind.__qualname__:
                raise ValueError(f"{self.family} {name!r} is {registered.__qualname__} already")
            self._kinds[name] = kind
            return kind

        return add

    def forget(self, name: str) -> None:
        """Take a kind out again: for tests that add one."""
        self._kinds.pop(name, None)

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds there are, in the order in which they were registered."""
        return tuple(self._kinds)

    def __iter__(self) -> Iterator[tuple[str, type[T]]]:
        return iter(self._kinds.items())

    def __getitem__(self, name: str) -> type[T]:
        """The class of a kind. :raises ConfigError: no kind has this name."""
        try:
            return self._kinds[name]
        except KeyError:
            raise ConfigError(self.unknown(name)) from None

    def unknown(self, name: object) -> str:
        """The sentence on a name that no kind has, with the nearest names first."""
        near = difflib.get_close_matches(str(name), self._kinds, n=1)
        maybe = f" (did you mean `{near[0]}`?)" if near else ""
        names = ", ".join(f"`{each}`" for each in self._kinds)
        return f"{self.family} has no kind `{name}`{maybe}: expected one of {names}"

    def read(self, value: Any) -> Any:
        """The value as one of this family: from YAML's mapping, or as it is.

        :raises pydantic_core.PydanticCustomError, pydantic.ValidationError: it is none.
        """
        return KindField(self).read(value)

    @property
    def field(self) -> "KindField":
        """The annotation of a model's member that holds one of this family."""
        return KindField(self)

    @property
    def field_or_name(self) -> "KindField":
        """As ``field``, where the name alone stands for a kind without settings."""
        return KindField(self, by_name=True)


class KindField:
    """Makes a model's member one of a family: YAML's ``kind`` names the class that reads it.

    The registry is looked at when a value is read, so that a kind may be added at any time. Each
    mistake keeps its place in the YAML.
    """

    def __init__(self, kinds: Kinds[Any], *, by_name: bool = False) -> None:
        self._kinds = kinds
        self._by_name = by_name

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: value.model_dump() if isinstance(value, BaseModel) else value
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        models = {
            name: kind.__pydantic_core_schema__
            for name, kind in self._kinds
            if issubclass(kind, BaseModel)
        }
        union = core_schema.tagged_union_schema(models, discriminator="kind")
        choice = handler(union)
        for model in choice["oneOf"]:
            # Python may leave out what the class says; YAML has only the kind to tell the class by.
            of_kind = handler.resolve_ref_schema(model)
            of_kind["properties"]["kind"].pop("default", None)
            of_kind["required"] = ["kind", *(n for n in of_kind.get("required", ()) if n != "kind")]
        if self._by_name:
            names = handler(core_schema.literal_schema([*models]))
            return {"anyOf": [choice, names]}
        return choice

    def read(self, value: Any) -> Any:
        if isinstance(value, self._kinds.base):
            return value
        if self._by_name and isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, Mapping):
            names = ", ".join(self._kinds.names)
            example = f"such as {{kind: {next(iter(self._kinds.names))}}} (kinds: {names})"
            raise PydanticCustomError(
                "kind_expected",
                "expected {family} as an object with a kind, {example}",
                {"family": self._kinds.family, "example": example},
            )
        kind = value.get("kind")
        if kind is None:
            raise PydanticCustomError(
                "kind_missing",
                "kind is missing: add one of {names}",
                {"names": ", ".join(f"`{name}`" for name in self._kinds.names)},
            )
        if kind not in self._kinds.names:
            raise PydanticCustomError("kind_unknown", "{text}", {"text": self._kinds.unknown(kind)})
        return self._kinds[kind].model_validate(dict(value))
