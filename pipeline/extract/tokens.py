"""The token of the next page: where a page says it, and how it goes back. Pure."""

from collections.abc import Mapping

import pyarrow as pa

from pipeline.paging.keys import in_words
from pipeline.paging.pagers import JsonToken
from pipeline.paging.pagers import Token as Said
from pipeline.rows import exactjson
from pipeline.spec.endpoint import Endpoint
from pipeline.spec.paging import Token


def token_in(
    paging: Token,
    endpoint: Endpoint,
    table: pa.Table,
    extras: Mapping[str, object],
    headers: Mapping[str, str],
) -> Said:
    """What a page says of the next one; None at the end."""
    if paging.header:
        return _as_it_came(headers.get(paging.header.lower()))
    if paging.last is None:
        return _as_it_came(extras.get("token"))
    if table.num_rows == 0:
        return None
    value, kind = table[paging.last][-1].as_py(), endpoint.columns[paging.last].type
    if kind == "json" and value is not None:
        return JsonToken(value)
    return _as_it_came(in_words(value, kind))


def _as_it_came(value: object) -> Said:
    """A number stays one, since an API may take no text for it; 0 is none (Twitter)."""
    if not value:
        return None
    if isinstance(value, list | dict):
        return JsonToken(exactjson.dump(value))
    return value if isinstance(value, str | int | float) else str(value)
