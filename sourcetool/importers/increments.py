"""Cursors: which column moves, how the window is asked for, how its bounds are written."""

import re
from collections.abc import Mapping
from typing import Any

from sourcetool.importers.draft import STATE, Draft, Slot, needed
from sourcetool.importers.fanout import routers_of
from sourcetool.importers.manifest import Component
from sourcetool.importers.moments import seconds, written_moment
from sourcetool.importers.requesters import put_option
from sourcetool.importers.templates import read_template
from sourcetool.importers.texts import text_of
from sourcetool.importers.values import Choice, Formatted, Literal, Setting, Value

_EPOCHS = {"%s": "epoch_s", "%ms": "epoch_ms", "%_ms": "epoch_ms", "%s_as_float": "epoch_s"}
_DAYS = re.compile("%[dejxcDFs]")
"""Parts of a pattern that say the day."""
_DAY_S = 86_400


def is_incremental(stream: Component) -> bool:
    """Whether a stream has a cursor."""
    return bool(stream.get("incremental_sync"))


def asks_for_window(sync: Component, requester: Component) -> bool:
    """Whether a request has a bound of the window in it."""
    if sync.get("start_time_option") or sync.get("end_time_option") or "class_name" in sync:
        return True
    names = [str(sync.get(f"partition_field_{end}") or f"{end}_time") for end in ("start", "end")]
    parts = {key: value for key, value in requester.items() if key in _REQUEST}
    text = str(parts)
    return "stream_interval" in text or any(
        re.search(rf"stream_(?:slice|partition).{{0,7}}\b{name}\b", text) for name in names
    )


_REQUEST = (
    *("path", "request_parameters", "request_headers", "request_body_json", "request_body_data"),
)


def begin(draft: Draft, sync: Component | None) -> None:
    """The names of the window's bounds, before the request that may use them is written."""
    if not sync:
        return
    start = str(text_of(draft, sync.get("partition_field_start") or "start_time", "cursor"))
    end = str(text_of(draft, sync.get("partition_field_end") or "end_time", "cursor"))
    draft.slots.setdefault(start, Slot("{start}"))
    draft.slots.setdefault(end, Slot("{end}"))
    if sync.get("type") == "DatetimeBasedCursor" and not draft.routed:
        cursor = text_of(draft, sync.get("cursor_field"), "cursor.cursor_field")
        draft.slots[f"{STATE}.{cursor}"] = Slot("{start}")
    draft.of_slices = _by_option(sync)
    options = ("start_time_option", "start_value_option", "end_time_option")
    for member, text in zip(options, ("{start}", "{start}", "{end}"), strict=True):
        if option := sync.get(member):
            put_option(draft, option, text, f"cursor.{member}")


def finish(
    draft: Draft, sync: Component | None, types: Mapping[str, str], retriever: Component
) -> None:
    """The cursor and its window, once the request is known."""
    if not sync:
        return
    if "class_name" in sync:
        draft.need("python", "incremental_sync", sync["class_name"])
        return
    if sync.get("type") == "IncrementingCountCursor":
        _number(draft, sync, retriever)
        return
    if sync.get("type") != "DatetimeBasedCursor":
        draft.need("component", "incremental_sync", sync.get("type"))
        return
    cursor = str(text_of(draft, sync.get("cursor_field"), "cursor.cursor_field"))
    draft.data["cursor"] = cursor
    window, used = _window(draft, sync), draft.placeholders()
    kind = _cursor_type(draft, sync, types.get(cursor))
    above = draft.columns.get(cursor)
    draft.columns[cursor] = {**above, "type": kind} if isinstance(above, dict) else kind
    if isinstance(above, dict) and str(above.get("from")).startswith(("window.", "now")):
        # A bound of the window itself, which is in no row: rows at its end would be outside.
        draft.data["cursor"] = "window"
    if kind == "date" and window.get("resolution_s", 1) < _DAY_S:
        if window["format"] == "iso" or "%H" in window["format"] or "epoch" in window["format"]:
            draft.columns[cursor] = "timestamp[%Y-%m-%d]"
        else:
            window["resolution_s"] = _DAY_S
    _bounds(draft, sync, window, used)
    if lookback := _length(draft, sync, "lookback_window", "set safety_margin_s to it"):
        draft.data["safety_margin_s"] = min(lookback, 366 * _DAY_S)
    _note_ends(draft, sync)
    if routers_of(retriever) and window.get("start") == "none":
        draft.need("fanout_feed", "incremental_sync")
    draft.data["window"] = window


def _number(draft: Draft, sync: Component, retriever: Component) -> None:
    """A number that only rises: the partition before says from where on."""
    cursor = str(text_of(draft, sync.get("cursor_field"), "cursor.cursor_field"))
    if "start" not in draft.placeholders() or routers_of(retriever):
        draft.need("cursor_number", "IncrementingCountCursor", cursor)
        return
    draft.data["cursor"] = cursor
    if first := text_of(draft, sync.get("start_value"), "cursor.start_value"):
        draft.doubt(
            f"the manifest begins with the number {first}, and the first partition here has all: "
            f"cursor: {{kind: number, column: {cursor}, start: …}} begins behind a number"
        )
    above = draft.columns.get(cursor)
    draft.columns[cursor] = {**above, "type": "int64"} if isinstance(above, dict) else "int64"
    draft.doubt("numbers that show after greater ones are lost without cursor.safety_margin")


def _window(draft: Draft, sync: Component) -> dict[str, Any]:
    raw = str(text_of(draft, sync.get("datetime_format") or "", "cursor.datetime_format"))
    formats = draft.window_formats or {raw}
    if len(formats | ({raw} if _by_option(sync) else set())) > 1:
        draft.need("window_formats", "incremental_sync", " and ".join(sorted({raw, *formats})))
    pattern = sorted(formats)[0]
    if draft.offset_colon:
        pattern = pattern.replace("%z", "+00:00")
    bounds = draft.placeholders() & {"start", "end"}
    if bounds and pattern == "%epoch_microseconds":
        draft.need("window_microseconds", "DatetimeBasedCursor.datetime_format", pattern)
    elif bounds and pattern not in (*_EPOCHS, "iso") and not _DAYS.search(pattern):
        draft.need("window_months", "DatetimeBasedCursor.datetime_format", pattern)
    window: dict[str, Any] = {"format": _EPOCHS.get(pattern, pattern)}
    if window["format"] == "iso":
        return window
    if (step := _written_s(window["format"])) > 1:
        window["resolution_s"] = step
    return window


def format_of_moments(draft: Draft) -> None:
    """The format of what the request has of now, in an endpoint without a window of its own."""
    formats = sorted(draft.window_formats)
    if "cursor" in draft.data or not formats:
        return
    if len(formats) > 1:
        draft.need("window_formats", "HttpRequester", " and ".join(formats))
    written_as = _EPOCHS.get(formats[0], formats[0])
    draft.data["window"] = {"format": written_as}
    if written_as != "iso" and (step := _written_s(written_as)) > 1:
        draft.data["window"]["resolution_s"] = step


def _by_option(sync: Component) -> bool:
    return bool(sync.get("start_time_option") or sync.get("end_time_option"))


def _written_s(pattern: str) -> int:
    """The seconds between two times that a pattern tells apart."""
    if pattern.startswith("epoch") or any(part in pattern for part in ("%S", "%T", "%f", "%X")):
        return 1
    if "%M" in pattern:
        return 60
    return 3600 if "%H" in pattern else _DAY_S


def _bounds(draft: Draft, sync: Component, window: dict[str, Any], used: set[str]) -> None:
    """Note which bounds the request has, and where a baseline begins."""
    whole_days = window.get("resolution_s", 1) >= _DAY_S
    if "start" not in used and "end" not in used:
        window |= {"start": "none", "end": "none"}
        window.pop("format", None)
        window.pop("resolution_s", None)
        if whole_days and draft.columns.get(draft.data["cursor"]) == "date":
            window["resolution_s"] = _DAY_S
        if sync.get("step"):
            draft.doubt("the manifest has steps, but no bound goes into the request")
        return
    if "start" not in used:
        draft.need("window_slices", "incremental_sync", "an upper bound without a lower one")
    window["start"] = "inclusive" if whole_days else "exclusive"
    if "end" not in used:
        window["end"] = "none"
    elif whole_days:
        window["end"] = "inclusive"
    draft.doubt("does the API include the instants of the bounds? See window.start and window.end")
    if draft.of_state and not draft.of_slices:
        _from_state(draft, sync, window)
        return
    step = _length(draft, sync, "step", "set window.max_s if the API wants no more at once")
    if step and step < 3650 * _DAY_S:
        window["max_s"] = max(step, int(window.get("resolution_s", 1)))
        if "end" not in used:
            # Where the API has all rows from there on, those beyond a step are dropped.
            draft.doubt(
                "each step is requested by its start alone, and its length is window.max_s: remove "
                "window.max_s, if the API returns all rows from {start} on"
            )
    if floor := _floor(draft, sync):
        window["floor"] = floor


def _from_state(draft: Draft, sync: Component, window: dict[str, Any]) -> None:
    """Where a baseline begins whose request has the state: each step has the same bound.

    Without a state such a request may have none. A text around the bound has one always.
    """
    sent = [str(draft.data.get("path", "")), *_texts(draft.request)]
    if draft.at_first is None and all(text == "{start}" or "{start}" not in text for text in sent):
        return
    if floor := _floor(draft, sync):
        window["floor"] = floor
    first = draft.at_first
    if first is not None and _instant(first) != _instant(_moment_of(draft, sync, "start_datetime")):
        draft.doubt(
            "without a state the manifest begins elsewhere than at its start_datetime, which is "
            "window.floor here: check window.floor"
        )


def _texts(part: Any) -> list[str]:
    """The values of a request, and of all parts of it."""
    if isinstance(part, dict | list):
        inner = part.values() if isinstance(part, dict) else part
        return [text for item in inner for text in _texts(item)]
    return [str(part)]


def _length(draft: Draft, sync: Component, member: str, remedy: str) -> int | None:
    """The seconds of a member that is a duration; one that a setting decides is a doubt."""
    raw = sync.get(member)
    value = read_template(raw, draft.parameters)
    length_s = seconds(value.value) if isinstance(value, Literal) else None
    if length_s is None and raw not in (None, ""):
        draft.doubt(f"the manifest's {member} is {' '.join(str(raw).split())}: {remedy}")
    return length_s


def _moment_of(draft: Draft, sync: Component, member: str) -> Value:
    """``start_datetime`` or ``end_datetime``: a text, or an object that has one."""
    moment = sync.get(member)
    raw = moment.get("datetime") if isinstance(moment, dict) else moment
    return read_template(raw, draft.parameters)


def _floor(draft: Draft, sync: Component) -> str | None:
    value = _instant(_moment_of(draft, sync, "start_datetime"))
    if isinstance(value, Literal) and value.value:
        return str(value.value)
    if isinstance(value, Setting):
        text = draft.settings.text(value.path, value.default)
        draft.settings.samples[draft.settings.variable_of(value.path)] = "2024-01-01"
        return needed(text)
    return draft.settings.derived(
        "start_date", "from when on the baseline is asked for", "1970-01-01"
    )


def _note_ends(draft: Draft, sync: Component) -> None:
    """Say where the manifest reads up to another instant than now, which the YAML always does."""
    for member in ("start_datetime", "end_datetime"):
        instant = sync.get(member)
        bounds = instant if isinstance(instant, dict) else {"datetime": instant}
        for name in ("min_datetime", "max_datetime"):
            if bounds.get(name):
                draft.doubt(f"{member}.{name} is left out: {' '.join(str(bounds[name]).split())}")
    end = sync.get("end_datetime")
    raw = end.get("datetime") if isinstance(end, dict) else end
    written = written_moment(_moment_of(draft, sync, "end_datetime"))
    of_now = written is not None and not written[0].before_m
    if raw and not of_now:
        text = " ".join(str(raw).split())
        draft.doubt(f"the manifest reads rows up to {text}: all up to now are read here")


def _instant(value: Value) -> Value:
    if isinstance(value, Formatted):
        return _instant(value.value)
    if isinstance(value, Choice) and isinstance(value.then, Setting):
        return value.then
    return value


def _cursor_type(draft: Draft, sync: Component, by_schema: str | None) -> str:
    formats = sync.get("cursor_datetime_formats") or [sync.get("datetime_format")]
    kinds = [_column_type(str(text_of(draft, kind, "cursor"))) for kind in formats]
    number = by_schema in ("int64", "double")
    fitting = [kind for kind in kinds if (kind in ("timestamp[s]", "timestamp[ms]")) == number]
    different = sorted(set(kinds))
    if len(different) > 1:
        draft.doubt(f"the manifest reads the cursor as {' or '.join(different)}")
    return (fitting or kinds)[0]


def _column_type(pattern: str) -> str:
    if pattern in ("%s", "%s_as_float"):
        return "timestamp[s]"
    if pattern in ("%ms", "%_ms"):
        return "timestamp[ms]"
    if pattern == "%epoch_microseconds":
        return "timestamp[us]"
    if pattern == "%Y-%m-%d":
        return "date"
    if pattern.startswith(("%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")):
        return "timestamp[iso]"
    return f"timestamp[{pattern}]"
