"""Endpoints and partitions that a command names, held against the sources' YAML before Dagster
starts: each mistake is one sentence, and nothing has run."""

import difflib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from local.paths import ROOT
from pipeline.config import Source, load_all, load_source
from pipeline.config.broken_source import name_in
from pipeline.config.folders import files_in
from pipeline.config.settings import Settings
from pipeline.errors import ConfigError, ReadRefused, WindowRefused

_MOST_NAMED = 5


def source_named(name: str) -> Source:
    """The source of that name, of those of the environment.

    :raises ConfigError: ``HEADRACE_LAKE`` is not set, there is no such source, or its YAML is
        wrong.
    """
    places = [_from_root(place) for place in Settings.read(os.environ).sources]
    names = {file: name_in(file) for file in files_in(places)}
    matching = [file for file, source_name in names.items() if source_name == name]
    if not matching:  # a name may also come from a setting
        loaded = {source.source: source for source in load_all(places, os.environ).sources}
        if name in loaded:
            return loaded[name]
        where = ", ".join(f"`{place}`" for place in places)
        others = sorted(set(names.values()))
        raise ConfigError(f"there is no source `{name}` in {where}{near(name, others)}")
    if len(matching) > 1:
        files = " and ".join(f"`{file}`" for file in matching)
        raise ConfigError(f"{files} define the source `{name}`: give one another name")
    return load_source(matching[0])


def endpoint_named(what: str) -> Source:
    """The source of ``source``, ``source/endpoint`` or ``source/endpoint/table``, which has that.

    :raises ConfigError: as ``source_named``, or the source has no such endpoint.
    """
    name, _, endpoint = what.partition("/")
    source = source_named(name)
    known = [each for of in source.endpoints for each in (of, *source.tables(of))]
    if endpoint and endpoint not in known:
        names = [f"{name}/{each}" for each in known]
        raise ConfigError(f"there is no endpoint `{what}`{near(what, names)}")
    return source


def is_endpoint(what: str) -> bool:
    """Whether a source that loads has the endpoint ``source/endpoint``."""
    try:
        endpoint_named(what)
    except ConfigError:
        return False
    return True


def days_range(days: str) -> tuple[str, str]:
    """The first and the last partition of ``A`` or ``A...B``.

    :raises ConfigError: it is neither.
    """
    first, separator, last = days.partition("...")
    if not first or (separator and not last) or ".." in first or ".." in last:
        raise ConfigError(
            f"--days is `{days}`: expected one partition, or two as A...B, with three dots"
        )
    return first, last or first


def partitions_chosen(
    source: Source, days: str | None, now: datetime | None = None
) -> tuple[str, str]:
    """The first and the last partition that ``--days`` names; without it, the one that is running.

    :param now: None: the clock's.
    :raises ConfigError: it is neither ``A`` nor ``A...B``.
    :raises ReadRefused: the later one comes first.
    :raises WindowRefused: the source has no such partition, or not yet.
    """
    calendar = source.calendar
    newest = calendar.of(now or datetime.now(UTC))
    first, last = days_range(newest if days is None else days)
    for key in (first, last):
        calendar.begins(key)
    if first > last:
        raise ReadRefused(
            f"--days is `{days}`: the earlier partition comes first: {last}...{first}"
        )
    if first < calendar.first:
        file = source.origin.file if source.origin else f"the YAML of {source.source}"
        raise WindowRefused(
            f"`{first}` is before the first partition, `{calendar.first}` (`start` in {file})"
        )
    if last > newest:
        raise WindowRefused(f"`{last}` is in the future: the newest partition is `{newest}`")
    return first, last


def near(name: str, names: Sequence[str]) -> str:
    """The end of the sentence that there is no such name: those it may have meant, or some.

    >>> near("parts/part", ["parts/parts", "parts/makers"])
    ': did you mean `parts/parts`?'
    >>> near("parts/x", ["parts/parts", "parts/makers"])
    '; there are: `parts/parts`, `parts/makers`'
    >>> near("parts", [])
    '; there is none'
    """
    prefix = f"{name.partition('/')[0]}/" if "/" in name else ""
    own = {each.removeprefix(prefix): each for each in names}
    if nearest := difflib.get_close_matches(name.removeprefix(prefix), list(own), n=3):
        return f": did you mean {' or '.join(f'`{own[each]}`' for each in nearest)}?"
    if not names:
        return "; there is none"
    more = len(names) - _MOST_NAMED
    listing = ", ".join(f"`{each}`" for each in names[:_MOST_NAMED])
    return f"; there {'is' if len(names) == 1 else 'are'}: {listing}" + (
        f" and {more} more" if more > 0 else ""
    )


def _from_root(place: str) -> str:
    """A relative path is looked for where Dagster looks: beside `definitions.py`."""
    return place if Path.cwd() == ROOT else str(ROOT / place)
