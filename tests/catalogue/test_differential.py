"""What Headrace reads of a manifest's API against what the peer (``airbyte-cdk``) reads of it.

The manifests here are our own. What the peer reads of them is recorded in ``peer_rows.json``, as a
digest of the keys. ``HEADRACE_PEER`` names the Python of an environment that has the peer, which
reads anew then (``install`` sets one up as for the benchmarks), and ``HEADRACE_RECORD=1`` records
it. ``python -m tests.catalogue FOLDER`` does the same for a folder of manifests.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import PEERS, python_of
from pipeline.lake.s3 import Lake
from tests.catalogue.compare import Peer, compared, with_small_pages
from tests.sourcetool.manifests import Data, children, manifest, option, pages, stream, window

pytestmark = pytest.mark.slow
RECORDED = Path(__file__).with_name("peer_rows.json")
PEER = os.environ.get("HEADRACE_PEER", "")
if PEER == "install":
    PEER = python_of(PEERS["airbyte"])


def _cursor(value: str, token: Data, **more: Any) -> Data:
    strategy = {"type": "CursorPagination", "cursor_value": value, "page_size": 10, **more}
    return pages(strategy, token)


def _offset(*options: Data) -> Data:
    return pages({"type": "OffsetIncrement", "page_size": 10}, *options)


MORE = "{{ not response.get('meta', {}).get('more') }}"
TEAMS = stream("teams", paginator=_offset(option("o")))
THINGS = "teams/{{ stream_partition.of }}/things"
MEMBERS = stream(
    "members", path="teams/{{ stream_partition.of }}/members", partition_router=children(TEAMS)
)
KINDS: dict[str, list[Data]] = {
    "one response": [stream()],
    "offset": [stream(paginator=_offset(option("o"), option("l")))],
    "pages from 1": [
        stream(
            paginator=pages(
                {"type": "PageIncrement", "page_size": 10, "start_from_page": 1}, option("p")
            )
        )
    ],
    "a token with a flag": [
        stream(
            paginator=_cursor("{{ response['meta']['next'] }}", option("t"), stop_condition=MORE)
        )
    ],
    "a link in the body": [
        stream(
            paginator=_cursor(
                "{{ response.get('links', {}).get('next') }}",
                {"type": "RequestPath"},
                stop_condition="{{ not response.get('links', {}).get('next') }}",
            )
        )
    ],
    "a link in a header": [
        stream(
            rows=[],
            paginator=_cursor(
                "{{ headers['link']['next']['url'] }}",
                {"type": "RequestPath"},
                stop_condition="{{ 'next' not in headers['link'] }}",
            ),
        )
    ],
    "by the last row": [
        stream(
            paginator=_cursor(
                "{{ last_record['id'] }}",
                option("after"),
                stop_condition="{{ last_page_size == 0 }}",
            )
        )
    ],
    "a window": [stream(incremental_sync=window())],
    "a feed": [stream(incremental_sync=window(start_time_option=None, end_time_option=None))],
    "children": [TEAMS, stream(path=THINGS, partition_router=children(TEAMS))],
    "a list of values": [
        stream(
            path="{{ stream_slice.kind }}/things",
            partition_router={
                "type": "ListPartitionRouter",
                "values": ["a", "b"],
                "cursor_field": "kind",
            },
        )
    ],
    "a column from inside": [
        stream(
            primary_key=["uid"],
            transformations=[
                {
                    "type": "AddFields",
                    "fields": [{"path": ["uid"], "value": "{{ record['owner']['uid'] }}"}],
                }
            ],
        )
    ],
    "children of children": [
        TEAMS,
        MEMBERS,
        stream(
            path="members/{{ stream_partition.member }}/things",
            partition_router=children(MEMBERS, field="member"),
        ),
    ],
    "a filter": [stream(where="{{ record['id'] != 3 }}")],
    "a post": [
        stream(
            http_method="POST",
            request_body_json={"kind": "all"},
            paginator=pages(
                {"type": "PageIncrement", "page_size": 10, "start_from_page": 1},
                option("page", "body_json"),
                option("size", "body_json"),
            ),
        )
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer | None]:
    peer = Peer(PEER) if PEER else None
    yield peer
    if peer is not None:
        peer.close()


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_is_read_once(kind: str, lake: Lake, tmp_path: Path, peer: Peer | None) -> None:
    found = compared(manifest(*KINDS[kind]), "shop", lake, tmp_path, peer)
    if peer is not None:
        assert {name: (one.verdict, one.why) for name, one in found.items()} == dict.fromkeys(
            found, ("same", "")
        )
    read = {name: _digest(one.keys) for name, one in found.items()}
    if os.environ.get("HEADRACE_RECORD"):
        assert peer is not None, "set HEADRACE_PEER: what is recorded is what the peer reads"
        every = json.loads(RECORDED.read_text())
        every[kind] = read
        RECORDED.write_text(json.dumps(every, indent=1, sort_keys=True) + "\n")
    assert read == json.loads(RECORDED.read_text())[kind]
    assert sum(one["rows"] for one in read.values()) > 0


def _digest(keys: list[str]) -> dict[str, Any]:
    """Keys as they are recorded: how many, each of them once, and a digest of them."""
    assert len(keys) == len(set(keys))
    return {"rows": len(keys), "keys": hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]}


def test_the_peers_rows_are_recorded_for_each_manifest_of_ours() -> None:
    assert json.loads(RECORDED.read_text()).keys() == KINDS.keys()
    assert len(KINDS) >= 15


def test_pages_of_a_manifest_are_small_unless_a_text_counts_them() -> None:
    by_number = {"type": "OffsetIncrement", "page_size": "500"}
    counted = {"page_size": 500, "stop_condition": "{{ last_page_size < 500 }}"}
    assert with_small_pages([by_number, counted]) == [by_number | {"page_size": 3}, counted]
