"""Signs that a page lacks rows: it says so itself, or the only page looks like one of several.

What a response says beside its rows is believed: a total, a next page, a flag, a header. A round
number of rows, such as APIs cap their pages at, is only a hint. Rows are never searched for such
signs: neither what stands at the path of the rows, nor the items of lists. Pure.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from pipeline.config.endpoint import Endpoint
from pipeline.decode.error_words import is_no_error, is_remark
from pipeline.decode.exact_json import shorten
from pipeline.errors import ContractBroken
from pipeline.messages import CONTENT_RANGE, Body, HttpResponse
from pipeline.pagination.link import next_target
from pipeline.pagination.page import PageInfo

_TOTAL: Final = re.compile(
    r"(@?odata\.count|count|hits|matches|results_?count|total|(total|full|overall|filtered)_?(count"
    r"|num(ber)?|results|items|rows|records|elements|hits|size|entries)|num_?found|numberOfRecords"
    r"|record_?count|found|(items|results|rows|records)_?(found|matched|available)"
    r"|num_?(items|results|rows|records|hits)|nb_?hits"
    r"|x-total(-count|-results|-items|-records)?|total-count|x-count)",
    re.IGNORECASE,
)
_PAGES: Final = re.compile(
    r"((total|num|number_?of|max)_?pages|total_?page|page_?(count|total)|pages|last_?page"
    r"|x-(total-pages|pages|page-count)|x-wp-totalpages|x-pagination-(total-pages|page-count))",
    re.IGNORECASE,
)
_TRUE: Final = re.compile(
    r"(has_?more(_?(items|results|pages?|rows|records|data))?|has_?next(_?page)?|more|partial"
    r"|more_?available|more_?(items|results?|pages|rows|records|data)(_?available)?"
    r"|is_?partial|(results?_?|is_?)?truncated|incomplete(_?results)?|limit_?(reached|exceeded)"
    r"|exceeded_?transfer_?limit|x-has-(more|next)(-page)?)",
    re.IGNORECASE,
)
_FALSE: Final = re.compile(
    r"(last|is_?last(_?page)?|done|end_?of_?(list|data|results?|stream)|(job_?)?complete)", re.I
)
"""Flags that say of a page that it is the last one."""
_NEXT: Final = re.compile(
    r"(@?(odata\.|__)?next(_?(page|link|url|uri|href|cursor|token|key|marker|offset|start|"
    r"records?_?url|continuation_?token|page_?(token|url|uri|href|path|link|cursor|key|id|number)|"
    r"results?))?|end_?cursor|continuation(_?token)?|bookmark|scroll_?id|x-next(-page|-cursor|-token)?|x-continuation(-token)?)",
    re.IGNORECASE,
)
_ROWS: Final = "(items|results?|rows|records|matches|output|response|list|window|range)"
_CUT: Final = re.compile(
    rf"\b{_ROWS}\b.{{0,20}}\b(limited|restricted|capped|clamped|shortened) (to|at|after) (the )?"
    r"(\d|first|last|latest|newest)"
    rf"|\b{_ROWS}\b.{{0,20}}\btruncated\b|\btruncated {_ROWS}\b|^\W*truncated\W*$"
    r"|\bonly (the )?(first|last|latest|newest|most recent) [\d,]+\b"
    rf"|\bmore {_ROWS}\b.{{0,20}}\b(available|exist|found)\b|\bthere are more {_ROWS}\b"
    rf"|\btoo many {_ROWS}\b"
    rf"|\b(limit|maximum)\b.{{0,20}}\b{_ROWS}\b.{{0,20}}\b(reached|exceeded)\b",
    re.IGNORECASE | re.DOTALL,
)
"""Remarks beside the rows by which an API says that it left some out."""
_SHOWN: Final = re.compile(
    r"\b(?:showing|displaying)\b\D{0,20}(?:\d[\d,]*\s*(?:-|–|to)\s*)?(\d[\d,]*)\s+of\s+(\d[\d,]*)",
    re.IGNORECASE,
)
_COMMON: Final = frozenset(
    {20, 25, 30, 40, 50, 60, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 1024}
)
"""Sizes of pages that APIs have by default, or allow at most; so are whole thousands."""
AS_A_PAGE: Final = "as many as a page of several may have"
"""The reason that is no more than a hint: a number of rows."""
_DEEPEST: Final = 4
_LONGEST_REMARK: Final = 500
_MOST_BYTES: Final = 32 * 2**20
_REMEDY: Final = (
    "Check: 1. whether the API has pages: name them in `paging`; 2. if this is all there is: say "
    "`whole: true`"
)

_CHAIN_REMEDY: Final = (
    "Check: 1. the path to the next page in `paging`; 2. `paging.more`, if a member says that this "
    "is the last page; 3. if this is all there is: say `whole: true`"
)


def looks_incomplete(
    endpoint: Endpoint, rows: int, response: HttpResponse, info: PageInfo, *, is_first: bool = False
) -> str | None:
    """Why a page may lack rows; None if nothing suggests it.

    How far back a feed reaches is not looked at here: it has a check of its own.

    :param rows: how many rows the API sent, before a ``transform``.
    :param info: what the kind of paging has read from the page.
    :param is_first: no page came before this one.
    :raises ContractBroken: the response counts more rows than came.
    """
    if endpoint.whole or not (rows or endpoint.paging.one_page):
        return None
    selection = endpoint.row_selection
    rows_at = None if selection.jmespath else selection.path
    may_lack = rows > 0 and endpoint.errors_at is None  # beside no rows an error is refused
    if may_lack and (partial := says_partial(response.body, rows_at)):
        return partial
    if endpoint.paging.names_next and not endpoint.feed:
        return _ends_early(endpoint, rows, response, info, rows_at, is_first=is_first)
    if not endpoint.paging.one_page or endpoint.feed or endpoint.counted:
        return None
    values = (*endpoint.request_values, endpoint.paging.limit)
    status, headers = response.status, response.headers
    return looks_capped(rows, response.body, headers, values, rows_at, status=status)


def _ends_early(
    endpoint: Endpoint,
    rows: int,
    response: HttpResponse,
    info: PageInfo,
    rows_at: tuple[str, ...] | None,
    *,
    is_first: bool,
) -> str | None:
    """Why a page that names no next one where ``paging`` looks for it need not be the last."""
    if info.token is not None or info.url is not None or info.follows is False:
        return None
    if info.follows:
        return f"`paging.more` says that a page follows, and the page names none. {_CHAIN_REMEDY}"
    members = [*_members(response.body, rows_at), *response.headers.items()]
    for name, value in members:
        if not _PAGES.fullmatch(name) and _goes_on(name, value):
            return (
                f"a page names no next one where `paging` looks for it, and says that there is "
                f"more (`{name}`). {_CHAIN_REMEDY}"
            )
        number = _whole(value) if is_first and _TOTAL.fullmatch(name) else None
        if number is not None and number > rows and not endpoint.counted:
            return (
                f"{rows:,} rows came in the only page, and it says `{name}` = {number:,}. "
                f"{_CHAIN_REMEDY}"
            )
    if next_target(response.headers.get("link", "")):
        return (
            "a page names no next one where `paging` looks for it, and one in its `Link` header. "
            f"{_CHAIN_REMEDY}"
        )
    return None


def looks_capped(
    rows: int,
    body: Body,
    headers: Mapping[str, str],
    params: Iterable[object],
    rows_at: tuple[str, ...] | None = None,
    *,
    status: int = 200,
) -> str | None:
    """Why the page of an endpoint without paging may be the first of several; None if nothing
    suggests it.

    :param rows: how many rows the API sent, before a ``transform``.
    :param params: the values of the request, and its limit. One of them may cap the page: it is
        suspicious if just as many rows came.
    :param rows_at: the path of the rows in the body, which is not searched; (): the body itself.
    :raises ContractBroken: the response counts more rows than came.
    """
    members = [*_members(body, rows_at), *headers.items()]
    for name, value in members:
        number = _whole(value)
        if number is not None and number > rows and _TOTAL.fullmatch(name):
            raise ContractBroken(
                f"{rows:,} rows came, and the response says `{name}` = {number:,}. {_REMEDY}"
            )
    ranged = CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if ranged and ranged[1] and ranged[3] != "*" and int(ranged[3]) > rows:
        raise ContractBroken(
            f"{rows:,} rows came, and the response says `Content-Range` = {ranged[0].strip()}. "
            f"{_REMEDY}"
        )
    further = next((name for name, value in members if _goes_on(name, value)), None)
    if further is not None:
        return f"the response says that there is more (`{further}`). {_REMEDY}"
    beside = members if rows_at is None else _members(body, rows_at, lists=True)
    remarks = ((name, text) for name, value in beside for text in leaves([value]))
    if (remark := next((m for m in remarks if _says_cut(*m)), None)) is not None:
        return f"the response says `{remark[0]}`: {shorten(remark[1])}. {_REMEDY}"
    if next_target(headers.get("link", "")):
        return f"the response names a next page (`Link`). {_REMEDY}"
    if status == 206:
        return f"the response has status 206, which means a part. {_REMEDY}"
    numbers = {int(str(value)) for value in leaves(params) if str(value).isdecimal()}
    if rows >= 10 and (rows in numbers or rows in _COMMON or rows % 1000 == 0):
        return f"{rows:,} rows came, {AS_A_PAGE}. {_REMEDY}"
    return None


def _says_cut(name: str, value: object) -> bool:
    if not (isinstance(value, str) and is_remark(name)):
        return False
    text = value[:_LONGEST_REMARK]
    if _CUT.search(text):
        return True
    shown = _SHOWN.search(text)
    return shown is not None and _number(shown[1]) < _number(shown[2])


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def leaves(values: Iterable[object]) -> Iterator[object]:
    """The single values in parameters and in a body."""
    for value in values:
        if isinstance(value, Mapping):
            yield from leaves(value.values())
        elif isinstance(value, list | tuple):
            yield from leaves(value)
        else:
            yield value


def says_partial(body: Body, rows_at: tuple[str, ...] | None) -> str | None:
    """Why a page with rows lacks others of them, by its own words; None if it does not say so.

    An API of several machines sends such a page if one of them did not respond in time.

    :param rows_at: as in ``looks_capped``.
    """
    if rows_at == ():
        return None
    if not any(_PARTIAL_WORD.search(edge) for edge in (body[:_EDGE], body[-_EDGE:])):
        return None
    name = next(
        (name for name, v in _members(body, rows_at, lists=True) if _is_partial(name, v)), None
    )
    if name is None:
        return None
    return (
        f"a page has rows, and says of itself that some are missing (`{name}`): the API may have "
        "left out those of a machine that did not respond. Check: 1. the API's own status; 2. "
        f"`errors_at: {name}`, if such a page is to be refused"
    )


_EDGE: Final = 4_000
_PARTIAL_WORD: Final = re.compile(
    rb'"(errors|timed_?out|incomplete_?(results|search)|partial_?(results|failure|data)|_shards)"'
    rb'|"(partial_?failure_?)?error"\s*:\s*[{"]|"status"\s*:\s*"(timeout|timed|partial)',
    re.I,
)
_NO: Final = ("false", "no", "n")
_PARTIAL_STATUS: Final = re.compile(
    r"timeout|timed[ _-]?out|partial[ _-]?(success|results?|data|content|failure)", re.I
)


def _is_partial(name: str, value: Any) -> bool:
    plain = name.lower().replace("_", "")
    if plain == "shards" and isinstance(value, dict):
        return bool(_whole(value.get("failed")))
    if plain == "errors":
        return isinstance(value, list | dict) and bool(value)
    if plain in ("error", "partialfailureerror"):
        words = value.strip().lower() if isinstance(value, str) else value
        return isinstance(words, str | dict) and words not in _NO and not is_no_error(words)
    if plain == "status":
        return isinstance(value, str) and _PARTIAL_STATUS.fullmatch(value) is not None
    flags = ("timedout", "incompleteresults", "incompletesearch", "partialresults")
    return plain in (*flags, "partialfailure", "partialdata") and value is True


def _goes_on(name: str, value: Any) -> bool:
    """Whether a member or a header says that a page follows."""
    if _NEXT.fullmatch(name):
        return value not in ("", "null", "0", "-1", -1) and bool(value)
    if _TRUE.fullmatch(name):
        return value is True or str(value).lower() == "true"
    if _FALSE.fullmatch(name):
        return value is False
    pages = _whole(value) if _PAGES.fullmatch(name) else None
    return pages is not None and pages > 1


def _whole(value: Any) -> int | None:
    """A number of rows or pages."""
    if isinstance(value, dict):
        value = value.get("value")  # Elasticsearch: {"total": {"value": 9}}
    if isinstance(value, bool) or value is None:
        return None
    text = str(value).strip()
    return int(text) if text.isdecimal() and len(text) < 16 else None


def _members(
    body: Body, rows_at: tuple[str, ...] | None, *, lists: bool = False
) -> list[tuple[str, Any]]:
    """The members beside the rows, by their names; none if the body is no JSON object."""
    if rows_at == () or len(body) > _MOST_BYTES:
        return []
    try:
        parsed = orjson.loads(bytes(body))
    except orjson.JSONDecodeError:
        return []
    return [*_walked(parsed, rows_at, 0, lists=lists)]


def _walked(
    value: Any, rows_at: tuple[str, ...] | None, depth: int, *, lists: bool
) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or depth > _DEEPEST:
        return
    for name, member in value.items():
        inner = rows_at[1:] if rows_at and name == rows_at[0] else None
        if inner == () or (inner and inner[0] == "*"):
            continue  # the rows
        if lists or not isinstance(member, list):
            yield name, member
            yield from _walked(member, inner, depth + 1, lists=lists)
