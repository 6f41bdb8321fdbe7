"""The query of a URL: written so that all servers read the same, and else left as it is. Pure."""

from collections.abc import Iterable
from urllib.parse import quote, unquote_plus, urlencode


def query_of(params: Iterable[tuple[str, str]]) -> str:
    """A space is %20: a + is a space to most servers, and a plus or an error to some (OData)."""
    return urlencode([*params], quote_via=quote, safe="")


def without_param(query: str, name: str) -> str:
    """A query without one parameter; the others stay as they are written."""
    return "&".join(p for p in query.split("&") if unquote_plus(p.partition("=")[0]) != name)
