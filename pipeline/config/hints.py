"""What to do about a key of a YAML file that does not belong where it stands. Pure."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from pipeline.auth import AUTH
from pipeline.config.endpoint import Endpoint
from pipeline.config.source import Source
from pipeline.decode import DECODERS
from pipeline.model import Model
from pipeline.pagination import PAGINATION
from pipeline.partitions import SCHEMES

_Schema = dict[str, Any]
_FEW: Final = 12
_NEAR: Final = 0.8
"""A key this like to one that belongs here is that one, misspelt, whatever it means elsewhere."""
_BESIDE: Final = {
    "an endpoint": "its key and its request",
    "the source": "base_url and endpoints",
}


def hint(path: Sequence[str], data: Mapping[str, Any]) -> str:
    """The end of the sentence ``path`` is not a known key.

    :param data: what the YAML says: which of several kinds a part of it is of.
    """
    of_aws = data.get("kind") == "aws"
    key, schema = path[-1], _schema(_aws() if of_aws else Source, _families())
    siblings = _keys_at(path[:-1], schema, data)
    if near := difflib.get_close_matches(key, siblings, n=1, cutoff=_NEAR):
        return f": did you mean {near[0]!r}?"
    for whose, model in (("an endpoint", Endpoint), ("the source", Source)):
        if not of_aws and key in _schema(model, _families())["properties"]:
            return f" here: it belongs to {whose} itself, beside {_BESIDE[whose]}"
    if any(key in model.get("properties", {}) for model in schema["$defs"].values()):
        return " here, but elsewhere: see docs/sources-reference.md"
    if near := difflib.get_close_matches(key, siblings, n=1):
        return f": did you mean {near[0]!r}?"
    if 0 < len(siblings) <= _FEW:
        return f": expected {', '.join(siblings)}"
    return ": take it away, or see docs/sources-reference.md"


def _aws() -> type[Model]:
    from pipeline.config.aws_source import AwsSource  # botocore's models: for who reads AWS

    return AwsSource


def _families() -> tuple[tuple[str, ...], ...]:
    return tuple(kinds.names for kinds in (AUTH, DECODERS, PAGINATION, SCHEMES))


@lru_cache(maxsize=8)
def _schema(model: type[Model], families: tuple[tuple[str, ...], ...]) -> _Schema:
    """The schema of a model, made once: a slip of indentation makes many unknown keys.

    :param families: the kinds there are, of which one may be added at any time.
    """
    return model.model_json_schema(by_alias=True)


def _keys_at(path: Sequence[str], schema: _Schema, data: Any) -> list[str]:
    """The keys that are known where ``path`` leads."""
    places = [schema]
    for part in path:
        if isinstance(data, Mapping) and part not in data and part == data.get("kind"):
            continue  # pydantic's tag of a choice
        places = [inner for place in places for inner in _into(place, part, schema["$defs"])]
        data = data.get(part) if isinstance(data, Mapping) else None
        places = [_of_kind(place, data) for place in places]
    found = {
        key
        for place in places
        for each in _opened(place, schema["$defs"])
        for key in each.get("properties", {})
    }
    return sorted(found | ({"defaults"} if not path else set()))


def _of_kind(place: _Schema, data: Any) -> _Schema:
    """Of a choice of kinds the one that the data names; else the place as it is."""
    kinds = place.get("discriminator", {}).get("mapping", {})
    kind = data.get("kind") if isinstance(data, Mapping) else None
    return {"$ref": kinds[kind]} if kind in kinds else place


def _into(place: _Schema, part: str, models: _Schema) -> Iterator[_Schema]:
    """Where one part of a path leads from a place."""
    tags = place.get("discriminator", {}).get("mapping", {})
    if part in tags:
        yield {"$ref": tags[part]}
        return
    for each in _opened(place, models):
        many = (each.get("items"), each.get("additionalProperties"))
        inside = [*many, *each.get("patternProperties", {}).values()]
        if part in each.get("properties", {}):
            yield each["properties"][part]
        else:
            yield from (inner for inner in inside if isinstance(inner, dict))


def _opened(place: _Schema, models: _Schema) -> Iterator[_Schema]:
    """A place without references and choices: each model that may stand there."""
    if "$ref" in place:
        yield from _opened(models[place["$ref"].rpartition("/")[2]], models)
    elif choices := place.get("oneOf", place.get("anyOf")):
        for each in choices:
            yield from _opened(each, models)
    else:
        yield place
