"""The sources that Dagster refuses, though their YAML is right: each is shown as one that can't be
loaded, with Dagster's sentence, and takes down no other.

Dagster resolves all definitions of a code location at once, and takes all of them or none. So they
are resolved here: all at once, which costs nothing, since Dagster keeps the result. Only if that
fails each source is resolved by itself, and then one beside the others.
"""

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


def _reasons(sources: Sequence[Source], refusal: Callable[..., Exception | None]) -> dict[str, str]:
    """By the name of a source, why Dagster refuses it; of two that collide, both."""
    reasons: dict[str, str] = {}
    together: list[Source] = []
    for source in sources:
        if error := refusal(source):
            reasons[source.source] = _sentence(source, error)
    sound = [source for source in sources if source.source not in reasons]
    if refusal(*sound) is None:
        return reasons
    for source in sound:
        error = refusal(*together, source)
        if error is None:
            together.append(source)
            continue
        errors = {other.source: refusal(other, source) for other in together}
        others = [other for other in together if errors[other.source]]
        together = [other for other in together if not errors[other.source]]
        for other in others:
            error = errors[other.source] or error
            reasons[other.source] = _sentence(other, error, [source])
        reasons[source.source] = _sentence(source, error, others)
    return reasons


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
