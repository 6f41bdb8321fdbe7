"""The user's own functions: what they may do, and what is said when they do something else."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

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
