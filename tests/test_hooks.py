"""The user's own functions: what they may do, and what is said when they do something else."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline import hooks
from pipeline.errors import ConfigError, ContractBroken
from pipeline.hooks import load_function, transformed

ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["a", "b", None]})


def test_rows_may_be_changed_and_dropped() -> None:
    found = transformed(ROWS, lambda table: table.filter(pc.is_valid(table["name"])), "m:f")
    assert found.to_pylist() == ROWS.slice(0, 2).to_pylist()


def test_columns_in_another_order_are_put_right() -> None:
    assert transformed(ROWS, lambda table: table.select(["name", "id"]), "m:f") == ROWS


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda table: table.drop_columns(["name"]), "expected the columns id, name"),
        (lambda table: table.to_pylist(), "expected a pyarrow.Table"),
        (lambda table: 1 / 0, "transform m:f failed: ZeroDivisionError"),
        (
            lambda table: table.set_column(0, "id", pa.array(["x", "y", "z"])),
            "expected the columns id, name with their types",
        ),
    ],
)
def test_what_breaks_the_contract_is_named(function: object, said: str) -> None:
    with pytest.raises(ContractBroken, match=said):
        transformed(ROWS, function, "m:f")  # type: ignore[arg-type]


def test_a_function_is_found_beside_the_definitions_wherever_python_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dagster asset materialize` does not look there; `python -m dagster` does."""
    (tmp_path / "rows_of_mine.py").write_text("def rows(table):\n    return table\n")
    (tmp_path / "rows_that_fail.py").write_text("1 / 0\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(hooks, "PROJECT", str(tmp_path))
    assert load_function("rows_of_mine:rows", "transform")(ROWS) is ROWS
    with pytest.raises(ConfigError, match="its module fails with ZeroDivisionError"):
        load_function("rows_that_fail:rows", "transform")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no.such.module:f", "can't be imported"),
        ("math:no_such", "can't be imported"),
        ("math:pi", "is not a function"),
    ],
)
def test_what_is_no_function_is_said_so(path: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_function(path, "transform")
