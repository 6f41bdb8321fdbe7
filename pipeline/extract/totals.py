"""How many rows match, in the response to a count. Pure."""

from typing import Any

from pipeline.body import Body
from pipeline.decode import exact_json
from pipeline.decode.body_checks import ConversionCounts, clean_utf8
from pipeline.errors import ContractBroken, cut_bytes
from pipeline.model import split_path
from pipeline.pagination.base import whole_total


def count_in(body: Body, path: str) -> int | None:
    """The count at a path of an answer.

    :raises BadBody: it is no JSON. :raises ContractBroken: there is no count.
    """
    tally = ConversionCounts()
    try:
        value: Any = exact_json.parse(clean_utf8(body, tally), tally)
    except (exact_json.TooDeep, RecursionError):
        raise ContractBroken("the answer to a count is nested over 1,000 levels deep") from None
    try:
        for part in split_path(path):
            value = value[part]
        return whole_total(value)
    except (KeyError, TypeError, ContractBroken):
        said = cut_bytes(body, 100)
        raise ContractBroken(
            f"expected a count at {path!r}, got {said!r}: are count.path and count.at right?"
        ) from None
