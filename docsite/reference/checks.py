"""`docs/reference/checks.md`: the checks of an asset, and the metadata of a materialization."""

import ast

from assets.asset_checks import CHECKS
from docsite.pages import ROOT
from docsite.reference.markdown import code, table, words
from pipeline.extract.completeness import ProofBasis

MEANINGS = {
    "dagster/partition_row_count": "rows of the partition",
    "dagster/row_count": "rows of the snapshot",
    "dagster/table_name": "the name of the table",
    "dagster/uri": "where the partition's files are",
    "dagster/column_schema": "the columns and their types",
    "proof": "what completeness rests on, in words",
    "complete_until": "of a partition that was read before it had ended: until when it is complete",
    "window_start": "the lower bound of the window",
    "window_end": "the upper bound of the window",
    "late_rows": "rows inside the safety margin that the previous partition lacks",
    "latest_late_s": "by how many seconds the latest of the late rows was late",
    "starts_with": "of a cursor that is no time: the bookmark that the partition starts with",
    "ends_with": "the bookmark that the next partition starts with",
    "latest_late_by": "by how many numbers the latest of the late rows was late",
    "deletions": "keys that were gone when all was read, since the bookmark had expired",
    "preview": "a few rows; `preview: false` in the YAML leaves them out",
    "partition": "the partition",
    "contiguous": "no row lies between two pages, as far as the proof can tell",
    "proof_rests_on": "the proof basis",
    "gaps_refetched": "pages that were requested again because rows had moved",
    "watermark": "until when the partition is complete",
    "safety_margin_s": "by how many seconds the window reaches back",
    "margin_rows": "rows inside the safety margin",
    "pages": "pages that were read",
    "pages_resumed": "pages that an earlier attempt had staged",
    "requests": "HTTP requests that count against the budget",
    "throttled_429": "requests that the API answered with 429",
    "duration_s": "seconds from the first request to the commit",
    "files": "Parquet files",
    "bytes": "bytes of the files",
    "generation": "the id of this materialization of the partition",
    "outcome": "committed, or already committed by an earlier attempt",
    "not_modified": "the API said that nothing has changed (304)",
    "duplicate_rows": "rows that were dropped because an equal row is kept",
    "older_versions_dropped": "rows that were dropped because a later version is kept",
    "converted_cells": "cells that did not come in the declared type, by column",
    "warning": "what a person should look at, though the partition is complete",
    "parents": "parents whose children were requested",
    "parents_failed": "parents that failed",
    "failures": "which parents or values failed, and why",
    "values": "values of `each`",
    "values_behind": "values that failed, and are read by the next partition",
    "values_read_from_further_back": "values that were read from before the window: new ones, and "
    "those that had failed",
}


def page() -> str:
    """The page."""
    lines = [
        "# Checks and metadata",
        "",
        "## Checks",
        "",
        "Each asset has these checks. They run in the step that materializes the asset.",
        "",
        *table(("check", "a green check says"), [(code(n), words(t)) for n, t in CHECKS.items()]),
        "",
        "## What completeness rests on",
        "",
        *table(("`proof_rests_on`", "the claim"), [(code(b.value), b.claim) for b in ProofBasis]),
        "",
        "More: [completeness](../explanation/completeness.md).",
        "",
        "## Metadata of a materialization",
        "",
        *table(("name", "meaning"), [(code(n), MEANINGS.get(n) or _plain(n)) for n in names()]),
    ]
    return "\n".join(lines) + "\n"


def _plain(name: str) -> str:
    """A name that says enough by itself, as words."""
    return name.replace("_", " ")


def names() -> list[str]:
    """The names that ``assets/metadata.py`` gives to what it says, in its order."""
    tree = ast.parse((ROOT / "assets" / "metadata.py").read_text(encoding="utf-8"))
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            found |= dict.fromkeys(
                str(key.value) for key in node.keys if isinstance(key, ast.Constant)
            )
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                    found[str(target.slice.value)] = None
    known = [name for name in MEANINGS if name in found or name.startswith("dagster/")]
    return known + [str(name) for name in found if name not in MEANINGS]
