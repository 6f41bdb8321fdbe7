"""Airbyte's own runtime on a manifest's API: run as a program, in an environment of its own.

It reads ``{"manifest", "config", "streams"}`` as JSON from stdin, and prints the rows of each
stream, or its error, as JSON.
"""

import json
import logging
import sys
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


def rows_of(manifest: dict[str, Any], config: dict[str, Any], name: str) -> list[Any]:
    """All rows of a stream, as the peer emits them."""
    logger = logging.getLogger("airbyte")
    logger.setLevel(logging.CRITICAL)
    stream = AirbyteStream(name=name, json_schema={}, supported_sync_modes=[SyncMode.full_refresh])
    one = ConfiguredAirbyteStream(
        stream=stream,
        sync_mode=SyncMode.full_refresh,
        destination_sync_mode=DestinationSyncMode.append,
    )
    catalog = ConfiguredAirbyteCatalog(streams=[one])
    source = ConcurrentDeclarativeSource(
        catalog=catalog, config=config, state=[], source_config=manifest
    )
    return [
        message.record.data
        for message in source.read(logger, config, catalog, [])
        if message.type == Type.RECORD and message.record is not None
    ]


def main() -> None:
    job = json.load(sys.stdin)
    found: dict[str, Any] = {}
    for name in job["streams"]:
        try:
            found[name] = {"rows": rows_of(job["manifest"], job["config"], name)}
        except Exception as error:
            found[name] = {"error": f"{type(error).__name__}: {error}"[:400]}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
