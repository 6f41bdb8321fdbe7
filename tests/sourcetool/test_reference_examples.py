"""The reference of the YAML's keys: each has a meaning and an example, and the examples fit."""

from typing import Any

import jsonschema
import pytest

from pipeline.config.aws_source import AwsSource
from pipeline.config.source import Source
from sourcetool.reference_examples import RARE, examples

SCHEMAS: dict[str, dict[str, Any]] = {
    each.__name__: each.model_json_schema(by_alias=True) for each in (Source, AwsSource)
}
MODELS = {
    name: model
    for top, schema in SCHEMAS.items()
    for name, model in {**schema["$defs"], top: schema}.items()
    if model.get("properties")
}
KEYS = [(name, key) for name, model in MODELS.items() for key in model["properties"]]
DEFINITIONS = {
    name: model for schema in SCHEMAS.values() for name, model in schema["$defs"].items()
}


def test_nearly_every_key_has_an_example() -> None:
    shown = {
        key: text for top, schema in SCHEMAS.items() for key, text in examples(schema, top).items()
    }
    lacking = [key for key in KEYS if key not in shown and not key[0].startswith("Aws")]
    assert lacking == []
    assert shown["Endpoint", "cursor"] == "updated_at"
    assert all(len(text) <= 60 and "\n" not in text for text in shown.values())


@pytest.mark.parametrize("key", RARE, ids=".".join)
def test_an_example_that_no_file_shows_fits_its_schema(key: tuple[str, str]) -> None:
    name, member = key
    spec = {**MODELS[name]["properties"][member], "$defs": DEFINITIONS}
    jsonschema.Draft202012Validator(spec).validate(RARE[key])
