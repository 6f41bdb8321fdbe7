"""From the request of a page to the HTTP request for it. Pure; knows no credentials.

What has a placeholder without a value in this request is left out: a part of a text in ``[[ ]]``,
else the whole parameter, header or member of a body, and what is empty without it. Bounds of the
window are written as the endpoint's ``window`` says. In ``json`` a placeholder by itself is what it
stands for, a number or a list too: a database compares no number with a text. How values stand in
query languages and paths is in ``placeholders``.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

import orjson

from pipeline.aws.regions import GLOBAL
from pipeline.config.endpoint import Endpoint
from pipeline.config.lanes import OperationTemplate
from pipeline.config.request import (
    OPTIONAL,
    PLACEHOLDER,
    Apicalypse,
    CountConfig,
    HttpTemplate,
    WindowFormat,
    before_now,
    placeholders_in,
)
from pipeline.dialects import placeholders
from pipeline.dialects.igdb import condition, statement
from pipeline.dialects.placeholders import bound, floor_of, has_end, instant_of, slice_of
from pipeline.errors import ContractBroken
from pipeline.messages import HttpRequest, OperationCall, RawText
from pipeline.model import fits_header
from pipeline.pagination.page import JsonToken, PageRequest, with_keys_as_sent
from pipeline.partitions.window import Window
from pipeline.timestamps import as_iso

Values = Mapping[str, Any]
"""The placeholders that have a value in a request: text, numbers, and tokens of any shape."""


def build_page_request(
    base_url: str, name: str, endpoint: Endpoint, window: Window, page: PageRequest
) -> HttpRequest:
    """The request of one page.

    :raises ContractBroken: a parent or a token of the API's can't go into a header.
    """
    page = with_keys_as_sent(page, _key_type(endpoint), endpoint.window.zone)
    url = endpoint_url(base_url, name, endpoint)
    if isinstance(endpoint.request, Apicalypse):
        body = statement(endpoint, endpoint.request, window, page)
        return HttpRequest("POST", url, headers=_TEXT, content=body.encode())
    values = {**_values(endpoint, window, page), **_moments(endpoint, window)}
    if isinstance(endpoint.request, OperationTemplate):
        return _operation(base_url, name, endpoint, endpoint.request, page, values)
    values["limit"] = page.limit + endpoint.paging.extra_rows(page)
    accept = endpoint.format.accept
    if endpoint.bookmark and endpoint.paging.is_first(page):
        page = replace(page, url=endpoint.bookmark.url(window.bookmarks))
    if page.url is not None:
        headers = _headers(endpoint.request, values, accept)
        if not endpoint.paging.posts_links:
            return HttpRequest("GET", page.url, headers=headers, endpoint=name)
        content = _body(endpoint.request, values, headers)
        return HttpRequest("POST", page.url, headers=headers, content=content, endpoint=name)
    filled = _http(_for_page(endpoint, endpoint.request, page), url, values, accept)
    more = endpoint.paging.parameters(page).items()
    params = filled.params + tuple((key, _text(value)) for key, value in more)
    return replace(filled, params=params, endpoint=name)


def _operation(
    base_url: str,
    name: str,
    endpoint: Endpoint,
    template: OperationTemplate,
    page: PageRequest,
    values: Values,
) -> HttpRequest:
    """The call of an operation in the lane that the page is of."""
    filled = _filled_json(template.json_body or {}, values)
    params = {} if filled is _DROP else filled
    call = OperationCall(
        template.service,
        template.operation,
        account=fill(template.account, values) or "",
        region=fill(template.region, values) or GLOBAL,
        rows=template.rows,
    )
    content = orjson.dumps({**params, **endpoint.paging.parameters(page)})
    return HttpRequest("POST", base_url, content=content, endpoint=name, call=call)


def _for_page(endpoint: Endpoint, request: HttpTemplate, page: PageRequest) -> HttpTemplate:
    """The template of this page: behind the first one, some APIs take the token alone."""
    if not request.with_token or page.token is None or endpoint.paging.is_first(page):
        return request
    stays = {*request.with_token}
    parts = {
        part: {name: value for name, value in members.items() if name in stays}
        for part in ("params", "json_body", "form")
        if (members := getattr(request, part))
    }
    return request.model_copy(update=parts)


def _key_type(endpoint: Endpoint) -> str:
    column = endpoint.columns.get(endpoint.key_of_rows[0]) if endpoint.key_of_rows else None
    return column.type if column else "date"  # no type that is inferred is a time


def build_count_request(
    base_url: str,
    name: str,
    endpoint: Endpoint,
    count: CountConfig,
    window: Window,
    page: PageRequest,
) -> HttpRequest:
    """The request of the count of rows that match."""
    page = with_keys_as_sent(page, _key_type(endpoint), endpoint.window.zone)
    path = count.path.replace("{path}", _path(name, endpoint).rstrip("/"))
    url = f"{base_url.rstrip('/')}/{path.lstrip('/')}"
    if isinstance(endpoint.request, Apicalypse):
        where = condition(endpoint, endpoint.request, window, page)
        body = f"where {where};" if where else ""
        return HttpRequest("POST", url, headers=_TEXT, content=body.encode())
    values = {**_values(endpoint, window, page), **_moments(endpoint, window)}
    for unwanted in ("limit", "offset", "page", "token"):
        values.pop(unwanted, None)
    return _http(endpoint.request, url, values, endpoint.format.accept)


def endpoint_url(base_url: str, name: str, endpoint: Endpoint) -> str:
    """The URL of an endpoint; ``{parent}`` and the like are filled later.

    A slash at the end of its path stays: to Django ``orders`` and ``orders/`` are two addresses.
    """
    path = _path(name, endpoint)
    return f"{base_url.rstrip('/')}/{path.lstrip('/')}" if path else base_url.rstrip("/")


def _path(name: str, endpoint: Endpoint) -> str:
    return name if endpoint.path is None else endpoint.path


_TEXT = {"Content-Type": "text/plain", "Accept": "application/json"}


def _http(request: HttpTemplate, url: str, values: Values, accept: str) -> HttpRequest:
    filled_url = "/".join(_segment(part, values) for part in url.split("/"))
    params: list[tuple[str, str]] = []
    for name, template in request.params.items():
        for item in template if isinstance(template, list) else [template]:
            text = fill(_text(item), values, name)
            if text is not None:
                raw = any(how == "raw" for _, how in PLACEHOLDER.findall(_text(item)))
                params.append((name, RawText(text) if raw else text))
    headers = _headers(request, values, accept)
    content = _body(request, values, headers)
    return HttpRequest(request.method, filled_url, tuple(params), headers, content)


def _segment(template: str, values: Values) -> str:
    """A segment of the path: values are encoded, and stay inside of it."""
    matches = [*PLACEHOLDER.finditer(template)]
    if not matches:
        return template
    filled = PLACEHOLDER.sub(
        lambda m: placeholders.path_part(m[1], m[2] or "", _text(values.get(m[1], ""))), template
    )
    of_rows = next((m[1] for m in matches if m[1].partition(".")[0] in ("parent", "each")), None)
    return filled if of_rows is None else placeholders.full_segment(of_rows, template, filled)


def _headers(request: HttpTemplate, values: Values, accept: str) -> dict[str, str]:
    filled = _filled(request.headers, values)
    unread = next((name for name, value in filled.items() if not fits_header(value)), None)
    if unread is not None:
        raise ContractBroken(
            f"what goes into the header {unread} has a line break or a letter beyond ASCII, which "
            "no API can read there: put the placeholder into params"
        )
    names = {name.lower() for name in filled}
    return ({} if "accept" in names else {"Accept": accept}) | filled


def _body(request: HttpTemplate, values: Values, headers: dict[str, str]) -> bytes | None:
    if request.json_body is not None:
        headers.setdefault("Content-Type", "application/json")
        body = _filled_json(request.json_body, values)
        return orjson.dumps({} if body is _DROP else body)
    if request.form is not None:
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        pairs = _pairs(request.form, values)
        return "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in pairs).encode()
    if request.text is not None:
        headers.setdefault("Content-Type", "text/plain")
        return (fill(request.text, values, "text") or "").encode()
    return None


def fill(template: str, values: Values, place: str = "") -> str | None:
    """``template`` with its placeholders filled; None if one of them has no value, or nothing of
    it is left.

    :param place: the name of the parameter, header or member that has the template.
    :raises ConfigError: a value would change the query that it stands in.
    """

    def part(match: re.Match[str]) -> str:
        has_values = all(values.get(name) is not None for name in placeholders_in(match[1]))
        return match[1] if has_values else ""

    text = OPTIONAL.sub(part, template)
    if text != template and not text.strip():
        return None
    if any(values.get(name) is None for name in placeholders_in(text)):
        return None

    def value(match: re.Match[str]) -> str:
        filling = values[match[1]]
        if match.span() == (0, len(text)):  # the value alone
            return _text(filling) if match[2] in (None, "raw") else _quoted(match, filling)
        return _quoted(match, filling)

    def _quoted(match: re.Match[str], filling: Any) -> str:
        is_text = isinstance(filling, str)
        return placeholders.written(text, match, _text(filling), place=place, is_text=is_text)

    return PLACEHOLDER.sub(value, text)


def _pairs(templates: Mapping[str, str | list[str]], values: Values) -> list[tuple[str, str]]:
    """The members of a form; of a list each item."""
    return [
        (name, text)
        for name, template in templates.items()
        for item in (template if isinstance(template, list) else [template])
        if (text := fill(item, values, name)) is not None
    ]


def _filled(templates: Mapping[str, str], values: Values) -> dict[str, str]:
    pairs = ((name, fill(template, values, name)) for name, template in templates.items())
    return {name: text for name, text in pairs if text is not None}


_DROP = object()


def _filled_json(value: Any, values: Values, place: str = "json") -> Any:
    """The value, filled; what is empty only since it was left out in there is left out as well."""
    if isinstance(value, dict):
        pairs = ((k, _filled_json(v, values, k)) for k, v in value.items())
        members = {k: v for k, v in pairs if v is not _DROP}
        return members if members or not value else _DROP
    if isinstance(value, list):
        items = [v for v in (_filled_json(item, values, place) for item in value) if v is not _DROP]
        return items if items or not value else _DROP
    if not isinstance(value, str):
        return value
    if (whole := PLACEHOLDER.fullmatch(value)) and not whole[2]:
        filling = values.get(whole[1], _DROP)
        return orjson.Fragment(filling.text) if isinstance(filling, JsonToken) else filling
    text = fill(value, values, place)
    return _DROP if text is None else text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        aware = isinstance(value, datetime) and value.tzinfo is not None
        return as_iso(value) if isinstance(value, datetime) and aware else value.isoformat()
    return value.text if isinstance(value, JsonToken) else str(value)


def _moments(endpoint: Endpoint, window: Window) -> dict[str, Any]:
    """The placeholders of now: of all pages of a partition the same instant, its end."""
    ago = {name: before_now(name) for name in endpoint.placeholders or ()}
    return {
        name: instant_of(endpoint.window, window.end - by)
        for name, by in ago.items()
        if by is not None
    }


def _values(endpoint: Endpoint, window: Window, page: PageRequest) -> dict[str, Any]:
    """The placeholders that have a value; of a bookmark ``{start}`` alone is one of the window."""
    of_window = values_of(endpoint.window, window, page)
    if endpoint.bookmark is None:
        return of_window
    start = {"start": endpoint.bookmark.sent(window.bookmarks)}
    rest = {name: value for name, value in of_window.items() if name not in ("start", "end")}
    return {**rest, **{name: value for name, value in start.items() if value is not None}}


def values_of(form: WindowFormat, window: Window, page: PageRequest) -> dict[str, Any]:
    """The placeholders that have a value in this request."""
    start, end = slice_of(window, page)
    values = {
        "start": floor_of(form) if start is None else bound(form, start, is_end=False),
        "end": bound(form, end, is_end=True) if has_end(form, start) else None,
        "limit": page.limit,
        "offset": page.offset,
        "after": page.after,
        "before": page.before,
        "page": page.page,
        "token": page.token,
        "parent": page.parent,
        "each": page.parent,
        **page.fields,
    }
    return {name: value for name, value in values.items() if value is not None}
