"""A declarative manifest of Airbyte becomes the YAML of a source.

Each stream is converted by itself, parents before children. ``convert`` is pure: it returns what
the YAML says, and of each stream what could not be said.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.model import split_path
from sourcetool.importers import auth, errors
from sourcetool.importers.abilities import KNOWN, Need, lacking
from sourcetool.importers.components import note_unread
from sourcetool.importers.converted import Converted, upstream
from sourcetool.importers.draft import Draft, free_name, plain, rename_folder_columns
from sourcetool.importers.fanout import Parent, drop_unused_lists, fan_out, routers_of
from sourcetool.importers.filters import keep_where
from sourcetool.importers.increments import (
    asks_for_window,
    begin,
    finish,
    format_of_moments,
    is_incremental,
)
from sourcetool.importers.manifest import CHOSEN, NEWEST, Component, ConnectorManifest, flattened
from sourcetool.importers.pagination import paginate
from sourcetool.importers.records import select, transform
from sourcetool.importers.requesters import check_body, keep_with_token, request
from sourcetool.importers.schemas import column_types
from sourcetool.importers.settings import SettingNames
from sourcetool.importers.texts import text_of


def convert(
    manifest: ConnectorManifest, name: str | None = None, known: frozenset[str] = KNOWN
) -> Converted:
    """The source of a manifest.

    :param name: of the source; default: the manifest's.
    :param known: the abilities of the engine.
    """
    return _Converter(manifest, plain(name or manifest.name), known).converted()


@dataclass
class _Definition:
    """A stream of some name, and the endpoint that it is.

    :ivar parts: what decides which rows it has; empty while it is converted.
    """

    stream: Component
    draft: Draft
    parts: Mapping[str, str] = field(default_factory=dict)

    def differs_from(self, other: "_Definition", child: str) -> str:
        """The sentence on another definition of the same name."""
        names = sorted(self.parts.keys() | other.parts.keys())
        different = [name for name in names if self.parts.get(name) != other.parts.get(name)]
        where = f" in {', '.join(different)}" if self.parts else ""
        of = f": these are the parents of {child}, as the manifest defines them" if child else ""
        return f"the manifest has another stream {self.draft.component}, which differs{where}{of}"


def _parts(draft: Draft, stream: Component) -> dict[str, str]:
    """What decides which rows an endpoint has, and what stands in them, each part as a text.

    The key and the types of the schema don't: parents are often defined without them.
    """
    made = {name: of for name, of in draft.columns.items() if isinstance(of, dict)}
    parts: dict[str, Any] = {name: of for name, of in draft.data.items() if name != "key"}
    parts |= {"request": draft.request, "base_url": draft.base_url, "auth": draft.auth}
    parts |= {"columns": made, "columns left out": sorted(draft.omitted)}
    parts["answers"] = errors.ignored(_requester_of(stream))
    parts["what the YAML can't say"] = [need.reason for need in lacking(draft.needs, draft.known)]
    return {name: json.dumps(of, sort_keys=True, default=str) for name, of in parts.items() if of}


class _Converter:
    def __init__(self, manifest: ConnectorManifest, source: str, known: frozenset[str]) -> None:
        self.manifest = manifest
        computed = {path: how for path, how in manifest.computed.items() if path}
        self.settings = SettingNames(source, manifest.spec, computed)
        self.known = known
        self.drafts: dict[str, Draft] = {}
        self.streams: dict[str, Component] = {}
        self.definitions: dict[str, list[_Definition]] = {}
        self.endpoint_names: set[str] = set()
        self.listed: dict[str, str] = {}
        self.first_listed: dict[str, Component] = {}

    def converted(self) -> Converted:
        for stream in self.manifest.streams:
            self.first_listed.setdefault(self.stream_name(stream), stream)
        for stream in self.manifest.streams:
            name, draft = self.stream_name(stream), self.draft_of(stream)
            if self.listed.get(name, draft.name) != draft.name:
                name = f"{name} ({draft.name})"
            self.listed[name] = draft.name
        for dynamic in self.manifest.dynamic:
            name = str(dynamic.get("name") or "dynamic_streams")
            draft = Draft(self.free_name(name), name, self.settings)
            draft.need("dynamic", "dynamic_streams", dynamic.get("type"))
            self.drafts[draft.name] = draft
            self.listed[name] = draft.name
        self.place()
        return self.assembled()

    def stream_name(self, stream: Component) -> str:
        parameters = stream.get("$parameters") or {}
        raw = stream.get("name") or parameters.get("name") or "rows"
        return str(text_of(Draft("", "", self.settings, parameters=parameters), raw, "name"))

    def draft_of(self, stream: Component, child: str = "") -> Draft:
        """The endpoint of a stream, which may be another one's parent as well.

        Streams may share a name: those that differ are endpoints of their own, and say so.

        :param child: the endpoint whose parents these are.
        """
        name = self.stream_name(stream)
        same_name = self.definitions.setdefault(name, [])
        bare = {member: part for member, part in stream.items() if member != CHOSEN}
        first = self.first_listed.get(name)
        if first is not None and first is not stream and not same_name:
            self.draft_of(first)
        for other in same_name:
            if other.stream == bare:
                return other.draft
        draft = Draft(
            self.free_name(name, beside_listed=first is not stream),
            name,
            self.settings,
            known=self.known,
        )
        draft.parameters = stream.get("$parameters") or {}
        definition = _Definition(bare, draft)
        if first is stream:
            same_name.append(definition)
        try:
            self.fill(draft, stream)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            draft.need("component", "stream", f"in an unexpected form: {error}")
        definition.parts = _parts(draft, stream)
        if first is not stream:
            for other in same_name:
                if other.parts == definition.parts:
                    self.endpoint_names.discard(draft.name)
                    same_name.append(_Definition(bare, other.draft, other.parts))
                    return other.draft
            if same_name:
                draft.doubt(same_name[0].differs_from(definition, child))
            same_name.append(definition)
        self.drafts[draft.name] = draft
        self.streams[draft.name] = stream
        return draft

    def free_name(self, stream_name: str, *, beside_listed: bool = False) -> str:
        """A name for an endpoint that no other one has; it is taken from then on.

        :param beside_listed: the names of the streams that the manifest lists stay theirs.
        """
        taken = set(self.endpoint_names)
        if beside_listed:
            taken |= {plain(listed) for listed in self.first_listed}
        free = free_name(plain(stream_name), taken)
        self.endpoint_names.add(free)
        return free

    def fill(self, draft: Draft, stream: Component) -> None:
        if "class_name" in stream:
            draft.need("python", "stream", stream["class_name"])
            return
        retriever = stream.get("retriever") or {}
        if "class_name" in retriever:
            draft.need("python", "retriever", retriever["class_name"])
            return
        if retriever.get("type") == "AsyncRetriever":
            draft.need("export", "AsyncRetriever")
            return
        if retriever.get("type") != "SimpleRetriever":
            draft.need("component", "retriever", retriever.get("type"))
            return
        for text in stream.get(CHOSEN) or []:
            draft.doubt(text)
        requester = retriever.get("requester") or {}
        sync = stream.get("incremental_sync")
        draft.stateless = not sync
        draft.schema_types = types = self.types_of(draft, stream)
        if sync and routers_of(retriever) and not asks_for_window(sync, requester):
            draft.doubt(
                f"the cursor {sync.get('cursor_field')} is left out: the request has no window, so "
                "that all rows of each value are read every time"
            )
            sync = None
        fan_out(draft, stream, partial(self.parent_of, draft.name), with_cursor=bool(sync))
        begin(draft, sync)
        request(draft, requester)
        auth.authenticate(draft, requester.get("authenticator"))
        select(draft, retriever)
        paginate(draft, retriever.get("paginator"))
        transform(draft, stream.get("transformations") or [], types)
        finish(draft, sync, types, retriever)
        keep_where(draft, retriever.get("record_selector") or {})
        keep_with_token(draft, retriever)
        format_of_moments(draft)
        check_body(draft)
        drop_unused_lists(draft)
        note_unread(draft, {name: part for name, part in stream.items() if part is not sync})
        if sync:
            note_unread(draft, sync)
        self.without_cursor(draft)
        of_rows = (draft.data.get("cursor"), (draft.data.get("paging") or {}).get("last"))
        if "names" in draft.data and any("_" in str(name or "") for name in of_rows):
            draft.need("rename", "KeysToSnakeCase", "the member that the cursor or the token is")
        left_out = ({*draft.omitted} | draft.untyped) - {*draft.columns}
        columns = {**types, **draft.columns}
        # A member that is removed is no column, though the schema has it or another is made of it.
        removed = {*draft.data.get("exclude", ())} - {draft.data.get("cursor")}
        left_out |= {n for n, kind in columns.items() if n in removed and isinstance(kind, str)}
        draft.columns = {name: kind for name, kind in columns.items() if name not in left_out}
        self.key(draft, stream)
        if "cursor" in draft.data:
            draft.wants_column(draft.data["cursor"])
        rename_folder_columns(draft)
        if any(need.ability == "python" for need in draft.needs):
            # What a component of the connector's own gives is not known, and looks computed.
            draft.needs = [n for n in draft.needs if n.ability not in ("computed", "component")]

    def types_of(self, draft: Draft, stream: Component) -> dict[str, str]:
        loader = stream.get("schema_loader") or {}
        loaders = loader if isinstance(loader, list) else [loader]
        for schema_loader in loaders:
            if "class_name" in schema_loader:
                draft.doubt("the schema is Python of the connector's own: columns are inferred")
            elif schema_loader.get("type") == "InlineSchemaLoader":
                schema = schema_loader.get("schema")
                named = schema.get("properties") if isinstance(schema, dict) else None
                draft.schema_names = frozenset(map(str, named or ()))
                return column_types(schema)
        return {}

    def without_cursor(self, draft: Draft) -> None:
        """The window in the request of an endpoint that has no cursor."""
        explained = any(need.ability in ("python", "component", "state") for need in draft.needs)
        asked_for = {"start", "end"} & draft.placeholders()
        if "cursor" not in draft.data and asked_for and not explained:
            draft.need("window_alone", "HttpRequester")

    def key(self, draft: Draft, stream: Component) -> None:
        raw = stream.get("primary_key")
        parts = raw if isinstance(raw, list) else [raw] if raw else []
        flat = [part for item in parts for part in (item if isinstance(item, list) else [item])]
        nested = any(isinstance(item, list) and len(item) > 1 for item in parts)
        names = [str(text_of(draft, item, "primary_key")) for item in flat if item]
        if nested:
            names = [
                ".".join(map(str, item)) if isinstance(item, list) else str(item) for item in parts
            ]
        if not names:
            draft.data["key"] = "none"
            draft.need("key_none", "primary_key")
            return
        computed = next((n for n in names if _is_computed(draft.omitted.get(n))), None)
        if computed is not None or _same_for_all(draft, names):
            draft.data["key"] = "none"
            draft.doubt(
                f"the manifest's key {computed or ', '.join(names)} is computed, and identifies no "
                "row: key: none keeps all rows; name the columns that do, if the API has some"
            )
            return
        draft.data["key"] = [self.key_column(draft, name) for name in dict.fromkeys(names)]

    def key_column(self, draft: Draft, name: str) -> str:
        draft.wants_column(name)
        if "." in name and name not in draft.columns:
            column = name.replace(".", "_")
            draft.columns.setdefault(column, {"type": "string", "path": name})
            return column
        if draft.columns.get(name) in ("json", "double"):
            # Schemas say number for whole numbers: what comes says it better.
            del draft.columns[name]
        return name

    def parent_of(self, child: str, stream: Component) -> Parent:
        stream = next(iter(flattened(stream)), stream)
        draft = self.draft_of(stream, child)
        return Parent(draft, is_incremental(stream))

    def place(self) -> None:
        """Choose the source's base URL and auth; endpoints with others need an ability."""
        drafts = [other for other in self.drafts.values() if other.base_url]
        for draft in drafts:
            whole = re.match(r"(https?://[^/{}]+)/*(.*)", str(draft.data.get("path") or ""))
            if whole:
                draft.base_url, draft.data["path"] = whole.groups()
        origins = Counter(_origin(other.base_url) for other in drafts)
        self.origin = origins.most_common(1)[0][0] if origins else ""
        mine = [other for other in drafts if _origin(other.base_url) == self.origin]
        bases = {_base(other.base_url) for other in mine}
        self.base = bases.pop() if len(bases) == 1 else self.origin
        for draft in drafts:
            path = str(draft.data.get("path") or "")
            if path.startswith(("http://", "https://")):
                draft.need("host_computed", "HttpRequester.path", path)
            elif _COMPUTED_HOST.search(_origin(draft.base_url)):
                draft.need("host_computed", "HttpRequester.url_base", draft.base_url)
            elif _origin(draft.base_url) != self.origin:
                draft.need("host_per_endpoint", "HttpRequester.url_base", draft.base_url)
                self.place_elsewhere(draft, path)
            else:
                inner = _base(draft.base_url)[len(self.base) :].strip("/")
                joined = "/".join(part for part in (inner, path.lstrip("/")) if part)
                draft.data["path"] = joined
        auth.spread([other for other in drafts if not _auth_needs(other)])
        auths = Counter(repr(other.auth) for other in drafts if not _auth_needs(other))
        self.auth = auths.most_common(1)[0][0] if auths else "{}"
        for draft in drafts:
            if repr(draft.auth) != self.auth and not _auth_needs(draft):
                draft.need("auth_per_endpoint", "authenticator", draft.auth.get("kind", "none"))
            elif "base_url" in draft.data and draft.auth:
                host = _origin(draft.base_url)
                draft.doubt(f"the source's credentials go to {host} as well, as in the manifest")

    def place_elsewhere(self, draft: Draft, path: str) -> None:
        """An endpoint of another host has that as its own ``base_url``."""
        origin = _origin(draft.base_url)
        inner = draft.base_url[len(origin) :]
        if "{" in inner:
            draft.base_url, path = origin, "/".join([inner.strip("/"), path.lstrip("/")])
        draft.data |= {"base_url": _base(draft.base_url), "path": path.lstrip("/")}

    def assembled(self) -> Converted:
        data: dict[str, Any] = {
            "source": self.settings.source,
            "base_url": self.base,
            "start": f"${{{self.settings.variable(('start',))}}}",
        }
        loaded = {name: d for name, d in self.drafts.items() if not self.reasons(d)}
        auth_of = next((d.auth for d in loaded.values() if repr(d.auth) == self.auth), {})
        if auth_of:
            data["auth"] = auth_of
        requesters = [
            _requester_of(stream)
            for stream in self.manifest.streams
            if self.draft_of(stream).name in loaded
        ]
        for name, draft in loaded.items():
            if name in self.streams:
                own, doubts = errors.ignored(_requester_of(self.streams[name]))
                draft.data |= {"answers": own} if own else {}
                for doubt in doubts:
                    draft.doubt(doubt)
        limits, left_out = errors.limits(requesters, self.manifest.budget)
        if (changed := self.manifest.computed.get(())) is not None:
            left_out.append(changed)
        if self.manifest.newer:
            left_out.append(
                f"the manifest is of version {self.manifest.newer}, and those up to {NEWEST} are "
                "known here: a component may mean something else"
            )
        answers, more = errors.answers(requesters)
        if limits:
            data["limits"] = limits
        if answers:
            data["answers"] = answers
        data["endpoints"] = {d.name: endpoint_of(d) for d in loaded.values()}
        return Converted(
            self.settings.source,
            data,
            self.settings,
            {name: at for name, at in self.listed.items() if at in loaded},
            {n: self.reasons(self.drafts[at]) for n, at in self.listed.items() if at not in loaded},
            {d.name: d.omitted for d in loaded.values() if d.omitted},
            {d.name: d.doubts for d in loaded.values()},
            [*left_out, *more],
        )

    def reasons(self, draft: Draft) -> list[Need]:
        """The abilities that an endpoint, or one above it, lacks."""
        return list(dict.fromkeys(self._reasons(draft, set())))

    def _reasons(self, draft: Draft, visited: set[str]) -> Iterator[Need]:
        if draft.name in visited:
            return
        yield from lacking(draft.needs, self.known)
        above = upstream(draft.data)
        for other in self.drafts.values():
            if other.name in above:
                yield from self._reasons(other, {*visited, draft.name})


def _requester_of(stream: Component) -> Component:
    retriever = stream.get("retriever")
    requester = retriever.get("requester") if isinstance(retriever, dict) else None
    return requester if isinstance(requester, dict) else {}


def _is_computed(need: Need | None) -> bool:
    return need is not None and need.ability == "computed"


def _same_for_all(draft: Draft, names: list[str]) -> bool:
    """Whether a key is the time of the request, or constants alone."""
    columns = [column for name in names if isinstance(column := draft.columns.get(name), dict)]
    constants = [column for column in columns if "value" in column]
    return any(column.get("from") == "now" for column in columns) or len(constants) == len(names)


def _auth_needs(draft: Draft) -> bool:
    """Whether its credentials can't be said."""
    return any(
        n.ability.startswith("auth_") or "authenticator" in n.component.lower()
        for n in lacking(draft.needs, draft.known)
    )


def _origin(url: str) -> str:
    match = re.match(r"(https?://[^/]+|\$\{[^}]*\}[^/]*)", url)
    return match.group(1) if match else url


_COMPUTED_HOST = re.compile(r"(?<!\$)\{")
"""A partition value or the like in a host: a setting is ``${…}``."""


def _base(url: str) -> str:
    return url.rstrip("/")


_ORDER = (
    *(
        "base_url",
        "path",
        "parents",
        "each",
        "request",
        "paging",
        "window",
        "format",
        "rows",
        "rows_may_lack",
    ),
    "as",
    "names",
    *("where", "key", "cursor", "order", "safety_margin_s", "answers", "exclude", "columns"),
)


def _with_outer_members(draft: Draft) -> dict[str, Any]:
    """The columns; a member that one of them reads from inside stays a column, too."""
    columns, excluded = dict(draft.columns), draft.data.get("exclude", ())
    for column in draft.columns.values():
        path = split_path(str(column.get("path", ""))) if isinstance(column, dict) else ()
        if len(path) > 1 and path[0] not in excluded and "names" not in draft.data:
            columns.setdefault(path[0], "json")
    return columns


def endpoint_of(draft: Draft) -> dict[str, Any]:
    """The keys of an endpoint in the YAML, in the order in which people read them."""
    data = dict(draft.data)
    if draft.request:
        data["request"] = draft.request
    if columns := _with_outer_members(draft):
        data["columns"] = columns
    return {name: data[name] for name in _ORDER if name in data}
