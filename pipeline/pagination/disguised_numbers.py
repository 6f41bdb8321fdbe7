"""Whether a link, or a token, is a number in disguise, as far as the names in it show. Pure."""

import re
from base64 import b64decode
from contextlib import suppress
from urllib.parse import parse_qsl, urlsplit

from pipeline.pagination.page import JsonToken, PageToken

_BY_NUMBER = {"page", "pageno", "pagenumber", "pageindex", "offset", "pageoffset", "skip"}
_BY_NUMBER |= {"startindex", "startat", "arrayconnection"}
_SIZES = {"limit", "perpage", "pagesize", "size"}
_BY_PLACE = {"after", "before", "cursor", "pageafter", "pagecursor", "token", "pagetoken"}
_NAMED = re.compile(r"([A-Za-z][\w-]*+)\W*[:=]")
_LOOKED_AT = 500
"""Characters of a token: a number in disguise is short, and tokens of 16 kB are not rare."""


def link_is_number(url: str | None) -> bool:
    """Whether a link is the number of a page, or an offset."""
    plain = {_plain(name): value for name, value in parse_qsl(urlsplit(url or "").query)}
    numbers = [plain[name] for name in _BY_NUMBER & plain.keys()]
    return not _BY_PLACE & plain.keys() and any(map(str.isdigit, numbers))


def token_is_number(token: PageToken) -> bool:
    """Whether a token is a page number or an offset.

    A token with another name in it may be a place: ``{"offset": 7, "partition": 2}`` of a log is
    one.
    """
    if not isinstance(token, str | JsonToken):
        return False
    text = (token.text if isinstance(token, JsonToken) else token)[:_LOOKED_AT]
    with suppress(ValueError):
        text = b64decode(text + "=" * (-len(text) % 4), validate=True).decode("ascii")
    names = {_plain(name) for name in _NAMED.findall(text)}
    return bool(names & _BY_NUMBER) and names <= _BY_NUMBER | _SIZES


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())
