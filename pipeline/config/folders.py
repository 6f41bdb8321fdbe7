"""All sources of a deployment: those that load, and those that don't, each with its sentence."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.budgets import with_shared_limits
from pipeline.config.loader import load_source
from pipeline.config.source import Source
from pipeline.errors import ConfigError, cut
from pipeline.model import NAME

log = logging.getLogger("headrace.config")
_ENDINGS = (".yaml", ".yml")
_SOURCE = re.compile(r"^source:\s*[\"']?([^\"'\s#]+)", re.MULTILINE)


@dataclass(frozen=True)
class BrokenSource:
    """A source that can't be loaded.

    :ivar name: as its file says, or as the file is called.
    :ivar reason: one line for each mistake.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class LoadedSources:
    """What a deployment has: a mistake in one source takes down no other."""

    sources: tuple[Source, ...]
    broken: tuple[BrokenSource, ...]

    @property
    def mistakes(self) -> str:
        """All mistakes of all files, one a line."""
        return "\n".join(each.reason for each in self.broken)


def load_all(places: Sequence[str], env: Mapping[str, str]) -> LoadedSources:
    """The sources of files and folders, by name.

    Of two that have one name neither is loaded: their rows would mix in the lake.
    """
    sources: list[tuple[Source, str]] = []
    broken: list[BrokenSource] = []
    for place in places:
        for file in _files(place, broken):
            try:
                sources.append((load_source(file, env), place))
            except ConfigError as error:
                broken.append(BrokenSource(name_in(file), str(error)))
            except Exception as error:  # whatever is in a file: the others load
                log.exception("%s can't be read", file)
                reason = f"{file}: {type(error).__name__}: {cut(str(error), 300)}"
                broken.append(BrokenSource(name_in(file), reason))
    count = Counter(source.source for source, _ in sources)
    for name in (name for name, n in count.items() if n > 1):
        place = next(place for source, place in reversed(sources) if source.source == name)
        reason = f"{place}: the source {name!r} is defined twice: give one another name"
        broken.append(BrokenSource(name, reason))
    loaded = {s.source: s for s, _ in sources if count[s.source] == 1}
    return LoadedSources(tuple(with_shared_limits(loaded).values()), _named_apart(broken, loaded))


def _named_apart(
    broken: Sequence[BrokenSource], loaded: Mapping[str, Source]
) -> tuple[BrokenSource, ...]:
    """One broken source a name, and none with the name of a source that loads: their assets and
    jobs would have one name, and none of the deployment would load."""
    reasons: dict[str, list[str]] = {}
    for each in broken:
        name = f"{each.name}_broken" if each.name in loaded else each.name
        reasons.setdefault(name, []).append(each.reason)
    return tuple(BrokenSource(name, "\n".join(said)) for name, said in reasons.items())


def load_sources(places: Sequence[str], env: Mapping[str, str]) -> tuple[Source, ...]:
    """All sources of files and folders, by name.

    :raises ConfigError: all mistakes of all files, one a line.
    """
    found = load_all(places, env)
    if found.broken:
        raise ConfigError(found.mistakes)
    return found.sources


def files_in(places: Sequence[str]) -> Iterator[Path]:
    """The YAML files that there are."""
    for place in places:
        yield from _files(place, [])


def name_in(file: Path) -> str:
    """The name of a source, as its file says; else as the file is called."""
    try:
        said = _SOURCE.search(file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        said = None
    return said[1] if said and re.match(NAME, said[1]) else _plain(file.stem)


def _files(place: str, broken: list[BrokenSource]) -> list[Path]:
    path = Path(place)
    if path.is_file():
        return [path]
    files = sorted(file for file in path.glob("*") if file.suffix in _ENDINGS)
    if not path.is_dir():
        reason = (
            f"{place}: expected a YAML file or a folder of them, found none: set HEADRACE_SOURCES"
        )
    else:
        reason = f"{place}: expected at least one YAML file of a source, found none"
    if not files:
        broken.append(BrokenSource(_plain(path.stem), reason))
    return files


def _plain(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60]
    return name if name[:1].isalpha() else f"source_{name}".rstrip("_")
