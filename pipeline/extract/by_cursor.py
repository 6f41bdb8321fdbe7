"""Pages that follow each other by the cursor: nothing is passed over while rows change. Pure.

Rows come in order of the cursor. A row that changes gets a later cursor and moves to the end, so
that numbered pages behind it shift by one; a page that begins where the last one ended, by the
cursor, does not mind. Rows that two pages have are dropped by their key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pipeline.errors import ContractBroken
from pipeline.paging.pagers import Ask, Facts, Segment, kept, restored


@dataclass(frozen=True)
class CursorPager:
    """From the last row's cursor on, up to the end of the window that was asked for."""

    limit: int

    def first(self) -> Ask:
        return Ask(self.limit)

    def planned(self, ask: Ask, facts: Facts) -> Iterable[Segment] | None:
        return None

    def after(self, ask: Ask, facts: Facts) -> Ask | None:
        assert ask.window is not None, "an extraction by cursor gives every page its window"
        start, end = ask.window
        if facts.rows == 0:
            return None
        if facts.cursor is None and facts.url is None:
            raise ContractBroken(
                f"{facts.rows} rows came without a cursor, and no others: pages can't go on from "
                "them. Ask the API for rows that have one, or use another kind of paging"
            )
        if facts.cursor is None:
            return replace(ask, url=facts.url)
        if datetime.fromisoformat(facts.cursor) >= datetime.fromisoformat(end):
            return None
        if start is None or datetime.fromisoformat(facts.cursor) > datetime.fromisoformat(start):
            # After a short page too: an API may hold fewer rows a page than it is asked for.
            return replace(ask, window=(facts.cursor, end), url=None)
        if facts.url is None and facts.rows >= ask.limit:
            raise ContractBroken(
                f"{facts.rows} rows have the cursor {facts.cursor}, as many as a page holds, and "
                "the API names no next page: raise paging.limit if the API holds more a page, or "
                "use another kind of paging"
            )
        return replace(ask, url=facts.url) if facts.url else None


def goes_back(before: Facts, ask: Ask) -> bool:
    """Whether a page has to begin with rows of the one before it."""
    return before.cursor is not None and ask.url is None


def check_last(before: Facts, ask: Ask, facts: Facts) -> None:
    """Hold the last page of a chain against the one before it, which ended with the same cursor.

    A last page of fewer rows than the one before it was not cut off: what is new came meanwhile.

    :raises ContractBroken: it has rows that the one before, which was not full, should have had.
    """
    if facts.cursor is None or facts.cursor != before.cursor or before.url is not None:
        return  # not by the cursor, or on to another one, or to what a link names
    not_full = before.rows <= facts.rows and before.rows < ask.limit
    if not_full and not set(facts.again) <= set(before.again):
        raise ContractBroken(
            f"{ask.limit} rows a page were asked for, {before.rows} came and there were more, then "
            f"{facts.rows} with the cursor {facts.cursor}: whether these are all does not show. "
            "Use another kind of paging, or a filter under which fewer rows have one cursor"
        )


def last_page_json(facts: Facts) -> dict[str, Any] | None:
    """What a later try has to know of the last page, for its position."""
    if facts.cursor is None:
        return None
    again = [[kept(key) for key in keys] for keys in facts.again]
    linked = facts.url is not None
    return {"rows": facts.rows, "cursor": facts.cursor, "again": again, "linked": linked}


def last_page(data: Mapping[str, Any]) -> Facts:
    """As it was, but for the link: there was one, or none."""
    again = tuple(tuple(restored(key) for key in keys) for keys in data["again"])
    url = "" if data["linked"] else None
    return Facts(data["rows"], cursor=data["cursor"], again=again, url=url)
