"""What Dagster shows of a materialization: made from the receipt of one partition."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from pipeline.lake.manifest import Manifest
from pipeline.run.staged import Receipt

_CELL = 60


def of_receipt(receipt: Receipt) -> dict[str, Any]:
    """The metadata of one partition of one endpoint."""
    manifest = receipt.manifest
    window = manifest.window
    found: dict[str, Any] = {
        "dagster/row_count": manifest.rows,
        "dagster/column_schema": column_schema(manifest),
        "files": len(manifest.files),
        "bytes": sum(file.bytes for file in manifest.files),
        "window_start": window["start"] or "no lower bound",
        "window_end": window["end"],
        "safety_margin_s": window["safety_margin_s"],
        "watermark": manifest.watermark or "",
        "late_rows": manifest.late_rows,
        "margin_rows": manifest.margin_rows,
        "requests": manifest.requests,
        "throttled_429": manifest.throttled,
        "pages": manifest.proof.get("pages", 0),
        "pages_resumed": manifest.resumed_pages,
        "gaps_refetched": manifest.proof.get("gaps_refetched", 0),
        "contiguous": bool(manifest.proof.get("contiguous")),
        "proof_rests_on": manifest.proof.get("rests_on", "–"),
        "generation": manifest.generation,
        "outcome": receipt.outcome,
        "duration_s": round(receipt.duration_s, 3),
    }
    if manifest.latest_late_s is not None:
        found["latest_late_s"] = manifest.latest_late_s
    if manifest.proof.get("not_modified"):
        found["not_modified"] = True
    if "doubt" in manifest.extra:
        found["doubt"] = manifest.extra["doubt"]
    parents = manifest.extra.get("parents")
    if parents:
        found |= {"parents_asked": parents["asked"], "parents_failed": parents["failed"]}
        if parents["failures"]:
            found["failures"] = dg.MetadataValue.md(markdown_table(parents["failures"]))
    if receipt.preview:
        found["preview"] = dg.MetadataValue.md(markdown_table(receipt.preview))
    return found


def column_schema(manifest: Manifest) -> dg.TableSchema:
    """The columns as they landed."""
    return dg.TableSchema([dg.TableColumn(c["name"], c["type"]) for c in manifest.columns])


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A few rows as a markdown table; long values are shortened."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    text = text.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"
