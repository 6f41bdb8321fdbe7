"""Rows that share a key: whether they may, and the error that shows two of them. Pure."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import pyarrow as pa

from pipeline.config.endpoint import Endpoint
from pipeline.errors import ContractBroken, cut, numbered
from pipeline.extract.seen_rows import row_digests

_MOST_SHOWN: Final = 8
"""Columns of a row that a message shows."""
_KEY_NONE: Final = "`key: none` (the current state is then the newest partition alone)"
_OWNER: Final = "whether the API repeats keys by mistake: report it to the API's owner"


def check_shared_keys(table: pa.Table, endpoint: Endpoint) -> None:
    """Whether rows of one page with the same key are equal, or tell by the cursor which is later.

    :raises ContractBroken: two of them differ, and neither is later.
    """
    key = [name for name in endpoint.key if name in table.column_names]
    if not key or table.num_rows < 2 or len(key) < len(endpoint.key):
        return
    cursor = endpoint.latest_by if endpoint.latest_by in table.column_names else None
    by = [*dict.fromkeys([*key, *([cursor] if cursor else [])])]
    if table.select(by).group_by(by, use_threads=False).aggregate([]).num_rows == table.num_rows:
        return
    first: dict[int, tuple[int, int]] = {}
    keys = row_digests(table, by)
    rows = row_digests(table, table.column_names)
    pairs = []
    for at, (name, row) in enumerate(zip(keys.tolist(), rows.tolist(), strict=True)):
        earlier = first.setdefault(name, (at, row))
        if earlier[1] != row:
            pairs.append((earlier[0], at))
    if pairs:
        raise shared_key_error(table.take([*pairs[0]]), key, len(pairs), "")


def shared_key_error(pair: pa.Table, key: Sequence[str], number: int, hint: str) -> ContractBroken:
    """The error of two rows of one key that differ.

    :param pair: the two rows. :param number: how many such keys there are.
    :param hint: a remedy that fits the endpoint besides.
    """
    remedies = [
        f"which column tells them apart, such as `{_differing(pair)[0]}`: add it to `key`",
        *([hint] if hint else []),
        f"whether the rows have no key at all: say {_KEY_NONE}",
        _OWNER,
    ]
    expected = "a key that no other row has, or a later `cursor` of one of them"
    return _shared_key(pair, key, number, expected, remedies)


def shared_key_of_page(pair: pa.Table, endpoint: Endpoint) -> ContractBroken:
    """The error of two rows of one key in a page that goes by the key.

    Of such rows none is kept by its cursor: the next page may begin at this key.
    """
    numbered = endpoint.paging.by_number
    other, besides = "`order: none` at the endpoint and `overlap: false` in `paging`", ""
    if not numbered:
        other = "a kind of paging that does not go by the key, such as `cursor` or `page`"
        besides = ", with another kind of paging"
    differing = _differing(pair)
    remedies = []
    if endpoint.cursor in differing:
        remedies.append(
            f"whether they are versions of one row: say {other}, and the latest by "
            f"`{endpoint.cursor}` is kept"
        )
    if apart := [name for name in differing if name != endpoint.cursor]:
        remedies.append(
            f"which column tells them apart, such as `{apart[0]}`: add it to `key`{besides}"
        )
    if numbered:
        remedies.append("whether the rows come in another order: say `order: none`")
        remedies.append(f"whether the rows have no key at all: say {_KEY_NONE}")
    expected = "each key once, since pages go by it"
    return _shared_key(pair, endpoint.key_of_rows, 1, expected, [*remedies, _OWNER])


def _differing(pair: pa.Table) -> list[str]:
    first, second = pair.to_pylist()
    return [name for name in pair.column_names if first[name] != second[name]]


def _shared_key(
    pair: pa.Table, key: Sequence[str], number: int, expected: str, remedies: Sequence[str]
) -> ContractBroken:
    key_values = pair.select(list(key)).slice(0, 1).to_pylist()[0]
    differs = _differing(pair)
    columns = [*dict.fromkeys([*key, *differs])][:_MOST_SHOWN]
    rows = " and ".join(f"`{_plain({n: row[n] for n in columns})}`" for row in pair.to_pylist())
    more = f" ({number:,} such rows)" if number > 1 else ""
    return ContractBroken(
        f"Two rows share the key `{_plain(key_values)}` and differ in "
        f"`{'`, `'.join(differs[:8])}`: {cut(rows, 400)}{more}; expected {expected}. Check: "
        f"{numbered(remedies)}"
    )


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: str(v) if isinstance(v, date) else v for name, v in row.items()}
