"""A try that was cut off, and the one after it: goes on from the last batch, under one proof.

What is served again is counted by the API itself.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from emulator.testing import Emulator
from pipeline.errors import ApiUnavailable, LakeUnavailable
from pipeline.lake.read import dataset
from pipeline.lake.s3 import Lake
from pipeline.timestamps import as_iso
from tests.faults.support import (
    DAY,
    IN_DAY_S,
    LIMITS,
    Bench,
    Watched,
    check_clean,
    check_rows,
    igdb,
)

pytestmark = pytest.mark.slow

BATCH = 2_000
PAGE = 500
ROWS = 8_000
CHECKPOINT = f"igdb/characters/_checkpoints/dt={DAY}.json"


def cut_off(bench: Bench, batches: int = 2) -> int:
    """One try that ends before batch number ``batches + 1``; how many rows are staged then."""
    begun = 0

    def fail(operation: str, key: str) -> None:
        nonlocal begun
        begun += operation == "create_upload"
        if begun > batches:
            raise LakeUnavailable("cut off")

    bench.lake.on_operation = fail
    ran = bench.run()
    bench.lake.on_operation = None
    assert str(ran.error) == "cut off"
    return staged_rows(bench.lake)


def staged_rows(lake: Lake) -> int:
    found = lake.get(CHECKPOINT)
    assert found is not None
    return sum(batch["rows"] for batch in json.loads(found.body)["batches"])


@pytest.fixture
def bench(api: Emulator, lake: Lake) -> Callable[[int], Bench]:
    return lambda pack: Bench(igdb(api, pack=pack, only=["characters"], batch_rows=BATCH), lake)


@pytest.mark.parametrize("pack", [10, 1])
def test_the_second_try_fetches_hardly_a_row_again(
    api: Emulator, bench: Callable[[int], Bench], pack: int
) -> None:
    first = bench(pack)
    staged = cut_off(first)
    assert first.lake.get(f"igdb/characters/_manifests/dt={DAY}.json") is None
    api.reset()
    manifest = first.run().manifest
    served = api.stats()["rows"]
    assert served <= ROWS - staged + 2 * PAGE, "what was staged is not asked for again"
    assert manifest.resumed_pages >= staged // PAGE
    assert manifest.proof.contiguous
    check_rows(first.lake, api.rows("characters"), "characters")
    check_clean(first.lake)


@pytest.mark.parametrize("pack", [10, 1])
def test_cut_off_again_and_again(api: Emulator, bench: Callable[[int], Bench], pack: int) -> None:
    """Each try brings one batch more, and the API serves each row hardly more than once."""
    one = bench(pack)
    for _ in range(ROWS // BATCH - 1):
        before = staged_rows(one.lake) if one.lake.get(CHECKPOINT) else 0
        assert cut_off(one, batches=1) >= before + BATCH
    manifest = one.run().manifest
    assert manifest.proof.contiguous
    check_rows(one.lake, api.rows("characters"), "characters")
    check_clean(one.lake)


def test_an_api_that_dies_in_the_middle(api: Emulator, bench: Callable[[int], Bench]) -> None:
    one = bench(1)
    api.faults({"kind": "drop", "path": "/v4/characters", "after": 12})
    error = one.run().error
    assert isinstance(error, ApiUnavailable)
    assert "seems to be down or unreachable" in str(error)
    api.clear_faults()
    staged = staged_rows(one.lake)
    api.reset()
    assert one.run().manifest.proof.contiguous
    assert api.stats()["rows"] <= ROWS - staged + 2 * PAGE
    check_rows(one.lake, api.rows("characters"), "characters")
    check_clean(one.lake)


def test_the_window_of_the_first_try_is_kept(api: Emulator, bench: Callable[[int], Bench]) -> None:
    """Else rows before and after the seam would be of two windows."""
    one = bench(1)
    early, late = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 18, tzinfo=UTC)
    one = replace(one, now=lambda: early)
    cut_off(one)
    manifest = replace(one, now=lambda: late).run().manifest
    assert as_iso(manifest.window.end) == manifest.watermark == "2026-01-01T12:00:00Z"
    assert manifest.resumed_pages > 0
    before_noon = [
        r for r in api.rows("characters") if (r.get("updated_at") or 0) < early.timestamp()
    ]
    check_rows(one.lake, before_noon, "characters")


@pytest.mark.parametrize("pack", [10, 1])
def test_rows_change_while_it_is_down(
    api: Emulator, bench: Callable[[int], Bench], pack: int
) -> None:
    """What was there throughout arrives once, also where pages shift across the seam."""
    one = bench(pack)
    staged = cut_off(one)
    ids = [row["id"] for row in api.rows("characters")]
    deleted = {*ids[:300:3], *ids[staged - 40 : staged + 40 : 2], *ids[-300::3]}
    touched = {*ids[1:300:3], *ids[staged - 39 : staged + 41 : 2]}
    api.delete("characters", ids=sorted(deleted))
    api.touch("characters", ids=sorted(touched), updated_at=IN_DAY_S)
    api.upsert("characters", count=50, updated_at=IN_DAY_S)
    manifest = one.run().manifest
    assert manifest.proof.contiguous
    assert manifest.resumed_pages > 0
    have = dataset(one.lake, "igdb", "characters").to_table().to_pylist()
    by_id = {row["id"]: row for row in have}
    assert len(by_id) == len(have) == manifest.rows
    for row in api.rows("characters"):
        found = by_id.pop(row["id"], None)
        if row["id"] in ids:
            assert found is not None, row["id"]
        if found is not None and row["id"] not in touched:
            assert found["checksum"] == row["checksum"]
    assert by_id.keys() <= deleted


def test_staged_rows_of_another_tenant_are_dropped(
    api: Emulator, bench: Callable[[int], Bench]
) -> None:
    one = bench(1)
    cut_off(one)
    one.source = one.source.model_copy(update={"headers": {"X-Tenant": "another"}})
    assert one.run().manifest.resumed_pages == 0
    check_rows(one.lake, api.rows("characters"), "characters")
    check_clean(one.lake)


def test_staged_rows_of_another_definition_are_dropped(
    api: Emulator, bench: Callable[[int], Bench]
) -> None:
    one = bench(1)
    cut_off(one)
    spec = one.source.endpoints["characters"]
    other = spec.model_copy(
        update={"request": spec.request.model_copy(update={"where": "id > 100"})}
    )
    one.source = one.source.model_copy(update={"endpoints": {"characters": other}})
    manifest = one.run().manifest
    assert manifest.resumed_pages == 0
    check_rows(one.lake, [r for r in api.rows("characters") if r["id"] > 100], "characters")
    check_clean(one.lake)


def test_a_commit_without_its_last_step_needs_no_request(
    api: Emulator, bench: Callable[[int], Bench]
) -> None:
    """All rows are staged, and S3 fails at the commit: the next try asks the API for nothing."""
    one = bench(1)

    def fail(operation: str, key: str) -> None:
        if operation == "complete_upload":
            raise LakeUnavailable("cut off")

    one.lake.on_operation = fail
    assert str(one.run().error) == "cut off"
    one.lake.on_operation = None
    api.reset()
    manifest = one.run().manifest
    assert api.stats()["requests"] <= 1, "the last batch had not been full"
    check_rows(one.lake, api.rows("characters"), "characters")
    assert manifest.resumed_pages > 0


def test_a_run_that_is_cancelled_ends_at_once_and_sends_nothing_more(
    api: Emulator, bench: Callable[[int], Bench]
) -> None:
    """As by Ctrl-C, or Terminate in the UI. What is staged stays for the next try."""
    one = bench(1)
    before, in_flight = 14, LIMITS.in_flight
    api.faults({"kind": "stall", "after": before})  # who waits for one of these waits for 20 s
    enough = asyncio.Event()

    def count(number: int, _: object) -> None:
        if number > before:
            enough.set()

    wire = Watched(count, None)

    async def cancelled() -> None:
        work = asyncio.create_task(one.attempt(["characters"], [DAY], "cut", wire, False))
        await enough.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(cancelled())
    assert wire.sent <= before + in_flight, "nothing is retried, and no page follows"
    assert api.stats()["requests"] <= wire.sent
    api.clear_faults()
    assert one.run().manifest.proof.contiguous
    check_rows(one.lake, api.rows("characters"), "characters")
    check_clean(one.lake)
