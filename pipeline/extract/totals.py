"""How many rows match, in the API's words: a count's answer, or a page's total. Pure."""

from typing import Any

from pipeline.body import Body
from pipeline.config.model import split_path
from pipeline.decode import exact_json
from pipeline.decode.body_checks import ConversionCounts, clean_utf8
from pipeline.errors import ContractBroken, cut, cut_bytes


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
        return whole(value)
    except (KeyError, TypeError, ContractBroken):
        said = cut_bytes(body, 100)
        raise ContractBroken(
            f"expected a count at {path!r}, got {said!r}: are count.path and count.at right?"
        ) from None


def whole(total: Any) -> int | None:
    """What the API calls its total; None if it does not say, or says -1 for not knowing.

    :raises ContractBroken: it is no number.
    """
    if total is None:
        return None
    try:
        number = int(total)
    except (TypeError, ValueError, OverflowError):
        raise ContractBroken(
            f"expected the number of matching rows, got {cut(str(total), 80)!r}: is paging.total "
            "right?"
        ) from None
    return number if number >= 0 else None
