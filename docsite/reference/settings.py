"""`docs/reference/settings.md`: the environment variables of the project and its sources."""

import re
from dataclasses import fields

from docsite.pages import ROOT
from docsite.reference.markdown import code, meanings, table
from pipeline.config.settings import Settings

_NAME = re.compile(r"``(HEADRACE_\w+)``|`(HEADRACE_\w+)`")
_SETTING = re.compile(r"\$\{(\w+)(?::(-)([^}]*))?\}")
_OTHERS = (
    ("AWS_ACCESS_KEY_ID", "and the other variables of boto3; roles and profiles work too", ""),
    (
        "AWS_ENDPOINT_URL_S3",
        "another S3 than AWS; it must know conditional writes (`If-Match`)",
        "",
    ),
    ("HEADRACE_HASH_SALT", "the salt of `hash`, where a source names it in `hash_salt`", ""),
    ("DAGSTER_HOME", "the folder of Dagster's instance: history, schedules, backfills", ""),
)


def page() -> str:
    """The page."""
    lines = [
        "# Settings",
        "",
        "All settings come from the environment. A missing or wrong one is one clear sentence, and",
        "stops only the source that needs it. How to set them: [Run it](../how-to/run.md).",
        "",
        "## Of the project",
        "",
        *table(("setting", "meaning", "default"), project()),
        "",
        "## Of the sources that ship",
        "",
        "A setting without a default is required by its source.",
        "",
        *table(("setting", "source", "default"), shipped()),
        "",
        "## In a YAML file of yours",
        "",
        "`${VAR}` is required, `${VAR:-default}` has a default, `${VAR:-}` may be empty: a",
        "parameter, a header or a member of a body with an empty setting is left out.",
    ]
    return "\n".join(lines) + "\n"


def project() -> list[tuple[str, str, str]]:
    """What ``Settings`` reads, and what others read for us: name, meaning, default."""
    said = meanings(Settings)
    rows = []
    for each in fields(Settings):
        text = said[each.name]
        name = next(filter(None, _NAME.search(text).groups()))  # type: ignore[union-attr]
        meaning, _, default = _without(text, name).partition("None = ")
        rows.append((code(name), meaning.rstrip("; ."), default.rstrip(".")))
    return rows + [(code(name), meaning, default) for name, meaning, default in _OTHERS]


def _without(text: str, name: str) -> str:
    return re.sub(rf"\s*\(`{name}`(?:, )?", " (", text).replace(" ()", "").replace("()", "")


def shipped() -> list[tuple[str, str, str]]:
    """Name, file and default of each setting that a YAML in ``sources/`` names."""
    found: dict[str, tuple[str, str]] = {}
    for file in sorted((ROOT / "sources").glob("*.yaml")):
        for name, has_default, default in _SETTING.findall(file.read_text(encoding="utf-8")):
            shown = (code(default) if default else "empty") if has_default else "**required**"
            found.setdefault(name, (code(file.name), shown))
    return [(code(name), file, default) for name, (file, default) in sorted(found.items())]
