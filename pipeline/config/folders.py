"""All sources of a deployment: those that load, and those that don't, each with its sentence.

Sources may share a budget, whose limits hold for all of them. A budget is of a host and a key,
whatever the path: ``/v1`` and ``/v2`` of one API count together. ``limits.budget`` gives it a name,
for APIs that count otherwise. Where sources of one budget say other limits, the stricter hold for
all of them.
"""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.auth.base import origin_of
from pipeline.config.broken_source import BrokenSource, plain_name
from pipeline.config.limits import LimitsConfig, RateWindowConfig
from pipeline.config.loader import load_source
from pipeline.config.source import Source
from pipeline.errors import ConfigError, cut

log = logging.getLogger("headrace.config")


def budget_name(source: Source) -> str:
    """The name of a source's budget, without its key: the host, and a digest of host and key."""
    if source.limits.budget is not None:
        return f"named-{source.limits.budget}"
    origin = origin_of(source.base_url)
    who = source.auth.identity
    digest = hashlib.sha256(who.encode()).hexdigest() if who else "anonymous"
    host = re.sub(r"[^a-z0-9.-]", "-", origin.split("://")[1].rpartition(":")[0].lower())
    label = host.strip("-.")[:60] or "api"
    return f"{label}-{hashlib.sha256(f'{origin}|{digest}'.encode()).hexdigest()[:12]}"


def with_shared_limits(sources: Mapping[str, Source]) -> dict[str, Source]:
    """The sources, each with the limits that hold for its budget. A difference is logged."""
    by_budget: dict[str, list[Source]] = {}
    for source in sources.values():
        by_budget.setdefault(budget_name(source), []).append(source)
    by_name = dict(sources)
    for sharing in by_budget.values():
        limits_texts = {_text(source.limits) for source in sharing}
        if len(limits_texts) == 1:
            continue
        for source in sharing:
            limits = stricter(source.limits, [other.limits for other in sharing])
            by_name[source.source] = source.model_copy(update={"limits": limits})
        names = ", ".join(f"`{source.source}` ({_text(source.limits)})" for source in sharing)
        log.warning(
            "the sources %s share a budget, of one host and key, and say other limits: the "
            "stricter hold for all (%s). Check: 1. `limits` in their files; 2. `limits.budget`, a "
            "name for each, if the API counts them apart",
            names,
            _text(limits),
        )
    return by_name


def stricter(own: LimitsConfig, all_limits: Sequence[LimitsConfig]) -> LimitsConfig:
    """The limits of one source that keep to those of all that share its budget."""
    waits = [limits.throttle_wait_s for limits in all_limits if limits.throttle_wait_s is not None]
    return own.model_copy(
        update={
            "windows": _needed(window for limits in all_limits for window in limits.windows),
            "in_flight": min(limits.in_flight for limits in all_limits),
            "throttle_wait_s": max(waits, default=None),
            "not_modified_is_free": all(limits.not_modified_is_free for limits in all_limits),
        }
    )


def _needed(windows: Iterable[RateWindowConfig]) -> tuple[RateWindowConfig, ...]:
    """The windows without those that another one holds anyway."""
    distinct = list(dict.fromkeys(windows))
    return tuple(
        window
        for window in distinct
        if not any(
            other.requests <= window.requests and other.per_s >= window.per_s
            for other in distinct
            if other is not window
        )
    )


def _text(limits: LimitsConfig) -> str:
    windows = [f"{window.requests} requests in {window.per_s:g} s" for window in limits.windows]
    wait = [f"{limits.throttle_wait_s:g} s after a 429"] if limits.throttle_wait_s else []
    return ", ".join([*sorted(windows), f"{limits.in_flight} in flight", *wait])


_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class LoadedSources:
    """The sources of a deployment: a mistake in one source takes down no other."""

    sources: tuple[Source, ...]
    broken: tuple[BrokenSource, ...]

    @property
    def mistakes(self) -> str:
        """All mistakes of all files, one a line."""
        return "\n".join(each.reason for each in self.broken)

    def without(self, reasons: Mapping[str, str]) -> "LoadedSources":
        """The same, with some of the sources among the broken ones.

        :param reasons: by the name of a source, why it can't be loaded after all.
        """
        broken = [
            BrokenSource.of_source(source, reasons[source.source])
            for source in self.sources
            if source.source in reasons
        ]
        loaded = {s.source: s for s in self.sources if s.source not in reasons}
        return LoadedSources(tuple(loaded.values()), _named_apart([*self.broken, *broken], loaded))


def load_all(places: Sequence[str], env: Mapping[str, str]) -> LoadedSources:
    """The sources of files and folders, by name.

    Of two that have one name neither is loaded: their rows would mix in the lake.
    """
    sources: list[tuple[Source, Path]] = []
    broken: list[BrokenSource] = []
    for place in places:
        for file in _files(place, broken):
            try:
                sources.append((load_source(file, env), file))
            except ConfigError as error:
                broken.append(BrokenSource.of_file(file, str(error), env))
            except Exception as error:  # whatever is in a file: the others load
                log.exception("%s can't be read", file)
                reason = f"{file}: {type(error).__name__}: {cut(str(error), 300)}"
                broken.append(BrokenSource.of_file(file, reason, env))
    count = Counter(source.source for source, _ in sources)
    for name in (name for name, n in count.items() if n > 1):
        of_name = [(source, str(file)) for source, file in sources if source.source == name]
        files = [file for _, file in of_name]
        reason = (
            f"{files[-1]}: the source {name!r} is defined twice, also in {', '.join(files[:-1])}: "
            "give one another name"
        )
        timed = next((s for s, _ in of_name if s.schedule.running), of_name[0][0])
        broken.append(BrokenSource.of_source(timed, reason))
    loaded = {s.source: s for s, _ in sources if count[s.source] == 1}
    return LoadedSources(tuple(with_shared_limits(loaded).values()), _named_apart(broken, loaded))


def _named_apart(
    broken: Sequence[BrokenSource], loaded: Mapping[str, Source]
) -> tuple[BrokenSource, ...]:
    """Broken sources, each name once, and none with the name of a source that loads.

    Their assets and jobs would have one name, and none of the deployment would load.
    """
    by_name: dict[str, list[BrokenSource]] = {}
    for each in broken:
        name = each.name
        while name in loaded:
            name += "_broken"
        by_name.setdefault(name, []).append(each)
    return tuple(_together(name, those) for name, those in by_name.items())


def _together(name: str, broken: Sequence[BrokenSource]) -> BrokenSource:
    """All of one name as one: it runs at the hour of one that does."""
    timed = next((each for each in broken if each.schedule.running), broken[0])
    return replace(timed, name=name, reason="\n".join(each.reason for each in broken))


def files_in(places: Sequence[str]) -> Iterator[Path]:
    """The YAML files that there are."""
    for place in places:
        yield from _files(place, [])


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
        broken.append(BrokenSource(plain_name(path.stem), reason))
    return files
