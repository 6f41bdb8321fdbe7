"""A pager of the user's own: what it may return, and what is said of anything else."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from pipeline.errors import ContractBroken
from pipeline.pagination.custom import checked
from pipeline.pagination.page import PageInfo, PageRequest


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda request, info: info.total + 1, "paging `m:f` failed: TypeError"),
        (lambda request, info: {"page": 2}, "expected PageRequest or None, got <class 'dict'>"),
        (
            lambda request, info: replace(request, token=info.last),
            "expected `token` to be .*, got date",
        ),
        (lambda request, info: replace(request, after=[1]), "expected `after` to be .*, got list"),
    ],
)
def test_what_a_pager_may_not_give_is_named(function: Any, said: str) -> None:
    next_request = checked(function, "m:f")
    with pytest.raises(ContractBroken, match=said):
        next_request(PageRequest(5), PageInfo(5, last=date(2026, 1, 5)))


@pytest.mark.parametrize(
    "last", [7, 1.5, "x", date(2026, 1, 5), datetime(2026, 1, 5, 1, 2, 3, 4, UTC), None]
)
def test_a_pager_may_go_on_by_any_key_and_it_is_kept(last: Any) -> None:
    next_request = checked(lambda request, info: replace(request, after=info.last), "m:f")
    found = next_request(PageRequest(5), PageInfo(5, last=last))
    assert found == PageRequest(5, after=last)
    assert PageRequest.from_json(json.loads(json.dumps(found.to_json()))) == found
