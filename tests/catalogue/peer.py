"""Airbyte's own runtime on manifests' APIs: run as a program, in an environment of its own.

Each line of stdin is ``{"manifest", "config", "streams"}`` as JSON; each line that it prints has
the rows of each stream, or its error, as JSON.
"""

import json
import logging
import sys
import warnings
from typing import Any

from airbyte_cdk.models import (
    AirbyteStream,
    ConfiguredAirbyteCatalog,
    ConfiguredAirbyteStream,
    DestinationSyncMode,
    SyncMode,
    Type,
)
from airbyte_cdk.sources.declarative.concurrent_declarative_source import (
    ConcurrentDeclarativeSource,
)

MOST_ROWS = 5_000


def rows_of(
    manifest: dict[str, Any], config: dict[str, Any], names: list[str]
) -> tuple[dict[str, list[Any]], set[str]]:
    """All rows of streams, as the peer emits them; and those that it did not read to the end."""
    logger = logging.getLogger("airbyte")
    streams = [
        ConfiguredAirbyteStream(
            stream=AirbyteStream(
                name=name, json_schema={}, supported_sync_modes=[SyncMode.full_refresh]
            ),
            sync_mode=SyncMode.full_refresh,
            destination_sync_mode=DestinationSyncMode.append,
        )
        for name in names
    ]
    catalog = ConfiguredAirbyteCatalog(streams=streams)
    source = ConcurrentDeclarativeSource(
        catalog=catalog, config=config, state=[], source_config=manifest
    )
    rows: dict[str, list[Any]] = {name: [] for name in names}
    unread = set(names)
    number, told = 0, ""
    try:
        for message in source.read(logger, config, catalog, []):
            if message.type == Type.RECORD and message.record is not None:
                rows[message.record.stream].append(message.record.data)
                number += 1
                if number > MOST_ROWS * len(names):
                    raise RuntimeError("there is no end of rows")
            if message.trace is not None and message.trace.error is not None:
                told = message.trace.error.internal_message or message.trace.error.message
            status = getattr(message.trace, "stream_status", None) if message.trace else None
            if status is not None and status.status.value == "COMPLETE":
                unread.discard(status.stream_descriptor.name)
    except Exception as error:
        if len(names) == 1:
            raise RuntimeError(told or _said(error)) from None
    return rows, unread


def _said(error: Exception) -> str:
    inner = getattr(error, "internal_message", None) or str(error)
    return " ".join(f"{type(error).__name__}: {inner}".split())[:300]


def read(job: dict[str, Any]) -> dict[str, Any]:
    """Of each stream its rows or its error."""
    names = list(job["streams"])
    found: dict[str, Any] = {}
    try:
        rows, unread = rows_of(job["manifest"], job["config"], names)
        found = {name: {"rows": rows[name]} for name in names if name not in unread}
    except Exception:
        unread = set(names)
    for name in sorted(unread):
        try:
            one, rest = rows_of(job["manifest"], job["config"], [name])
            found[name] = {"rows": one[name]} if not rest else {"error": "not read to the end"}
        except Exception as error:
            found[name] = {"error": " ".join(str(error).split())[:300]}
    return found


def main() -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        out.write(json.dumps(read(json.loads(line)), default=str) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
