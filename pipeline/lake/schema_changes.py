"""How the columns of a partition differ from those of the partition before: plain data. Pure.

Columns are as in a manifest: ``[{"name", "type"}]``. A change is ``{"column", "was", "is"}``;
``was`` is None for a new column, ``is`` for one that is gone. Columns that this project adds are
left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

Columns = Sequence[Mapping[str, str]]
_OURS: Final = "_"


def schema_changes(before: Columns, after: Columns) -> list[dict[str, str | None]]:
    """In order of the columns after, then those that are gone. No partition before: no change."""
    if not before:
        return []
    was, now = _types(before), _types(after)
    changed = [
        {"column": name, "was": was.get(name), "is": kind}
        for name, kind in now.items()
        if was.get(name) != kind
    ]
    gone = [
        {"column": name, "was": kind, "is": None} for name, kind in was.items() if name not in now
    ]
    return changed + gone


def sentence(change: Mapping[str, Any]) -> str:
    """One change, for a person."""
    column, was, now = change["column"], change["was"], change["is"]
    if was is None:
        return f"{column} is new ({now})"
    if now is None:
        return f"{column} is gone (was {was})"
    return f"{column} was {was}, is {now}"


def _types(columns: Columns) -> dict[str, str]:
    return {c["name"]: c["type"] for c in columns if not c["name"].startswith(_OURS)}
