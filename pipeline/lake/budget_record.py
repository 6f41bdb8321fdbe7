"""The record of the budgets that a lake's runs use: two of one API key exceed its limits together.

    {lake}/_budgets.json

Each run notes the budget of its API key, and sees there the others that runs of this lake have used
within the last day. The record decides nothing, and may be deleted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pipeline.lake.stores.base import ObjectStore, StoredObject, WriteConflict

KEY: Final = "_budgets.json"
RECENT: Final = timedelta(days=1)
"""A budget that was used longer ago is taken for one that was given up."""
_NOTED_EVERY: Final = timedelta(hours=1)
_DROPPED_AFTER: Final = timedelta(days=7)
_VERSION: Final = 1
_ATTEMPTS: Final = 3


@dataclass(frozen=True)
class BudgetUse:
    """A budget that runs of a lake use.

    :ivar budget: the name of the budget, which is that of a host and an API key.
    :ivar identity: what the budget's store says of itself, whatever the users call it.
    :ivar printable_location: that of the store, without secrets, for a person.
    :ivar used_at: when a run noted it last.
    """

    budget: str
    identity: str
    printable_location: str
    used_at: datetime

    def is_same_store(self, other: "BudgetUse") -> bool:
        """Whether both are one store; one that was emptied has a new identity where it was."""
        by_location = self.printable_location == other.printable_location
        return self.identity == other.identity or by_location

    def to_json(self) -> dict[str, str]:
        return {
            "budget": self.budget,
            "identity": self.identity,
            "place": self.printable_location,
            "used_at": self.used_at.isoformat(),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, str]) -> "BudgetUse":
        used_at = datetime.fromisoformat(row["used_at"])
        return cls(row["budget"], row["identity"], row["place"], used_at)


def note_use(lake: ObjectStore, use: BudgetUse) -> list[BudgetUse]:
    """Note that a run uses a budget. :return: the other stores in which runs of this lake have used
    a budget of that name within the last day, the latest first.

    :raises HeadraceError: the lake does not respond, or permits no record.
    """
    for _ in range(_ATTEMPTS):
        stored = lake.get(KEY)
        uses = _uses(stored)
        if uses is None:  # of another version
            return []
        try:
            _write_if_due(lake, stored, uses, use)
        except WriteConflict:
            continue
        break
    others = [each for each in uses or () if each.budget == use.budget]
    others = [each for each in others if not each.is_same_store(use)]
    recent = [each for each in others if use.used_at - each.used_at < RECENT]
    return sorted(recent, key=lambda each: each.used_at, reverse=True)


def _write_if_due(
    lake: ObjectStore, stored: StoredObject | None, uses: Sequence[BudgetUse], use: BudgetUse
) -> None:
    own = [e for e in uses if e.budget == use.budget and e.identity == use.identity]
    if any(use.used_at - each.used_at < _NOTED_EVERY for each in own):
        return
    others = [each for each in uses if each not in own]
    remaining = [each for each in others if use.used_at - each.used_at < _DROPPED_AFTER]
    rows = [each.to_json() for each in (*remaining, use)]
    body = json.dumps({"version": _VERSION, "uses": rows}, indent=1).encode()
    lake.put(KEY, body, replaces=stored.etag if stored else None)


def _uses(stored: StoredObject | None) -> list[BudgetUse] | None:
    """The uses of a record; None of one that a newer Headrace has written. What can't be read is
    written anew."""
    if stored is None:
        return []
    try:
        record: dict[str, Any] = json.loads(stored.body)
        if int(record["version"]) > _VERSION:
            return None
        return [BudgetUse.from_json(row) for row in record["uses"]]
    except (ValueError, TypeError, KeyError):
        return []


def warning(use: BudgetUse, others: Sequence[BudgetUse]) -> str | None:
    """A sentence with the remedy, if other stores were used."""
    if not others:
        return None
    named = ", ".join(
        f"`{each.printable_location}` ({each.used_at:%Y-%m-%d %H:%M} UTC)" for each in others
    )
    return (
        f"This run counts its requests in the budget `{use.printable_location}`. Other runs of "
        f"this lake have counted those of the same API key in {named}: each side keeps to the "
        "limits, both together may exceed them. Check: that HEADRACE_BUDGET names one store "
        "wherever this lake is loaded. After a change of HEADRACE_BUDGET this is said for a day"
    )
