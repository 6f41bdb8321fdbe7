"""What a document is: a manifest, an OpenAPI document or a HAR file; and its source."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigError
from sourcetool.importers.airbyte import convert
from sourcetool.importers.converted import Converted, upstream
from sourcetool.importers.curl import parse_curl, with_response
from sourcetool.importers.draft import plain
from sourcetool.importers.har import har_samples, is_har
from sourcetool.importers.manifest import NoManifest, is_manifest, manifest_of
from sourcetool.importers.openapi import convert_openapi, is_openapi
from sourcetool.importers.samples import from_samples
from sourcetool.importers.trial import tried

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def import_document(file: Path, name: str | None, only: Sequence[str]) -> tuple[Converted, str]:
    """The source of a document, and its YAML, which loads.

    :param only: the endpoints to take; none = all.
    :raises ConfigError: it is none of the known ones, or nothing of it can be said.
    """
    data = _read(file)
    converted = _converted(data, file, plain(name or _stem(file)))
    _choose(converted, only, file)
    return converted, tried(converted, f"{file.name}")


def import_curl(command: str, name: str | None) -> tuple[Converted, str]:
    """The source of a curl command, which is sent once.

    :raises ConfigError: it is no curl command, or says what no YAML can.
    """
    sample = with_response(parse_curl(command))
    host = sample.origin.partition("://")[2].removeprefix("api.").split(".")[0].split(":")[0]
    converted = from_samples([sample], plain(name or host))
    return converted, tried(converted, "a curl command")


def _stem(file: Path) -> str:
    return (
        file.parent.name if file.stem in ("manifest", "openapi") and file.parent.name else file.stem
    )


def _read(file: Path) -> Any:
    try:
        return yaml.load(file.read_text("utf-8-sig"), Loader=_LOADER)  # noqa: S506 - a safe loader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: the file can't be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{file}:{line}: the file is neither valid YAML nor JSON") from None


def _converted(data: Any, file: Path, name: str) -> Converted:
    if is_openapi(data):
        return convert_openapi(data, name)
    if is_har(data):
        return from_samples(har_samples(data), name)
    if not is_manifest(data):
        keys = ", ".join(map(str, list(data)[:6])) if isinstance(data, dict) else "no mapping"
        raise ConfigError(
            f"{file}: expected a declarative manifest (type: DeclarativeSource), an OpenAPI 3 "
            f"document or a HAR file, found {keys}"
        )
    try:
        return convert(manifest_of(data, file.stem, str(file)), name)
    except NoManifest as error:
        raise ConfigError(str(error)) from None


def _choose(converted: Converted, only: Sequence[str], file: Path) -> None:
    """Keep the endpoints that are asked for, and their parents."""
    if not only:
        return
    endpoints = converted.data["endpoints"]
    known = {**converted.streams, **{at: at for at in endpoints}}
    for name in only:
        if name in converted.left_out:
            why = converted.left_out[name][0].reason
            raise ConfigError(f"{file}: {name} can't be said in the YAML: {why}")
        if name not in known:
            raise ConfigError(f"{file}: expected one of {', '.join(known)}, got {name!r}")
    wanted = {known[name] for name in only}
    while above := {of for name in wanted for of in upstream(endpoints[name])} - wanted:
        wanted |= above
    converted.data["endpoints"] = {k: v for k, v in endpoints.items() if k in wanted}
    converted.streams = {s: at for s, at in converted.streams.items() if at in wanted}
    converted.left_out = {}
