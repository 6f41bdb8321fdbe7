"""Streams of one name that differ are endpoints of their own, and a child reads its own parent."""

from typing import Any

import pytest

from sourcetool.importers.airbyte import convert
from sourcetool.importers.converted import Converted
from sourcetool.importers.manifest import CHOSEN, manifest_of
from sourcetool.importers.trial import tried
from tests.sourcetool.manifests import Data, children, manifest, stream, window

ACTIVE = "{{ record['name'] != 'old' }}"


def child(parent: Data, name: str = "things", **changes: Any) -> Data:
    path = f"teams/{{{{ stream_partition.of }}}}/{name}"
    return stream(name, path=path, partition_router=children(parent), **changes)


def made(*streams: Data) -> tuple[Converted, str]:
    converted = convert(manifest_of(manifest(*streams), "shop"))
    return converted, " ".join(tried(converted, "a manifest").replace("#", "").split())


TEAMS = stream("teams")


@pytest.mark.parametrize(
    ("parent", "where"),
    [
        (stream("teams", where=ACTIVE), "where"),
        (stream("teams", path="teams/mine"), "path"),
        (stream("teams", request_parameters={"state": "active"}), "request"),
        (stream("teams", rows=["items"]), "rows"),
        (stream("teams", incremental_sync=window()), "cursor, request"),
        (
            stream(
                "teams",
                transformations=[
                    {"type": "AddFields", "fields": [{"path": ["id"], "value": "{{ record.no }}"}]}
                ],
            ),
            "columns",
        ),
        (
            stream(
                "teams",
                error_handler={
                    "type": "DefaultErrorHandler",
                    "response_filters": [
                        {"type": "HttpResponseFilter", "action": "IGNORE", "http_codes": [404]}
                    ],
                },
            ),
            "answers",
        ),
    ],
)
@pytest.mark.parametrize("parent_first", [True, False])
def test_a_parent_that_differs_from_the_stream_of_its_name_is_an_endpoint_of_its_own(
    parent: Data, where: str, parent_first: bool
) -> None:
    streams = (TEAMS, child(parent)) if parent_first else (child(parent), TEAMS)
    converted, text = made(*streams)
    endpoints = converted.data["endpoints"]
    assert endpoints["things"]["parents"]["endpoint"] == "teams_2"
    alone = made(parent)[0].data["endpoints"]["teams"]
    assert endpoints["teams_2"] == alone
    assert endpoints["teams"] == made(TEAMS)[0].data["endpoints"]["teams"]
    assert converted.streams == {"teams": "teams", "things": "things"}
    assert f"? the manifest has another stream teams, which differs in {where}" in text
    assert "these are the parents of things, as the manifest defines them" in text


def test_children_that_have_the_same_parents_share_them() -> None:
    active = stream("teams", where=ACTIVE)
    converted, _ = made(TEAMS, child(active), child(active, "more"), child(TEAMS, "rest"))
    parents = {
        name: of["parents"]["endpoint"]
        for name, of in converted.data["endpoints"].items()
        if "parents" in of
    }
    assert parents == {"things": "teams_2", "more": "teams_2", "rest": "teams"}


@pytest.mark.parametrize(
    "parent",
    [
        stream("teams"),
        stream("teams", primary_key=None),
        stream("teams", schema_loader={}),
        {**stream("teams"), "$parameters": {"of_child": "things"}},
        {
            "type": "StateDelegatingStream",
            "name": "teams",
            "full_refresh_stream": stream("teams"),
            "incremental_stream": stream("teams"),
        },
    ],
)
def test_a_parent_that_has_the_same_rows_is_the_stream_itself(parent: Data) -> None:
    converted, text = made(TEAMS, child(parent))
    assert list(converted.data["endpoints"]) == ["teams", "things"]
    assert "another stream" not in text


def test_two_streams_of_one_name_are_both_there() -> None:
    """As with ``ConditionalStreams``, whose branches have the same names."""
    converted, text = made(TEAMS, stream("teams", path="teams/mine"), stream("teams_2"))
    paths = {name: of["path"] for name, of in converted.data["endpoints"].items()}
    assert paths == {"teams": "teams", "teams_2_2": "teams/mine", "teams_2": "teams_2"}
    assert "another stream teams, which differs in path" in text
    assert CHOSEN not in text


def test_a_parent_may_have_the_name_of_its_child() -> None:
    lists = stream("things", path="lists")
    converted, text = made(child(lists))
    endpoints = converted.data["endpoints"]
    assert endpoints["things"]["parents"]["endpoint"] == "things_2"
    assert endpoints["things_2"]["path"] == "lists"
    assert "the manifest has another stream things, which differs: these are the parents" in text


def test_a_parent_of_its_own_that_can_not_be_said_leaves_its_child_out_with_the_reason() -> None:
    parent = stream("teams", decoder={"type": "XmlDecoder"})
    converted, text = made(TEAMS, child(parent))
    assert list(converted.data["endpoints"]) == ["teams"]
    assert "Left out: things: " in text
    assert "XmlDecoder" in text
