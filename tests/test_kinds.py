"""A family's registry: what it reads, and the sentence on what it does not know."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ValidationError

from pipeline.errors import ConfigError
from pipeline.kinds import Kinds


class Greeting(BaseModel):
    kind: str


GREETINGS: Kinds[Greeting] = Kinds("greeting", Greeting)


@GREETINGS.register("hello")
class Hello(Greeting):
    kind: Literal["hello"] = "hello"
    times: int = 1


class Letter(BaseModel):
    greeting: Annotated[Greeting, GREETINGS.field]


def errors_of(value: object) -> list[tuple[tuple[int | str, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        Letter.model_validate({"greeting": value})
    return [(error["loc"], error["msg"]) for error in caught.value.errors()]


def test_a_kind_that_is_registered_later_is_read() -> None:
    class Bye(Greeting):
        kind: Literal["bye"] = "bye"

    GREETINGS.register("bye")(Bye)
    try:
        assert isinstance(Letter.model_validate({"greeting": {"kind": "bye"}}).greeting, Bye)
        assert "bye" in str(Letter.model_json_schema())
    finally:
        GREETINGS.forget("bye")
    assert "no kind `bye`" in errors_of({"kind": "bye"})[0][1]


def test_a_name_stands_for_a_kind_without_settings_where_a_field_says_so() -> None:
    class Card(BaseModel):
        greeting: Annotated[Greeting, GREETINGS.field_or_name]

    assert Card.model_validate({"greeting": "hello"}).greeting == Hello()
    with pytest.raises(ValidationError, match="no kind `helo`"):
        Card.model_validate({"greeting": "helo"})
    choices = Card.model_json_schema()["properties"]["greeting"]["anyOf"]
    assert {"const": "hello", "type": "string"} in choices


def test_each_mistake_keeps_its_place() -> None:
    assert errors_of({"kind": "hello", "times": "x"})[0][0] == ("greeting", "times")
    assert errors_of({"kind": "helo"}) == [
        (
            ("greeting",),
            "greeting has no kind `helo` (did you mean `hello`?): expected one of `hello`",
        )
    ]
    assert errors_of({"times": 2}) == [(("greeting",), "kind is missing: add one of `hello`")]
    assert errors_of("hello")[0][1] == (
        "expected greeting as an object with a kind, such as {kind: hello} (kinds: hello)"
    )


def test_an_unknown_name_and_a_taken_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="no kind `nope`: expected one of `hello`"):
        GREETINGS["nope"]
    with pytest.raises(ValueError, match="greeting 'hello' is Hello already"):
        GREETINGS.register("hello")(Letter)
