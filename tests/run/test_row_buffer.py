"""When a batch is full: by its rows, its age, and by what all batches of a run hold together."""

import pyarrow as pa

from pipeline.extract.position import ContiguousPosition, PageBatch
from pipeline.run.writer import GROUP_BYTES, MAX_BYTES, MAX_S, BufferedBytes, RowBuffer


def handed(rows: int, arrow_bytes: int) -> PageBatch:
    return PageBatch(pa.table({"id": range(rows)}), ContiguousPosition(rows, 0, rows), arrow_bytes)


def test_a_batch_is_full_by_its_rows() -> None:
    batch = RowBuffer(10, None, BufferedBytes())
    batch.add(handed(6, 1))
    assert not batch.is_full
    batch.add(handed(4, 1))
    assert batch.is_full


def test_a_batch_is_full_by_its_age_if_it_has_rows() -> None:
    now = 0.0
    batch = RowBuffer(10, None, BufferedBytes(), lambda: now)
    now, found = MAX_S, [batch.is_full]  # there is nothing to keep
    batch.add(handed(1, 1))
    found.append(batch.is_full)
    batch.end_batch()
    batch.add(handed(1, 1))
    assert [*found, batch.is_full] == [False, True, False]


def test_the_batches_of_a_run_are_bounded_together_and_the_larger_ones_go_first() -> None:
    held = BufferedBytes()
    large, small = RowBuffer(10**9, None, held), RowBuffer(10**9, None, held)
    large.add(handed(5, MAX_BYTES // 2))
    small.add(handed(5, MAX_BYTES // 8))
    assert [large.is_full, small.is_full] == [False, False]
    large.add(handed(5, MAX_BYTES // 2))
    assert [large.is_full, small.is_full] == [True, False]
    assert sum(table.num_rows for table in large.take()) == 10
    assert held.bytes > MAX_BYTES, "it is held until it is written"
    large.release(1_000)
    assert (held.bytes, held.batches) == (MAX_BYTES // 8 + 1_000, 2)
    large.close()
    assert (held.bytes, held.batches) == (MAX_BYTES // 8, 1)
    small.close()
    assert (held.bytes, held.batches) == (0, 0)


def test_pages_become_a_row_group_long_before_the_batch_is_full() -> None:
    held = BufferedBytes()
    batch = RowBuffer(10**9, None, held)
    batch.add(handed(5, GROUP_BYTES - 1))
    before = batch.is_group
    batch.add(handed(5, 1))
    assert (before, batch.is_group) == (False, True)
    assert len(batch.take()) == 2
    batch.release(1_000)
    assert (batch.is_group, batch.is_full, batch.rows) == (False, False, 10)
    batch.add(handed(5, 7))
    assert (len(batch.take()), held.bytes, held.batches) == (1, 1_007, 1)


def test_the_next_batch_is_gathered_while_one_that_has_ended_is_still_held() -> None:
    held = BufferedBytes()
    batch = RowBuffer(10**9, None, held)
    batch.add(handed(5, MAX_BYTES))
    batch.take()
    batch.release(1_000)
    batch.add(handed(5, MAX_BYTES))
    assert (batch.is_full, len(batch.end_batch())) == (True, 1)
    batch.add(handed(3, 7))
    assert (batch.is_full, batch.rows) == (False, 3), "it is not this one that holds too much"
    assert (held.bytes, held.batches) == (MAX_BYTES + 1_007, 1)
    batch.release()
    assert (held.bytes, held.batches) == (7, 1)
    batch.close()
    assert (held.bytes, held.batches) == (0, 0)


def test_a_run_that_holds_too_much_says_so_though_all_of_it_is_leaving() -> None:
    held = BufferedBytes()
    batch = RowBuffer(10**9, None, held)
    batch.add(handed(5, MAX_BYTES))
    assert held.over_limit
    batch.end_batch()
    assert (held.over_limit, batch.is_full) == (True, False)
    batch.release()
    assert not held.over_limit


def test_a_page_without_rows_moves_the_position_and_holds_nothing() -> None:
    held = BufferedBytes()
    batch = RowBuffer(10, None, held)
    batch.add(handed(0, 0))
    assert (batch.position, held.batches, batch.is_full) == (ContiguousPosition(0, 0, 0), 0, False)
