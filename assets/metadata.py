"""What Dagster shows of an endpoint's columns, and of the materialization of one partition."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from pipeline.config.endpoint import Endpoint
from pipeline.decode.schema_text import type_text
from pipeline.decode.types import parse_type
from pipeline.lake.manifest import Manifest
from pipeline.run.staged_partition import PartitionResult
from pipeline.timestamps import as_iso

_CELL_CHARS = 60


def of_receipt(receipt: PartitionResult, endpoint: Endpoint) -> dict[str, Any]:
    """The metadata of one partition of one endpoint, in the order in which it is shown."""
    manifest, table = receipt.manifest, markdown_table(receipt.preview)
    window, proof, notes = manifest.window, manifest.proof, manifest.notes
    found: dict[str, Any] = {
        "dagster/row_count": manifest.rows,
        "dagster/column_schema": column_schema(manifest, endpoint),
        **({"preview": dg.MetadataValue.md(table)} if table else {}),
        "contiguous": proof.contiguous,
        "proof_rests_on": proof.rests_on or "–",
        "gaps_refetched": proof.gaps_refetched,
        "window_start": as_iso(window.start) if window.start else "no lower bound",
        "window_end": as_iso(window.end),
        "watermark": manifest.watermark or "",
        "safety_margin_s": window.safety_margin_s,
        "late_rows": manifest.late_rows,
        "margin_rows": manifest.margin_rows,
        "pages": proof.pages,
        "pages_resumed": manifest.resumed_pages,
        "requests": manifest.requests,
        "throttled_429": manifest.throttled,
        "duration_s": round(receipt.duration_s, 3),
        "files": len(manifest.files),
        "bytes": manifest.total_bytes,
        "generation": manifest.generation,
        "outcome": receipt.outcome,
    }
    if manifest.latest_late_s is not None:
        found["latest_late_s"] = manifest.latest_late_s
    if proof.not_modified:
        found["not_modified"] = True
    if notes.converted:
        found["converted_cells"] = dict(notes.converted)
    if notes.warning:
        found["doubt"] = notes.warning
    if parents := notes.parents:
        found |= {"parents_asked": parents["asked"], "parents_failed": parents["failed"]}
        if failures := markdown_table(parents["failures"]):
            found["failures"] = dg.MetadataValue.md(failures)
    return found


def column_schema(manifest: Manifest, endpoint: Endpoint) -> dg.TableSchema:
    """The columns as they landed, with what the YAML says of them."""
    return dg.TableSchema([column(endpoint, c["name"], c["type"]) for c in manifest.columns])


def declared_schema(endpoint: Endpoint) -> dg.TableSchema:
    """The columns that the YAML names: all that is known before the first materialization."""
    typed = {name: parse_type(spec.type).arrow for name, spec in endpoint.columns.items()}
    return dg.TableSchema([column(endpoint, name, type_text(t)) for name, t in typed.items()])


def column(endpoint: Endpoint, name: str, type_name: str) -> dg.TableColumn:
    """One column. Those of the key are never null."""
    spec = endpoint.columns.get(name)
    return dg.TableColumn(
        name,
        type_name,
        description=spec.description if spec else None,
        constraints=dg.TableColumnConstraints(
            nullable=name not in endpoint.key and (spec is None or spec.nullable),
            unique=endpoint.key == (name,),
        ),
    )


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A few rows as a Markdown table, long values shortened; of no rows, an empty text."""
    if not rows:
        return ""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    text = text.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
    return text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 1] + "…"
