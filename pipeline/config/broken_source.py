"""A source that can't be loaded: its sentence, and what its file says of its schedule all the same.

Its job and its schedule keep their names and their hour, so that a schedule that is on goes on, and
its runs fail where somebody sees it. What can't be read of the schedule counts as on.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from pydantic import ValidationError

from pipeline.config.settings import MissingSetting, interpolate
from pipeline.config.source import Schedule, Source
from pipeline.config.yaml_lines import read_yaml
from pipeline.errors import ConfigError
from pipeline.model import NAME
from pipeline.partitions import SCHEMES, PartitionScheme

_SOURCE = re.compile(r"^source:\s*[\"']?([^\"'\s#]+)", re.MULTILINE)
_DAYS: PartitionScheme = SCHEMES["days"](kind="days")
_ON = Schedule(running=True)


@dataclass(frozen=True)
class BrokenSource:
    """A source that can't be loaded.

    :ivar name: as its file says, or as the file is called.
    :ivar reason: one line for each mistake.
    """

    name: str
    reason: str
    schedule: Schedule = _ON
    timezone: str = "UTC"
    partitions: PartitionScheme = _DAYS

    @classmethod
    def of_source(cls, source: Source, reason: str) -> "BrokenSource":
        """A source whose file is right by itself, and that can't be loaded for another reason."""
        return cls(source.source, reason, source.schedule, source.timezone, source.partitions)

    @classmethod
    def of_file(cls, file: Path, reason: str, env: Mapping[str, str]) -> "BrokenSource":
        """A source whose file is wrong, with all that can be read of its schedule."""
        data = _data_in(file, env)
        if data is None:
            return cls(name_in(file), reason)
        timezone, scheme = str(data.get("timezone")), _DAYS
        with suppress(ConfigError, ValidationError, ValueError):
            scheme = SCHEMES.read(data.get("partitions", _DAYS))
        return cls(
            name_in(file),
            reason,
            _schedule_of(data.get("schedule", {})),
            timezone if timezone in available_timezones() else "UTC",
            scheme,
        )


def name_in(file: Path) -> str:
    """The name of a source, as its file says; else as the file is called."""
    try:
        match = _SOURCE.search(file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        match = None
    return match[1] if match and re.match(NAME, match[1]) else plain_name(file.stem)


def plain_name(text: str) -> str:
    """A text as the name of a source."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60]
    return name if name[:1].isalpha() else f"source_{name}".rstrip("_")


def _data_in(file: Path, env: Mapping[str, str]) -> dict[str, Any] | None:
    """The YAML of a file, with nothing where a setting is missing; None if it is no YAML."""

    def setting(value: str, _: int) -> str | None:
        try:
            return interpolate(value, env)
        except MissingSetting:
            return None

    with suppress(Exception):  # whatever kept the file from being loaded
        data, _ = read_yaml(file.read_text(encoding="utf-8-sig"), setting)
        return data if isinstance(data, dict) else None
    return None


def _schedule_of(data: Any) -> Schedule:
    """The schedule, of which each part that can't be read is the default; ``running`` is then on.

    >>> _schedule_of({"hour": 5, "minute": "?", "running": "${ON}"})
    Schedule(hour=5, minute=30, running=True)
    """
    readable: dict[str, Any] = {"running": True}
    if isinstance(data, dict):
        readable = {"running": True} if "running" in data else {}
        for name in Schedule.model_fields.keys() & data.keys():
            with suppress(ValidationError):
                readable[name] = getattr(Schedule.model_validate({name: data[name]}), name)
    return Schedule(**readable)
