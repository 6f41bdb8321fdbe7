"""Reading: exactly what is committed, each key once, and what came late."""

from collections.abc import Iterable
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import ContractBroken, LakeUnavailable, ReadRefused
from pipeline.lake.current_rows import newest_of_each
from pipeline.lake.files import key_rows
from pipeline.lake.manifest import Manifest, ManifestNotes
from pipeline.lake.parquet import encode
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.read import Between, current, dataset, manifests
from pipeline.lake.s3 import Lake
from pipeline.lake.takeover import open_attempt
from tests.lake.support import DAYS, INSTANT, WINDOW, at, put, rows


def ids(table: pa.Table) -> list[Any]:
    return sorted(table["id"].to_pylist())


@pytest.fixture(params=["all at once", "file by file"])
def of_any_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """``current`` opens each file once if all of them are small."""
    if request.param == "file by file":
        monkeypatch.setattr("pipeline.lake.read._AT_ONCE_BYTES", 0)


def test_only_the_partitions_asked_for(lake: Lake) -> None:
    for number, day in enumerate(DAYS):
        put(lake, day, rows({"id": number}))
    assert [m.partition for m in manifests(lake, "s", "e")] == list(DAYS)
    assert ids(dataset(lake, "s", "e").to_table()) == [0, 1, 2]
    assert ids(dataset(lake, "s", "e", ["2026-01-02", "2030-01-01"]).to_table()) == [1]
    assert ids(dataset(lake, "s", "e", Between("2026-01-02", "2026-01-09")).to_table()) == [
        1,
        2,
    ]
    with_day = dataset(lake, "s", "e", dt=True).to_table()
    assert with_day["dt"].to_pylist() == list(DAYS)


def test_a_day_is_asked_for_by_itself(lake: Lake) -> None:
    for number, day in enumerate(DAYS):
        put(lake, day, rows({"id": number}))
    assert ids(dataset(lake, "s", "e", DAYS[1]).to_table()) == [1]
    assert [m.partition for m in manifests(lake, "s", "e", DAYS[1])] == [DAYS[1]]


def test_what_is_not_there_is_said_with_what_is(lake: Lake) -> None:
    with pytest.raises(ReadRefused, match="has nothing of the source s: it is empty"):
        dataset(lake, "s", "e")
    open_attempt(lake, PartitionPaths("s", "e", DAYS[0]), definition="d", window=WINDOW, run_id="r")
    with pytest.raises(ReadRefused, match="No partition of s/e is committed yet: materialize one"):
        dataset(lake, "s", "e")
    for day in DAYS:
        put(lake, day, rows({"id": 1}))
    for read in (dataset, current):
        with pytest.raises(ReadRefused, match=r"s3://\S+ has nothing of s/f: it has e\. Is the"):
            read(lake, "s", "f")
        with pytest.raises(ReadRefused, match="has nothing of the source t: it has s"):
            read(lake, "t", "e")
    assert manifests(lake, "s", "f") == []
    none = "none of the requested partitions"
    for asked, said in (
        ("2030-01-01", "2030-01-01"),
        ([], "an empty list"),
        (Between("2025-01-01", "2025-12-31"), "2025-01-01 to 2025-12-31"),
    ):
        with pytest.raises(
            ReadRefused, match=f"s/e has {none} .{said}.: 3 are committed, from 2026-"
        ):
            dataset(lake, "s", "e", asked)


@pytest.mark.parametrize("day", ["2026-1-1", "20260101", "yesterday", date(2026, 1, 1), 5])
def test_what_can_be_no_partition_is_refused(lake: Lake, day: Any) -> None:
    put(lake, DAYS[0], rows({"id": 1}))
    for ask in (
        lambda: Between(day, DAYS[1]),
        lambda: dataset(lake, "s", "e", [DAYS[0], day]),
        lambda: manifests(lake, "s", "e", [day]),
    ):
        with pytest.raises(ReadRefused, match="is no partition: expected its key as text, such as"):
            ask()


def test_a_range_from_its_end_is_refused() -> None:
    with pytest.raises(
        ReadRefused, match=r"no partition from 2026-01-03 to 2026-01-01: the earlier"
    ):
        Between(DAYS[2], DAYS[0])


def test_a_day_without_rows_has_the_columns_all_the_same(lake: Lake) -> None:
    first = put(lake, DAYS[0], rows({"id": 1, "at": at("2026-01-01")}))
    put(lake, DAYS[1], columns=first.columns)
    empty = dataset(lake, "s", "e", DAYS[1], dt=True).to_table()
    assert (empty.num_rows, empty.column_names) == (0, ["id", "at", "_extracted_at", "dt"])
    assert empty.schema.field("at").type == INSTANT
    put(lake, DAYS[0], columns=first.columns)
    none = current(lake, "s", "e", key=["id"], cursor="at", columns=["id"])
    assert (none.num_rows, none.column_names) == (0, ["id"])
    put(lake, DAYS[0])
    put(lake, DAYS[1])
    assert current(lake, "s", "e", key=["id"], cursor="at").num_rows == 0


@pytest.mark.parametrize("kind", [pa.string(), pa.int64()])
def test_a_column_dt_of_the_rows_is_theirs(lake: Lake, kind: pa.DataType) -> None:
    values = pa.array([7, 8]).cast(kind).to_pylist()
    for day, value in zip(DAYS, values, strict=False):
        put(lake, day, rows({"id": value, "at": at(day), "dt": value}, id=kind, dt=kind))
    assert dataset(lake, "s", "e").to_table()["dt"].to_pylist() == values
    assert current(lake, "s", "e", key=["dt"], cursor="at")["dt"].to_pylist() == values
    files = [file for each in manifests(lake, "s", "e") for file in each.files]
    assert key_rows(lake, files, ["dt"])["dt"].to_pylist() == values
    with pytest.raises(ContractBroken, match="have a column dt of their own"):
        dataset(lake, "s", "e", dt=True)


def test_a_whole_number_that_no_double_of_another_day_holds_is_said(lake: Lake) -> None:
    put(lake, DAYS[0], rows({"id": 1, "x": 2**53 + 1}, x=pa.int64()))
    put(lake, DAYS[1], rows({"id": 2, "x": 0.5}, x=pa.float64()))
    with pytest.raises(ContractBroken, match=r"one table: .*9007199254740993.*declare the column"):
        current(lake, "s", "e", key=["id"], cursor="at")


def test_the_key_and_the_cursor_are_those_of_the_manifest(lake: Lake) -> None:
    early, late = at("2026-01-01T10:00"), at("2026-01-02T10:00")
    both = rows({"id": 1, "at": late, "by": early}, {"id": 1, "at": early, "by": late}, by=INSTANT)
    put(lake, DAYS[0], both)
    with pytest.raises(
        ReadRefused, match=r"s/e 2026-01-01 was written by .* say key=\[…\] and cur"
    ):
        current(lake, "s", "e")
    put(lake, DAYS[0], both, notes=ManifestNotes(key=("id",), cursor="at"))
    assert current(lake, "s", "e")["at"].to_pylist() == [late]
    assert current(lake, "s", "e", cursor="by")["at"].to_pylist() == [early]
    assert current(lake, "s", "e", key="id", cursor="by")["at"].to_pylist() == [early]


@pytest.mark.usefixtures("of_any_size")
def test_types_that_grew_wider_are_read_as_the_widest(lake: Lake) -> None:
    first = rows(
        {"id": 1, "score": 1, "box": {"a": 1}}, score=pa.int64(), box=pa.struct([("a", pa.int64())])
    )
    box = pa.struct([("a", pa.float64()), ("b", pa.string())])
    second = rows(
        {"id": 2, "score": 2.5, "box": {"a": 0.5, "b": "x"}, "more": [1]},
        score=pa.float64(),
        box=box,
        more=pa.list_(pa.int64()),
    )
    put(lake, DAYS[0], first)
    put(lake, DAYS[1], first, second)
    for table in (
        dataset(lake, "s", "e").to_table(),
        dataset(lake, "s", "e", [DAYS[1]]).to_table(),
    ):
        assert table.schema.field("score").type == pa.float64()
        assert table.schema.field("box").type == box
        assert table["score"].to_pylist()[-2:] == [1.0, 2.5]
        assert table["more"].to_pylist()[-2:] == [None, [1]]
    now = current(lake, "s", "e", key=["id"], cursor="at")
    assert sorted(now["score"].to_pylist()) == [1.0, 2.5]


def test_types_that_do_not_go_together_are_named(lake: Lake) -> None:
    put(lake, DAYS[0], rows({"id": 1, "x": [1]}, x=pa.list_(pa.int64())))
    put(lake, DAYS[1], rows({"id": 1, "x": "a"}, x=pa.string()))
    with pytest.raises(ContractBroken, match=r"can't be read as one table.*column `x`: its types"):
        dataset(lake, "s", "e")


BOX = pa.struct([("n", pa.int64())])
TEXT_BOX = pa.struct([("n", pa.string()), ("more", pa.bool_())])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "value", "then", "text", "read"),
    [
        (pa.int64(), 2**53 + 1, pa.string(), "INV-3", "9007199254740993"),
        (pa.float64(), 0.1, pa.string(), "n/a", "0.1"),
        (pa.bool_(), True, pa.string(), "maybe", "true"),
        (pa.date32(), date(2026, 1, 2), pa.string(), "soon", "2026-01-02"),
        (pa.list_(pa.int64()), [1], pa.list_(pa.string()), ["a"], ["1"]),
        (BOX, {"n": 1}, TEXT_BOX, {"n": "a", "more": True}, {"n": "1", "more": None}),
    ],
    ids=["int", "double", "bool", "date", "list", "struct"],
)
@pytest.mark.parametrize("kind", ["incremental", "feed"])
def test_a_value_that_became_text_is_read_as_text(
    lake: Lake, first: Any, value: Any, then: Any, text: Any, read: Any, kind: str
) -> None:
    """The older day of a feed can't be materialized again: both days are one table all the same."""
    notes = ManifestNotes(key=("id",), cursor=None if kind == "feed" else "at")
    put(lake, DAYS[0], rows({"id": 1, "x": value}, x=first), notes=notes)
    put(lake, DAYS[1], rows({"id": 2, "x": text}, x=then), notes=notes)
    for table in (dataset(lake, "s", "e").to_table(), current(lake, "s", "e")):
        assert {row["id"]: row["x"] for row in table.to_pylist()} == {1: read, 2: text} | (
            {2: {"n": "a", "more": True}} if isinstance(text, dict) else {}
        )


@pytest.mark.usefixtures("of_any_size")
def test_each_key_once_the_latest_cursor_first(lake: Lake) -> None:
    early, late = at("2026-01-01T10:00"), at("2026-01-02T10:00")
    put(
        lake,
        DAYS[0],
        rows({"id": 1, "at": early}, {"id": 2, "at": None}, {"id": 3, "at": late}),
        rows({"id": 4, "at": early}),
        kind="baseline",
    )
    put(
        lake,
        DAYS[1],
        rows(
            {"id": 1, "at": late},
            {"id": 2, "at": early},
            {"id": 3, "at": early},
            {"id": 4, "at": early},
            extracted="2026-02-02",
        ),
    )
    now = current(lake, "s", "e", key=["id"], cursor="at")
    assert ids(now) == [1, 2, 3, 4]
    latest = {row["id"]: (row["at"], row["_extracted_at"].day) for row in now.to_pylist()}
    assert latest == {1: (late, 2), 2: (early, 2), 3: (late, 1), 4: (early, 2)}
    assert current(lake, "s", "e", key=["id"], cursor="at", columns=["id"]).column_names == ["id"]


@pytest.mark.slow
@pytest.mark.usefixtures("of_any_size")
def test_tombstones_and_swept_keys_are_left_out(lake: Lake) -> None:
    a, b = at("2026-01-01"), at("2026-01-02")
    put(
        lake,
        DAYS[0],
        *[rows({"id": i, "at": a, "_deleted": None}, _deleted=pa.bool_()) for i in (1, 2, 3, 4)],
    )
    put(lake, DAYS[1], rows({"id": 1, "at": b, "_deleted": True}, _deleted=pa.bool_()))
    put(lake, DAYS[2], rows({"id": 4, "at": b}, extracted="2026-03-09"))
    arguments: Any = {"key": ["id"], "cursor": "at"}
    assert ids(current(lake, "s", "e", **arguments)) == [2, 3, 4]
    assert ids(current(lake, "s", "e", **arguments, deleted=True)) == [1, 2, 3, 4]
    gone = pa.table({"id": [2, 4, 99], "_swept_at": pa.array([at("2026-03-01")] * 3, INSTANT)})
    body = encode(gone).to_pybytes()
    lake.put("s/e/_sweeps/20260301T000000Z.parquet", body, replaces=None)
    assert ids(current(lake, "s", "e", **arguments)) == [3, 4]
    assert ids(current(lake, "s", "e", **arguments, swept=True)) == [2, 3, 4]


def test_a_sweep_by_an_earlier_key_says_nothing_of_the_rows_by_this_one(lake: Lake) -> None:
    put(lake, DAYS[0], rows({"id": 1, "sku": "a"}, {"id": 2, "sku": "b"}, sku=pa.string()))
    swept = pa.array([at("2026-03-01")], INSTANT)
    for number, gone in enumerate((pa.table({"id": [1]}), pa.table({"sku": ["b"]}))):
        body = encode(gone.append_column("_swept_at", swept)).to_pybytes()
        lake.put(f"s/e/_sweeps/2026030{number}T000000Z.parquet", body, replaces=None)
    assert ids(current(lake, "s", "e", key=["id"], cursor="at")) == [2]
    assert ids(current(lake, "s", "e", key=["sku"], cursor="at")) == [1]
    assert ids(current(lake, "s", "e", key=["id", "sku"], cursor="at")) == [1, 2]


@pytest.mark.parametrize(
    ("meant", "asked"),
    [
        ("key", {"key": ["id", "sku"], "cursor": "at"}),
        ("cursor", {"key": ["id"], "cursor": "sku"}),
        ("columns", {"key": ["id"], "cursor": "at", "columns": ["id", "sku"]}),
    ],
)
def test_a_column_that_the_lake_does_not_have_is_named(lake: Lake, meant: str, asked: Any) -> None:
    put(lake, DAYS[0], rows({"id": 1}))
    with pytest.raises(ContractBroken, match=f"{meant} 'sku': the lake has the columns id, at, _e"):
        current(lake, "s", "e", **asked)


def test_a_snapshot_is_its_newest_partition(lake: Lake) -> None:
    put(lake, DAYS[0], rows({"id": 1}, {"id": 2}), kind="snapshot")
    put(lake, DAYS[1], rows({"id": 2}, {"id": 3}), kind="snapshot")
    assert ids(current(lake, "s", "e", key=["id"], cursor=None)) == [2, 3]


def test_composite_keys_and_many_rows() -> None:
    count = 50_000
    table = pa.table(
        {
            "a": pa.array([i % 10 for i in range(count)]),
            "b": [f"{i % 2_000}" for i in range(count)],
            "at": pa.array([(i * 7919) % count for i in range(count)]),
        }
    )
    best: dict[tuple[int, str], tuple[int, int]] = {}
    for i, row in enumerate(table.to_pylist()):
        best[row["a"], row["b"]] = max(best.get((row["a"], row["b"]), (-1, -1)), (row["at"], i))
    expected = sorted(i for _, i in best.values())
    assert newest_of_each(table, ["a", "b"], "at").to_pylist() == expected


def test_a_generation_replaced_while_it_is_read(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(lake, DAYS[0], rows({"id": 1}))
    seen = manifests(lake, "s", "e")
    put(lake, DAYS[0], rows({"id": 2}))
    answers: list[Iterable[Manifest]] = [seen]
    monkeypatch.setattr(
        "pipeline.lake.read.manifests", lambda *a: answers.pop() if answers else manifests(*a)
    )
    assert ids(current(lake, "s", "e", key=["id"], cursor=None)) == [2]
    monkeypatch.setattr("pipeline.lake.read.manifests", lambda *_: seen)
    with pytest.raises(LakeUnavailable, match="tried twice"):
        current(lake, "s", "e", key=["id"], cursor=None)
