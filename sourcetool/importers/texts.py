"""Values of a manifest as texts of the YAML: settings, placeholders and what is known."""

from typing import Any

from sourcetool.importers.draft import Draft
from sourcetool.importers.moments import placeholder, written_moment
from sourcetool.importers.templates import read_template
from sourcetool.importers.values import (
    Applied,
    Choice,
    Formatted,
    Joined,
    Literal,
    Member,
    Now,
    Setting,
    Unknown,
    Value,
    only_settings,
    reads,
)

_COMPUTED = (Applied, Choice, Formatted)


def text_of(draft: Draft, raw: Any, component: str) -> Any:
    """The YAML's text for a text of the manifest; None = it is left out.

    An ability that is needed for it is noted in the draft. What depends on settings alone, and is
    more than one of them, becomes a setting of its own.
    """
    return written(draft, read_template(raw, draft.parameters), component, raw)


def written(draft: Draft, value: Value, component: str, raw: Any) -> Any:
    """A value that was read already."""
    if isinstance(value, Literal):
        return value.value
    if isinstance(value, Setting):
        return draft.settings.text(value.path, value.default)
    if isinstance(value, Joined):
        if only_settings(value) and any(isinstance(part, _COMPUTED) for part in value.values):
            return _derived(draft, value, component, raw)
        parts = [written(draft, part, component, raw) for part in value.values]
        return "".join("" if part is None else str(part) for part in parts)
    if (now := written_moment(value)) is not None:
        return _now(draft, now, component, raw)
    if isinstance(value, Applied) and (text := _operation(draft, value, component, raw)):
        return text
    if only_settings(value):
        return _derived(draft, value, component, raw)
    if isinstance(value, Member):
        return _member(draft, value, component, raw)
    if isinstance(value, Formatted):
        return _instant(draft, value, component, raw)
    if isinstance(value, Choice):
        return _choice(draft, value, component, raw)
    return _refused(draft, value, component, raw)


def _operation(draft: Draft, value: Applied, component: str, raw: Any) -> str | None:
    """The YAML's own way to say an operation: an offset that counts from one, +00:00."""
    first = value.values[0] if value.values else None
    if value.name == "offset with colon" and isinstance(first, Member):
        draft.offset_colon = True
        return _member(draft, first, component, raw)
    listed = value.name == ".join" and first == Literal(",")
    if listed and isinstance(value.values[-1], Setting):
        # A setting that is a list is a text with commas.
        return draft.settings.text(value.values[-1].path)
    one_more = value.name == "+" and value.values[1] == Literal(1)
    if one_more and first is not None and reads(first) == {"token"}:
        draft.token_plus = 1
        return "{token}"
    return None


def _derived(draft: Draft, value: Value, component: str, raw: Any) -> str:
    words = f"{draft.name}_{component.rpartition('.')[2]}"
    shared = component in ("HttpRequester.url_base", "authenticator")
    if shared:
        words = component.rpartition(".")[2]
    default = None
    if isinstance(value, Choice) and isinstance(value.otherwise, Literal):
        default = str(value.otherwise.value)
    how = f"computed by the manifest: {' '.join(str(raw).split())}"
    return draft.settings.derived(words, how, default)


def _member(draft: Draft, value: Member, component: str, raw: Any) -> str:
    path = tuple(part for part in value.path if part != "parent_slice")
    if value.of in ("slice", "interval") and path:
        slot = draft.slots.get(".".join(map(str, path)))
        if slot is not None:
            if slot.ability:
                draft.need(slot.ability, component, raw)
            if slot.land is not None:
                slot.land()
            return slot.text
    if value.of == "interval" and path and path[0] in ("start_time", "end_time"):
        return "{start}" if path[0] == "start_time" else "{end}"
    if value.of == "slice" and path and not draft.routed:
        named = ".".join(map(str, path))
        draft.doubt(
            f"no router gives {named}, so that a manifest requests nothing there: a setting"
        )
        return draft.settings.derived(named, f"{named}, which the manifest's request names")
    if value.of == "token":
        return "{token}"
    if value.of == "state":
        draft.need("state", component, raw)
        return "{start}"
    draft.need("computed", component, raw)
    return f"{{{value.of}}}"


def _instant(draft: Draft, value: Formatted, component: str, raw: Any) -> str:
    inner = value.value
    if isinstance(inner, Member):
        text = _member(draft, inner, component, raw)
        if text in ("{start}", "{end}"):
            draft.window_formats.add(value.format)
            return text
    if "now" in reads(value) and reads(value) <= {"now", "settings"}:
        draft.need("now_computed", component, raw)
        return "{now}"
    if isinstance(inner, Choice) and "interval" in reads(inner):
        text = written(draft, inner, component, raw)
        if text in ("{start}", "{end}"):
            draft.window_formats.add(value.format)
            return str(text)
    draft.need("computed", component, raw)
    return "{computed}"


def _now(draft: Draft, now: tuple[Now, str], component: str, raw: Any) -> str:
    instant, pattern = now
    text = placeholder(instant)
    if text is None:
        draft.need("now_computed", component, raw)
        return "{now}"
    draft.need("now", component, raw)
    draft.window_formats.add(pattern.replace("%z", "+0000"))
    return text


def _unless_set(draft: Draft, value: Choice, component: str, raw: Any) -> Any:
    """A setting, or a time relative to now where it is empty: the latter."""
    branches = [value.then, value.otherwise]
    relative = [branch for branch in branches if "now" in reads(branch)]
    settings = [part for part in value.parts() if isinstance(part, Setting)]
    if len(relative) != 1 or not settings or value.test != settings[0]:
        draft.need("now_computed", component, raw)
        return "{now}"
    names = ", ".join(dict.fromkeys(".".join(branch.path) for branch in settings))
    draft.doubt(f"the manifest's setting {names}, in place of a time before now, is left out")
    return written(draft, relative[0], component, raw)


def _choice(draft: Draft, value: Choice, component: str, raw: Any) -> Any:
    """The YAML's text for one value or the other: the window's bound, where one of them is that."""
    of = reads(value)
    if "now" in of and of <= {"now", "settings"}:
        return _unless_set(draft, value, component, raw)
    if "state" in of and of <= {"state", "settings", "now", "slice", "interval"}:
        draft.need("state", component, raw)
        return "{start}"
    if isinstance(value.test, Setting) and value.then == value.test and of & {"slice"}:
        name = ".".join(value.test.path)
        draft.doubt(f"the manifest's setting {name}, in place of all values, is left out")
        return written(draft, value.otherwise, component, raw)
    if (only := _of_default(draft, value)) is not None:
        return written(draft, only, component, raw)
    if reads(value.test) <= {"token", "interval", "slice"} and not _is_comparison(value.test):
        return written(draft, value.then, component, raw)
    return _refused(draft, value, component, raw)


def _of_default(draft: Draft, value: Choice) -> Value | None:
    """The branch that holds for the value that stands for all of a list."""
    test = value.test
    if not (isinstance(test, Applied) and test.name == "eq" and isinstance(test.values[0], Member)):
        return None
    field = ".".join(map(str, test.values[0].path))
    return value.then if draft.alone.get(field) == test.values[1] else None


def _is_comparison(value: Value) -> bool:
    return isinstance(value, Applied) and value.name in ("eq", "ne", "in", "notin")


def _refused(draft: Draft, value: Value, component: str, raw: Any) -> str:
    if isinstance(value, Now) or "now" in reads(value):
        draft.need("now_computed", component, raw)
        return "{now}"
    if isinstance(value, Unknown | Applied):
        draft.need("state" if "state" in reads(value) else "computed", component, raw)
    else:
        draft.need("computed", component, raw)
    return "{computed}"
