"""The token of the next page: where a page says it, and how it goes back. Pure."""

from collections.abc import Mapping

import pyarrow as pa

from pipeline.config.endpoint import Endpoint
from pipeline.config.paging import TokenPaging
from pipeline.decode import exact_json
from pipeline.errors import ContractBroken, cut
from pipeline.pagination.keys import in_words
from pipeline.pagination.pagers import JsonToken
from pipeline.pagination.pagers import PageToken as Said


def token_in(
    paging: TokenPaging,
    endpoint: Endpoint,
    table: pa.Table,
    extras: Mapping[str, object],
    headers: Mapping[str, str],
) -> Said:
    """What a page says of the next one; None at the end.

    :raises ContractBroken: it is no object, and its members should be parameters; or it is to be a
        value of the last row, which has none.
    """
    if paging.header:
        return _as_it_came(headers.get(paging.header.lower()))
    if paging.last is None:
        found = extras.get("token")
        if paging.as_params and found is not None and not isinstance(found, dict):
            raise ContractBroken(
                f"expected an object at {paging.next}, whose members are parameters of the next "
                f"page (paging.as_params), got {cut(str(found), 80)!r}"
            )
        return _as_it_came(found)
    if table.num_rows == 0:
        return None
    token = _of_row(paging.last, endpoint, table, table.num_rows - 1)
    if token is None:
        raise ContractBroken(
            f"the last row of the page has no {paging.last}, by which the next page is asked for "
            "(paging.last): name a column that every row has"
        )
    return token


def before_last(endpoint: Endpoint, table: pa.Table) -> tuple[Said, int]:
    """The token of the nearest row before the last one that has another; how many rows lie behind.

    None if no row of the page has another one, or rows are no tokens.
    """
    paging = endpoint.paging
    if not isinstance(paging, TokenPaging) or paging.last is None or table.num_rows == 0:
        return None, table.num_rows
    column = table[paging.last]
    for at in range(table.num_rows - 2, -1, -1):
        if column[at] != column[-1]:
            return _of_row(paging.last, endpoint, table, at), table.num_rows - 1 - at
    return None, table.num_rows


def _of_row(name: str, endpoint: Endpoint, table: pa.Table, at: int) -> Said:
    """A value of a row; unlike what an API says of the next page, a 0 is one."""
    value, kind = table[name][at].as_py(), endpoint.columns[name].type
    if kind == "json" and value is not None:
        return JsonToken(value)
    words = in_words(value, kind)
    return 0 if words == 0 and not isinstance(words, bool) else _as_it_came(words)


def _as_it_came(value: object) -> Said:
    """A number stays one, since an API may take no text for it; 0 is none (Twitter)."""
    if not value:
        return None
    if isinstance(value, list | dict):
        return JsonToken(exact_json.dump(value))
    return value if isinstance(value, str | int | float) else str(value)
