"""Pages that follow each other by the cursor: nothing is passed over while rows change.

Rows come in order of the cursor. A row that changes gets a later cursor and moves to the end, so
that numbered pages behind it shift by one; a page that begins where the last one ended, by the
cursor, does not mind. Rows that two pages have are dropped by their key.

The end takes two witnesses, since a sick API sends an empty page, or the first row of one: a page
that brings nothing after a short one, or two in a row that bring nothing and are alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pipeline.errors import ContractBroken
from pipeline.extract.fetcher import PageSource, ParsedPage
from pipeline.pagination.page import (
    PageInfo,
    PageRequest,
    key_from_json,
    key_to_json,
)
from pipeline.partitions.window import floor

_ASK_AGAIN = 8
"""How often a page whose answers are not alike is asked for again."""


@dataclass(frozen=True)
class _Seen:
    """What is known of a chain: its last page, and the most rows that a page of it had."""

    facts: PageInfo
    most_rows: int
    short: bool


class CursorPages:
    """The pages of ``pages``; one that may not be what was asked for is asked for again."""

    def __init__(self, pages: PageSource, resolution_s: float) -> None:
        self._pages = pages
        self._resolution_s = resolution_s
        self._seen: dict[str, _Seen] = {}
        """By the end of the slice of the window that a chain reads."""

    async def count(self, ask: PageRequest) -> int | None:
        return await self._pages.count(ask)

    async def page(self, ask: PageRequest) -> ParsedPage:
        """A page that was asked for again if it might not be what was asked for.

        :raises ContractBroken: no two answers are alike, or no page gets beyond this one.
        """
        start, end = _window_of(ask)
        seen = self._seen.get(end)
        if seen is None or seen.facts.cursor != start:
            seen = None  # the first page of a chain, or of a later try
        page = await self._believed(ask, seen)
        if _stuck(ask, page.facts, seen) and await self._has_more_behind(ask):
            page = await self._pages.page(ask)  # they may have come meanwhile
            if _stuck(ask, page.facts, seen):
                raise ContractBroken(_TOO_COARSE.format(rows=page.facts.rows, cursor=start))
        rows, most = page.facts.rows, seen.most_rows if seen else 0
        self._seen[end] = _Seen(page.facts, max(rows, most), rows < (most or ask.limit))
        return page

    async def _believed(self, ask: PageRequest, seen: _Seen | None) -> ParsedPage:
        page = await self._pages.page(ask)
        for _ in range(_ASK_AGAIN):
            if not _doubtful(ask, page.facts, seen):
                return page
            before, page = page, await self._pages.page(ask)
            if _shown(ask, page.facts) == _shown(ask, before.facts):
                return page
        raise ContractBroken(
            f"the page from the cursor {_window_of(ask)[0]} on was asked for {_ASK_AGAIN + 1} "
            "times, and each answer was another: is the sort of the request right?"
        )

    async def _has_more_behind(self, ask: PageRequest) -> bool:
        """Whether there are rows from the next cursor on that can be asked for."""
        start, end = _window_of(ask)
        begins = floor(_instant(start), self._resolution_s) + timedelta(seconds=self._resolution_s)
        if begins >= _instant(end):
            return False
        behind = await self._pages.page(replace(ask, window=(begins.isoformat(), end)))
        return _is_after(behind.facts.cursor, start)


_TOO_COARSE = (
    "{rows} rows came again from the cursor {cursor} on, which is finer than what the request "
    "says of it, and more lie behind them: say how fine the API reads a cursor, as in "
    "window: {{resolution_s: 0.001}}, raise paging.limit, or use another kind of paging"
)


def _window_of(ask: PageRequest) -> tuple[str, str]:
    """A baseline begins at no instant: ''."""
    assert ask.window is not None, "an extraction by cursor gives every page its window"
    return ask.window[0] or "", ask.window[1]


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _is_after(cursor: str | None, other: str) -> bool:
    return cursor is not None and (not other or _instant(cursor) > _instant(other))


def _ends(ask: PageRequest, facts: PageInfo) -> bool:
    """Whether a page brings nothing that the next one could begin from."""
    bare = facts.cursor is None or not _is_after(facts.cursor, _window_of(ask)[0])
    return facts.rows == 0 or (facts.url is None and bare)


def _doubtful(ask: PageRequest, facts: PageInfo, seen: _Seen | None) -> bool:
    """Whether a page may be cut off, or begin after rows that it passed over."""
    if _ends(ask, facts):
        return seen is None or not seen.short
    return seen is not None and ask.url is None and _is_after(facts.since, _window_of(ask)[0])


def _shown(ask: PageRequest, facts: PageInfo) -> tuple[object, ...]:
    """What has to come twice: all of an end, the beginning of others, since rows move.

    In which order rows of one cursor come is up to the API, and may be another each time.
    """
    return (facts.since, facts.rows, set(facts.again)) if _ends(ask, facts) else (facts.since,)


def _stuck(ask: PageRequest, facts: PageInfo, seen: _Seen | None) -> bool:
    """Whether a page that ends a chain is as full as the one before, as its rows come again.

    It begins before the cursor that it was asked from: requests say less of it than the rows do.
    """
    start = _window_of(ask)[0]
    back = start != "" and facts.since is not None and _is_after(start, facts.since)
    return back and _ends(ask, facts) and (seen is None or facts.rows >= seen.facts.rows)


def goes_back(before: PageInfo, ask: PageRequest) -> bool:
    """Whether a page has to begin with rows of the one before it."""
    return before.cursor is not None and ask.url is None


def _lacks(page: PageInfo, last: PageInfo) -> bool:
    """Whether a page lacks rows that the last one had with its last cursor."""
    return not set(last.again) <= set(page.again)


async def check_last(
    pages: PageSource, before: PageInfo, ask: PageRequest, facts: PageInfo
) -> None:
    """Hold the last page of a chain against the one before it, which ended with the same cursor.

    If that one was not full and lacks rows of it, an API may hold fewer rows a page than it is
    asked for, and fewer than have one cursor; or they came meanwhile. So it is asked for again:
    then it has them, or is shorter, since others have gone.

    :raises ContractBroken: it is as short and lacks them again.
    """
    if facts.cursor is None or facts.cursor != before.cursor or before.url is not None:
        return  # not by the cursor, or on to another one, or to what a link names
    if before.rows > facts.rows or before.rows >= ask.limit or not _lacks(before, facts):
        return  # a last page of fewer rows than the one before it was not cut off
    if before.since is not None:
        again = (await pages.page(replace(ask, window=(before.since, _window_of(ask)[1])))).facts
        is_beyond = _is_after(again.cursor, facts.cursor)
        if again.rows < facts.rows or is_beyond or not _lacks(again, facts):
            return
    raise ContractBroken(
        f"{ask.limit} rows a page were asked for, {before.rows} came and there were more, then "
        f"{facts.rows} with the cursor {facts.cursor}: whether these are all does not show. "
        "Use another kind of paging, or a filter under which fewer rows have one cursor"
    )


def last_page_json(facts: PageInfo) -> dict[str, Any] | None:
    """What a later try has to know of the last page, for its position."""
    if facts.cursor is None:
        return None
    again = [[key_to_json(key) for key in keys] for keys in facts.again]
    linked = facts.url is not None
    return {
        "rows": facts.rows,
        "cursor": facts.cursor,
        "since": facts.since,
        "again": again,
        "linked": linked,
    }


def last_page(data: Mapping[str, Any]) -> PageInfo:
    """The inverse; of its link only that there was one."""
    again = tuple(tuple(key_from_json(key) for key in keys) for keys in data["again"])
    url = "" if data["linked"] else None
    since = data.get("since")  # none in a position of an earlier version
    return PageInfo(data["rows"], cursor=data["cursor"], since=since, again=again, url=url)
