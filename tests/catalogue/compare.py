"""Whether Headrace and the peer read the same rows of one manifest's API, stream by stream."""

import json
import re
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.lake.s3 import Lake
from sourcetool.importers.manifest import ConnectorManifest, manifest_of
from tests.catalogue.api import ManifestApi
from tests.catalogue.configuration import configuration, formats_of_dates, in_place_of_all
from tests.catalogue.headrace_side import converted_for, read
from tests.catalogue.request_of import Unservable, rendered
from tests.catalogue.rows import first_day, format_of_bounds, key_of, read_as, written_as
from tests.support.runs import serving

HOST = "http://127.0.0.1:1"
_PAGE = 3
Data = dict[str, Any]


@dataclass
class Compared:
    """One stream.

    :ivar verdict: same, values, different, failed, peer, server or refused.
    :ivar why: what is different, or why nothing could be compared.
    :ivar rows: how many the peer read, each key once.
    :ivar keys: the keys that Headrace read.
    """

    verdict: str
    why: str = ""
    rows: int = 0
    keys: list[str] = field(default_factory=list)


class Peer:
    """Airbyte's runtime, in a process that stays for several manifests."""

    def __init__(self, python: str) -> None:
        self.command = [python, str(Path(__file__).with_name("peer.py"))]
        self.process: subprocess.Popen[str] | None = None

    def read(self, job: Data, timeout_s: float) -> dict[str, Any]:
        """Of each stream its rows or its error."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(timeout_s, process.kill)
        timer.start()
        line = ""
        try:
            process.stdin.write(json.dumps(job, default=str) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:  # killed in between
            pass
        finally:
            timer.cancel()
        if not line:
            self.close()
            return {name: {"error": f"not done after {timeout_s:.0f} s"} for name in job["streams"]}
        return dict(json.loads(line))

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def compared(
    data: Data, name: str, lake: Lake, folder: Path, peer: Peer | None, timeout_s: float = 90
) -> dict[str, Compared]:
    """Each stream of a manifest that converts."""
    data = with_small_pages(data)
    given = manifest_of(data, name)
    config = _configuration(given)
    try:
        converted, text = converted_for(given, HOST, config)
    except ConfigError as error:
        return {str(s.get("name")): Compared("refused", str(error)[:200]) for s in given.streams}
    found = {
        stream: Compared("refused", "; ".join(need.reason for need in needs))
        for stream, needs in converted.left_out.items()
    }
    api = ManifestApi(list(given.streams), config)
    with serving(api.app(), names_as_written=True) as url:
        config = _configuration(given, url)
        job = {"manifest": elsewhere(data, url, config), "config": config}
        names = [one for one in converted.streams if one not in api.unservable]
        kept = [one for one in data["streams"] if _name(data, one) in names] if names else []
        job["manifest"] = job["manifest"] | {"streams": elsewhere(kept, url, config)}
        theirs = peer.read(job | {"streams": names}, timeout_s) if peer and names else {}
        if peer and len(names) > 1 and all(_late(theirs[stream]) for stream in names):
            # One of them has no end: the others by themselves.
            for stream in names:
                theirs |= peer.read(job | {"streams": [stream]}, timeout_s / 6)
        mine, failed = read(converted, text.replace(HOST, url), config, lake, folder)
    for stream, endpoint in converted.streams.items():
        if stream in api.unservable:
            found[stream] = Compared("server", api.unservable[stream])
            continue
        spec = converted.data["endpoints"][endpoint]
        result = _of_stream(
            theirs.get(stream, {"error": "there is no peer"}),
            mine.get(endpoint, []),
            failed.get(endpoint),
            key_of(api.served[stream].stream),
            spec,
            format_of_bounds(api.served[stream].stream),
        )
        own = spec["key"] if isinstance(spec["key"], list) else []
        result.keys = sorted(_key(row, own) for row in mine.get(endpoint, []))
        found[stream] = result
    return found


def _late(theirs: Data) -> bool:
    return str(theirs.get("error")).startswith("not done after")


def _configuration(given: ConnectorManifest, url: str = "https://api.example.com") -> Data:
    streams = [dict(stream) for stream in given.streams]
    made = configuration(given.spec, url, formats_of_dates(streams))
    return {name: value for name, value in made.items() if name not in in_place_of_all(streams)}


def _of_stream(
    theirs: Data, mine: list[Data], error: str | None, keys: list[str], spec: Data, pattern: str
) -> Compared:
    if "rows" not in theirs:
        beside = f" | Headrace: {error}" if error else ""
        return Compared("peer", f"{theirs.get('error')}{beside}")
    if error:
        return Compared("failed", f"{len(theirs['rows'])} rows | {error}")
    for name, said in (spec.get("columns") or {}).items():
        if isinstance(said, dict) and str(said.get("from")).startswith("window."):
            # A bound, which the peer has as a text in the format of the request.
            for row in theirs["rows"]:
                row[name] = read_as(pattern, str(row.get(name))) or row.get(name)
    return _rows(theirs["rows"], mine, keys, spec)


def _name(data: Data, stream: Any) -> str:
    """The name of a stream as it is written, with references."""
    only = {key: item for key, item in data.items() if key != "dynamic_streams"}
    found = manifest_of(only | {"streams": [stream], "type": "DeclarativeSource"}, "").streams
    return str(found[0].get("name")) if found else ""


def _rows(theirs: list[Data], mine: list[Data], keys: list[str], spec: Data) -> Compared:
    own = spec["key"] if isinstance(spec["key"], list) else []
    if own and len(own) == len(keys):
        peers = {_key(row, keys): row for row in theirs}
        ours = {_key(row, own): row for row in mine}
        result = Compared("same", "", len(peers))
        if peers.keys() != ours.keys():
            more, less = len(ours.keys() - peers.keys()), len(peers.keys() - ours.keys())
            sample = [*(peers.keys() ^ ours.keys())][:2]
            result.verdict = "different"
            result.why = f"the peer {len(peers)}, Headrace {len(ours)}; +{more} -{less} {sample}"
            return result
        if len(mine) != len(ours):
            result.verdict, result.why = "different", f"{len(mine)} rows of {len(ours)} keys"
            return result
        pairs = [(row, ours[key]) for key, row in peers.items()]
    else:
        result = Compared("same", "", len(theirs))
        if len(theirs) != len(mine):
            distinct = len({json.dumps(one, sort_keys=True, default=str) for one in theirs})
            result.verdict = "different"
            result.why = f"the peer {len(theirs)} ({distinct} distinct), Headrace {len(mine)}"
            return result
        names = {name for row in theirs for name in row} & {name for row in mine for name in row}
        pairs = list(zip(_sorted(theirs, names), _sorted(mine, names), strict=True))
    made = spec.get("columns") or {}
    of_run = ("now", "window.end")  # the two run one after the other
    now = [n for n, said in made.items() if isinstance(said, dict) and said.get("from") in of_run]
    for theirs_row, _ in pairs:
        for name in now:
            theirs_row.pop(name, None)
    columns = _other_values(pairs, spec)
    if columns:
        result.verdict, result.why = "values", "; ".join(columns[:6])
    return result


def _sorted(rows: list[Data], names: set[str]) -> list[Data]:
    """Rows without a key in an order that both sides have."""
    return sorted(rows, key=lambda row: json.dumps([plain(row.get(n)) for n in sorted(names)]))


def _other_values(pairs: list[tuple[Data, Data]], spec: Data) -> list[str]:
    found: dict[str, str] = {}
    known = {name for _, mine in pairs for name in mine}
    for theirs, mine in pairs:
        for name, value in theirs.items():
            here = name if name in known else f"their_{name}"
            wanted, got = plain(value), plain(mine.get(here))
            if wanted == "" and got is None:
                continue
            if here not in known and wanted is not None:
                found.setdefault(name, f"{name}: {value!r} is missing"[:90])
            elif wanted != got:
                found.setdefault(name, f"{name}: {value!r}, Headrace {mine.get(name)!r}"[:160])
    extra = known - {name for theirs, _ in pairs for name in theirs} - {"_extracted_at"}
    made = {
        name
        for name, said in (spec.get("columns") or {}).items()
        if isinstance(said, dict) and {"path", "from", "value"} & set(said)
    }
    made |= {(spec.get(of) or {}).get("column_here") for of in ("parents", "each")}
    if more := sorted(n for n in extra - made if any(m.get(n) is not None for _, m in pairs)):
        found["+"] = f"columns more: {', '.join(more[:5])}"
    return list(found.values())


def _key(row: Data, names: list[str]) -> str:
    def at(path: str) -> Any:
        here: Any = row
        for part in re.split(r"[./]", path) if path not in row else [path]:
            here = here.get(part) if isinstance(here, dict) else None
        return here

    return json.dumps([plain(at(name)) for name in names], default=str)


_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")


def plain(value: Any) -> Any:
    """A value without its type: texts of numbers and times are what they say."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float | Decimal):
        number = float(value)
        return number / 1000 if number > 1e11 else number
    if isinstance(value, dict):
        inner = {str(k): plain(v) for k, v in value.items()}
        return {k: v for k, v in inner.items() if v is not None} or None
    if isinstance(value, list):
        return [plain(item) for item in value]
    return _of_text(str(value))


def _of_text(text: str) -> Any:
    if text in ("true", "True", "false", "False"):
        return text.lower() == "true"
    if text[:1] in ("{", "["):
        try:
            return plain(json.loads(text))
        except ValueError:
            return text
    if _TIME.fullmatch(text):
        try:
            return plain(datetime.fromisoformat(text))
        except ValueError:
            return text
    try:
        return plain(float(text))
    except ValueError:
        return text


def with_small_pages(value: Any) -> Any:
    """A manifest whose pages have a few rows, and whose dates begin a few days ago.

    Pages that a text counts stay: the text has the number.
    """
    if isinstance(value, list):
        return [with_small_pages(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: with_small_pages(item) for name, item in value.items()}
    size = found.get("page_size")
    texts = f"{found.get('stop_condition')} {found.get('cursor_value')}"
    plain_size = isinstance(size, int) or (isinstance(size, str) and size.isdigit())
    if plain_size and not isinstance(size, bool) and not re.search(r"\d\d", texts):
        found["page_size"] = _PAGE
    start = found.get("start_datetime")
    if isinstance(start, str):
        found["start_datetime"] = _recent(start)
    elif isinstance(start, dict) and isinstance(start.get("datetime"), str):
        found["start_datetime"] = start | {"datetime": _recent(start["datetime"])}
    return found


def _recent(text: str) -> str:
    for pattern in ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%d %H:%M:%S"):
        try:
            datetime.strptime(text, pattern)  # noqa: DTZ007 - only its form is looked at
        except ValueError:
            continue
        return str(written_as(pattern, first_day()))
    return str(int(first_day().timestamp())) if text.isdigit() and len(text) in (9, 10) else text


_ORIGIN = re.compile(r"^https?://(?:\{\{.*?\}\}|[^/{}])*")
_NO_ROWS = frozenset({"error_handler", "backoff_strategies", "schema_loader", "state_migrations"})
"""Members that make no rows: the peer goes without those that are Python."""
_NO_ADDRESS = frozenset({"schema", "spec", "metadata", "schemas", "check"})


def elsewhere(value: Any, url: str, config: Mapping[str, Any], member: str = "") -> Any:
    """A manifest as it is written, with a local API in place of its hosts, and no credentials."""
    if isinstance(value, list):
        return [elsewhere(item, url, config, member) for item in value]
    if isinstance(value, str):
        if (
            member == "url_base"
            and value.lstrip().startswith("{")
            and not value.count("config['url")
        ):
            with suppress(Unservable):
                value = rendered(value, config, {}).strip() or value
            if not value.startswith("http"):
                return url
        return _ORIGIN.sub(url, value)
    if not isinstance(value, dict):
        return value
    if value.get("type") == "JsonFileSchemaLoader":
        return {"type": "InlineSchemaLoader", "schema": {}}
    return {
        name: item if name in _NO_ADDRESS else elsewhere(item, url, config, str(name))
        for name, item in value.items()
        if name != "authenticator" and not (name in _NO_ROWS and "class_name" in str(item))
    }
