"""What Dagster stores of an API's rows: plain text, or nothing."""

import dagster as dg

from assets.metadata import metadata_of, table
from pipeline.lake.manifest import Manifest
from pipeline.run.context import PartitionResult
from tests.support.yaml_sources import quick

EVIL = "[click](javascript:alert(1)) <img src=x> | `x`"


def test_a_cell_and_a_column_s_name_are_plain_text_in_a_table() -> None:
    shown = table([{"id": 1, EVIL: EVIL, "empty": None}, {"id": 2, EVIL: "x" * 100, "empty": None}])
    assert isinstance(shown, dg.TableMetadataValue)
    assert [column.name for column in shown.schema.columns] == ["id", EVIL]
    assert shown.records[0].data[EVIL] == EVIL
    assert shown.records[1].data[EVIL] == "x" * 59 + "…"


def test_no_rows_are_stored_where_the_yaml_says_so() -> None:
    source = quick("http://api.test")
    (name,) = source.endpoints
    manifest = Manifest(source=source.source, endpoint=name, partition="2026-11-02")
    result = PartitionResult(name, manifest, "committed", preview=({"id": 1},))
    assert "preview" in metadata_of(result, source)
    silent = source.model_copy(update={"preview": False})
    assert "preview" not in metadata_of(result, silent)
    endpoint = source.endpoints[name].model_copy(update={"preview": False})
    assert "preview" not in metadata_of(
        result, source.model_copy(update={"endpoints": {name: endpoint}})
    )
