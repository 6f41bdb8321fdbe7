"""Pages that bring nothing: how many in a row are read, by what they have in place of new rows."""

import pytest

from pipeline.errors import ContractBroken
from pipeline.extract.completeness import LoopGuard
from pipeline.pagination.page import PageInfo, PageRequest

Pages = list[tuple[str, int]]
"""Kinds of pages, each so many times in a row."""


def read(pages: Pages, *, by_number: bool) -> None:
    guard = LoopGuard()
    number = 0
    for kind, count in pages:
        for _ in range(count):
            number += 1
            place = {"page": number} if by_number else {"token": f"t{number}"}
            rows = 0 if kind == "empty" else 10
            new_keys, new_rows = {"new": (10, 10), "other": (0, 10)}.get(kind, (0, 0))
            info = PageInfo(rows, None, None)
            guard.record(0, PageRequest(10, **place), info, new_keys, new_rows)


@pytest.mark.parametrize(
    ("by_number", "pages"),
    [
        (False, [("new", 1), ("other", 500), ("repeated", 1), ("other", 500), ("new", 1)]),
        (False, [("new", 1), ("empty", 900), ("repeated", 5), ("empty", 900), ("new", 1)]),
        (False, [("new", 1), ("other", 30), ("empty", 1), ("new", 1)]),
        (True, [("new", 1), ("other", 30), ("repeated", 1), ("new", 1)]),
        (True, [("new", 1), ("other", 30), ("empty", 19), ("new", 1)]),
    ],
)
def test_pages_of_several_kinds_are_held_against_the_limit_of_their_own(
    by_number: bool, pages: Pages
) -> None:
    read(pages, by_number=by_number)


@pytest.mark.parametrize(
    ("by_number", "pages"),
    [
        (False, [("new", 1), ("empty", 1_001)]),
        (False, [("new", 1), ("repeated", 21)]),
        (True, [("new", 1), ("other", 201)]),
        (True, [("new", 1), *[("empty", 10), ("repeated", 10)] * 11]),
    ],
)
def test_too_many_pages_without_a_new_row_are_refused(by_number: bool, pages: Pages) -> None:
    with pytest.raises(ContractBroken, match="pages in a row brought no new row, and none"):
        read(pages, by_number=by_number)


def test_a_page_that_is_named_a_second_time_is_a_circle_at_once() -> None:
    guard, request = LoopGuard(), PageRequest(10, token="t")
    for each in (PageRequest(10), request):
        guard.record(0, each, PageInfo(0, None, None), 0, 0)
    with pytest.raises(ContractBroken, match="the pages go round in a circle"):
        guard.record(0, request, PageInfo(0, None, None), 0, 0)
