"""How many rows match, in the response to a count. Pure."""

from pipeline.body import Body
from pipeline.decode import Format
from pipeline.errors import ContractBroken, cut_bytes
from pipeline.model import split_path
from pipeline.pagination.base import whole_total


def count_in(format: Format, body: Body, path: str) -> int | None:
    """The count at a path of a response.

    :raises BadBody: the body is not of the format. :raises ContractBroken: there is no count.
    """
    try:
        value = format.value_at(body, split_path(path))
    except (KeyError, TypeError):
        raise _no_count(body, path) from None
    try:
        return whole_total(value)
    except ContractBroken:
        raise _no_count(body, path) from None


def _no_count(body: Body, path: str) -> ContractBroken:
    return ContractBroken(
        f"expected a count at `{path}`, got {cut_bytes(body, 100)!r}. Check: 1. count.path; "
        "2. count.at"
    )
