"""Values of ``each`` whose rows move between any two requests, killed and gone on with."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pipeline.errors import ContractBroken
from pipeline.extract.confirmation import ConfirmedEmptyPages
from pipeline.extract.contiguous import ContiguousReader
from pipeline.extract.fan_out import FanOut, FanOutReader
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.extract.partition_values import PartitionValue, Value
from pipeline.extract.position import CannotResume
from pipeline.extract.prefetch import Ahead
from pipeline.extract.sequential import SequentialReader
from pipeline.pagination import Paging
from pipeline.pagination.keyset import KeysetPaging
from pipeline.pagination.numbered import NumberedPaging, OffsetPaging
from pipeline.pagination.page import PageRequest
from pipeline.pagination.token import TokenPaging
from tests.extract.test_sequential import Numbered, Tokens
from tests.support.moving import Moving
from tests.support.positions import as_stored
from tests.support.thorough import THOROUGH

pytestmark = pytest.mark.slow

MODELS = {"offset": Moving, "keyset": Moving, "page": Numbered, "token": Tokens}
Found = list[tuple[Value, int]]


class ByValue:
    """Each value has a model of its own; its rows have the value, as the engine lands it."""

    def __init__(self, models: Sequence[Moving]) -> None:
        self._models = models

    async def page(self, request: PageRequest) -> ParsedPage:
        page = await self._model(request).page(self._without_value(request))
        values = pa.array([request.parent] * page.table.num_rows, pa.int64())
        return replace(page, request=request, table=page.table.append_column("value", values))

    async def count(self, request: PageRequest) -> int | None:
        return await self._model(request).count(self._without_value(request))

    def _model(self, request: PageRequest) -> Moving:
        assert isinstance(request.parent, int)
        return self._models[request.parent]

    def _without_value(self, request: PageRequest) -> PageRequest:
        return replace(request, parent=None)


def reader_of(
    kind: str, limit: int, pages: PageSource, share: Ahead
) -> ContiguousReader | SequentialReader:
    """As ``plan`` has it."""
    if kind in ("offset", "keyset"):
        paging: Paging = (
            OffsetPaging(limit=limit) if kind == "offset" else KeysetPaging(limit=limit)
        )
        can_seek = kind == "keyset"
        return ContiguousReader(
            pages, paging, key="id", ahead=share, can_seek=can_seek, descending=False
        )
    by_number, by_token = NumberedPaging(limit=limit), TokenPaging(limit=limit, next="next")
    following: Paging = by_number if kind == "page" else by_token
    pages = ConfirmedEmptyPages(pages, following)
    return SequentialReader(pages, following, key=("id",), ahead=share)


async def read(each: FanOutReader, position: Any, stop_after: int | None) -> tuple[Found, Any]:
    """What was handed on, and the position behind it as a checkpoint keeps it."""
    found, at, number = Found(), position, 0
    pages = each.run(position)
    async for handed in pages:
        columns = (handed.table[name].to_pylist() for name in ("value", "id"))
        found += zip(*columns, strict=True)
        at = as_stored(handed.position)
        number += 1
        if number == stop_after:
            await pages.aclose()
            break
    return found, at


@settings(max_examples=100 * THOROUGH)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from([*MODELS]),
    sizes=st.lists(st.integers(0, 25), min_size=1, max_size=7),
    limit=st.integers(2, 6),
    concurrency=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    changes=st.integers(0, 12),
    total=st.booleans(),
    ordered=st.booleans(),
    stop_after=st.none() | st.integers(1, 20),
)
def test_what_was_there_throughout_comes_once(
    seed: int,
    kind: str,
    sizes: list[int],
    limit: int,
    concurrency: tuple[int, int],
    changes: int,
    total: bool,
    ordered: bool,
    stop_after: int | None,
) -> None:
    """Or it is refused, or not called contiguous, or its proof says that it rests on a count."""
    rng = random.Random(seed)
    models = [
        MODELS[kind](
            rng.sample(range(3 * size + 1), size),
            rng,
            changes=changes,
            counts=False,
            total_in_page=total,
        )
        for size in sizes
    ]

    def each(side_by_side: int) -> FanOutReader:
        def reader(
            of_value: PageSource, value: PartitionValue, share: Ahead
        ) -> ContiguousReader | SequentialReader:
            return reader_of(kind, limit, of_value, share)

        pages = ByValue(models)
        return FanOutReader(
            pages,
            FanOut(
                [*map(PartitionValue.of, range(len(models)))],
                concurrency=side_by_side,
                ordered=ordered,
            ),
            reader,
            ahead=12,
        )

    async def two_tries() -> tuple[Found, FanOutReader]:
        reader = each(concurrency[0])
        found, position = await read(reader, None, None if kind == "page" else stop_after)
        if reader.progress.contiguous or stop_after is None or kind == "page":
            return found, reader
        reader = each(concurrency[1])
        try:
            return found + (await read(reader, position, None))[0], reader
        except CannotResume as error:
            refused = error.__cause__
        assert refused is None, "it is refused where the earlier try had come to"
        event(f"{kind}: begun anew")
        reader = each(concurrency[1])
        return (await read(reader, None, None))[0], reader

    try:
        found, reader = asyncio.run(asyncio.wait_for(two_tries(), 20))
    except ContractBroken:
        event("refused")
        return
    proof = reader.progress.proof_basis if reader.progress.contiguous else "nothing"
    event(f"{kind}: {proof}")
    # An end by empty pages rests on the chain, unless the rows that came are those counted.
    is_counted = total and not changes and stop_after is None
    expected = ("one page", "keys") if is_counted else ("one page", "keys", "chain")
    assert proof in expected or kind in ("page", "token")
    there = {(at, key) for at, model in enumerate(models) for key in model.throughout}
    if proof not in ("count", "nothing"):
        assert there <= {*found}
    if kind != "token":  # a later try knows no keys of the one before it
        assert max(Counter(found).values(), default=1) == 1
