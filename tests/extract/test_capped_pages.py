"""An API that holds fewer rows a page than it is asked for, says nothing of it, and counts nothing.

Offsets overlap, rows go in numbers behind the reader, and so pages do not join: the reader walks
back. A page that brings nothing is then no end, though it is shorter than asked for.
"""

import asyncio
import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.extract.contiguous import ContiguousReader
from pipeline.pagination.numbered import OffsetPaging
from tests.support.moving import Moving
from tests.support.thorough import THOROUGH

Keys = list[int]


@dataclass
class Bursting(Moving):
    """Rows of the first two thirds go all at once, after so many requests."""

    burst_after: int = 1
    burst: int = 0

    def change(self) -> None:
        super().change()
        if self.requests == self.burst_after:
            self.remove(self.burst)

    def remove(self, number: int) -> None:
        for _ in range(min(number, len(self.rows) - 1)):
            gone = self.rng.choice(self.rows[: max(1, len(self.rows) * 2 // 3)])
            self.rows.remove(gone)
            self.throughout.discard(gone)


def read(model: Moving, limit: int, position: Any = None, stop_after: int = 0) -> tuple[Keys, Any]:
    """All keys from a position on, or so many pages of them, and the position behind."""

    async def keys() -> tuple[Keys, Any]:
        paging = OffsetPaging(limit=limit)
        reader = ContiguousReader(
            model, paging, key="id", ahead=lambda: 4, can_seek=False, descending=False
        )
        found: Keys = []
        at, pages = position, reader.run(position)
        async for handed in pages:
            found += handed.table["id"].to_pylist()
            at = handed.position
            if reader.progress.pages == stop_after:
                break
        await pages.aclose()
        return found, at

    return asyncio.run(asyncio.wait_for(keys(), 20))


@pytest.mark.slow
@settings(max_examples=150 * THOROUGH)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 60),
    cap=st.sampled_from([2, 3, 4, 5, None]),
    limit=st.sampled_from([3, 10, 20]),
    changes=st.sampled_from([0, 5, 20]),
    burst_after=st.integers(1, 20),
    burst=st.sampled_from([0, 3, 10, 30]),
    stop_after=st.integers(0, 4),
)
def test_no_row_is_lost_to_a_page_that_is_taken_for_the_end(
    seed: int,
    rows: int,
    cap: int | None,
    limit: int,
    changes: int,
    burst_after: int,
    burst: int,
    stop_after: int,
) -> None:
    rng = random.Random(seed)
    model = Bursting(
        sorted(rng.sample(range(200), rows)),
        rng,
        changes=changes,
        counts=False,
        cap=cap,
        burst_after=burst_after,
        burst=burst,
    )
    keys: Keys = []
    position = None
    if stop_after:
        keys, position = read(model, limit, None, stop_after)
        model.remove(burst)
    more, _ = read(model, limit, position)
    keys += more
    assert keys == sorted(set(keys)), "in order, and no row twice"
    assert model.throughout <= set(keys)
