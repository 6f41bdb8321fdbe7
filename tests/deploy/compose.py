"""deploy/docker-compose.yaml as Docker Compose reads it: merged, with the values of `.env` put in.

Only what the file uses is understood; anything else is an error of the test, not ignored.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE_FILE = DEPLOY / "docker-compose.yaml"


class MissingValue(Exception):
    """``${NAME:?message}`` without a value, at which Compose refuses the file."""


@dataclass(frozen=True)
class ServiceSpec:
    """One service of the file.

    :ivar command: empty for an image's own command.
    :ivar environment: what the file itself says; ``from_file`` is what comes from `.env`.
    :ivar healthcheck: the arguments of its command.
    :ivar after: the services that have to be healthy first.
    """

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    healthcheck: tuple[str, ...]
    from_file: Mapping[str, str] = field(default_factory=dict, repr=False)
    after: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


def dotenv(text: str) -> dict[str, str]:
    """A `.env` file's values: taken literally, comment lines left out."""
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value for name, _, value in pairs}


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Put values for ``$${…}``'s into a text, as Compose does.

    :raises MissingValue: a required one is not there.
    """
    return "".join(_pieces(text, values))


def _pieces(text: str, values: Mapping[str, str]) -> Iterator[str]:
    at = 0
    while at < len(text):
        if text.startswith("$$", at):
            yield "$"
            at += 2
        elif text.startswith("${", at):
            end = _closing(text, at + 2)
            yield _value(text[at + 2 : end], values)
            at = end + 1
        else:
            yield text[at]
            at += 1


def _closing(text: str, at: int) -> int:
    depth = 1
    while depth:
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
    return at - 1


def _value(expression: str, values: Mapping[str, str]) -> str:
    name, asked, message = expression.partition(":?")
    if asked:
        if not values.get(name):
            raise MissingValue(f"{name}: {message}")
        return values[name]
    name, _, default = expression.partition(":-")
    return values.get(name) or interpolate(default, values)


def _interpolated(node: Any, values: Mapping[str, str]) -> Any:
    match node:
        case str():
            return interpolate(node, values)
        case dict():
            return {key: _interpolated(value, values) for key, value in node.items()}
        case list():
            return [_interpolated(value, values) for value in node]
        case _:
            return node


def load(values: Mapping[str, str], file: Path = COMPOSE_FILE) -> dict[str, ServiceSpec]:
    """The services by name, with the values of a `.env` file.

    :raises MissingValue: a required one is not there.
    """
    document = yaml.safe_load(file.read_text())
    services = _interpolated(document["services"], values)
    return {name: _service(name, one, values) for name, one in services.items()}


def _service(name: str, one: Mapping[str, Any], values: Mapping[str, str]) -> ServiceSpec:
    kind, *test = one["healthcheck"]["test"]
    return ServiceSpec(
        name=name,
        image=one["image"],
        command=tuple(one.get("command", ())),
        environment=one.get("environment", {}),
        healthcheck=tuple(test) if kind == "CMD" else ("sh", "-c", *test),
        from_file=dict(values) if one.get("env_file") else {},
        after=tuple(one.get("depends_on", ())),
        profiles=tuple(one.get("profiles", ())),
        volumes=tuple(one.get("volumes", ())),
        ports=tuple(one.get("ports", ())),
        raw=one,
    )
