"""A declarative manifest as plain data: references followed, parameters handed down, types named.

What belongs here: ``$ref``, ``$parameters`` and the types that a manifest leaves out. The meaning
of a component is the business of the module of its kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sourcetool.importers.templates import read_template
from sourcetool.importers.values import Value

Component = dict[str, Any]

_TYPES = {
    "requester": "HttpRequester",
    "retriever": "SimpleRetriever",
    "record_selector": "RecordSelector",
    "extractor": "DpathExtractor",
    "paginator": "DefaultPaginator",
    "incremental_sync": "DatetimeBasedCursor",
    "start_datetime": "MinMaxDatetime",
    "end_datetime": "MinMaxDatetime",
    "page_token_option": "RequestOption",
    "page_size_option": "RequestOption",
    "start_time_option": "RequestOption",
    "end_time_option": "RequestOption",
    "request_option": "RequestOption",
    "parent_stream_configs": "ParentStreamConfig",
    "stream": "DeclarativeStream",
    "streams": "DeclarativeStream",
    "schema_loader": "InlineSchemaLoader",
    "error_handler": "DefaultErrorHandler",
    "error_handlers": "DefaultErrorHandler",
    "response_filters": "HttpResponseFilter",
    "record_filter": "RecordFilter",
    "partition_router": "SubstreamPartitionRouter",
    "fields": "AddedFieldDefinition",
    "decoder": "JsonDecoder",
}
"""What a component is where it does not say so, by the member that holds it."""

_DATA = frozenset({"schema", "spec", "metadata", "schemas", "definitions"})
"""Members that hold data, and no components."""

CHOSEN = "$chosen"
"""The member of a stream that says how it was chosen among others."""
_MOST_NESTED = 60
NEWEST = 7
"""The newest major version of declarative manifests whose components are known here."""


class NoManifest(ValueError):
    """The document is no declarative manifest; the text says what was found and expected."""


@dataclass(frozen=True)
class ConnectorManifest:
    """A connector.

    :ivar streams: its static streams, resolved, in the order of the file.
    :ivar dynamic: components that make streams at run time; they have no names yet.
    :ivar spec: the JSON Schema of its settings.
    :ivar computed: how the manifest makes or changes a member of its settings, by its path.
    :ivar newer: its version, if that is newer than those that are known here.
    """

    name: str
    streams: tuple[Component, ...]
    dynamic: tuple[Component, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)
    budget: Component | None = None
    newer: str = ""
    computed: Mapping[tuple[str, ...], str] = field(default_factory=dict)


def read_manifest(file: Path) -> ConnectorManifest:
    """A manifest from its file.

    :raises NoManifest: it is no declarative manifest, or can't be read.
    """
    try:
        data = yaml.load(file.read_text("utf-8-sig"), Loader=_LOADER)  # noqa: S506 - a safe loader
    except (OSError, UnicodeDecodeError) as error:
        raise NoManifest(f"{file}: the file can't be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise NoManifest(f"{file}:{line}: the file is neither valid YAML nor JSON") from None
    return manifest_of(data, file.stem, str(file))


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def manifest_of(data: Any, name: str, where: str = "the document") -> ConnectorManifest:
    """A manifest from its data.

    :raises NoManifest: it is no declarative manifest, or a reference leads nowhere.
    """
    if not isinstance(data, dict) or not is_manifest(data):
        raise NoManifest(
            f"{where}: expected a declarative manifest with 'type: DeclarativeSource' and "
            f"'streams', found {_described(data)}"
        )
    resolved = _Resolver(data).resolved({k: v for k, v in data.items() if k != "definitions"})
    streams = [
        _with_parameters("streams", component, {})
        for component in _mappings(resolved, "streams", where)
    ]
    dynamic = _mappings(resolved, "dynamic_streams", where)
    spec = resolved.get("spec")
    settings = spec.get("connection_specification") if isinstance(spec, dict) else None
    budget = resolved.get("api_budget")
    flat = [component for stream in streams for component in flattened(stream)]
    return ConnectorManifest(
        name,
        tuple(flat),
        tuple(_with_parameters("", component, {}) for component in dynamic),
        settings if isinstance(settings, dict) else {},
        budget if isinstance(budget, dict) else None,
        _newer(data.get("version")),
        _computed_settings(spec if isinstance(spec, dict) else {}),
    )


def _computed_settings(spec: Component) -> dict[tuple[str, ...], str]:
    """The settings that ``config_normalization_rules`` make or change, and how."""
    rules = spec.get("config_normalization_rules")
    rules = rules if isinstance(rules, dict) else {}
    steps = [step for step in rules.get("transformations") or [] if isinstance(step, dict)]
    for migration in rules.get("config_migrations") or []:
        steps += (migration.get("transformations") or []) if isinstance(migration, dict) else []
    how: dict[tuple[str, ...], str] = {}
    for step in steps:
        kind = step.get("type")
        if kind == "ConfigAddFields":
            for added in step.get("fields") or []:
                path = tuple(map(str, added.get("path") or ()))
                how[path] = f"computed by the manifest: {' '.join(str(added.get('value')).split())}"
        elif kind == "ConfigRemapField":
            path = tuple(map(str, step.get("field_path") or ()))
            how[path] = f"as the manifest maps it: {step.get('map')}"
        elif kind not in ("ConfigRemoveFields", None) or "class_name" in step:
            name = step.get("class_name") or kind
            how[()] = f"settings are changed by {name}, which is not known here"
    return how


def _newer(version: Any) -> str:
    major = str(version or "").split(".")[0]
    return str(version) if major.isdigit() and int(major) > NEWEST else ""


def _mappings(document: Mapping[str, Any], member: str, where: str) -> list[Component]:
    components = document.get(member) or []
    if not isinstance(components, list) or not all(
        isinstance(component, dict) for component in components
    ):
        raise NoManifest(f"{where}: {member}: expected a list of mappings, found another thing")
    return components


def is_manifest(data: Any) -> bool:
    """Whether a document looks like a declarative manifest."""
    return isinstance(data, dict) and (
        data.get("type") == "DeclarativeSource"
        or ("streams" in data and ("check" in data or "version" in data))
        or "dynamic_streams" in data
    )


def _described(data: Any) -> str:
    if isinstance(data, dict):
        return f"a mapping with the keys {', '.join(map(str, list(data)[:6]))}"
    return "nothing" if data is None else f"a {type(data).__name__}"


def flattened(stream: Component) -> list[Component]:
    """A stream, or the streams of one that chooses between some by a setting or by its state."""
    kind = stream.get("type")
    if kind == "StateDelegatingStream":
        return _by_state(stream)
    if kind == "ConditionalStreams":
        condition = " ".join(str(stream.get("condition")).split())
        note = f"the manifest has this stream only where {condition}"
        branches = [branch for branch in stream.get("streams") or [] if isinstance(branch, dict)]
        return [flat | {CHOSEN: [note]} for branch in branches for flat in flattened(branch)]
    return [stream]


def _by_state(stream: Component) -> list[Component]:
    """The stream that has all rows: changes may come from events, which an API keeps for a while.

    It has no cursor, which says less than the other one's; where both ask the same endpoint it is
    the one with the cursor.
    """
    changes, whole = stream.get("incremental_stream"), stream.get("full_refresh_stream")
    same = isinstance(changes, dict) and isinstance(whole, dict) and _url(changes) == _url(whole)
    if isinstance(whole, dict) and not same:
        note = "the manifest reads changes by another stream (incremental_stream): all rows are "
        note += "read every time here"
        without = {name: part for name, part in whole.items() if name != "incremental_sync"}
        return [without | {CHOSEN: [note]}]
    note = "the manifest reads its first run by another stream (full_refresh_stream)"
    if (retention := stream.get("api_retention_period")) is not None:
        note += f", and again once its state is older than {retention}"
    return [changes | {CHOSEN: [note]}] if isinstance(changes, dict) else []


def _url(stream: Component) -> list[Value]:
    """The address of a stream, with its parameters put in: two streams may share the text."""
    retriever = stream.get("retriever")
    requester = retriever.get("requester") if isinstance(retriever, dict) else None
    parts = requester if isinstance(requester, dict) else {}
    parameters = stream.get("$parameters") or {}
    texts = [str(parts.get(name) or "").strip("/") for name in ("url", "url_base", "path")]
    return [read_template(text, parameters) for text in texts]


class _Resolver:
    """``$ref``: ``{"$ref": "#/definitions/x", more: …}`` and the text ``"#/definitions/x"``."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document

    def resolved(self, value: Any, depth: int = 0) -> Any:
        if depth > _MOST_NESTED:
            raise NoManifest("the manifest's references go round in a circle")
        if isinstance(value, list):
            return [self.resolved(item, depth + 1) for item in value]
        if isinstance(value, str) and value.startswith("#/"):
            return self.resolved(self.at(value), depth + 1)
        if not isinstance(value, dict):
            return value
        rest = {key: self.resolved(item, depth + 1) for key, item in value.items() if key != "$ref"}
        reference = value.get("$ref")
        if not isinstance(reference, str):
            return rest if reference is None else rest | {"$ref": reference}
        base = self.resolved(self.at(reference), depth + 1)
        return {**base, **rest} if isinstance(base, dict) else base

    def at(self, reference: str) -> Any:
        """The part of the document that a reference leads to; names in it may have slashes."""
        node: Any = self.document
        path = reference.removeprefix("#/")
        while path:
            node, path = _step(node, path, reference)
        return node


def _step(node: Any, path: str, reference: str) -> tuple[Any, str]:
    parts = path.split("/")
    for taken in range(1, len(parts) + 1):
        name = "/".join(parts[:taken])
        if isinstance(node, dict) and name in node:
            return node[name], "/".join(parts[taken:])
        if isinstance(node, list) and name.isdigit() and int(name) < len(node):
            return node[int(name)], "/".join(parts[taken:])
    raise NoManifest(f"the reference {reference!r} leads nowhere: {parts[0]!r} is missing")


def _with_parameters(member: str, component: Any, above: Mapping[str, Any]) -> Any:
    """A component with the parameters of those above it as its own members, and its type."""
    if not isinstance(component, dict):
        return component
    members = dict(component)
    if "type" not in members and (kind := _TYPES.get(member)) and "class_name" not in members:
        members["type"] = kind
    if "type" not in members or not isinstance(members["type"], str):
        return members
    own = members.pop("$parameters", None)
    parameters = {**above, **(own if isinstance(own, dict) else {})}
    for name, value in parameters.items():
        members[name] = members.get(name) or value
    for name, value in members.items():
        if name in _DATA or (name in parameters and not isinstance(value, dict | list)):
            continue
        below = {key: item for key, item in parameters.items() if key != name}
        if isinstance(value, list):
            members[name] = [_with_parameters(name, item, below) for item in value]
        else:
            members[name] = _with_parameters(name, value, below)
    if parameters:
        members["$parameters"] = parameters
    return members
