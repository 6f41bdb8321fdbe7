"""YAML files to ``Source``: every mistake is one sentence with file, line and remedy.

A file's ``defaults`` are merged under each endpoint before anything is checked, so that a family of
endpoints is written once.

A key that does not belong where it stands gets a hint: the key or the place that it may have meant.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from pydantic import ValidationError

from pipeline.auth import AUTH
from pipeline.config.each import problems_of_lists
from pipeline.config.endpoint import Endpoint
from pipeline.config.settings import MissingSetting, interpolate
from pipeline.config.source import OWNER, TAG_KEY, TAG_VALUE, Origin, Source
from pipeline.config.yaml_lines import Lines, read_yaml, without_left_out
from pipeline.decode import DECODERS
from pipeline.errors import ConfigError
from pipeline.hooks import load_function
from pipeline.model import BASE_URL, NAME, Model
from pipeline.pagination import PAGINATION
from pipeline.partitions import SCHEMES

if TYPE_CHECKING:
    from pipeline.config.aws_source import AwsSource

_Schema = dict[str, Any]
_FEW: Final = 12
_NEAR: Final = 0.8
_MOST_MISTAKES: Final = 30
"""Of one file: a mistake in `defaults` is one of each endpoint."""
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
    key, schema = path[-1], _schema(_aws_source() if of_aws else Source, _families())
    siblings = _keys_at(path[:-1], schema, data)
    if near := difflib.get_close_matches(key, siblings, n=1, cutoff=_NEAR):
        return f": did you mean {near[0]!r}?"
    for whose, model in (("an endpoint", Endpoint), ("the source", Source)):
        if not of_aws and key in _schema(model, _families())["properties"]:
            return f" here: it belongs to {whose} itself, beside {_BESIDE[whose]}"
    if any(key in model.get("properties", {}) for model in schema["$defs"].values()):
        return " here, but elsewhere: see docs/sources-reference"
    if near := difflib.get_close_matches(key, siblings, n=1):
        return f": did you mean {near[0]!r}?"
    if 0 < len(siblings) <= _FEW:
        return f": expected {', '.join(siblings)}"
    return ": take it away, or see docs/sources-reference"


def _aws_source() -> "type[AwsSource]":
    """The model of the kind ``aws``. botocore's models are only read for who reads AWS."""
    from pipeline.config.aws_source import AwsSource

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
    keys = {
        key
        for place in places
        for each in _opened(place, schema["$defs"])
        for key in each.get("properties", {})
    }
    return sorted(keys | ({"defaults"} if not path else set()))


def _of_kind(place: _Schema, data: Any) -> _Schema:
    """The kind that the data names, of a choice of kinds; else the place as it is."""
    kinds = place.get("discriminator", {}).get("mapping", {})
    kind = data.get("kind") if isinstance(data, Mapping) else None
    return {"$ref": kinds[kind]} if kind in kinds else place


def _into(place: _Schema, part: str, models: _Schema) -> Iterator[_Schema]:
    """The schemas that one part of a path leads to from a place."""
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


def load_source(file: Path | str, env: Mapping[str, str] | None = None) -> Source:
    """Read a source from its YAML file.

    :raises ConfigError: one line for each mistake: ``file:line: what was expected, what came``.
    """
    return source_of_text(str(file), _text_of(file), os.environ if env is None else env)


def source_of_text(file: str, text: str, settings: Mapping[str, str]) -> Source:
    """Load one source from a YAML text.

    :param file: where it stands, for messages.
    :raises ConfigError: as ``load_source``.
    """
    missing = _Missing(file, {})
    data, lines, filled = _parse(file, text, settings, missing)
    merged = merge_defaults(data)
    if lines.variables:
        merged = without_left_out(merged)
    try:
        source = _source_of(merged, missing)
    except ValidationError as error:
        sentences = [
            sentence
            for item in error.errors()
            for sentence in _sentences(file, lines, dict(item), filled, merged)
            if not (missing.of and (item["type"] == "value_error" or missing.at(sentence)))
        ]
        sentences = sorted([*missing.sentences, *sentences], key=_line) if missing.of else sentences
        raise ConfigError(_lines_of(file, [*dict.fromkeys(sentences)])) from None
    sentences = missing.sentences or _misfits(file, lines, source)
    if sentences:
        raise ConfigError(_lines_of(file, sentences))
    origin = Origin(file, {n: lines.nearest(("endpoints", n))[0] for n in source.endpoints})
    source = source.with_credentials_of(_for_credentials(lines, settings)).with_origin(origin)
    return source.with_secrets([*source.secrets, *_sent(lines, settings, source)])


def _source_of(data: dict[str, Any], missing: "_Missing") -> Source:
    """The source of a file's data, by its kind: an API, or AWS.

    :raises ConfigError: settings are missing. Service models are not read for a source without.
    """
    if data.get("kind") != "aws":
        return Source.model_validate(data).with_limits_of_key()
    if missing.of:
        raise ConfigError("\n".join(missing.sentences))
    return _aws_source().model_validate(data).as_source()


def _lines_of(file: str, sentences: Sequence[str]) -> str:
    """The first mistakes of a file, one a line, and how many more there are."""
    more = len(sentences) - _MOST_MISTAKES
    lines = [
        *sentences[:_MOST_MISTAKES],
        *([f"{file}: and {more} more mistakes"] if more > 0 else []),
    ]
    return "\n".join(lines)


def _sent(lines: Lines, env: Mapping[str, str], source: Source) -> list[str]:
    """The values of settings that requests carry: they are secrets, unless others show them.

    Most settings in an address are no secret, and often quoted: there only those are whose names
    say that they are.
    """
    names, in_address = set[str](), set[str]()
    for path, variables in lines.variables.items():
        if path[0] == "headers" or "request" in path:
            names.update(variables)
        if path[-1] in ("base_url", "path"):
            in_address.update(name for name in variables if _SECRET_NAME.search(name))
    public = [*source.base_urls, source.source, *source.endpoints]
    values = {name: value for name, value in env.items() if len(value) >= _SECRET_CHARS}
    hidden = {values[name] for name in in_address if name in values}
    sent = {values[name] for name in names if name in values}
    return sorted(hidden | {value for value in sent if not any(value in text for text in public)})


@dataclass(frozen=True)
class _Missing:
    """The settings of a file that have no value: sentences by their lines."""

    file: str
    of: dict[int, list[str]]

    @property
    def sentences(self) -> list[str]:
        return [sentence for those in self.of.values() for sentence in those]

    def at(self, sentence: str) -> bool:
        """Whether a sentence is about a line that lacks its setting."""
        return any(sentence.startswith(f"{self.file}:{line}:") for line in self.of)


def _line(sentence: str) -> int:
    match = re.search(r":(\d+): ", sentence)
    return int(match[1]) if match else 0


def _for_credentials(lines: Lines, env: Mapping[str, str]) -> list[str]:
    """The variables that may hold what the API knows the user by, for a sentence."""
    names = dict.fromkeys(
        name
        for path, variables in lines.variables.items()
        if path[0] in ("auth", "headers") and path[-1] != "token_url"
        for name in variables
    )
    return [name if env.get(name) else f"{name} (not set)" for name in names]


def _misfits(file: str, lines: Lines, source: Source) -> list[str]:
    """Mistakes that show when endpoints are compared with each other, and with the user's code."""
    problems: list[tuple[tuple[str, ...], str]] = [
        (("endpoints", name, *key), sentence)
        for name, key, sentence in problems_of_lists(source.endpoints)
    ]
    for name, endpoint in source.endpoints.items():
        try:
            if endpoint.transform:
                load_function(endpoint.transform, "transform")
        except ConfigError as error:
            problems.append((("endpoints", name, "transform"), str(error)))
        try:
            endpoint.paging.fitted(endpoint.order)
        except ConfigError as error:
            problems.append((("endpoints", name, "paging", "path"), str(error)))
    return [_at(file, lines, path, sentence) for path, sentence in problems]


def _at(file: str, lines: Lines, path: tuple[str, ...], sentence: str) -> str:
    line, inside = lines.nearest(path)
    return f"{file}:{line}: {'.'.join(inside)}: {sentence}"


def _text_of(file: Path | str) -> str:
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: can't be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{line}: this is not UTF-8 text") from None


def _parse(
    file: str, text: str, env: Mapping[str, str], missing: _Missing
) -> tuple[dict[str, Any], Lines, Mapping[str, str]]:
    """The data, their lines, and of each value with settings in it what the YAML says there."""
    filled: dict[str, str] = {}

    def setting(value: str, line: int) -> str | None:
        try:
            filled_in = interpolate(value, env)
        except MissingSetting as error:
            missing.of.setdefault(line, []).append(f"{file}:{line}: {error}")
            return None
        if filled_in != value and len(filled_in) >= _SECRET_CHARS:
            filled[filled_in] = value
        return filled_in or None

    try:
        data, lines = read_yaml(text, setting)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}:{_problem(error, text)}") from None
    except RecursionError:
        raise ConfigError(f"{file}:1: this YAML is nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{file}:{error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{file}:1: expected a mapping that starts with 'source: name'")
    if not isinstance(data.get("defaults", {}), dict | None):
        line, _ = lines.nearest(("defaults",))
        raise ConfigError(f"{file}:{line}: defaults: expected a mapping of what endpoints share")
    return data, lines, filled


def _problem(error: yaml.YAMLError, text: str) -> str:
    """Line and sentence, without the value: a password may begin with ``*`` or ``!``."""
    mark = getattr(error, "problem_mark", None)
    position = getattr(error, "position", None)
    line = mark.line + 1 if mark else text.count("\n", 0, position) + 1 if position else 1
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    if problem.startswith(("found undefined alias", "could not determine a constructor")):
        problem = "a value that begins with * or ! needs quotes"
    return f"{line}: this is not valid YAML: {problem}"


def merge_defaults(data: dict[str, Any]) -> dict[str, Any]:
    """Merge ``defaults`` under every endpoint; an endpoint's own word wins, ``null`` takes away."""
    rest = {key: value for key, value in data.items() if key != "defaults"}
    defaults, endpoints = data.get("defaults"), data.get("endpoints")
    if isinstance(defaults, dict) and isinstance(endpoints, dict):
        rest["endpoints"] = {
            name: _merge(defaults, {} if endpoint is None else endpoint)
            for name, endpoint in endpoints.items()
        }
    elif isinstance(endpoints, dict):
        rest["endpoints"] = {name: {} if e is None else e for name, e in endpoints.items()}
    return rest


_NAMED_BY_THE_USER = ("params", "headers", "form", "json", "columns")
"""Mappings whose names are the API's: a parameter may be called ``kind``."""


def _merge(below: Any, above: Any, *, of_kinds: bool = True) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    if of_kinds and _kind(below) != _kind(above) and _kind(above) is not None:
        return above
    both = {
        key: _merge(
            below.get(key),
            above.get(key, below.get(key)),
            of_kinds=of_kinds and key not in _NAMED_BY_THE_USER,
        )
        for key in below
    }
    merged = {**both, **{key: value for key, value in above.items() if key not in below}}
    return {key: value for key, value in merged.items() if key not in above or value is not None}


def _kind(value: dict[str, Any]) -> Any:
    return value.get("kind", value.get("dialect"))


def _sentences(
    file: str, lines: Lines, error: dict[str, Any], filled: Mapping[str, str], data: dict[str, Any]
) -> list[str]:
    """A pydantic error as sentences: parts of an endpoint that do not fit get a line each."""
    if error["type"] != "value_error":
        return [_sentence(file, lines, error, filled, data)]
    each = str(error["msg"]).removeprefix("Value error, ").split("\n")
    return [_sentence(file, lines, error | {"msg": text}, filled, data) for text in each]


def _sentence(
    file: str, lines: Lines, error: dict[str, Any], filled: Mapping[str, str], data: dict[str, Any]
) -> str:
    """A pydantic error as ``file:line: where: what was expected``.

    A setting is named and not said: it may be a secret, in whatever place somebody put it.
    """
    path = tuple(str(part) for part in error["loc"])
    line, inside = lines.nearest(path)
    where = ".".join(inside) or "the file"
    message = str(error["msg"]).removeprefix("Value error, ")
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        return f"{file}:{line}: {where}: {path[-1]!r} is not a known key{hint(path, data)}"
    if error["type"] == "missing":
        return f"{file}:{line}: {where}: {path[-1]!r} is missing: add it"
    if error["type"] in _SENTENCES:
        message = _SENTENCES[error["type"]].format(**context, input=error.get("input"))
    if error["type"] == "string_pattern_mismatch":
        message = _PATTERNS.get(error["ctx"]["pattern"], message)
    sentence = f"{where}: {message[:1].lower()}{message[1:]}"
    expected = " ".join(str(text) for name, text in context.items() if name.startswith("expected"))
    return f"{file}:{line}: {_without_settings(sentence, filled, expected)}"


def _without_settings(sentence: str, filled: Mapping[str, str], expected: str) -> str:
    """The YAML's own words for what came from settings, whole or in part.

    :param expected: what the sentence says is right, which stays.
    """
    for value in sorted(filled, key=len, reverse=True):
        for form in (value, repr(value)[1:-1]):
            sentence = sentence.replace(form, filled[value])

    def unfilled(word: re.Match[str]) -> str:
        if word[0] in expected:
            return word[0]
        return next((filled[value] for value in filled if word[0] in value), word[0])

    return re.sub(rf"[^\s'\"]{{{_SECRET_CHARS},}}", unfilled, sentence)


_SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASS|PWD|CREDENTIAL|SIGNATURE|HOOK|(^|_)AUTH")
_SECRET_CHARS = 6
"""A setting of fewer characters, as a number, is no secret, and may be a part of any sentence."""


_A_LIST, _A_MAPPING = "expected a list", "expected a mapping of keys to values"
_A_DAY = "expected a day as YYYY-MM-DD, got {input}"
_SENTENCES = {
    "date_type": _A_DAY,
    "date_parsing": _A_DAY,
    "date_from_datetime_parsing": _A_DAY,
    "date_from_datetime_inexact": _A_DAY,
    "tuple_type": _A_LIST,
    "list_type": _A_LIST,
    "dict_type": _A_MAPPING,
    "model_type": _A_MAPPING,
    "model_attributes_type": _A_MAPPING,
    "union_tag_invalid": "{discriminator} {tag!r} is not known: expected {expected_tags}",
    "union_tag_not_found": "{discriminator} is missing: add it",
}
_PATTERNS = {
    NAME: "expected a name of lower case letters, digits and _, starting with a letter",
    OWNER: "expected an e-mail address, or team:name",
    TAG_KEY: "expected letters, digits, _, . and -, with one / at most",
    TAG_VALUE: "expected letters, digits, _, . and -",
    BASE_URL: "expected https://host/path, without a query, and the credentials under auth",
}
