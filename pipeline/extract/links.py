"""The URL of the next page, and why a link to elsewhere is never followed. Whether a link, or a
token, is a number in disguise.

A link is asked for with the source's credentials; one to another host or scheme would give them
away.
"""

import re
from base64 import b64decode
from contextlib import suppress
from urllib.parse import parse_qsl, urljoin, urlsplit, urlunsplit

from pipeline.config.paging import LinkPaging
from pipeline.errors import ContractBroken
from pipeline.http.client import HttpResponse
from pipeline.pagination.pagers import JsonToken, PageToken
from pipeline.pagination.query import without_param

_LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[^\s=;,]+\s*(?:=\s*(?:"[^"]*"|[^\s";,]*))?)*)')
_BY_NUMBER = {"page", "pageno", "pagenumber", "pageindex", "offset", "pageoffset", "skip"}
_BY_NUMBER |= {"startindex", "startat", "arrayconnection"}
_SIZES = {"limit", "perpage", "pagesize", "size"}
_BY_PLACE = {"after", "before", "cursor", "pageafter", "pagecursor", "token", "pagetoken"}
_NAMED = re.compile(r"([A-Za-z][\w-]*)\W*[:=]")
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s";,]*))', re.IGNORECASE)


def next_url(
    paging: LinkPaging,
    in_body: object,
    answer: HttpResponse,
    base_url: str,
    secret_param: str | None = None,
) -> str | None:
    """The absolute URL of the next page, or None at the end.

    :param secret_param: the query parameter that carries the key. Many APIs say it again in the
        link; it is taken out, since positions are kept, and put in again just before sending.
    :raises ContractBroken: the link leads to another host or scheme.
    """
    if paging.next is not None:
        target = in_body if isinstance(in_body, str) else None
    elif paging.header is not None:
        target = answer.headers.get(paging.header.lower())
    else:
        target = _next_in(answer.headers.get("link", ""))
    if not target:
        return None
    url = _without(urljoin(answer.url, target), secret_param)
    if _origin(url) != _origin(base_url):
        raise ContractBroken(
            f"the next page's link leads to {_origin(url)}, expected {_origin(base_url)}: it is "
            "not followed, since the credentials would go there"
        )
    return url


def is_numbered(url: str | None) -> bool:
    """Whether a link is the number of a page in disguise, as far as the names in it show."""
    plain = {_plain(name): value for name, value in parse_qsl(urlsplit(url or "").query)}
    numbers = [plain[name] for name in _BY_NUMBER & plain.keys()]
    return not _BY_PLACE & plain.keys() and any(map(str.isdigit, numbers))


def says_number(token: PageToken) -> bool:
    """Whether a token is a page number or an offset, as far as the names in it show.

    What has another name in it may be a place: ``{"offset": 7, "partition": 2}`` of a log is one.
    """
    if not isinstance(token, str | JsonToken):
        return False
    text = token.text if isinstance(token, JsonToken) else token
    with suppress(ValueError):
        text = b64decode(text + "=" * (-len(text) % 4), validate=True).decode("ascii")
    found = {_plain(name) for name in _NAMED.findall(text)}
    return bool(found & _BY_NUMBER) and found <= _BY_NUMBER | _SIZES


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _next_in(header: str) -> str | None:
    """The target of ``rel=next`` in a ``Link`` header (RFC 8288)."""
    for target, parameters in _LINK.findall(header):
        for quoted, plain in _REL.findall(parameters):
            if "next" in (quoted or plain).lower().split():
                return str(target)
    return None


def _without(url: str, param: str | None) -> str:
    parts = urlsplit(url)
    if param is None or not parts.query:
        return url
    return urlunsplit(parts._replace(query=without_param(parts.query, param)))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ContractBroken("the next page's link is no URL: expected http(s)://…") from None
    port = port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"
