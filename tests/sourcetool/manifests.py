"""Small manifests for the tests of the importers, in our own words."""

from typing import Any

from sourcetool.importers.abilities import KNOWN
from sourcetool.importers.airbyte import convert
from sourcetool.importers.converted import Converted
from sourcetool.importers.manifest import manifest_of
from sourcetool.importers.trial import tried

Data = dict[str, Any]
LINK = {"type": "RequestPath"}
START = {
    "type": "MinMaxDatetime",
    "datetime": "{{ config['since'] }}",
    "datetime_format": "%Y-%m-%d",
}
SPEC: Data = {
    "connection_specification": {
        "type": "object",
        "required": ["token", "since"],
        "properties": {
            "token": {"type": "string", "title": "The key", "airbyte_secret": True},
            "since": {"type": "string", "format": "date"},
            "region": {"type": "string"},
            "size": {"type": "integer", "default": 20},
            "teams": {"type": "array"},
        },
    }
}


def stream(name: str = "things", **changes: Any) -> Data:
    """A stream: members of the requester, the retriever and the stream itself, by their names."""
    requester: Data = {
        "type": "HttpRequester",
        "url_base": "https://api.example.com/v1/",
        "path": name,
        "http_method": "GET",
    }
    retriever: Data = {
        "type": "SimpleRetriever",
        "requester": requester,
        "record_selector": {
            "type": "RecordSelector",
            "extractor": {"type": "DpathExtractor", "field_path": ["data"]},
        },
    }
    found: Data = {
        "type": "DeclarativeStream",
        "name": name,
        "primary_key": ["id"],
        "retriever": retriever,
        "schema_loader": {
            "type": "InlineSchemaLoader",
            "schema": {
                "properties": {
                    "id": {"type": ["null", "integer"]},
                    "name": {"type": "string"},
                    "changed": {"type": ["string", "null"], "format": "date-time"},
                }
            },
        },
    }
    for key, value in changes.items():
        if key in ("paginator", "partition_router", "record_selector", "decoder"):
            retriever[key] = value
        elif key in ("incremental_sync", "transformations", "primary_key", "schema_loader"):
            found[key] = value
        elif key == "rows":
            retriever["record_selector"]["extractor"]["field_path"] = value
        elif key == "where":
            retriever["record_selector"]["record_filter"] = {
                "type": "RecordFilter",
                "condition": value,
            }
        else:
            requester[key] = value
    return found


def manifest(*streams: Data, **more: Any) -> Data:
    """A manifest of some streams."""
    return {
        "version": "6.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": ["things"]},
        "streams": list(streams),
        "spec": SPEC,
        **more,
    }


def option(name: str, place: str = "request_parameter") -> Data:
    return {"type": "RequestOption", "inject_into": place, "field_name": name}


def pages(strategy: Data, token: Data | None = None, size: Data | None = None) -> Data:
    """A paginator."""
    found: Data = {"type": "DefaultPaginator", "pagination_strategy": strategy}
    if token is not None:
        found["page_token_option"] = token
    if size is not None:
        found["page_size_option"] = size
    return found


def window(**changes: Any) -> Data:
    """A cursor that is asked for by two parameters."""
    found: Data = {
        "type": "DatetimeBasedCursor",
        "cursor_field": "changed",
        "datetime_format": "%Y-%m-%dT%H:%M:%SZ",
        "start_datetime": START,
        "start_time_option": option("from"),
        "end_time_option": option("to"),
    }
    return {name: value for name, value in (found | changes).items() if value is not None}


def children(parent: Data, key: str = "id", field: str = "of") -> Data:
    """A router over the rows of another stream."""
    return {
        "type": "SubstreamPartitionRouter",
        "parent_stream_configs": [
            {
                "type": "ParentStreamConfig",
                "stream": parent,
                "parent_key": key,
                "partition_field": field,
            }
        ],
    }


def made(*streams: Data, known: frozenset[str] = KNOWN, **more: Any) -> Converted:
    """What becomes of a manifest of these streams."""
    return convert(manifest_of(manifest(*streams, **more), "shop"), known=known)


def endpoint(*streams: Data, known: frozenset[str] = KNOWN) -> Data:
    """The last stream's endpoint, after the whole source was loaded."""
    found = made(*streams, known=known)
    assert not found.left_out
    if known == KNOWN:
        tried(found, "a manifest")
    return dict(list(found.data["endpoints"].values())[-1])
