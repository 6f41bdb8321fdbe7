"""Whether a step's process has the settings and the code of the process that planned its run.

The code server plans a run, and a worker on another machine may execute it. If that worker had
another lake or budget, it would read and write in the wrong place unnoticed. So each source's step
has a tag with short digests of its settings, which Dagster keeps with the run. The warning names
the settings that differ, and never shows their values.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import dagster as dg

from assets.compat import planned_op_tags
from pipeline.config.source import Source

TAG = "headrace/settings"
_ROOT = Path(__file__).resolve().parents[1]
_DIGITS = 8
_USER_INFO = re.compile(r"//[^/@]*@")


def settings_tag(source: Source, settings: Mapping[str, str]) -> str:
    """The digests, by name.

    :param settings: of the deployment. Passwords in URLs are left out.
    """
    values = {name: _USER_INFO.sub("//", value) for name, value in settings.items()}
    values[f"the YAML of `{source.source}`"] = source.model_dump_json()  # secrets are stars in it
    values["Headrace's code"] = _code()
    return json.dumps({name: _digest(value) for name, value in values.items()})


def other_settings(context: dg.AssetExecutionContext) -> str | None:
    """A sentence that names the settings in which this process differs from the one that planned
    the run; None if there are none."""
    own = json.loads(context.op_def.tags.get(TAG, "{}"))
    planned = json.loads(planned_op_tags(context).get(TAG, "{}"))
    names = [name for name in own if name in planned and own[name] != planned[name]]
    if not names:
        return None
    return (
        "These differ between this process and the code server that planned the run: "
        f"{', '.join(names)}. Check: 1. the environment; 2. the code of the machine that runs steps"
    )


@cache
def _code() -> str:
    """The size of each file: cheap, and another release has other ones."""
    rooms = ("assets", "pipeline", "resources")
    files = [file for room in rooms for file in (_ROOT / room).rglob("*.py")]
    return "\n".join(f"{file.relative_to(_ROOT)} {file.stat().st_size}" for file in sorted(files))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
