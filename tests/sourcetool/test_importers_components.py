"""Every component of the declarative schema against the importer's table: none is ignored silently.

``declarative_components.json`` has the names of the components and of their members, as the schema
of ``airbyte-cdk`` lists them.
"""

import json
from pathlib import Path

import pytest

from sourcetool.importers.abilities import ABILITIES
from sourcetool.importers.airbyte import convert
from sourcetool.importers.components import COMPONENTS, PARTS
from sourcetool.importers.manifest import manifest_of
from tests.sourcetool.manifests import Data, manifest, stream, window

SCHEMA: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("declarative_components.json").read_text()
)


@pytest.mark.parametrize("component", SCHEMA)
def test_the_table_has_each_component_and_each_of_its_members(component: str) -> None:
    if component in PARTS:
        assert component not in COMPONENTS
        return
    assert set(SCHEMA[component]) - COMPONENTS[component].names - {"name"} == set()


def test_a_member_is_in_the_table_once_and_lacks_an_ability_that_there_is() -> None:
    for kind, members in COMPONENTS.items():
        listed = [*members.read.split(), *members.nothing.split(), *members.noted, *members.lacks]
        assert len(listed) == len(set(listed)), kind
        assert set(members.lacks.values()) <= ABILITIES.keys(), kind
        if kind in SCHEMA:
            assert members.names - set(SCHEMA[kind]) <= {"field_pointer", "decoder"}, kind


CHANGES: list[tuple[str, Data, str]] = [
    ("a member that nobody knows", stream(incremental_sync=window(of_moons=True)), "of_moons"),
    ("a filter of rows by a month", stream(incremental_sync=window(clamping={"a": 1})), "clamping"),
]


@pytest.mark.parametrize(("of", "data", "named"), CHANGES, ids=[one[0] for one in CHANGES])
def test_a_member_that_is_left_out_has_a_comment(of: str, data: Data, named: str) -> None:
    converted = convert(manifest_of(manifest(data), "shop"))
    assert any(named in doubt for doubt in converted.doubts["things"])


def test_a_member_that_the_rows_rest_on_leaves_the_stream_out() -> None:
    data = stream()
    data["retriever"]["pagination_reset"] = {"type": "PaginationReset", "action": "RESET"}
    (need,) = convert(manifest_of(manifest(data), "shop")).left_out["things"]
    assert need.ability == "paging_reset"
    assert "pagination_reset" in need.reason


def test_a_member_of_the_parameters_is_no_member_of_the_component() -> None:
    data = stream()
    data["retriever"]["requester"]["$parameters"] = {"colour": "red"}
    assert convert(manifest_of(manifest(data), "shop")).doubts["things"] == []
