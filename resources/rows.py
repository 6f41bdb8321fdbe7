"""The rows of an endpoint as the input of an asset downstream, in whatever project it is.

    days = dg.DailyPartitionsDefinition("2026-11-01", end_offset=1)
    theirs = dg.AssetSpec(["igdb", "games"], partitions_def=days)

    @dg.asset(
        ins={"games": dg.AssetIn(theirs.key, input_manager_key="lake_rows")},
        partitions_def=days,
    )
    def best_games(games: pa.Table) -> None: ...

    rows = LakeRows(url="s3://bucket/headrace", s3=S3Resource())
    defs = dg.Definitions(assets=[theirs, best_games], resources={"lake_rows": rows})

Needs Headrace's folder on ``PYTHONPATH``, and nothing of its settings, sources or budgets.
"""

from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, Final, get_args

import dagster as dg
import pyarrow as pa
import pyarrow.dataset as pds
from dagster_aws.s3 import S3Resource
from pydantic import Field

from pipeline.errors import HeadraceError, ReadRefused
from pipeline.lake.read import current, dataset, manifests, rows_of
from pipeline.lake.stores.base import ObjectStore
from resources.lake import LakeResource

COLUMNS, ALLOW_MISSING = "columns", "allow_missing"
"""Metadata of an input: which columns to read; whether missing partitions are left out."""


class LakeRows(dg.ConfigurableIOManager):
    """An IO manager that reads what Headrace has committed, and writes nothing.

    An asset with partitions gets the rows of its partition, each as it was in it; an asset without
    gets the current state, one row a key. The form is that of the parameter's annotation:
    ``pyarrow.Table`` (also without one), ``pyarrow.dataset.Dataset`` (nothing is read yet; of
    partitions only), ``polars.DataFrame``, ``pandas.DataFrame``, ``duckdb.DuckDBPyRelation``.
    """

    url: str = Field(description="the lake: s3://bucket/prefix")
    s3: S3Resource

    def load_input(self, context: dg.InputContext) -> Any:
        """The rows.

        :raises dagster.Failure: one of the partitions is not committed, or the lake can't be read.
        """
        name = _name(context.dagster_type.typing_type)
        if name not in _FORMS and name not in _NO_FORM:
            forms = ", ".join(f"`{form}`" for form in _FORMS)
            raise dg.Failure(f"The input is annotated as `{name}`: expected one of {forms}")
        try:
            return _FORMS.get(name, _table)(self._rows(context, lazy=name in _LAZY))
        except HeadraceError as error:
            raise dg.Failure(str(error)) from None

    def _rows(self, context: dg.InputContext, *, lazy: bool) -> "pa.Table | pds.Dataset":
        source, endpoint = _names(context.asset_key)
        definition: Mapping[str, Any] = context.definition_metadata or {}
        columns = list(definition[COLUMNS]) if COLUMNS in definition else None
        lake = LakeResource(url=self.url, s3=self.s3).open()
        if not context.has_partition_key and not _is_range(context):
            return current(lake, source, endpoint, columns=columns)
        keys = context.asset_partition_keys if context.has_asset_partitions else None
        if keys is not None and not definition.get(ALLOW_MISSING):
            _check(lake, source, endpoint, keys)
        if keys is None:  # a snapshot, which has no partitions for Dagster: its newest
            return current(lake, source, endpoint, columns=columns)
        if lazy:
            return dataset(lake, source, endpoint, keys)
        return rows_of(lake, source, endpoint, keys, columns=columns)

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Refuse. :raises dagster.Failure: always; Headrace's own runs write the lake."""
        raise dg.Failure(
            "`LakeRows` reads Headrace's lake and writes nothing: give this asset an "
            "`io_manager_key` of its own, or return nothing and annotate it with `-> None`"
        )


def _name(annotation: Any) -> str:
    """The package and the name of an annotation; of one that may be None, of the other."""
    others = [each for each in get_args(annotation) if each is not NoneType]
    if len(others) == 1 and NoneType in get_args(annotation):
        return _name(others[0])
    name = getattr(annotation, "__name__", None)
    if name is None:
        return str(annotation)
    return f"{getattr(annotation, '__module__', '').partition('.')[0]}.{name}"


def _is_range(context: dg.InputContext) -> bool:
    return context.step_context.has_partition_key_range


def _names(key: dg.AssetKey) -> tuple[str, str]:
    if not 2 <= len(key.path) <= 3:
        raise dg.Failure(
            f"`{key.to_user_string()}` is no endpoint: expected an asset key SOURCE/ENDPOINT, or "
            "SOURCE/ENDPOINT/TABLE"
        )
    return key.path[0], "/".join(key.path[1:])


def _check(lake: ObjectStore, source: str, endpoint: str, keys: Sequence[str]) -> None:
    """Whether all partitions are committed: without one, rows would be missing and nobody told."""
    committed = {each.partition for each in manifests(lake, source, endpoint, keys)}
    if missing := [key for key in keys if key not in committed]:
        raise ReadRefused(
            f"{source}/{endpoint} is not committed for {', '.join(missing)}: materialize it first, "
            f"or say `metadata={{'{ALLOW_MISSING}': True}}` at the input"
        )


def _table(rows: Any) -> pa.Table:
    return rows.to_table() if isinstance(rows, pds.Dataset) else rows


def _polars(rows: Any) -> Any:
    import polars

    return polars.from_arrow(_table(rows))


def _duckdb(rows: Any) -> Any:
    import duckdb

    return duckdb.from_arrow(_table(rows))


_FORMS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "pyarrow.Table": _table,
    "pyarrow.Dataset": lambda rows: rows,
    "polars.DataFrame": _polars,
    "pandas.DataFrame": lambda rows: _table(rows).to_pandas(),
    "duckdb.DuckDBPyRelation": _duckdb,
}
_LAZY: Final = frozenset({"pyarrow.Dataset"})
_NO_FORM: Final = frozenset({"typing.Any", "builtins.object"})
