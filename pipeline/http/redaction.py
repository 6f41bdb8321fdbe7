r"""A secret in a text, however it is written there: plain, or escaped for JSON, a URL, HTML. Pure.

An API that says a token again says it in its own way: PHP writes ``\/``, .NET ``\u002B``, a page
``&#47;``, a form ``+`` for a space, and a ``repr`` of ours doubles the backslashes. So a secret is
looked for character by character, each in any of its spellings. The first few are one pattern,
which is found fast in a long text; from there on it is a walk, since a token may be long.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from html.entities import html5
from itertools import pairwise

from pipeline.errors import CUT

SHORTEST = 4
"""A secret of fewer characters could be a part of any word."""
STARS = "***"
_BACKSLASHES = r"\\\\{0,7}"
_NOTHING = re.compile("")
_BEGUN = re.compile(r"(?:\\{1,8}(?:[ux]\w{0,4})?){1,2}|(?:%\w{0,8}){1,4}|&[#;\w]{0,10}")
_LEFT = re.compile(r"(?:\\{0,7}[ux]?|%)(?:[0-9A-Fa-f]{1,4}(?:\\{1,8}u|%)?){0,4}|[#\w]{0,10};")
"""What a cut leaves of the spelling of one character, before it and after it."""
_LONGEST_LEFT = 24

Unit = tuple[re.Pattern[str], ...]
"""The spellings of one character, each of which may be the one."""


def contains_secret(text: str, secret: str) -> bool:
    """True if the whole of a secret is in a text."""
    units = _units(secret)
    return any(_walk(text, start, units)[1] for start in _starts(text, secret))


def redact(text: str, secret: str) -> str:
    """A text without a secret, and without what is left of it where the text was cut."""
    shown, at = [], 0
    for start, end in sorted([*_from_the_start(text, secret), *_after_cuts(text, secret)]):
        if start >= at:
            shown += [text[at:start], STARS]
        at = max(at, end)
    return "".join([*shown, text[at:]])


def _starts(text: str, secret: str) -> Iterator[int]:
    head = _head(secret)
    found = head.search(text)
    while found:
        yield found.start()
        found = head.search(text, found.start() + 1)


def _from_the_start(text: str, secret: str) -> Iterator[tuple[int, int]]:
    units = _units(secret)
    for start in _starts(text, secret):
        end, whole = _walk(text, start, units)
        if whole or text.startswith(CUT, end):
            yield start, end


def _after_cuts(text: str, secret: str) -> Iterator[tuple[int, int]]:
    """From a cut to the end of the secret, or to the next cut."""
    units = _units(secret)
    for cut in re.finditer(CUT, text):
        for at in range(cut.end(), cut.end() + _LONGEST_LEFT):
            if not _LEFT.fullmatch(text, cut.end(), at):
                continue
            for first in range(1, len(units) - SHORTEST + 1):
                end, whole = _walk(text, at, units[first:])
                if end - at >= SHORTEST and (whole or text.startswith(CUT, end)):
                    yield cut.end(), end


def _walk(text: str, at: int, units: Sequence[Unit]) -> tuple[int, bool]:
    """How far a text spells these characters, to a cut within one of them, and whether all."""
    ends = {at}
    seen = {at}
    for ways in units:
        further = {met.end() for end in ends for way in ways if (met := way.match(text, end))}
        if not further:
            seen |= {met.end() for end in seen if (met := _BEGUN.match(text, end))}
            return max(seen, key=lambda end: (text.startswith(CUT, end), end)), False
        ends = further
        seen |= ends
    return max(ends), True


@lru_cache(maxsize=64)
def _units(secret: str) -> tuple[Unit, ...]:
    """One for each character. Of several blanks one may be left, where lines were put together."""
    chars = [" " if char.isspace() else char for char in secret]
    again = [both == (" ", " ") for both in pairwise(["", *chars])]
    units = (_unit(char) for char in chars)
    return tuple(
        (*unit, _NOTHING) if gone else unit for unit, gone in zip(units, again, strict=True)
    )


@lru_cache(maxsize=64)
def _head(secret: str) -> re.Pattern[str]:
    """Of the first characters together: a search for the places at which a walk is worth it."""
    units = _units(secret)[:SHORTEST]
    return re.compile("".join(f"(?:{'|'.join(way.pattern for way in ways)})" for ways in units))


@lru_cache(maxsize=1024)
def _unit(char: str) -> Unit:
    return tuple(re.compile(way) for way in _spellings(char))


@cache
def _names() -> dict[str, list[str]]:
    """The names that HTML has for a character."""
    found = defaultdict(list)
    for name, char in html5.items():
        if name.endswith(";"):
            found[char].append(name)
    return found


def _spellings(char: str) -> list[str]:
    """Each begins with a letter of its own, which makes the search fast."""
    code, pairs = ord(char), char.encode("utf-16-be", "surrogatepass").hex()
    escaped = _BACKSLASHES.join(f"u{_hex(pairs[at : at + 4])}" for at in range(0, len(pairs), 4))
    in_json = [escaped]
    if code < 256:
        in_json.append(f"x{_hex(f'{code:02x}')}")
    if not char.isalnum():
        in_json.append(re.escape(char))
    in_url = "".join(f"%(?:25){{0,3}}{_hex(f'{one:02x}')}" for one in _utf8(char))
    in_html = [f"#0{{0,6}}{code};?", f"#[xX]0{{0,6}}{_hex(f'{code:x}')};?", *_names().get(char, [])]
    ways = [
        re.escape(char),
        f"{_BACKSLASHES}(?:{'|'.join(in_json)})",
        in_url,
        f"&(?:amp;){{0,3}}(?:{'|'.join(in_html)})",
    ]
    if char == " ":
        ways += [r"\+", r"\s", f"{_BACKSLASHES}[nrtvf]"]
    return ways


def _utf8(char: str) -> bytes:
    return char.encode("utf-8", "surrogatepass")


def _hex(digits: str) -> str:
    """In capitals or not."""
    return "".join(f"[{one}{one.upper()}]" if one.isalpha() else one for one in digits)
