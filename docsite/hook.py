"""MkDocs' hook: the pages are staged before each build, and every decision record is in the nav."""

from typing import Any

from docsite.pages import ROOT, stage
from docsite.reference import generated

DECISIONS = "docs/decisions"


def on_config(config: Any) -> Any:
    """Put each record behind the list of records in the nav."""
    records = sorted(path.name for path in (ROOT / DECISIONS).glob("[0-9]*.md"))
    _add(config["nav"], [f"{DECISIONS}/{name}" for name in records])
    return config


def _add(pages: list[Any], records: list[str]) -> None:
    """Put the records behind their list, wherever in the nav it is."""
    if f"{DECISIONS}/README.md" in pages:
        pages.extend(records)
    for each in pages:
        for below in each.values() if isinstance(each, dict) else ():
            if isinstance(below, list):
                _add(below, records)


def on_pre_build(config: Any) -> None:
    """Bring ``build/docs`` up to date."""
    stage(generated())
