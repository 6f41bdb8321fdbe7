"""Values of placeholders inside an API's query language, and inside a path. Pure.

A value comes from rows, tokens or lists: a quote in it would end the text that it stands in, and
the API would read another query (O'Brien is a 400; ``x' or '1'='1`` reads other rows). So a
placeholder says how its value is written, ``{parent|odata}``:

=========  =====================================================================================
``odata``  a quote is doubled: ``name eq 'O''Brien'``
``sql``    the quote around the placeholder is doubled; a backslash is refused
``json``   as inside a text of JSON or GraphQL: ``\\"``, ``\\\\``, ``\\n``
``jql``    a backslash before quotes and backslashes (Jira, PocketBase, SOQL)
``url``    percent-encoded, beside the encoding of the whole
``path``   in a path: several segments, slashes kept
``raw``    as it is; a parameter that has one keeps its structure, ``(),:`` are not encoded
=========  =====================================================================================

Without one, ``$filter`` is OData, ``jql`` is JQL, a document of GraphQL and a parameter that is
JSON are JSON. Anywhere else a value that has a quote of those around it is refused.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

import orjson

from pipeline.errors import ConfigError, ContractBroken, cut

_QUOTE_CHARS: Final = "'\"`"
_FROM_ROWS: Final = frozenset({"parent", "after", "before"})
"""Placeholders whose values are not the user's, and are compared with something."""
_ENDS_A_WORD: Final = re.compile(r"[\s'\"`()]")
_GRAPHQL: Final = re.compile(r"\s*(?:\{|(?:query|mutation|subscription|fragment)\b)")


def _doubled(text: str, around: str) -> str:
    for char in around:
        text = text.replace(char, char * 2)
    return text


def _json(text: str, around: str) -> str:
    return orjson.dumps(text)[1:-1].decode()


def _backslashed(text: str, around: str) -> str:
    return re.sub(r"([\\'\"`])", r"\\\1", text).replace("\n", "\\n").replace("\r", "\\r")


_WRITTEN: Final[Mapping[str, Callable[[str, str], str]]] = {
    "odata": lambda text, around: text.replace("'", "''"),
    "sql": _doubled,
    "json": _json,
    "jql": _backslashed,
    "url": lambda text, around: quote(text, safe=""),
    "raw": lambda text, around: text,
    "path": lambda text, around: text,
}
_UNSAFE: Final[Mapping[str, str]] = {
    "odata": '"`',
    "sql": "\\",
    "json": "'`",
    "jql": "",
    "url": "",
    "raw": "",
    "": _QUOTE_CHARS + "\\",
}
"""What a value may not have, though it is written so, where such quotes stand around it."""


def default_quote(place: str, template: str) -> str:
    """How values inside quotes are written where the YAML does not say; empty: not known.

    :param place: the name of the parameter, or of the body's member.
    """
    name = place.lower()
    if name in ("$filter", "$search", "$apply"):
        return "odata"
    if name == "jql":
        return "jql"
    if name == "query" and _GRAPHQL.match(template):
        return "json"
    return ""


def is_json(template: str) -> bool:
    """Whether a parameter is a text of JSON: an object or an array with texts in it."""
    bare = template.strip()
    return bool(re.fullmatch(r'\{\s*"[^"]*"\s*:.*\}|\[\s*[\[{"].*\]', bare, re.DOTALL))


def quotes_around(template: str, start: int, end: int) -> str:
    """The kinds of quotes that stand around a part of a template, the inner ones too."""
    before, behind = _no_escapes(template[:start]), template[end:]
    return "".join(q for q in _QUOTE_CHARS if before.count(q) % 2 and q in behind)


def _no_escapes(text: str) -> str:
    r"""Without what a backslash takes away; ``\"`` stays, as the quote of a language inside."""
    return re.sub(r"\\\\", "", text)


def written(template: str, match: re.Match[str], text: str, *, place: str, is_text: bool) -> str:
    """The value of a placeholder, as it goes into the text that the placeholder stands in.

    :param match: of ``PLACEHOLDER``. :param is_text: the value is a text, and no number or JSON.
    :raises ConfigError: the value would change the query.
    """
    around = quotes_around(template, match.start(), match.end())
    outer = is_json(template)
    how = match[2] or (default_quote(place, template) if around else "")
    if how == "raw":
        return text
    if not around:
        _stays_a_word(template, match, text, place, is_text=is_text and how == "")
        return _WRITTEN[how](text, "") if how else text
    if outer and '"' in around and how != "json":
        inner = around.replace('"', "")
        _refuse(template, match, text, place, how, inner)
        return _json(_WRITTEN[how](text, inner) if how else text, "")
    _refuse(template, match, text, place, how, around)
    return _WRITTEN[how](text, around) if how else text


def _refuse(
    template: str,
    match: re.Match[str],
    text: str,
    place: str,
    how: str,
    around: str,
) -> None:
    """:raises ConfigError: the text has a quote that would end the one it stands in."""
    unsafe = {char for char in _UNSAFE[how] if char in around or char == "\\"}
    if not around or not (unsafe & set(text)):
        return
    what = "a quote or a backslash in it" if how != "sql" else "a backslash in it"
    raise ConfigError(
        f"The value {cut(text, 60)!r} of `{{{match[1]}}}` has {what}, and stands inside quotes in "
        f"`{place}: {cut(template, 120)}`: the API would read another query. Say how the API "
        f"escapes quotes there: `{{{match[1]}|odata}}` doubles them, as does sql; "
        f"`{{{match[1]}|jql}}` sets a backslash before them, as does json; `{{{match[1]}|raw}}` "
        "leaves them as they are"
    )


def _stays_a_word(
    template: str, match: re.Match[str], text: str, place: str, *, is_text: bool
) -> None:
    """In a sentence of a query language, a value without quotes around it is one word of it.

    :raises ConfigError: it has a blank, a quote or a parenthesis.
    """
    sentence = " " in (template[: match.start()] + template[match.end() :]).strip()
    if not (
        is_text
        and sentence
        and match[1].partition(".")[0] in _FROM_ROWS
        and _ENDS_A_WORD.search(text)
    ):
        return
    raise ConfigError(
        f"The value {cut(text, 60)!r} of `{{{match[1]}}}` is more than a word, and has no quotes "
        f"around it in `{place}: {cut(template, 120)}`: the API would read another query. Check: "
        f"1. quotes, as in '{{{match[1]}|odata}}'; 2. `{{{match[1]}|raw}}`, if the API wants it so"
    )


def path_part(name: str, how: str, text: str) -> str:
    """A value as one segment of a path, or a part of one; with ``|path`` as several segments.

    :raises ContractBroken: it would lead out of its place.
    """
    several = how in ("path", "raw")
    pieces = re.split(r"[/\\]", text)
    leads_out = {".", ".."} & {piece.strip() for piece in pieces}
    if leads_out or (how == "path" and "" in pieces):
        raise ContractBroken(
            f"The value {cut(text, 60)!r} of `{{{name}}}` would lead out of its place in `path`, "
            "expected a name without . and .. as parts. Check: 1. the column that the values come "
            f"from; 2. a parameter in place of the path, e.g. `params: {{id: '{{{name}}}'}}`"
        )
    if how == "raw":
        return quote(text, safe="/,;:@!$'()*=%")
    return quote(text, safe="/," if several else ",")


def full_segment(name: str, segment: str, filled: str) -> str:
    """A filled segment of a path. :raises ContractBroken: it is empty, or dots."""
    if filled in ("", ".", ".."):
        raise ContractBroken(
            f"The value of `{{{name}}}` makes {filled!r} of the segment `{segment}` of `path`, and "
            "the API would read the path of something else. Expected a value in each row. Check: "
            "the column that the values come from"
        )
    return filled
