r"""Values of placeholders in an API's own words: quoting, and the format of the window. Pure.

A value comes from rows, tokens or lists: a quote in it would end the text that it stands in, and
the API would read another query (O'Brien is a 400; ``x' or '1'='1`` reads other rows). So a
placeholder says how its value is written, ``{parent|odata}``:

=========  =====================================================================================
``odata``  a quote is doubled: ``name eq 'O''Brien'``
``sql``    the quote around the placeholder is doubled; a backslash is refused
``json``   as inside a text of JSON or GraphQL: ``\"``, ``\\``, ``\n``
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
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from urllib.parse import quote

import orjson

from pipeline.config.request import DAY_S, WindowFormat
from pipeline.errors import ConfigError, ContractBroken, cut
from pipeline.pagination.page import PageRequest
from pipeline.partitions.window import Window, ceil, floor, next_step
from pipeline.timestamps import EPOCH, as_iso, doubled_hour, says_utc, says_zone

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
        _refuse(match, text, place, how, inner)
        return _json(_WRITTEN[how](text, inner) if how else text, "")
    _refuse(match, text, place, how, around)
    return _WRITTEN[how](text, around) if how else text


def _refuse(match: re.Match[str], text: str, place: str, how: str, around: str) -> None:
    """:raises ConfigError: the text has a quote that would end the one it stands in."""
    unsafe = {char for char in _UNSAFE[how] if char in around or char == "\\"}
    if not around or not (unsafe & set(text)):
        return
    what = "a quote or a backslash in it" if how != "sql" else "a backslash in it"
    raise ConfigError(
        f"The value {cut(text, 60)!r} of `{{{match[1]}}}` has {what}, and stands inside quotes in "
        f"`{place}`: the API would read another query. Say how the API "
        f"escapes quotes there: `{{{match[1]}|odata}}` doubles them, as does sql; "
        f"`{{{match[1]}|jql}}` sets a backslash before them, as does json; `{{{match[1]}|raw}}` "
        "leaves them as they are"
    )


def _stays_a_word(
    template: str, match: re.Match[str], text: str, place: str, *, is_text: bool
) -> None:
    """Check that a value without quotes around it stays one word of its query language.

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
        f"around it in `{place}`: the API would read another query. Check: "
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


def slice_of(window: Window, request: PageRequest) -> tuple[datetime | None, datetime]:
    """The interval that this page requests: the window, a slice of it, or the rest of one."""
    return _instants_of(request.window or window.as_text)


def whole_slice_of(window: Window, request: PageRequest) -> tuple[datetime | None, datetime]:
    """The window, or the slice of it, that this page is one of the pages of."""
    return _instants_of(request.slice or window.as_text)


def _instants_of(bounds: tuple[str | None, str]) -> tuple[datetime | None, datetime]:
    start, end = bounds
    return (None if start is None else datetime.fromisoformat(start)), datetime.fromisoformat(end)


def bound(form: WindowFormat, instant: datetime, *, is_end: bool) -> str | int:
    """A bound of a half-open window in the API's own format and meaning.

    ``>`` requests from one step earlier on. ``<=`` requests up to the end itself: cursors may
    be finer than the step. Only of an API that takes whole days the day before it is requested.
    Bounds that the format can't express are moved outwards: rows outside the window are dropped on
    arrival. So are bounds in the hour that the clocks of ``timezone`` show twice, where the format
    has no offset: which of the two an API takes for the one written is not known.
    """
    moved = _upper(form, instant) if is_end else _lower(form, instant)
    if is_end and form.end == "inclusive" and form.resolution_s >= DAY_S:
        moved = _step_before(form, moved)
    return _written(form, moved)


def _lower(form: WindowFormat, start: datetime) -> datetime:
    """The lower bound that is requested."""
    low = floor(start, form.resolution_s, _zone(form))
    if not _says_offset(form) and (twice := doubled_hour(low, form.zone)):
        low = _step_before(form, twice[0])
    return _step_before(form, low) if form.start == "exclusive" else low


def _upper(form: WindowFormat, end: datetime) -> datetime:
    """The upper bound that is requested, before an inclusive day is taken from it."""
    up = ceil(end, form.resolution_s, _zone(form))
    if not _says_offset(form) and (twice := doubled_hour(up, form.zone)):
        up = ceil(twice[1], form.resolution_s, form.zone)
    return up


def requested(form: WindowFormat, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The interval that an API is asked for by the bounds of one: it is the same, or longer."""
    return _lower(form, start), _upper(form, end)


def cut_before(form: WindowFormat, instant: datetime) -> datetime:
    """The last instant, up to this one, at which a window can be cut: a part that ends there and
    the one that begins there are written with the same bound, and with no other one.

    That is a whole step by the clock that bounds are written in, outside an hour that it shows
    twice where the format has no offset.
    """
    cut = floor(instant, form.resolution_s, _zone(form))
    if not _says_offset(form) and (twice := doubled_hour(cut, form.zone)):
        cut = _step_before(form, twice[0])
    return cut


def cut_after(form: WindowFormat, instant: datetime) -> datetime:
    """The first instant behind this one at which a window can be cut."""
    cut = next_step(instant, form.resolution_s, _zone(form))
    if not _says_offset(form) and (twice := doubled_hour(cut, form.zone)):
        cut = ceil(twice[1], form.resolution_s, form.zone)
    return cut


def _step_before(form: WindowFormat, instant: datetime) -> datetime:
    return floor(instant - timedelta(microseconds=1), form.resolution_s, _zone(form))


def _zone(form: WindowFormat) -> tzinfo:
    """The zone whose clock the bounds are written by."""
    return UTC if says_utc(form.format) else form.zone


def _says_offset(form: WindowFormat) -> bool:
    return "%" not in form.format or says_zone(form.format)


def floor_of(form: WindowFormat) -> str | int | None:
    """The lower bound of a baseline, where the API wants one, written as all bounds are."""
    return form.floor if form.floor_at is None else _written(form, form.floor_at)


def instant_of(form: WindowFormat, instant: datetime) -> str | int:
    """An instant that bounds nothing, written as the bounds are."""
    return _written(form, instant)


def has_end(form: WindowFormat, start: datetime | None) -> bool:
    """True if the upper bound goes into the request."""
    alone = form.together and start is None and form.floor is None
    return form.end != "none" and not alone


def may_come(
    form: WindowFormat, start: datetime | None, end: datetime
) -> tuple[datetime | None, datetime | None]:
    """Between which instants, both included, rows may lie that an API gives for these bounds.

    It is more than the window where ``bound`` had to request more, and by a second, since some APIs
    round. A row beyond means that the filter was ignored.
    """
    step_s = form.resolution_s
    slack = timedelta(seconds=min(step_s, 1.0))
    until = timedelta(seconds=step_s if form.end == "inclusive" and step_s < DAY_S else 0.0)
    latest = _upper(form, end) + max(slack, until) if has_end(form, start) else None
    if start is None or form.start == "none":
        return None, latest
    earliest = _lower(form, start)
    if twice := doubled_hour(earliest, form.zone):
        earliest = twice[0]  # rows of that hour are read as of its first time
    return earliest - slack, latest


def _written(form: WindowFormat, instant: datetime) -> str | int:
    if form.format == "epoch_s":
        return int(instant.timestamp())
    if form.format == "epoch_ms":
        return (instant - EPOCH) // timedelta(milliseconds=1)
    local = instant.astimezone(_zone(form))
    if form.format == "iso":
        return as_iso(instant) if form.zone is UTC else local.isoformat()
    return local.strftime(form.format)
