"""What Headrace reads of a manifest's API against the rows there are, and against the peer's.

The manifests here are our own. What the peer (``airbyte-cdk``) reads of them is recorded in
``peer_rows.json``, as a digest of the keys. ``HEADRACE_PEER`` names the Python of an environment
that has the peer, which reads anew then (``install`` sets one up as for the benchmarks), and
``HEADRACE_RECORD=1`` records it. ``HEADRACE_CATALOGUE`` names a folder of other manifests, all of
which are read as well.
"""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import PEERS, python_of
from pipeline.errors import ConfigError
from pipeline.lake.s3 import Lake
from sourcetool.importers.manifest import ConnectorManifest, manifest_of, read_manifest
from tests.catalogue.api import ManifestApi, rendered
from tests.catalogue.configuration import configuration
from tests.catalogue.headrace_side import converted_for, read
from tests.catalogue.rows import key_of, places
from tests.sourcetool.manifests import Data, children, manifest, option, pages, stream, window
from tests.support.runs import serving

pytestmark = pytest.mark.slow
RECORDED = Path(__file__).with_name("peer_rows.json")
HOST = "http://127.0.0.1:1"
FOLDER = os.environ.get("HEADRACE_CATALOGUE", "")
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


def manifests() -> list[Any]:
    ours = [pytest.param(manifest_of(manifest(*s), "shop"), id=k) for k, s in KINDS.items()]
    files = sorted(Path(FOLDER).glob("*.yaml")) if FOLDER else []
    return [*ours, *(pytest.param(read_manifest(file), id=file.stem) for file in files)]


@pytest.mark.parametrize("given", manifests())
def test_each_row_is_read_once(
    given: ConnectorManifest, lake: Lake, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config = configuration(given.spec)
    try:
        converted, text = converted_for(given, HOST)
    except ConfigError as error:
        pytest.skip(str(error)[:200])
    api = ManifestApi(list(given.streams), config)
    with serving(api.app()) as url:
        rows, failed = read(converted, text.replace(HOST, url), config, lake, tmp_path)
        peer = _peer(given, config, url, list(converted.streams)) if PEER else {}
    differences = {}
    for name, endpoint in converted.streams.items():
        if name in api.unservable:
            continue
        keys = key_of(api.served[name].stream)
        added = places(api.served[name].stream)
        origins = [".".join(added.get(key, [key])) for key in keys]
        truth = sorted(_key(row, origins) for row in api.served[name].all_rows)
        mine = converted.data["endpoints"][endpoint]["key"]
        found = sorted(_key(row, mine) for row in rows.get(endpoint, []))
        if mine == "none":  # without a key as many rows are all that can be compared
            truth, found = [f"{len(truth)} rows"], [f"{len(rows.get(endpoint, []))} rows"]
        if "record_filter" in api.served[name].stream["retriever"]["record_selector"]:
            truth = [key for key in truth if key in found]  # the peer says which ones are kept
        if endpoint in failed or truth != found:
            differences[name] = failed.get(endpoint) or f"{len(truth)} rows, {len(found)} read"
        if name in peer and "rows" in peer[name]:
            theirs = {_key(row, keys) for row in peer[name]["rows"]}
            if theirs != set(found):
                differences[name] = f"the peer read {len(theirs)} rows, Headrace {len(found)}"
        elif PEER and not FOLDER:
            differences[name] = f"the peer failed: {peer.get(name)}"
        if name in found_by_kind(request.node.callspec.id):
            differences |= _as_recorded(request.node.callspec.id, name, found)
    assert differences == {}
    assert FOLDER or sum(map(len, rows.values())) > 0


def found_by_kind(kind: str) -> dict[str, Any]:
    """What the peer read of a manifest of ours, by stream; of all streams while it is recorded."""
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if os.environ.get("HEADRACE_RECORD") and kind in KINDS:
        return {str(one["name"]): {} for one in KINDS[kind]}
    return dict(recorded.get(kind, {}))


def _as_recorded(kind: str, name: str, found: list[str]) -> dict[str, str]:
    """What is different from the peer's recorded rows; while recording, nothing is."""
    digest = hashlib.sha256("\n".join(sorted(set(found))).encode()).hexdigest()[:16]
    now = {"rows": len(set(found)), "keys": digest}
    if os.environ.get("HEADRACE_RECORD"):
        assert PEER, "set HEADRACE_PEER: what is recorded is what the peer reads"
        every = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
        every.setdefault(kind, {})[name] = now
        RECORDED.write_text(json.dumps(every, indent=1, sort_keys=True) + "\n")
        return {}
    was = found_by_kind(kind)[name]
    return {} if now == was else {name: f"the peer's recorded rows are {was}, Headrace's {now}"}


def test_the_peers_rows_are_recorded_for_each_manifest_of_ours() -> None:
    assert json.loads(RECORDED.read_text()).keys() == KINDS.keys()
    assert len(KINDS) >= 15


def _key(row: dict[str, Any], names: list[str]) -> str:
    def at(path: str) -> Any:
        here: Any = row
        for part in path.split(".") if path not in row else [path]:
            here = here.get(part) if isinstance(here, dict) else None
        return here

    return json.dumps([str(at(name)) for name in names])


def _peer(given: ConnectorManifest, config: Data, url: str, names: list[str]) -> dict[str, Any]:
    """What the peer reads, by stream."""
    streams = [_elsewhere(one, url, config) for one in given.streams if one["name"] in names]
    job = {"manifest": manifest(*streams), "config": config, "streams": names}
    script = Path(__file__).with_name("peer.py")
    done = subprocess.run(
        [PEER, str(script)], input=json.dumps(job), capture_output=True, text=True, timeout=280
    )
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}


def _elsewhere(value: Any, url: str, config: Data) -> Any:
    """A component with the local API in place of its host, and without credentials."""
    if isinstance(value, list):
        return [_elsewhere(item, url, config) for item in value]
    if not isinstance(value, dict):
        return value
    found = {k: _elsewhere(v, url, config) for k, v in value.items() if k != "authenticator"}
    if isinstance(found.get("url_base"), str):
        base = rendered(found["url_base"], config, found.get("$parameters") or {})
        found["url_base"] = url + "/" + base.partition("://")[2].partition("/")[2]
    return found
