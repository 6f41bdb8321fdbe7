"""Sources that Dagster refuses although their YAML is right. Each is shown as a source that can't
be loaded, with Dagster's sentence; the others load.

Dagster resolves all definitions of a code location together, and takes all of them or none. So they
are resolved here first, all together. That costs no extra time, since Dagster keeps the result.
Only if it fails, each source is resolved by itself, and sources that collide are searched for.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

import dagster as dg

from assets.compat import resolve
from pipeline.config import LoadedSources, Source
from pipeline.errors import cut, printable
from pipeline.redaction import redact

_MOST_CHARS = 500


def resolved(
    loaded: LoadedSources, definitions_of: Callable[[LoadedSources], dg.Definitions]
) -> tuple[LoadedSources, dg.Definitions]:
    """The sources of a deployment, those that Dagster refuses among the broken ones, and its
    definitions.

    :param definitions_of: the definitions of some of the sources.
    :raises Exception: what Dagster refuses is of no source.
    """

    def refusal(*sources: Source) -> Exception | None:
        try:
            resolve(definitions_of(LoadedSources(sources, ())))
        except Exception as error:
            return error
        return None

    try:
        definitions = definitions_of(loaded)
        resolve(definitions)
    except Exception:
        if refusal() is not None:
            raise
    else:
        return loaded, definitions
    takes_part = loaded.without(_reasons(loaded.sources, refusal))
    definitions = definitions_of(takes_part)
    resolve(definitions)
    return takes_part, definitions


Refusal = Callable[..., Exception | None]
"""Why Dagster refuses some sources together; None if it takes them. If it refuses some sources, it
also refuses them together with more."""


def _reasons(sources: Sequence[Source], refusal: Refusal) -> dict[str, str]:
    """By the name of a source, why Dagster refuses it; of two that collide, both.

    Each is looked at alone. Those that collide are searched for by halves: each costs as much as
    some loads of all sources, and not as one beside each other source.
    """
    reasons: dict[str, str] = {}
    for source in sources:
        if error := refusal(source):
            reasons[source.source] = _sentence(source, error)
    sound = [source for source in sources if source.source not in reasons]
    go_together = 0
    while error := refusal(*sound):
        shortest = _shortest_refused(sound, refusal, at_least=go_together)
        source, before = shortest[-1], shortest[:-1]
        errors = _collisions(source, before, refusal)
        others = [other for other in before if other.source in errors]
        for other in others:
            error = errors[other.source]
            reasons[other.source] = _sentence(other, error, [source])
        reasons[source.source] = _sentence(source, error, others)
        sound = [source for source in sound if source.source not in reasons]
        go_together = len(before) - len(others)
    return reasons


def _collisions(source: Source, others: Sequence[Source], refusal: Refusal) -> dict[str, Exception]:
    """By the name of another source, why Dagster refuses the two."""
    errors: dict[str, Exception] = {}
    others = list(others)
    while refusal(source, *others):
        other = _shortest_refused(others, lambda *some: refusal(source, *some))[-1]
        others.remove(other)
        if error := refusal(other, source):  # else it takes a third one
            errors[other.source] = error
    return errors


def _shortest_refused(
    sources: Sequence[Source], refusal: Refusal, at_least: int = 0
) -> Sequence[Source]:
    """The fewest of these sources, from the first one on, that are refused; all of them are."""
    lengths = range(at_least + 1, len(sources))
    at = bisect_left(lengths, True, key=lambda n: refusal(*sources[:n]) is not None)
    return sources[: at_least + 1 + at]


def _sentence(source: Source, error: Exception, beside: Sequence[Source] = ()) -> str:
    """The reason of a refusal, in Dagster's words."""
    file = f"{source.origin.file}: " if source.origin else ""
    names = ", ".join(f"`{other.source}`" for other in beside)
    text = redact(" ".join(str(error).split()), source.secrets)
    kind = "" if isinstance(error, dg.DagsterError) else f"{type(error).__name__}: "
    return (
        f"{file}Dagster refuses the source `{source.source}`"
        + (f" beside {names}" if names else "")
        + f": {kind}{cut(printable(text), _MOST_CHARS)}"
    )
