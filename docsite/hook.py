"""MkDocs' hook: the pages are staged before each build; new pages of some folders join the nav."""

from typing import Any

from docsite.pages import ROOT, stage
from docsite.reference import generated

DECISIONS, TASKS = "docs/decisions", "docs/how-to"
LAST_TASK = f"{TASKS}/downstream.md"


def on_config(config: Any) -> Any:
    """Put the records behind their list, and pages of tasks that the nav does not name last."""
    for folder, pattern, behind in (
        (DECISIONS, "[0-9]*.md", f"{DECISIONS}/README.md"),
        (TASKS, "*.md", LAST_TASK),
    ):
        known = {*_paths(config["nav"])}
        found = sorted(f"{folder}/{path.name}" for path in (ROOT / folder).glob(pattern))
        _add(config["nav"], [path for path in found if path not in known], behind)
    return config


def on_pre_build(config: Any) -> None:
    """Bring ``build/docs`` up to date."""
    stage(generated())


def _paths(pages: list[Any]) -> list[str]:
    """All pages of a part of the nav."""
    found = [each for each in pages if isinstance(each, str)]
    for each in pages:
        for below in each.values() if isinstance(each, dict) else ():
            found += _paths(below) if isinstance(below, list) else [below]
    return found


def _add(pages: list[Any], new: list[str], behind: str) -> None:
    """Put new pages at the end of the list that has ``behind``."""
    if behind in pages:
        pages.extend(new)
    for each in pages:
        for below in each.values() if isinstance(each, dict) else ():
            if isinstance(below, list):
                _add(below, new, behind)
