"""`docs/reference/manifest.md`: the fields of a manifest, with an example."""

import json
from datetime import UTC, datetime

from docsite.reference.markdown import code, meanings, table
from pipeline.lake.manifest import (
    Manifest,
    ManifestFile,
    ManifestNotes,
    ManifestProof,
    ManifestTable,
)
from pipeline.partitions.window import Window

MEANINGS = {
    "version": "of this format; a newer one than the reader knows is refused",
    "source": "the source",
    "endpoint": "the endpoint",
    "partition": "the partition, as in its path",
    "generation": "the id of this materialization; a part of each file's name",
    "endpoint_kind": "`baseline`, `incremental` or `snapshot`",
    "window": "`start` (null: no lower bound), `end`, `safety_margin_s` in seconds, and "
    "`boundary`: rows before it may be in the previous partition too; `bookmarks` of a cursor that "
    "is no time: `start`, of which `partition`, `until` (the start of the next), `expired`",
    "watermark": "until when the partition is complete",
    "rows": "rows of all files",
    "late_rows": "rows inside the safety margin that the previous partition lacks",
    "margin_rows": "rows inside the safety margin",
    "latest_late_s": "by how many seconds the latest of the late rows was late",
    "files": "`path`, `rows`, `bytes`, `checksum` (CRC-32 of the bytes)",
    "proof": "what completeness rests on: below",
    "requests": "HTTP requests that count against the budget",
    "throttled": "requests that the API answered with 429",
    "resumed_pages": "pages that an earlier attempt had staged",
    "extracted_at": "when the partition was read",
    "columns": "the columns of the files: `name` and `type`",
    "checks": "what was verified before the commit",
    "run_id": "the run of Dagster",
    "definition": "the fingerprint: a digest of what decides which rows there are",
    "extra": "what else is noted: below",
    "tables": "the child tables of the rows, by name: below",
}
OF_TABLES = {
    "rows": "rows of all files of the table",
    "files": "as of the partition",
    "columns": "as of the partition",
    "key": "the columns that identify a row; empty: none do",
    "parent": "the columns that come from the parent's row, each with its name there",
    "filtered_rows": "rows that came and that its `where` did not keep",
}
OF_PROOF = {
    "contiguous": "no row lies between two pages, as far as `rests_on` can tell",
    "rests_on": "the proof basis; absent if the pages are not proved",
    "pages": "pages that were read",
    "gaps_refetched": "pages that were requested again because rows had moved",
    "not_modified": "the API said that nothing has changed (304)",
}


def page() -> str:
    """The page."""
    written = json.loads(example().to_json())
    lines = [
        "# The manifest",
        "",
        "One JSON object a partition: `{lake}/{source}/{endpoint}/_manifests/dt=YYYY-MM-DD.json`.",
        "A file that the manifest does not name is not part of the partition. Times are ISO 8601",
        "in UTC; paths are relative to the lake.",
        "",
        "```json",
        json.dumps(written, indent=2, ensure_ascii=False),
        "```",
        "",
        *table(("field", "meaning"), [(code(name), MEANINGS.get(name, "")) for name in written]),
        "",
        "## In `proof`",
        "",
        *table(("field", "meaning"), [(code(name), text) for name, text in OF_PROOF.items()]),
        "",
        "## In `tables`",
        "",
        "Of an endpoint with `tables`, for each:",
        "",
        *table(("field", "meaning"), [(code(name), text) for name, text in OF_TABLES.items()]),
        "",
        "## In `extra`",
        "",
        "Only what there is:",
        "",
        *table(
            ("field", "meaning"),
            [
                ("`doubt`" if n == "warning" else code(n), t)
                for n, t in meanings(ManifestNotes).items()
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def example() -> Manifest:
    """A manifest of a day with two late rows."""
    start, end = datetime(2026, 11, 2, 23, tzinfo=UTC), datetime(2026, 11, 4, tzinfo=UTC)
    boundary = datetime(2026, 11, 3, tzinfo=UTC)
    generation = "01JBX3T8"
    path = f"shop/orders/dt=2026-11-03/part-00000-{generation}.parquet"
    return Manifest(
        source="shop",
        endpoint="orders",
        partition="2026-11-03",
        generation=generation,
        window=Window("incremental", start, end, 3600.0, boundary),
        watermark="2026-11-04T00:00:00+00:00",
        rows=288,
        late_rows=2,
        margin_rows=14,
        latest_late_s=41.0,
        files=(ManifestFile(path, 288, 14_912, "crc32:8d2f01ab"),),
        proof=ManifestProof(contiguous=True, rests_on="keys", pages=3),
        requests=4,
        extracted_at="2026-11-04T00:05:12+00:00",
        columns=(
            {"name": "id", "type": "int64"},
            {"name": "updated_at", "type": "timestamp[us, UTC]"},
        ),
        run_id="5a0b8b4e",
        definition="6f1d",
        notes=ManifestNotes(key=("id",), cursor="updated_at", duplicate_rows=1),
        tables={
            "items": _table(f"shop/orders/dt=2026-11-03/_tables/items/part-00000-{generation}")
        },
    )


def _table(path: str) -> ManifestTable:
    columns = ({"name": "order_id", "type": "int64"}, {"name": "line", "type": "int64"})
    return ManifestTable(
        rows=611,
        files=(ManifestFile(f"{path}.parquet", 611, 20_104, "crc32:90c1d4e2"),),
        columns=columns,
        key=("order_id", "line"),
        parent={"order_id": "id"},
    )
