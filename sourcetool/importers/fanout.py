"""Partition routers: which values an endpoint is asked for, each in requests of its own.

``SubstreamPartitionRouter`` with one parent is ``parents``, or ``each: {endpoint: …}`` where the
child has a cursor; ``ListPartitionRouter`` is ``each: {values: …}``; several routers are a product.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sourcetool.importers.draft import ABOVE, BY_COMMA, Draft, Slot, free_name, needed
from sourcetool.importers.manifest import Component
from sourcetool.importers.requesters import put_option
from sourcetool.importers.templates import read_template
from sourcetool.importers.texts import text_of
from sourcetool.importers.values import Choice, Literal, Setting

ParentOf = Callable[[Component], "Parent"]


@dataclass(frozen=True)
class Parent:
    """A parent endpoint that was converted before its child."""

    draft: Draft
    incremental: bool


def routers_of(retriever: Component) -> list[Component]:
    """The routers of a stream, none or one or several."""
    member = retriever.get("partition_router") or retriever.get("stream_slicer")
    routers: list[Component] = member if isinstance(member, list) else [member] if member else []
    return [router for router in routers if router.get("type") != "DatetimeBasedCursor"]


def fan_out(draft: Draft, stream: Component, parent_of: ParentOf, *, with_cursor: bool) -> None:
    """Say for which values the endpoint is asked, and what stands for them in its request."""
    routers = routers_of(stream.get("retriever") or {})
    draft.routed = bool(routers)
    if not routers:
        return
    stream = {name: stream[name] for name in ("retriever", "transformations") if name in stream}
    varying = [
        candidate for candidate in routers if _stands_for_all(draft, candidate, str(stream)) is None
    ]
    several = len(varying) > 1
    if several:
        draft.need("fanout_product", "partition_router", len(varying))
    for outer in routers:
        group, router = _group_of(draft, outer)
        kind = _kind_of(router)
        if kind == "ListPartitionRouter":
            _from_list(draft, router, str(stream), several=several)
        elif kind == "SubstreamPartitionRouter":
            _from_parents(
                draft, stream, router, parent_of, with_cursor=with_cursor, several=several
            )
        elif "class_name" in router:
            draft.need("python", "partition_router", router["class_name"])
        else:
            draft.need("component", "partition_router", kind)
        if group is not None:
            _put_in_groups(draft, router, group, several=several)


def _kind_of(router: Component) -> str:
    return str(router.get("type", "")).removesuffix("Config")


def _group_of(draft: Draft, router: Component) -> tuple[int | None, Component]:
    """How many values one request is for, and the router that has the values; None: no groups."""
    if _kind_of(router) != "GroupingPartitionRouter":
        return None, router
    size = str(text_of(draft, router.get("group_size"), "GroupingPartitionRouter.group_size"))
    if not size.isdigit():
        draft.need("fanout_group", "GroupingPartitionRouter.group_size", router.get("group_size"))
    return int(size) if size.isdigit() else None, router.get("underlying_partition_router") or {}


def _put_in_groups(draft: Draft, router: Component, size: int, *, several: bool) -> None:
    """Partition values that are lists: what a request may have is the only one, or all by comma."""
    configs = router.get("parent_stream_configs") or [{}]
    raw = router.get("cursor_field") or configs[0].get("partition_field")
    field = str(text_of(draft, raw, "GroupingPartitionRouter"))
    slot = draft.slots.pop(field, None)
    of = draft.data.get("parents") or draft.data.get("each")
    if slot is None or of is None or (size > 1 and several):
        draft.need("fanout_group", "GroupingPartitionRouter", size)
        return
    draft.slots[f"{field}.{BY_COMMA}"] = slot
    if size == 1:
        draft.slots[f"{field}.0"] = slot
    else:
        of["group"] = size


def drop_unused_lists(draft: Draft) -> None:
    """Drop values that neither the request nor a column has: the rows are the same for all."""
    for member, prefix in (("each", "each"), ("parents", "parent")):
        of = draft.data.get(member)
        if not isinstance(of, dict):
            continue
        named = {} if {"values", "endpoint"} & set(of) else of
        for name in [name for name in named if not _uses(draft, f"{prefix}.{name}")]:
            del of[name]
            _note_once(draft, f"each value of {name}")
        if not of or (not named and "column_here" not in of and not _uses(draft, prefix)):
            del draft.data[member]
            _note_once(draft, "each value of a list" if member == "each" else "each of its parents")


def _uses(draft: Draft, name: str) -> bool:
    """Whether the request or a column has a partition value, or a column of the parent."""
    own = {key: part for key, part in draft.data.items() if key not in ("each", "parents")}
    text = f"{own} {draft.request} {draft.base_url} {draft.auth}"
    froms = [str(c.get("from", "")) for c in draft.columns.values() if isinstance(c, dict)]
    return bool(re.search(rf"\{{{re.escape(name)}[.}}]", text)) or any(
        source == name or source.startswith(f"{name}.") for source in froms
    )


def _note_once(draft: Draft, what: str) -> None:
    draft.doubt(f"the manifest requests the same for {what}: it is read once")


def _stands_for_all(draft: Draft, router: Component, stream: str) -> Literal | None:
    """The default of a list, where it is one value that the stream compares with: ``all``.

    Requests for it then read all that the values of the setting would choose from.
    """
    value = read_template(router.get("values"), draft.parameters)
    default = value.otherwise if isinstance(value, Choice) else None
    if isinstance(value, Setting):
        default = Literal(value.default)
    if not (isinstance(default, Literal) and isinstance(default.value, list)):
        return None
    field = str(router.get("cursor_field"))
    only = default.value[0] if len(default.value) == 1 else None
    quote = r"[\\'\"\]]*"  # repr may set backslashes before quotes
    pattern = rf"\b{re.escape(field)}\b{quote} *== *{quote}{re.escape(str(only))}\b"
    if not isinstance(only, str) or not re.search(pattern, stream):
        return None
    draft.doubt(
        f"the setting of {field} is left out: what is read is that of its default, {only!r}"
    )
    return Literal(only)


def _from_list(draft: Draft, router: Component, of_stream: str, *, several: bool) -> None:
    values = router.get("values")
    if (whole := _stands_for_all(draft, router, of_stream)) is not None:
        draft.alone[str(router.get("cursor_field"))] = whole
        return
    text: Any = values
    if isinstance(values, str):
        text = needed(str(text_of(draft, values, "ListPartitionRouter.values")))
    field = str(text_of(draft, router.get("cursor_field"), "ListPartitionRouter.cursor_field"))
    each: dict[str, Any] = {
        "values": [str(item) for item in text] if isinstance(text, list) else text
    }
    if several:
        draft.data.setdefault("each", {})[field] = each
    else:
        draft.data["each"] = each
    slot = Slot(f"{{each.{field}}}" if several else "{each}")
    draft.slots[field] = slot
    if router.get("request_option"):
        put_option(draft, router["request_option"], slot.text, "ListPartitionRouter")
    if isinstance(text, str):
        draft.doubt("the setting of each is a list with commas")


def _from_parents(
    draft: Draft,
    stream: Component,
    router: Component,
    parent_of: ParentOf,
    *,
    with_cursor: bool,
    several: bool,
) -> None:
    configs = router.get("parent_stream_configs") or []
    if len(configs) > 1:
        draft.need("fanout_union", "SubstreamPartitionRouter", len(configs))
    for config in configs[:1]:
        _from_parent(draft, stream, config, parent_of, with_cursor=with_cursor, several=several)


def _from_parent(
    draft: Draft,
    stream: Component,
    config: Component,
    parent_of: ParentOf,
    *,
    with_cursor: bool,
    several: bool,
) -> None:
    component = "SubstreamPartitionRouter"
    parent = parent_of(config.get("stream") or {})
    key = str(text_of(draft, config.get("parent_key"), component)).replace("/", ".").strip(".")
    field = str(text_of(draft, config.get("partition_field"), component))
    members = _members_used(field, stream)
    if not key and not members:
        draft.need("rows_scalars", component, "the parent's rows are plain values")
        return
    column = column_of(parent.draft, ".".join(part for part in (key, *members[:1]) if part))
    list_spec: dict[str, Any] = {"endpoint": parent.draft.name, "column": column}
    by_each = with_cursor or several
    name = field if several else "each" if with_cursor else "parent"
    if several:
        draft.data.setdefault("each", {})[field] = list_spec
    else:
        draft.data["each" if by_each else "parents"] = list_spec
    if with_cursor:
        draft.need("fanout_cursor", component, parent.draft.name)
    if not with_cursor and parent.incremental and not config.get("incremental_dependency"):
        draft.doubt(
            f"only the {parent.draft.name} that changed on a day are asked for: does every change "
            "of these rows change their parent too?"
        )
    _name_slots(
        draft,
        config,
        parent,
        members,
        key,
        Slot(f"{{each.{field}}}" if several else f"{{{name}}}"),
        field,
    )
    if "parents" in parent.draft.data and not by_each:
        draft.need("fanout_grandparents", component, parent.draft.name)
    elif "each" in parent.draft.data and not by_each:
        draft.need("fanout_of_each", component, parent.draft.name)
    if config.get("request_option"):
        put_option(draft, config["request_option"], draft.slots[field].text, component)


def _name_slots(
    draft: Draft,
    config: Component,
    parent: Parent,
    members: list[str],
    key: str,
    slot: Slot,
    field: str,
) -> None:
    """The parent's column, its further ones, and those of the parents above it."""
    outer = slot.text.strip("{}")
    for extra in config.get("extra_fields") or []:
        column = column_of(parent.draft, ".".join(map(str, extra)))
        named = Slot(f"{{{outer}.{column}}}", "fanout_columns")
        draft.slots[f"extra_fields.{'.'.join(map(str, extra))}"] = named
    for above, of_parent in _above(parent.draft):
        column = _column_above(parent.draft, above, of_parent, key)
        land = partial(_land_above, parent.draft, column, of_parent)
        up = Slot(f"{{{outer}.{column}}}", "fanout_columns", land)
        draft.slots[f"{ABOVE}.{above}"] = up
        draft.slots.setdefault(above, up)
    draft.slots[field] = slot
    if len(members) == 1:
        draft.slots[f"{field}.{members[0]}"] = slot
    for member in members if len(members) > 1 else []:
        column = column_of(parent.draft, ".".join(part for part in (key, member) if part))
        draft.slots[f"{field}.{member}"] = Slot(f"{{{outer}.{column}}}", "fanout_columns")


def _above(parent: Draft) -> list[tuple[str, Slot]]:
    """The partition values that the rows of a parent are read for, by their names there."""
    return [
        (name, slot)
        for name, slot in parent.slots.items()
        if slot.text.startswith(("{parent", "{each")) and not name.startswith("extra_fields.")
    ]


def _column_above(parent: Draft, above: str, slot: Slot, key: str) -> str:
    """The column of the parent's rows that has one of its partition values.

    Not one that the API has under that name: ``id`` may be the row's own, and not its parent's.
    """
    field = plain_column(above.replace(f"{ABOVE}.", "parent_"))
    for name in (field, *parent.columns):
        if _has_landed(parent, name, slot):
            return name
    keys = parent.data.get("key")
    own = {*parent.columns, *parent.schema_names, *(keys if isinstance(keys, list) else ()), key}
    free = field not in own and not above.startswith(ABOVE)
    return field if free else free_name(f"parent_{field}", own)


def _has_landed(parent: Draft, name: str, slot: Slot) -> bool:
    """Whether a column of the parent's rows is the partition value."""
    of = parent.data.get("parents") or parent.data.get("each") or {}
    if of.get("column_here") == name:
        return slot.text in ("{parent}", "{each}")
    column = parent.columns.get(name)
    return isinstance(column, dict) and column.get("from") == slot.text.strip("{}")


def _land_above(parent: Draft, name: str, slot: Slot) -> None:
    """Have the parent's rows keep a partition value of their own, which a child names."""
    if _has_landed(parent, name, slot):
        return
    if slot.land is not None:
        slot.land()
    if slot.text in ("{parent}", "{each}") and land_partition_value(parent, name, {}):
        return
    parent.columns[name] = {"type": "string", "from": slot.text.strip("{}")}


def _members_used(field: str, stream: Component) -> list[str]:
    """The members of a partition value that is an object, as the stream uses them."""
    uses = re.findall(
        rf"stream_(?:slice|partition|interval)(?:\.{field}|\[['\"]{field}['\"]\])((?:\.\w+|\[['\"][^'\"]+['\"]\])+)",
        str(stream),
    )
    texts = [re.sub(r"\[['\"]|['\"]\]\[?['\"]?|\.", ".", text).strip(".") for text in uses]
    return [text for text in dict.fromkeys(texts) if not text.startswith(_METHODS)]


_METHODS = ("get", "split", "replace", "lower", "upper", "strip")


def column_of(parent: Draft, key: str) -> str:
    """The parent's column of a key, declared if it lies inside another member."""
    name, _, inner = key.partition(".")
    if inner in parent.objects.get(name, {}):
        return column_of(parent, parent.objects[name][inner])
    parent.wants_column(name)
    if "." not in key:
        return key
    name = plain_column(key)
    parent.columns.setdefault(name, {"type": "string", "path": key})
    return name


def plain_column(path: str) -> str:
    return path.replace(".", "_")


def land_partition_value(draft: Draft, field: str, types: Mapping[str, Any]) -> bool:
    """Have a column of the rows get the partition value; False if the YAML has no place for it."""
    of = draft.data.get("parents") or draft.data.get("each")
    if not isinstance(of, dict) or ("column_here" in of and of["column_here"] != field):
        return False
    of["column_here"] = field
    kind = types.get(field)
    draft.columns[field] = kind if kind in ("int64", "string") else "string"
    return True
