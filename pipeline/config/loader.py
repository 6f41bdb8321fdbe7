"""YAML files to ``Source``: every mistake is one sentence with file, line and remedy.

A file's ``defaults`` are merged under each endpoint before anything is checked, so that a family of
endpoints is written once.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipeline.config.budgets import with_shared_limits
from pipeline.config.each import problems_of_lists
from pipeline.config.hints import hint
from pipeline.config.settings import MissingSetting, interpolate
from pipeline.config.source import BASE_URL, Source
from pipeline.config.yaml_lines import Lines, read_yaml
from pipeline.errors import ConfigError
from pipeline.model import NAME


def load_sources(folders: tuple[str, ...], env: Mapping[str, str]) -> tuple[Source, ...]:
    """All sources of all folders, by name.

    :raises ConfigError: all mistakes of all files, one a line.
    """
    sources: dict[str, Source] = {}
    mistakes: list[str] = []
    for folder in folders:
        for found in _each(folder, env, mistakes):
            if found.source in sources:
                mistakes.append(f"{folder}: the source {found.source!r} is defined twice")
            sources[found.source] = found
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return tuple(with_shared_limits(sources).values())


def _each(folder: str, env: Mapping[str, str], mistakes: list[str]) -> Iterator[Source]:
    path = Path(folder)
    if path.is_file():
        files = [path]
    elif not path.is_dir():
        mistakes.append(
            f"{folder}: expected a YAML file or a folder of them, found none: set HEADRACE_SOURCES"
        )
        return
    else:
        files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    if not files:
        mistakes.append(f"{folder}: expected at least one YAML file of a source, found none")
    for file in files:
        try:
            yield load_source(file, env)
        except ConfigError as error:
            mistakes.append(str(error))


def load_source(file: Path | str, env: Mapping[str, str] | None = None) -> Source:
    """One source from its YAML file.

    :raises ConfigError: one line for each mistake: ``file:line: what was expected, what came``.
    """
    settings = os.environ if env is None else env
    text = _text_of(file)
    data, lines, filled = _parse(str(file), text, settings)
    merged = merge_defaults(data)
    try:
        source = Source.model_validate(merged).with_limits_of_key()
    except ValidationError as error:
        found = [_sentence(str(file), lines, dict(item), filled, merged) for item in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(found))) from None
    if found := _misfits(str(file), lines, source):
        raise ConfigError("\n".join(found))
    source = source.with_credentials_of(_for_credentials(lines, settings))
    return source.with_secrets(_sent(lines, settings, source))


def _sent(lines: Lines, env: Mapping[str, str], source: Source) -> list[str]:
    """The values of settings that requests carry: they are secrets, unless others show them."""
    names = {
        name
        for path, named in lines.variables.items()
        if path[0] == "headers" or "request" in path
        for name in named
    }
    shown = [source.base_url, source.source, *source.endpoints]
    values = {value for name in names if len(value := env.get(name, "")) >= _SECRET_CHARS}
    return sorted(value for value in values if not any(value in text for text in shown))


def _for_credentials(lines: Lines, env: Mapping[str, str]) -> list[str]:
    """The variables that may hold what the API knows the user by, for a sentence."""
    names = dict.fromkeys(
        name
        for path, named in lines.variables.items()
        if path[0] in ("auth", "headers") and path[-1] != "token_url"
        for name in named
    )
    return [name if env.get(name) else f"{name} (not set)" for name in names]


def _misfits(file: str, lines: Lines, source: Source) -> list[str]:
    """What only shows when two endpoints are held against each other."""
    found = []
    for name, key, sentence in problems_of_lists(source.endpoints):
        line, inside = lines.nearest(("endpoints", name, *key))
        found.append(f"{file}:{line}: {'.'.join(inside)}: {sentence}")
    return found


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
    file: str, text: str, env: Mapping[str, str]
) -> tuple[dict[str, Any], Lines, Mapping[str, str]]:
    """The data, their lines, and of each value with settings in it what the YAML says there."""
    filled: dict[str, str] = {}
    missing: list[str] = []

    def setting(value: str, line: int) -> str | None:
        try:
            found = interpolate(value, env)
        except MissingSetting as error:
            missing.append(f"{file}:{line}: {error}")
            return None
        if found != value and len(found) >= _SECRET_CHARS:
            filled[found] = value
        return found or None

    try:
        data, lines = read_yaml(text, setting)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}:{_problem(error, text)}") from None
    except RecursionError:
        raise ConfigError(f"{file}:1: this YAML is nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{file}:{error}") from None
    if missing:
        raise ConfigError("\n".join(missing))
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
    said = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    if said.startswith(("found undefined alias", "could not determine a constructor")):
        said = "a value that begins with * or ! needs quotes"
    return f"{line}: this is not valid YAML: {said}"


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


def _merge(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    if _kind(below) != _kind(above) and _kind(above) is not None:
        return above
    both = {key: _merge(below.get(key), above.get(key, below.get(key))) for key in below}
    merged = {**both, **{key: value for key, value in above.items() if key not in below}}
    return {key: value for key, value in merged.items() if key not in above or value is not None}


def _kind(value: dict[str, Any]) -> Any:
    return value.get("kind", value.get("dialect"))


def _sentence(
    file: str, lines: Lines, error: dict[str, Any], filled: Mapping[str, str], data: dict[str, Any]
) -> str:
    """One of pydantic's errors as ``file:line: where: what was expected``.

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
    said = f"{where}: {message[:1].lower()}{message[1:]}"
    offered = " ".join(str(text) for name, text in context.items() if name.startswith("expected"))
    return f"{file}:{line}: {_without_settings(said, filled, offered)}"


def _without_settings(said: str, filled: Mapping[str, str], offered: str) -> str:
    """The YAML's own words for what came from settings, whole or in part.

    :param offered: what the sentence says is right, which stays.
    """
    for value in sorted(filled, key=len, reverse=True):
        for form in (value, repr(value)[1:-1]):
            said = said.replace(form, filled[value])

    def named(word: re.Match[str]) -> str:
        if word[0] in offered:
            return word[0]
        return next((filled[value] for value in filled if word[0] in value), word[0])

    return re.sub(rf"[^\s'\"]{{{_SECRET_CHARS},}}", named, said)


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
    BASE_URL: "expected https://host/path, without a query, and the credentials under auth",
}
