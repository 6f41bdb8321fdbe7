"""``LakeRows``: what an asset downstream gets, by its annotation and its partitions."""

import warnings
from itertools import count
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.dataset as pds
import pytest
from pyarrow.fs import FileSystem

from local.services import S3
from pipeline.lake.drop import drop
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.s3 import Lake
from pipeline.lake.stores.s3 import S3Store
from resources import LakeRows
from tests.assets.support import s3_resource
from tests.support.runs import extract
from tests.support.shop import DAYS, NOW, shop

THINGS = dg.AssetKey(["shop", "things"])
PARTITIONS = dg.DailyPartitionsDefinition(DAYS[0], end_date="2026-11-06")


@pytest.fixture
def lake_rows(lake: Lake, s3: S3) -> LakeRows:
    with shop() as source:
        extract(source, lake, "things", DAYS, NOW)
    return LakeRows(url=lake.root, s3=s3_resource(s3))


def given(
    lake_rows: LakeRows, annotation: Any, partition: str | None, **metadata: Any
) -> tuple[dg.ExecuteInProcessResult, list[Any]]:
    """A run of an asset downstream, and what it was given."""
    seen: list[Any] = []

    def body(things: Any) -> None:
        rows = things.to_table() if isinstance(things, pds.Dataset) else things
        seen.append(rows.to_arrow_table() if isinstance(rows, duckdb.DuckDBPyRelation) else rows)

    body.__annotations__["things"] = annotation
    asset = dg.asset(
        name="report",
        ins={"things": dg.AssetIn(THINGS, input_manager_key="lake_rows", metadata=metadata)},
        partitions_def=PARTITIONS if partition else None,
    )(body)
    with warnings.catch_warnings(), dg.DagsterInstance.ephemeral() as instance:
        # Dagster's own nested resources use what Dagster itself calls deprecated.
        warnings.filterwarnings("ignore", "InitResourceContext.dagster_run")
        result = dg.materialize(
            [asset, dg.AssetSpec(THINGS, partitions_def=PARTITIONS)],
            selection=[asset],
            resources={"lake_rows": lake_rows},
            instance=instance,
            partition_key=partition,
            raise_on_error=False,
        )
    return result, seen


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [each for each in result.all_events if each.is_step_failure]
    return event.step_failure_data.error_display_string


@pytest.mark.parametrize("form", [pa.Table, pds.Dataset, duckdb.DuckDBPyRelation, Any])
def test_the_rows_of_the_partition_come_in_the_annotated_form(
    lake_rows: LakeRows, form: Any
) -> None:
    result, (rows,) = given(lake_rows, form, DAYS[1])
    assert result.success
    assert sorted(rows["id"].to_pylist()) == [1, 3, 5]


def test_a_frame_of_pandas(lake_rows: LakeRows) -> None:
    pandas = pytest.importorskip("pandas")
    _, (frame,) = given(lake_rows, pandas.DataFrame, DAYS[1])
    assert sorted(frame["id"]) == [1, 3, 5]


def test_a_frame_of_polars(lake_rows: LakeRows) -> None:
    polars = pytest.importorskip("polars")
    _, (frame,) = given(lake_rows, polars.DataFrame, DAYS[1])
    assert sorted(frame["id"].to_list()) == [1, 3, 5]


def test_an_asset_without_partitions_gets_each_key_once(lake_rows: LakeRows) -> None:
    _, (rows,) = given(lake_rows, pa.Table, None)
    assert sorted(rows["id"].to_pylist()) == [0, 1, 2, 3, 4, 5]


def test_only_the_columns_that_are_named_are_read(lake_rows: LakeRows) -> None:
    _, (rows,) = given(lake_rows, pa.Table, DAYS[1], columns=["name"])
    assert rows.column_names == ["name"]


def test_a_column_that_is_not_there_is_said(lake_rows: LakeRows) -> None:
    result, _ = given(lake_rows, pa.Table, DAYS[1], columns=["nmae"])
    assert "shop/things can't be read by the columns 'nmae': the lake has the columns" in failure(
        result
    )


def test_a_parameter_that_may_be_none_gets_the_rows(lake_rows: LakeRows) -> None:
    _, (rows,) = given(lake_rows, pa.Table | None, DAYS[1])
    assert sorted(rows["id"].to_pylist()) == [1, 3, 5]


def test_a_partition_that_is_replaced_while_it_is_read_is_read_again(
    lake_rows: LakeRows, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files go when its manifest has been read."""
    looks, filesystem = count(), S3Store.filesystem

    def replaced(store: S3Store) -> FileSystem:
        if next(looks) == 0:
            drop(lake, PartitionPaths("shop", "things", DAYS[1]))
            with shop() as source:
                extract(source, lake, "things", DAYS[1:2], NOW)
        return filesystem(store)

    monkeypatch.setattr(S3Store, "filesystem", replaced)
    _, (rows,) = given(lake_rows, pa.Table, DAYS[1])
    assert sorted(rows["id"].to_pylist()) == [1, 3, 5]
    assert next(looks) > 1


def test_a_partition_that_is_not_committed_is_an_error_and_no_empty_table(
    lake_rows: LakeRows,
) -> None:
    result, seen = given(lake_rows, pa.Table, "2026-11-05")
    assert seen == []
    assert "shop/things is not committed for 2026-11-05: materialize it first" in failure(result)


def test_an_annotation_that_is_no_form_of_rows_is_said(lake_rows: LakeRows) -> None:
    result, _ = given(lake_rows, int, DAYS[1])
    assert "The input is annotated as `builtins.int`: expected one of `pyarrow.Table`" in failure(
        result
    )


def test_nothing_is_written_through_it(lake_rows: LakeRows) -> None:
    @dg.asset(io_manager_key="lake_rows")
    def report() -> int:
        return 1

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "InitResourceContext.dagster_run")
        result = dg.materialize([report], resources={"lake_rows": lake_rows}, raise_on_error=False)
    assert "`LakeRows` reads Headrace's lake and writes nothing" in failure(result)
