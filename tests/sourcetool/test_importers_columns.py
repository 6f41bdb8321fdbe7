"""Columns of a manifest's rows, and the values that its requests are made from."""

import pytest

from sourcetool.importers.trial import tried
from tests.sourcetool.manifests import (
    Data,
    children,
    endpoint,
    made,
    stream,
)


@pytest.mark.parametrize(
    ("path", "text", "params"),
    [
        ("{{ 'a?of=' + config['region'] if config.get('region') else 'a' }}", "a",
         {"of": "${SHOP_REGION:-}"}),
        ("{{ 'a?of=' + config['token'] if config.get('token') else 'a' }}", "a",
         {"of": "${SHOP_TOKEN:-}"}),
        ("{{ 'a?of=' + config['region'] if config.get('region') else 'b' }}",
         "${SHOP_THINGS_PATH:-b}", None),
        ("{{ 'a?of=' + config['region'] if config.get('token') else 'a' }}",
         "${SHOP_THINGS_PATH:-a}", None),
    ],
)  # fmt: skip
def test_a_query_that_is_there_if_its_setting_is(path: str, text: str, params: Data | None) -> None:
    converted = made(stream(path=path))
    found = converted.data["endpoints"]["things"]
    assert (found["path"], found.get("request", {}).get("params")) == (text, params)
    assert [name for name in converted.settings.used if f"${{{name}" not in str(found)] == []


def test_a_member_that_is_named_by_one_of_several_parameters() -> None:
    added = {
        "type": "AddFields",
        "fields": [
            {
                "path": ["url"],
                "value": "{{ record['urls'].get(parameters.get('x') or parameters['name']) }}",
            }
        ],
    }
    one = stream(transformations=[added]) | {"$parameters": {"name": "media"}}
    assert endpoint(one)["columns"]["url"] == {"type": "string", "path": "urls.media"}


def test_a_setting_of_several_types_has_a_sample() -> None:
    spec: Data = {"properties": {"size": {"type": ["null", "integer"]}}}
    found = made(
        stream(request_parameters={"n": "{{ config['size'] }}"}),
        spec={"connection_specification": spec},
    )
    assert found.settings.samples["SHOP_SIZE"] == "1"
    assert not found.left_out


def _added(path: str, value: str, **more: str) -> list[Data]:
    return [{"type": "AddFields", "fields": [{"path": [path], "value": value, **more}]}]


def test_a_child_takes_members_of_an_object_that_its_parent_adds() -> None:
    def votes(team: str) -> Data:
        pair = _added("pair", f"{{{{ {{'team': {team}, 'comment': record['id']}} }}}}")
        return stream(
            path="{{ stream_partition.at.team }}/{{ stream_partition.at.comment }}",
            partition_router=children(stream("comments", transformations=pair), "pair", "at"),
        )

    found = endpoint(votes("record['owner']['team']"))
    assert found["path"] == "{parent.owner_team}/{parent.id}"
    assert found["parents"] == {"endpoint": "comments", "column": "owner_team"}
    computed = made(votes("record['owner'] + 1"))
    assert {need.ability for need in computed.left_out["things"]} == {"computed"}


@pytest.mark.parametrize(
    ("value", "column"),
    [
        ("{{ stream_slice.of }}", "int64"),
        ("{{ stream_slice.parent_slice.top }}", {"type": "int64", "from": "parent.top"}),
    ],
)
def test_a_column_from_the_partition_value_has_the_type_that_is_said(
    value: str, column: Data | str
) -> None:
    inner = stream("inner", partition_router=children(stream("outer"), field="top"),
                   path="{{ stream_slice.top }}/inner")  # fmt: skip
    one = stream(
        transformations=_added("screen", value, value_type="integer"),
        partition_router=children(inner),
        path="{{ stream_slice.of }}/things",
    )
    assert endpoint(one)["columns"]["screen"] == column


def test_a_member_that_only_the_parents_value_could_have_is_computed() -> None:
    one = stream(
        path="{{ stream_slice.parent_slice.id }}/{{ stream_slice.id }}",
        partition_router=children(stream("teams"), field="id"),
    )
    assert {need.ability for need in made(one).left_out["things"]} == {"computed"}


def test_groups_whose_size_is_a_setting_are_left_out_with_the_reason() -> None:
    router = {
        "type": "GroupingPartitionRouter",
        "group_size": "{{ config['region'] }}",
        "underlying_partition_router": children(stream("teams"), field="team"),
    }
    found = made(stream(partition_router=router, request_parameters={"of": "x"}))
    assert "fanout_group" in {need.ability for need in found.left_out["things"]}


@pytest.mark.parametrize(
    ("value", "column", "said"),
    [
        ("format_datetime(record['at'].replace('Z', ''), '%Y-%m-%dT%H:%M:%SZ')",
         {"type": "timestamp[iso]", "path": "at"}, "the manifest writes it as %Y-%m-%dT%H"),
        ("format_datetime(record.get('at', config['since']), '%Y-%m-%dT%H:%M:%SZ')",
         {"type": "timestamp[iso]", "path": "at"}, "made is null in rows that lack it"),
        ("format_datetime(record['at'], '%Y-%m-%d')", None, ""),
        ("format_datetime(record['at'] + record['zone'], '%Y-%m-%dT%H:%M:%SZ')", None, ""),
    ],
)  # fmt: skip
def test_a_time_that_is_written_otherwise_is_that_time(
    value: str, column: Data | None, said: str
) -> None:
    found = made(stream(transformations=_added("made", f"{{{{ {value} }}}}")))
    tried(found, "a manifest")
    assert found.data["endpoints"]["things"]["columns"].get("made") == column
    assert said in str(found.doubts["things"])


def test_rows_at_a_path_that_is_no_member_are_a_doubt() -> None:
    one = stream(rows=['"response", "hooks"\n'])
    assert "rows would always be none" in str(made(one).doubts["things"])
    assert "always be none" not in str(made(stream()).doubts["things"])
