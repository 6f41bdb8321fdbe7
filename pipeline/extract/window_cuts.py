"""Cuts in a window: slices that the API takes, and parts of a search that is capped.

``window_slices`` cuts a window by time alone: into several of one length that are read side by
side, or into as many as ``max_s`` demands. ``reaching_back`` writes the lower bounds so that no row
is lost at a cut, or at the window's begin.

``search_cap: 10000``: Elasticsearch, GitHub and many others count all rows that match, and give the
first thousands. A part of the window that reaches the cap is cut in two, down to the step in which
the API's bounds are written. The parts are read as slices of the window: the rows of each have to
agree with its own total, and those of all parts with the total of the whole window: a row between
two parts (an API that takes neither of two bounds) has no other sign.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from pipeline.config.endpoint import Endpoint
from pipeline.config.request import DAY_S, WindowFormat
from pipeline.dialects.placeholders import cut_after, cut_before, requested
from pipeline.errors import ContractBroken
from pipeline.extract.pages import PageSource
from pipeline.pagination import Paging
from pipeline.partitions.window import Window
from pipeline.timestamps import read_local

Slice = tuple[str | None, str]


def window_slices(window: Window, form: WindowFormat, parts: int = 1) -> tuple[Slice, ...]:
    """The window cut into slices: ``parts`` of one length, or more if the API allows less.

    Each is cut at whole steps by the clock that bounds are written in, of seconds at least: the
    bounds of a request say the slice and no more, so that none is longer than ``form.max_s``. A
    baseline begins at ``form.floor``; without one it is whole.
    """
    begins = window.start or form.floor_at
    if begins is None or begins >= window.end:
        return ()
    length_s = _requested_s(form, begins, window.end)
    longest_s = _longest_slice_s(form)
    least = -int(-length_s // longest_s) if longest_s else 1
    count = max(1, min(max(parts, least), int(length_s)))
    if count == 1:
        return ()
    step_s = _cut_step_s(form)
    cuts, piece_s = [begins], -(-length_s / count // step_s) * step_s
    coarse = form.model_copy(update={"resolution_s": step_s})
    while (cut := _next_cut(coarse, cuts[-1], piece_s)) < window.end:
        cuts.append(cut)
    bounds = [cut.isoformat() for cut in (*cuts, window.end)]
    slices = [*pairwise(bounds)]
    return tuple(slices) if window.start else ((None, slices[0][1]), *slices[1:])


def _next_cut(form: WindowFormat, start: datetime, longest_s: float) -> datetime:
    """Where a slice ends whose request is at most so long, by the clock and in truth."""
    longest = timedelta(seconds=longest_s)
    low, _ = requested(form.model_copy(update={"start": "inclusive"}), start, start)
    wall = low.astimezone(form.zone).replace(tzinfo=None) + longest
    cut = cut_before(form, min(low + longest, read_local(wall, form.zone)))
    return cut if cut > start else cut_after(form, start)


def _cut_step_s(form: WindowFormat) -> float:
    """The step of cuts: that of the bounds, or so many of them that they are a second."""
    return form.resolution_s * max(1, math.ceil(1 / form.resolution_s))


def _longest_slice_s(form: WindowFormat) -> float | None:
    """The longest slice whose request is no longer than the API accepts: whole steps."""
    if form.max_s is None:
        return None
    step_s = _cut_step_s(form)
    room_s = form.max_s - (form.resolution_s if form.start == "exclusive" else 0.0)
    return max(room_s // step_s, 1) * step_s


def reaching_back(endpoint: Endpoint, window: Window) -> Endpoint:
    """The endpoint, whose lower bounds are written a step earlier where no other request has the
    rows at them: at a cut within the window, and at its begin without a safety margin.

    An API may leave out the rows at its bound though the YAML says ``inclusive``, which is the
    default. Rows before the bound are dropped on arrival, so that those which show no time are
    requested by the bounds themselves. A sweep, which reads no time, leaves out what comes twice by
    its key. Pages by the cursor show it themselves, and so do the totals of a capped search; a step
    of a day would read a day twice, and ``max_s`` of a step or two has no room for one more.
    """
    if endpoint.cursor is None and window.kind != "sweep":
        return _with_bounds_that_join(endpoint)
    form, has_margin = endpoint.window, window.safety_margin_s > 0 or window.start is None
    shows = endpoint.paging.needs_window or endpoint.search_cap is not None
    if shows or form.start != "inclusive" or form.resolution_s >= DAY_S:
        return endpoint
    if has_margin and form.max_s is None and endpoint.paging.window_parts == 1:
        return endpoint
    earlier = form.model_copy(update={"start": "exclusive"})
    parts = endpoint.paging.window_parts
    if form.max_s is not None and _longest_request_s(earlier, window, parts) > form.max_s:
        return endpoint
    return endpoint.model_copy(update={"window": earlier})


def _with_bounds_that_join(endpoint: Endpoint) -> Endpoint:
    """The endpoint, whose rows show no time, with windows that share no row.

    An API that takes ``(start, end]`` is asked for just that: a row at a bound is of the window
    that ends there. Days are written so that they join (``placeholders.bound``).
    """
    form = endpoint.window
    takes_end = form.start == "exclusive" and form.end == "inclusive"
    if endpoint.bookmark or not takes_end or form.resolution_s >= DAY_S:
        return endpoint
    as_written = form.model_copy(update={"start": "inclusive"})
    return endpoint.model_copy(update={"window": as_written})


def _longest_request_s(form: WindowFormat, window: Window, parts: int) -> float:
    """The longest interval that one request for a part of a window is for."""
    begins = window.start or form.floor_at
    if begins is None or begins >= window.end:
        return 0.0
    slices = window_slices(window, form, parts) or (window.as_text,)
    bounds = [begins, *(datetime.fromisoformat(end) for _, end in slices)]
    return max(_requested_s(form, low, high) for low, high in pairwise(bounds))


def _requested_s(form: WindowFormat, start: datetime, end: datetime) -> float:
    """How long the interval is that is requested for one, seconds."""
    low, high = requested(form, start, end)
    return (high - low).total_seconds()


@dataclass(frozen=True)
class SearchParts:
    """The parts of one window.

    :ivar cap: a search that matches as many rows, or more, does not give all of them.
    :ivar whole: the window, or the slices that the API takes at most, in order.
    :ivar form: how bounds are written; a slice without a lower bound begins at its floor.
    """

    pages: PageSource
    paging: Paging
    cap: int
    whole: tuple[Slice, ...]
    form: WindowFormat

    async def slices(self) -> tuple[Slice, ...]:
        """The parts, in order, each of which has fewer rows than the cap.

        :raises ContractBroken: no total came, or one step of time has as many rows as the cap.
        """
        small: list[Slice] = []
        waiting = [*reversed(self.whole)]
        while waiting:
            part = waiting.pop()
            total = await self._total(part)
            if total < self.cap:
                small.append(part)
            else:
                waiting += reversed(self._halves(part, total))
        return tuple(small)

    async def missing(self, parts: tuple[Slice, ...], rows: int) -> str | None:
        """Whether fewer rows came of the parts than the whole window has: a sentence on it.

        Nothing is known of a window that was not cut, or whose total is the cap: many APIs count no
        further. More rows are no sign: a row at an inclusive end is in two parts.

        :raises ContractBroken: no total came.
        """
        if len(parts) == len(self.whole):
            return None
        totals = [await self._total(part) for part in self.whole]
        if self.cap in totals or rows >= sum(totals):
            return None
        return (
            f"the parts of the search (`search_cap`) have {rows:,} rows together, and the search "
            f"of the whole window matches {sum(totals):,}: rows lie in no part. Is the API's upper "
            "bound exclusive, and its lower one inclusive (window.start: exclusive if it is not)? "
            "Does `window.resolution_s` fit the bounds?"
        )

    async def _total(self, part: Slice) -> int:
        request = replace(self.paging.first_request(), window=part)
        total = await self.pages.count(request)
        if total is None:
            total = (await self.pages.page(request)).info.total
        if total is None:
            raise ContractBroken(
                f"The search of {_part_text(part)} says no total, by which `search_cap` knows "
                "whether all rows come. Check: 1. the path in `paging.total`; 2. `count`"
            )
        return total

    def _halves(self, part: Slice, total: int) -> list[Slice]:
        start, end = part
        low = datetime.fromisoformat(start) if start else self.form.floor_at
        high = datetime.fromisoformat(end)
        if low is not None:
            middle = cut_before(self.form, low + (high - low) / 2)
            if middle <= low:
                middle = cut_after(self.form, low)
            if middle < high:
                cut = middle.isoformat()
                return [(start, cut), (cut, end)]
        raise ContractBroken(
            f"The search of {_part_text(part)} matches {total:,} rows and gives fewer than "
            f"{self.cap:,} (`search_cap`), and no part of it can be requested. Check: 1. "
            "`window.resolution_s`, if the API takes finer bounds; 2. a further filter, e.g. with "
            "`each`; 3. whether the API filters by the window at all"
        )


@dataclass(frozen=True)
class WindowCuts:
    """How the window of an endpoint is requested.

    :ivar slices: one behind the other; none: the whole window.
    :ivar counted_by: the slices that the API counts, if it can't count the whole window.
    :ivar search: of a search that is capped, what cuts its window; then there are no slices.
    """

    slices: tuple[Slice, ...] = ()
    counted_by: tuple[Slice, ...] = ()
    search: SearchParts | None = None


WHOLE_WINDOW: Final = WindowCuts()


def cuts_of(endpoint: Endpoint, paging: Paging, pages: PageSource, window: Window) -> WindowCuts:
    """The cuts in one window, by the endpoint's ``window``, ``paging`` and ``search_cap``."""
    form = reaching_back(endpoint, window).window
    slices = window_slices(window, form, paging.window_parts)
    if paging.needs_window and not slices:
        slices = (window.as_text,)
    longest = window_slices(window, form)
    search = None
    if endpoint.search_cap is not None:
        whole = longest or (window.as_text,)
        search = SearchParts(pages, paging, endpoint.search_cap, whole, form)
    return WindowCuts(slices, counted_by=longest, search=search)


def _part_text(part: Slice) -> str:
    return f"{part[0] or 'the beginning'} to {part[1]}"
