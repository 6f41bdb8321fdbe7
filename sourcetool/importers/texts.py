"""Values of a manifest as texts of the YAML: settings, placeholders and what is known."""

from typing import Any

from sourcetool.importers.draft import ABOVE, BOUNDS, BY_COMMA, Draft
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


_REPEATED = ("HttpRequester.request_parameters", "HttpRequester.request_body_data")
"""Where a list is one parameter for each of its items."""


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
    if isinstance(value, Applied) and value.name == "list" and component in _REPEATED:
        return [written(draft, item, component, raw) for item in value.values]
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
    if (values := _by_comma(value)) is not None and draft.slot_of(values.path) is not None:
        return _member(draft, values, component, raw)
    listed = value.name == ".join" and first == Literal(",")
    if listed and isinstance(value.values[-1], Setting):
        # A setting that is a list is a text with commas.
        return draft.settings.text(value.values[-1].path)
    one_more = value.name == "+" and value.values[1] == Literal(1)
    if one_more and first is not None and _is_token_or_zero(first):
        draft.token_plus = 1
        return "{token}"
    return None


def _by_comma(value: Applied) -> Member | None:
    """The values of a group of partition values, by comma."""
    parts = {"|join": value.values, ".join": value.values[::-1]}.get(value.name, ())
    of = parts[0] if len(parts) == 2 and parts[1] == Literal(",") else None
    if not (isinstance(of, Member) and of.of == "slice"):
        return None
    return Member("slice", (*of.path, BY_COMMA))


def _is_token_or_zero(value: Value) -> bool:
    """``next_page_token or 0``: an offset, which is 0 at first."""
    if isinstance(value, Choice) and value.test == value.then:
        return value.otherwise in (Literal(0), Literal("0")) and _is_token_or_zero(value.then)
    return isinstance(value, Member) and value.of == "token"


def _derived(draft: Draft, value: Value, component: str, raw: Any) -> str:
    words = f"{draft.name}_{component.rpartition('.')[2]}"
    shared = component == "HttpRequester.url_base" or "Authenticator." in component
    if shared:
        words = component.rpartition(".")[2]
    default = None
    if isinstance(value, Choice) and isinstance(value.otherwise, Literal):
        default = str(value.otherwise.value)
    how = f"computed by the manifest: {' '.join(str(raw).split())}"
    return draft.settings.derived(words, how, default)


def _member(draft: Draft, value: Member, component: str, raw: Any) -> str:
    path = tuple(part for part in value.path if part != ABOVE)
    if value.of in ("slice", "interval") and path:
        slot = draft.slot_of(value.path)
        if slot is not None:
            if slot.ability:
                draft.need(slot.ability, component, raw)
            if slot.land is not None:
                slot.land()
            draft.of_slices |= slot.text in BOUNDS
            return slot.text
    if value.of == "interval" and path in (("start_time",), ("end_time",)):
        draft.of_slices = True
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
        if draft.stateless:
            return ""
        of_one_moment = component == "HttpRequester.path"  # a path names one day's rows
        if of_one_moment or draft.slot_of_state(value.path) is None:
            draft.need("state", component, raw)
        draft.of_state = True
        return "{start}"
    draft.need("computed", component, raw)
    return f"{{{value.of}}}"


def _instant(draft: Draft, value: Formatted, component: str, raw: Any) -> str:
    inner = value.value
    if isinstance(inner, Member):
        text = _member(draft, inner, component, raw)
        if text in BOUNDS:
            draft.window_formats.add(value.format)
            return text
    if "now" in reads(value) and reads(value) <= {"now", "settings"}:
        draft.need("now_computed", component, raw)
        return "{now}"
    if isinstance(inner, Choice) and reads(inner) & {"interval", "state"}:
        text = written(draft, inner, component, raw)
        if text in BOUNDS:
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
        return _since(draft, value, component, raw)
    if isinstance(value.test, Setting) and value.then == value.test and of & {"slice"}:
        name = ".".join(value.test.path)
        draft.doubt(f"the manifest's setting {name}, in place of all values, is left out")
        return written(draft, value.otherwise, component, raw)
    if (only := _of_default(draft, value)) is not None:
        return written(draft, only, component, raw)
    if (present := _presence(value.test)) is None:
        return _refused(draft, value, component, raw)
    with_it, without_it = (
        (value.then, value.otherwise) if present else (value.otherwise, value.then)
    )
    if reads(value.test) == {"token"}:
        return _by_page(draft, without_it, with_it, component, raw)
    return written(draft, with_it, component, raw)


def _since(draft: Draft, value: Choice, component: str, raw: Any) -> str:
    """The state of the cursor, or what a setting says as long as there is none."""
    present = _presence(value.test)
    then, otherwise = value.then, value.otherwise
    with_it, at_first = (then, otherwise) if present else (otherwise, then)
    if draft.stateless and present is not None:
        return str(written(draft, at_first, component, raw) or "")
    with_it = _not_beyond_now(with_it)
    tested = [part for part in value.test.parts() if isinstance(part, Member)]
    of_state = reads(with_it) == {"state"} and all(
        part.of == "state" and (not part.path or draft.slot_of_state(part.path)) for part in tested
    )
    if present is None or not of_state or not reads(at_first) <= {"settings"}:
        draft.need("state", component, raw)
        return "{start}"
    if at_first not in [Literal(nothing) for nothing in _NOTHING]:
        draft.at_first = at_first
    return str(written(draft, with_it, component, raw))


def _not_beyond_now(value: Value) -> Value:
    """The state, where a manifest takes the earlier of it and now: it lies before now anyway."""
    if not (isinstance(value, Choice) and isinstance(value.test, Applied)):
        return value
    test, branches = value.test, (value.then, value.otherwise)
    earlier = {"lt": branches, "lteq": branches, "gt": branches[::-1], "gteq": branches[::-1]}
    if test.values != earlier.get(test.name) or Now() not in branches:
        return value
    return next(branch for branch in branches if branch != Now())


_ABSENT = ("is none", "is undefined", "not")
_NOTHING: tuple[Any, ...] = (None, "", [], {})


def _presence(test: Value) -> bool | None:
    """Whether a test says that a token, a partition value or a bound is there, or that it is not.

    None = it says something else.
    """
    if isinstance(test, Member):
        return True if test.of in ("token", "interval", "slice", "state") else None
    if not isinstance(test, Applied) or not test.values:
        return None
    inner = _presence(test.values[0])
    if test.name in ("eq", "ne"):
        other = test.values[1]
        is_empty = isinstance(other, Literal) and other.value in _NOTHING
        return None if inner is None or not is_empty else inner == (test.name == "ne")
    if test.name == "is defined" and test.values[0] != Member("token", ()):
        return inner  # the token itself is always defined: null stands for none
    return not inner if test.name in _ABSENT and inner is not None else None


def _by_page(draft: Draft, first: Value, later: Value, component: str, raw: Any) -> Any:
    """A value that the first page's request has, and another one of later pages' requests."""
    if component.endswith("body_json") and (body := _with_token(first, later)) is not None:
        return {name: written(draft, item, component, raw) for name, item in body.items()}
    at_first = written(draft, first, component, raw)
    behind = written(draft, later, component, raw)
    if at_first == behind:
        return at_first
    if behind in _NOTHING:
        draft.first_alone = True
        return at_first
    if at_first in _NOTHING and "{token}" in str(behind):
        return behind  # left out of a request that has no token
    if behind == "{token}" and component == "HttpRequester.path":
        draft.first_path = True
        return at_first
    if behind == "{token}" and isinstance(first, Literal | Setting):
        draft.first_tokens.add(str(at_first))
        return behind
    draft.need("computed", component, raw)
    return at_first


def _with_token(first: Value, later: Value) -> dict[str, Value] | None:
    """The members of a body to which later pages add no more than their token; else None."""
    at_first, behind = members_of(first), members_of(later)
    if at_first is None or behind is None:
        return None
    added = {name for name in behind if name not in at_first}
    same = all(behind.get(name) == item for name, item in at_first.items())
    return behind if same and all(reads(behind[name]) == {"token"} for name in added) else None


def members_of(value: Value) -> dict[str, Value] | None:
    """The members of an object that a template writes; None if it is none."""
    if isinstance(value, Literal) and isinstance(value.value, dict):
        return {str(name): Literal(item) for name, item in value.value.items()}
    if isinstance(value, Applied) and value.name == "dict":
        names, items = value.values[::2], value.values[1::2]
        if all(isinstance(name, Literal) for name in names):
            pairs = zip(names, items, strict=True)
            return {str(name.value): item for name, item in pairs if isinstance(name, Literal)}
    return None


def _of_default(draft: Draft, value: Choice) -> Value | None:
    """The branch that holds for the value that stands for all of a list."""
    test = value.test
    if not (isinstance(test, Applied) and test.name == "eq" and isinstance(test.values[0], Member)):
        return None
    field = ".".join(map(str, test.values[0].path))
    return value.then if draft.alone.get(field) == test.values[1] else None


def _refused(draft: Draft, value: Value, component: str, raw: Any) -> str:
    if isinstance(value, Now) or "now" in reads(value):
        draft.need("now_computed", component, raw)
        return "{now}"
    if isinstance(value, Unknown | Applied):
        draft.need("state" if "state" in reads(value) else "computed", component, raw)
    else:
        draft.need("computed", component, raw)
    return "{computed}"
