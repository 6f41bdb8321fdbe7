"""Secrets are found by their type, and in whatever spelling an API repeats them."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from html import escape
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretBytes, SecretStr

from pipeline.config.limits import RetriesConfig
from pipeline.decode import DEFAULT_FORMAT
from pipeline.errors import CUT, HeadraceError
from pipeline.messages import HttpResponse, RequestCounts
from pipeline.redaction import SHORTEST, contains_secret, redact, secrets_in
from tests.support.wire import answer, client_of, serving, things
from tests.support.yaml_sources import quick

TOKEN = "AbC/dEf+123/xyz=="
Way = Callable[[str], str]


def in_json(char: str) -> str:
    return json.dumps(char)[1:-1]


def by_code(char: str) -> str:
    pairs = char.encode("utf-16-be").hex()
    return "".join(f"\\u{pairs[at : at + 4].upper()}" for at in range(0, len(pairs), 4))


WAYS: list[Way] = [
    str,
    in_json,
    lambda char: in_json(in_json(char)),
    by_code,
    lambda char: by_code(char).lower(),
    lambda char: char if char.isalnum() else f"\\{char}",
    lambda char: repr(f"\\{char}")[1:-1] if not char.isalnum() else char,
    lambda char: quote(char, safe=""),
    lambda char: quote(char, safe="").lower() if not char.isalnum() else char,
    lambda char: quote(quote(char, safe=""), safe=""),
    quote_plus,
    escape,
    lambda char: f"&#{ord(char)};",
    lambda char: f"&#x{ord(char):02X};",
    lambda char: {"/": "&sol;", "+": "&plus;", "=": "&equals;"}.get(char, char),
]
CHARS = st.sampled_from("abcXYZ0189/+=-_.~:%&\"'\\<> éß€😀")
SECRETS = (
    st.text(CHARS, min_size=SHORTEST, max_size=24)
    .map(str.strip)
    .filter(lambda text: len(text) >= SHORTEST)
)


@given(SECRETS, st.data(), st.sampled_from(["", "bad token ", "a%2", '{"x":"\\']))
def test_each_character_may_be_spelled_in_its_own_way(
    secret: str, data: st.DataObject, before: str
) -> None:
    ways = data.draw(st.lists(st.sampled_from(WAYS), min_size=len(secret), max_size=len(secret)))
    spelled = "".join(way(char) for way, char in zip(ways, secret, strict=True))
    assert contains_secret(f'{before}{spelled}"}}', [secret])


@given(SECRETS, st.data())
def test_no_text_of_ours_shows_a_secret(secret: str, data: st.DataObject) -> None:
    ways = data.draw(st.lists(st.sampled_from(WAYS), min_size=len(secret), max_size=len(secret)))
    spelled = "".join(way(char) for way, char in zip(ways, secret, strict=True))
    shown = redact(f"bad token {spelled} here", [secret], withheld="nothing")
    assert spelled not in shown
    assert shown == "nothing" or "***" in shown


SPELLED = [
    r"AbC\/dEf+123\/xyz==",
    r"AbC/dEf\u002B123/xyz\u003d\u003D",
    "AbC&#47;dEf&plus;123&#x2f;xyz==",
    "AbC%2fdEf%2b123%2fxyz%3d%3d",
    "AbC%252FdEf%252B123%252Fxyz%253D%253D",
]


@pytest.mark.slow
@pytest.mark.parametrize("spelled", SPELLED)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 200])
def test_nothing_is_quoted_of_a_response_that_repeats_the_token(status: int, spelled: str) -> None:
    """Wherever the text is cut: of the token, no part of four letters is left."""
    parts = [spelled[at : at + SHORTEST] for at in range(len(spelled) - SHORTEST + 1)]

    async def read(response: HttpResponse) -> None:
        DEFAULT_FORMAT.check(response.body)

    async def run(before: int) -> str:
        body = f'{{"error": "{"q" * before} {spelled} and more"}}'.encode()
        raw = body if status != 200 else body[:-1]  # no JSON: quoted in the error of a reader

        async with serving(lambda *_: answer(raw=raw, status=status)) as wire:
            auth = f"{{kind: bearer, token: {TOKEN}}}"
            once = {"retries": RetriesConfig(errors=0)}
            source = quick(wire.url, auth=auth).model_copy(update=once)
            async with client_of(source) as client:
                with pytest.raises(HeadraceError) as caught:
                    await client.fetch(things(source), read, "page", RequestCounts())
        return str(caught.value)

    for before in (0, 30, 150, 190, 280, 1_990):
        message = asyncio.run(run(before))
        assert not [part for part in parts if part in message], message
        assert "qqq" not in message


def test_other_text_stays() -> None:
    for text in ("AbC/dEf", "AbC%2FdEf+123/xyz=", f"{CUT}xyz and more", "%25 &amp; \\u00e9"):
        assert redact(text, [TOKEN]) == text
        assert not contains_secret(text, [TOKEN])


def test_a_text_of_ours_has_stars_in_place_of_a_secret_as_libraries_write_it() -> None:
    secret = 'a/b c+d"é'
    for form in (
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        b64encode(secret.encode()).decode(),
    ):
        assert redact(f"bad {form}!", [secret]) == "bad ***!"


def test_blanks_may_be_put_together_on_one_line() -> None:
    assert contains_secret("it is a b\\nc", ["a  b\n c"])


def test_a_secret_that_begins_within_another_start_of_it_is_found() -> None:
    assert redact("aaaaaab", ["aaaab"]) == "aa***"


def test_the_longest_goes_first_where_one_secret_is_a_part_of_another() -> None:
    assert redact("it is hush-hush-1", ["hush", "hush-hush-1"]) == "it is ***"


class Inner(BaseModel):
    name: str
    secret: SecretStr


class Outer(BaseModel):
    plain: str = "plain"
    one: SecretStr | None = None
    raw: SecretBytes | None = None
    inner: Inner | None = None
    many: list[Inner] = []
    by_name: dict[str, SecretStr | list[SecretStr]] = {}


def test_secrets_are_found_by_their_type_however_deep() -> None:
    outer = Outer.model_validate(
        {
            "one": "s-1",
            "raw": b"s-2",
            "inner": {"name": "n", "secret": "s-3"},
            "many": [{"name": "n", "secret": "s-4"}],
            "by_name": {"a": "s-5", "b": ["s-6", "s-7"]},
        }
    )
    assert secrets_in(outer) == {
        "one": "s-1",
        "raw": "s-2",
        "inner.secret": "s-3",
        "many.0.secret": "s-4",
        "by_name.a": "s-5",
        "by_name.b.0": "s-6",
        "by_name.b.1": "s-7",
    }
