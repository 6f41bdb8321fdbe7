"""A secret that an API says again in a spelling of its own is hidden in each of them."""

import json
from collections.abc import Callable
from html import escape
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from pipeline.config.auth import BearerTokenAuth
from pipeline.errors import CUT
from pipeline.http.auth import hidden
from pipeline.http.classify import ResponseKind
from pipeline.http.error_messages import refusal
from pipeline.http.redaction import SHORTEST, contains_secret, redact

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
    text = f'{before}{spelled}"}}'
    assert contains_secret(text, secret)
    assert spelled not in redact(text, secret)
    assert "***" in redact(text, secret)


@given(SECRETS, st.sampled_from(WAYS), st.data())
def test_no_part_is_left_at_a_cut(secret: str, way: Way, data: st.DataObject) -> None:
    each = [way(char) for char in secret]
    spelled = "".join(each)
    at = data.draw(st.integers(0, len(spelled)))
    parts = ["".join(each[first : first + SHORTEST]) for first in range(len(each) - SHORTEST + 1)]
    for text in (f"it is {spelled[:at]}{CUT}", f"{CUT}{spelled[at:]} it is"):
        shown = redact(text, secret)
        assert not [part for part in parts if part in shown], shown


@pytest.mark.parametrize(
    "said",
    [
        r"AbC\/dEf+123\/xyz==",
        r"AbC/dEf\u002B123/xyz\u003d\u003D",
        "AbC&#47;dEf&plus;123&#x2f;xyz==",
        "AbC%2fdEf%2b123%2fxyz%3d%3d",
        "AbC%252FdEf%252B123%252Fxyz%253D%253D",
    ],
)
def test_a_refusal_does_not_say_the_token_again(said: str) -> None:
    body = f'{{"error":"bad token {said}"}}'.encode()
    sentence = str(refusal(ResponseKind.PERMANENT, 403, {}, body, "a page"))
    spec = BearerTokenAuth(kind="bearer", token=SecretStr(TOKEN))
    assert 'status 403: {"error":"bad token ***"}: are the credentials' in hidden(sentence, spec)


def test_other_text_stays() -> None:
    for text in ("AbC/dEf", "AbC%2FdEf+123/xyz=", f"{CUT}xyz and more", "%25 &amp; \\u00e9"):
        assert redact(text, TOKEN) == text
        assert not contains_secret(text, TOKEN)


def test_blanks_may_be_put_together_on_one_line() -> None:
    assert redact("it is a b\\nc", "a  b\n c") == "it is ***"


def test_a_secret_that_begins_within_another_start_of_it_is_found() -> None:
    assert redact("aaaaaab", "aaaab") == "aa***"


def test_a_cut_in_a_spelling_whose_first_letter_is_the_character_itself() -> None:
    assert redact(f"it is 0000&a{CUT}", "0000&0") == f"it is ***{CUT}"
