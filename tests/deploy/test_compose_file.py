"""docker-compose.yaml as a file: its schema, its settings, and what it exposes."""

import json
import re
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy import image
from tests.deploy.compose import COMPOSE_FILE, DEPLOY, MissingValue, dotenv, interpolate, load

EXAMPLE = (DEPLOY / ".env.example").read_text()
FILLED = {**dotenv(EXAMPLE), "POSTGRES_PASSWORD": "secret"}
OURS = ("code", "webserver", "daemon", "worker")


def document() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE_FILE.read_text()))


def names_of_env(file: str) -> set[str]:
    """The variables that a file of Dagster's reads, as `{env: NAME}`."""
    return set(re.findall(r"\{env: (\w+)\}", (DEPLOY / file).read_text()))


def test_it_is_what_composes_schema_allows() -> None:
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(document(), json.loads(schema.read_text()))


def test_every_setting_that_it_names_stands_in_the_example() -> None:
    told = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", EXAMPLE, re.MULTILINE))
    named = set(re.findall(r"\$\{(\w+)", COMPOSE_FILE.read_text()))
    internal = {"DAGSTER_POSTGRES_PORT", "HEADRACE_CELERY_BROKER"}
    assert named - told == internal


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "HEADRACE_LAKE"])
def test_it_is_refused_without_a_required_setting(name: str) -> None:
    with pytest.raises(MissingValue, match=rf"^{name}: set it in \.env$"):
        load({**FILLED, name: ""})


@pytest.mark.parametrize("name", OURS)
def test_every_service_gets_what_dagsters_files_read(name: str) -> None:
    read = set().union(*map(names_of_env, ("dagster.yaml", "workspace.yaml", "celery.yaml")))
    assert read
    assert load(FILLED)[name].environment.keys() >= read


def test_budgets_are_in_postgres_unless_another_store_is_named() -> None:
    budget = "postgresql://dagster:secret@postgres:5432/dagster"
    assert load(FILLED)["code"].environment["HEADRACE_BUDGET"] == budget
    other = load({**FILLED, "HEADRACE_BUDGET": "redis://r:6379/1"})["code"]
    assert other.environment["HEADRACE_BUDGET"] == "redis://r:6379/1"


def test_nothing_listens_to_the_outside_by_default() -> None:
    services = load(FILLED).values()
    published = [port for service in services for port in service.ports]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_service_has_a_healthcheck_and_comes_back() -> None:
    for service in load(FILLED).values():
        assert service.healthcheck
        assert service.raw["restart"] == "unless-stopped"


def test_images_of_others_are_pinned() -> None:
    for service in load(FILLED).values():
        name, _, tag = service.image.partition(":")
        assert tag not in ("", "latest"), name


def test_the_services_of_a_profile_are_not_started_without_it() -> None:
    started = [name for name, one in load(FILLED).items() if not one.profiles]
    assert started == ["postgres", "code", "webserver", "daemon"]


def test_what_is_mounted_is_there() -> None:
    for service in load(FILLED).values():
        for source, *_ in (volume.split(":") for volume in service.volumes):
            named = source in document()["volumes"]
            assert named or (DEPLOY / source).exists(), source


def test_the_image_starts_as_the_service_code_does() -> None:
    (command,) = [rest for name, rest in image.instructions() if name == "CMD"]
    assert tuple(image.command_of(command)) == load(FILLED)["code"].command


@pytest.mark.parametrize(
    ("text", "is_then"),
    [
        ("a${X}b", "a1b"),
        ("${NO:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${NO:-p://${X}@${NO:-h}:1/}", "p://1@h:1/"),
        ("$${X}", "${X}"),
    ],
)
def test_values_are_put_in_as_compose_does(text: str, is_then: str) -> None:
    assert interpolate(text, {"X": "1", "EMPTY": ""}) == is_then
