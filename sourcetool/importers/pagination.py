"""Paginators: how pages follow each other, and where the next one's name goes."""

import re
from typing import Any

from sourcetool.importers.draft import Draft
from sourcetool.importers.manifest import Component
from sourcetool.importers.requesters import put_option
from sourcetool.importers.templates import read_template
from sourcetool.importers.texts import text_of
from sourcetool.importers.values import Applied, Choice, Literal, Member, Value, reads

_UNKNOWN_SIZE = 100
_OF_PAGES = re.compile("next|token", re.IGNORECASE)
"""What a member is called that names a page, and no row."""
_NEXT_LINK = (("link", "next", "url"), ("Link", "next", "url"))


def paginate(draft: Draft, paginator: Component | None) -> None:
    """The endpoint's ``paging``."""
    if not paginator or paginator.get("type") == "NoPagination":
        _first_page(draft)
        return
    if "class_name" in paginator:
        draft.need("python", "paginator", paginator["class_name"])
        return
    strategy = paginator.get("pagination_strategy") or {}
    if "class_name" in strategy:
        draft.need("python", "pagination_strategy", strategy["class_name"])
        return
    limit = _page_size(draft, paginator, strategy)
    kind = strategy.get("type")
    option = paginator.get("page_token_option")
    if kind == "OffsetIncrement":
        _by_offset(draft, option, limit)
    elif kind == "PageIncrement":
        _by_number(draft, strategy, option, limit)
    elif kind == "CursorPagination":
        _by_cursor(draft, strategy, option, limit)
    else:
        draft.need("component", "pagination_strategy", kind)
    _first_page(draft)


def _first_page(draft: Draft) -> None:
    """What the first page's request has in the token's place, once it is known how pages follow."""
    paging = draft.data.get("paging") or {"kind": "none"}
    kind = paging["kind"]
    if draft.first_path and kind not in ("link", "none"):
        draft.need("paging_place", "HttpRequester.path", "a token in place of the path")
    tokens = sorted(draft.first_tokens)
    if not tokens:
        return
    begins = {"offset": paging.get("first", 0), "page": paging.get("first", 1)}
    if len(tokens) == 1 and kind in ("link", "none"):
        draft.request = _replaced(draft.request, "{token}", tokens[0])
    elif len(tokens) == 1 and kind == "token":
        paging["first"] = tokens[0]
    elif len(tokens) > 1 or str(begins.get(kind)) != tokens[0]:
        draft.need("paging_computed", "HttpRequester", f"a first page of {', '.join(tokens)}")


def _page_size(draft: Draft, paginator: Component, strategy: Component) -> Any:
    raw = strategy.get("page_size")
    size = text_of(draft, raw, "pagination_strategy.page_size") if raw is not None else None
    if isinstance(size, str) and size.isdigit():
        size = int(size)
    option = paginator.get("page_size_option")
    if option and size is not None:
        put_option(draft, option, "{limit}", "DefaultPaginator.page_size_option")
    if size is None:
        draft.doubt("how many rows has a page at most? The manifest names none: paging.limit")
        return _UNKNOWN_SIZE
    if isinstance(size, int) and size < 1:
        return _UNKNOWN_SIZE
    return size


def _by_offset(draft: Draft, option: Component | None, limit: Any) -> None:
    draft.data["paging"] = {"kind": "offset", "limit": limit, "overlap": False}
    draft.data["order"] = "none"
    if draft.token_plus:
        draft.data["paging"]["first"] = draft.token_plus
    if option is None:
        _from_text(draft, "{offset}", "OffsetIncrement")
        return
    put_option(draft, option, "{offset}", "OffsetIncrement")
    draft.doubt("does the API say how many rows match? Without paging.total nothing proves them")


def _by_number(draft: Draft, strategy: Component, option: Component | None, limit: Any) -> None:
    first = text_of(draft, strategy.get("start_from_page", 0), "PageIncrement.start_from_page")
    first = int(first) if str(first).isdigit() else first
    paging: dict[str, Any] = {"kind": "page", "limit": limit, "first": first}
    if first not in (0, 1):
        draft.need("paging_first", "PageIncrement.start_from_page", first)
    draft.data["paging"] = paging
    if first == 0 and not strategy.get("inject_on_first_request"):
        draft.doubt("are pages numbered from 0? The manifest asks for the first without a number")
    if option is None:
        _from_text(draft, "{page}", "PageIncrement")
        return
    put_option(draft, option, "{page}", "PageIncrement")
    draft.doubt("does the API say how many rows match? Without paging.total nothing proves them")


def _from_text(draft: Draft, placeholder: str, component: str) -> None:
    """The request has ``next_page_token`` in a text of its own."""
    if "token" not in draft.placeholders():
        _first_page_alone(draft, component)
        return
    draft.data["path"] = str(draft.data.get("path", "")).replace("{token}", placeholder)
    draft.request = _replaced(draft.request, "{token}", placeholder)


def _first_page_alone(draft: Draft, component: str) -> None:
    """Pages whose name goes into no request: the manifest requests the first one only.

    Its limit is in the request, so that the engine doubts a page that is full: a check fails.
    """
    if "limit" not in draft.placeholders():
        draft.need("paging_place", component, "no page_token_option, and no page_size_option")
        return
    draft.data["paging"] = {"kind": "none", "limit": draft.data["paging"]["limit"]}
    draft.data.pop("order", None)
    draft.doubt(
        f"the manifest puts the next page of {component} nowhere: the first page alone is read, "
        "and a check fails if it is full; name the parameter of the next page in paging and request"
    )


def _replaced(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(item, old, new) for name, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, old, new) for item in value]
    return value.replace(old, new) if isinstance(value, str) else value


def _by_cursor(draft: Draft, strategy: Component, option: Component | None, limit: Any) -> None:
    component = "CursorPagination.cursor_value"
    raw = strategy.get("cursor_value")
    value = _unwrapped(read_template(raw, draft.parameters))
    if isinstance(value, Applied) and value.name == "|regex_search" and _is_url(value.values[0]):
        value, option = value.values[0], {"type": "RequestPath"}
    if (link := _link_with(value, option)) is not None:
        value, option = link, {"type": "RequestPath"}
        draft.doubt(f"the manifest cuts the next page's parameter out of {link}; the link is taken")
    by_path = option is not None and option.get("type") == "RequestPath"
    if option is None and "{token}" not in f"{draft.request}{draft.data}":
        by_path = True
    paging: dict[str, Any] = {"kind": "link" if by_path else "token", "limit": limit}
    draft.data["paging"] = paging
    if reads(value) == {"headers"} and "link" in str(value).lower():
        paging["kind"], value = "link", Member("headers", _NEXT_LINK[0])
        option, by_path = None, True
    elif isinstance(value, Applied) and value.name == "+" and _of_response(value.values[0]):
        _by_sum(draft, strategy, value, None if by_path else option, limit)
        return
    if (places := _places(value)) is not None:
        _several_places(draft, paging, strategy, places)
    elif not isinstance(value, Member):
        counted = isinstance(value, Applied) and value.name == "+" and "response" in reads(value)
        draft.need("paging_page_of_body" if counted else "paging_computed", component, raw)
    elif not _place(draft, paging, value, by_path=by_path):
        if option is None:
            _first_page_alone(draft, "CursorPagination")
            return
        draft.need("paging_computed", component, raw)
    if option is not None and not by_path:
        put_option(draft, option, "{token}", "CursorPagination")
    if places is None:
        _stop(draft, paging, strategy, value)
        _condition(draft, paging, read_template(raw, draft.parameters), value)
    if paging["kind"] == "link" and draft.request.get("method") == "POST":
        paging["post"] = True


def _places(value: Value) -> list[Member] | None:
    """The members of the response of which the first that is there names the next page.

    None if that is one member, or anything else.
    """
    parts: list[Value] = []
    while isinstance(value, Choice) and _is_there(value.test, value.then):
        parts.append(value.then)
        value = value.otherwise
    parts += [] if isinstance(value, Literal) and not value.value else [value]
    members = [part for part in parts if isinstance(part, Member) and _in_response(part)]
    return members if len(members) == len(parts) > 1 else None


def _is_there(test: Value, member: Value) -> bool:
    """Whether a test says no more than that a member of the response is there."""
    absent = Applied("not", (test,))
    if isinstance(test, Applied):
        names = {"in": "notin", "is defined": "is undefined", "ne": "eq"}
        absent = Applied(names.get(test.name, "not"), test.values)
    flag = _flag(absent)
    return flag is not None and _lies_above(flag, member)


def _several_places(
    draft: Draft, paging: dict[str, Any], strategy: Component, places: list[Member]
) -> None:
    """``paging.next`` of several places, and the end: that none of them has anything, or a flag."""
    end = read_template(strategy.get("stop_condition"), draft.parameters)
    paging["next"] = [_in_response(place) for place in places]
    if isinstance(end, Literal):
        return
    if _is_empty_page(end):
        paging["until_short"] = True
        return
    absent = _all_absent(end)
    if absent and all(any(_lies_above(flag, at) for flag in absent) for at in places):
        return
    if not absent or len(absent) > 1 or (more := _more(end)) is None:
        draft.need("paging_stop", "CursorPagination.stop_condition", strategy["stop_condition"])
    elif any(_lies_above(absent[0], at) for at in places):
        paging["next"] = more  # the end looks at that one alone
    else:
        paging["more"] = more


def _all_absent(end: Value) -> list[Member]:
    """The members of which an end says that all of them are absent; empty if it says more."""
    if isinstance(end, Applied) and end.name == "not" and (inner := _places(end.values[0])):
        return inner
    parts = end.values if isinstance(end, Applied) and end.name == "and" else (end,)
    flags = [_flag(part) for part in parts]
    return [] if None in flags else [flag for flag in flags if flag is not None]


def _by_sum(
    draft: Draft, strategy: Component, value: Applied, option: Component | None, limit: Any
) -> None:
    """Pages whose name is the one before and a number: one more is a page, a page's rows a row."""
    added = value.values[1]
    by_page = added == Literal(1)
    known = by_page or isinstance(added, Member) or (isinstance(added, Literal) and _rows(added))
    if not known:
        draft.need("paging_computed", "CursorPagination.cursor_value", strategy["cursor_value"])
    paging: dict[str, Any] = {"kind": "page", "limit": limit, "first": 1}
    if by_page:
        draft.doubt("pages are taken for numbered from 1: the manifest adds 1 to the page's number")
    else:
        paging = {"kind": "offset", "limit": limit, "overlap": False}
        draft.data["order"] = "none"
    draft.data["paging"] = paging
    placeholder = "{page}" if by_page else "{offset}"
    if option is None:
        _from_text(draft, placeholder, "CursorPagination")
    else:
        put_option(draft, option, placeholder, "CursorPagination")
    if draft.data["paging"] is paging:  # else the first page alone is read
        _end_of_numbers(draft, strategy, value)


def _rows(added: Literal) -> bool:
    return isinstance(added.value, int) and added.value > 1


def _end_of_numbers(draft: Draft, strategy: Component, next_one: Applied) -> None:
    """Take the count, or whether a page follows, from the end of pages that are counted."""
    paging, page = draft.data["paging"], next_one.values[0]
    of_rows = paging["kind"] == "offset"
    for part in _alternatives(read_template(strategy.get("stop_condition"), draft.parameters)):
        if (more := _more(part, page)) is not None:
            paging.setdefault("more", more)
        elif of_rows and (total := _count(part, next_one)) is not None:
            paging.setdefault("total", total)
        elif not (isinstance(part, Literal) or _is_empty_page(part) or _flag(part) == page):
            draft.doubt(
                "the manifest's stop_condition is left out: pages end here at an empty one; if the "
                "API counts its rows or its pages, name the count: paging.total, paging.pages"
            )


def _count(end: Value, reached: Value) -> str | None:
    """The path of the count that an end compares with: ``reached >= response.count``."""
    if not (isinstance(end, Applied) and end.name in ("eq", "gteq", "lteq")):
        return None
    first, second = end.values[::-1] if end.name == "lteq" else end.values
    if end.name == "eq" and second == reached:
        first, second = second, first
    return _in_response(second) if first == reached else None


def _alternatives(value: Value) -> list[Value]:
    """The parts of a condition of which one is enough."""
    if isinstance(value, Choice) and value.test == value.then:
        return [*_alternatives(value.then), *_alternatives(value.otherwise)]
    return [value]


def _more(end: Value, page: Value | None = None) -> str | dict[str, Any] | None:
    """``paging.more`` of an end that a member of the response says; ``!`` before a flag.

    :param page: the number of a page, which may be 0.
    """
    member, last = _ending(end)
    at = _in_response(member)
    if at is None or member == page:
        return None
    if isinstance(last, bool):
        return f"!{at}" if last else at
    return {"at": at, "ended": last}


def _ending(end: Value) -> tuple[Value, bool | int | str]:
    """The member that an end looks at, and its value there: True for a flag that is set."""
    if (flag := _flag(end)) is not None:
        return flag, False
    if isinstance(end, Applied) and end.name == "is true":
        return end.values[0], True
    if isinstance(end, Applied) and end.name in ("eq", "is eq") and len(end.values) == 2:
        for member, last in (end.values, end.values[::-1]):
            if isinstance(last, Literal) and isinstance(last.value, bool | int | str):
                return member, last.value
    return end, True


def _in_response(value: Value) -> str | None:
    """The path of a member of the response; None for anything else, and below a list."""
    if not (isinstance(value, Member) and value.of == "response" and value.path):
        return None
    return None if _indexed(value) else dotted([str(part) for part in value.path])


def _link_with(value: Value, option: Component | None) -> Member | None:
    """The link out of which a pattern cuts the very parameter that the token goes into."""
    if not (isinstance(value, Applied) and value.name == "|regex_search" and option):
        return None
    link, pattern = value.values[0], value.values[-1]
    name = str(option.get("field_name"))
    if not (isinstance(link, Member) and isinstance(pattern, Literal)):
        return None
    cuts = str(pattern.value).startswith((f"{name}=", f"[?&]{name}=", rf"\?{name}="))
    return link if cuts and option.get("inject_into") == "request_parameter" else None


def _is_url(value: Value) -> bool:
    return isinstance(value, Member) and "link" in str(value.path[-1:]).lower()


def _place(draft: Draft, paging: dict[str, Any], value: Member, *, by_path: bool) -> bool:
    """The path in a page, or the header, that names the next one."""
    path = [str(part) for part in value.path]
    rows = str(draft.data.get("rows") or "").split(".")
    if value.of == "response" and value.path[:-1] == (*filter(None, rows), -1):
        value = Member("last_record", value.path[-1:])
        path = path[-1:]
    of_pages = by_path or _OF_PAGES.search(path[-1] if path else "")
    if value.of == "last_record" and path and of_pages and not _is_column(draft, path[0]):
        value = Member("response", value.path)
        draft.doubt(f"rows have no {'.'.join(path)}: the next page is taken from the response's")
    if value.of == "response" and path and not _indexed(value):
        paging["next"] = dotted(path)
        return True
    if value.of == "last_record" and path:
        column = "_".join(path)
        if by_path:
            return False
        paging["last"] = column
        draft.columns.setdefault(
            column, {"type": "string", "path": dotted(path)} if len(path) > 1 else "string"
        )
        return True
    if value.of == "headers":
        if by_path and tuple(path) in _NEXT_LINK:
            return True
        if len(path) == 1 and path[0].lower() != "link":
            paging["header"] = path[0].lower()
            return True
    return False


def _is_column(draft: Draft, name: str) -> bool:
    return not draft.schema_names or name in draft.schema_names


def _indexed(value: Member) -> bool:
    return any(isinstance(part, int) for part in value.path)


def dotted(path: list[str]) -> str:
    """A path of the YAML; the dots in names are theirs."""
    return ".".join(part.replace(".", "\\.") for part in path)


def _unwrapped(value: Value) -> Value:
    """Without ``if last_record else None`` and the like around it."""
    while (
        isinstance(value, Choice)
        and isinstance(value.otherwise, Literal)
        and value.otherwise.value in (None, "", {}, [])
    ):
        value = value.then
    return value


def _condition(draft: Draft, paging: dict[str, Any], of: Value, at: Value) -> None:
    """``paging.more`` of the condition that a next page has: a flag beside its name."""
    while isinstance(of, Choice) and of != at:
        test, of = of.test, of.then
        for part in test.values if isinstance(test, Applied) and test.name == "and" else (test,):
            if _is_there(part, at) or reads(part) <= {"last_record", "page_size", "headers"}:
                continue  # such a page ends by itself
            if (more := _more(Applied("not", (part,)))) is None or paging.setdefault(
                "more", more
            ) != more:
                draft.doubt("the next page's condition is left out: see paging.more")


def _stop(draft: Draft, paging: dict[str, Any], strategy: Component, at: Value) -> None:
    """The end, where it is more than a next page that lacks."""
    raw = strategy.get("stop_condition")
    if raw in (None, ""):
        return
    value = read_template(raw, draft.parameters)
    if isinstance(value, Literal):
        return
    if _is_empty_page(value):
        paging["until_short"] = True
        return
    if (flag := _flag(value)) is not None and flag != at:
        if _lies_above(flag, at):
            return
        if isinstance(at, Member) and _lies_above(at, flag) and flag.of == "response":
            paging["next"] = dotted([str(part) for part in flag.path])
            draft.doubt(f"the next page is taken from {paging['next']}, which the end looks at")
            return
        if (at_flag := _in_response(flag)) is not None:
            paging["more"] = at_flag
        elif flag.of != "headers":
            draft.need("paging_stop", "CursorPagination.stop_condition", raw)
        return
    if flag is None and (more := _more(value)) is not None:
        paging["more"] = more
    elif _is_comparison(value) and reads(value) == {"headers"} and paging["kind"] == "link":
        paging["until_short"] = True  # a member of the link says that no row is behind it
    elif flag is None and not _ends_by_itself(value, at):
        draft.need("paging_stop", "CursorPagination.stop_condition", raw)


def _flag(value: Value) -> Member | None:
    """The member of which ``not x``, ``x is none``, ``x is false`` or ``'y' not in x`` speaks."""
    if isinstance(value, Applied) and value.values:
        first = _unwrapped(value.values[0])
        if value.name == "not" and isinstance(first, Applied) and first.name == "is defined":
            return _flag(first)
        if value.name in ("not", "is none", "is false", "is undefined", "is defined"):
            return first if isinstance(first, Member) else None
        if value.name in ("eq", "ne") and isinstance(value.values[1], Literal):
            empty = value.values[1].value in (None, "", False, 0)
            return first if isinstance(first, Member) and empty and value.name == "eq" else None
        if value.name == "notin" and isinstance(first, Literal):
            inside = value.values[1]
            if isinstance(inside, Member):
                return Member(inside.of, (*inside.path, first.value))
    return None


def _is_comparison(value: Value) -> bool:
    return isinstance(value, Applied) and value.name == "eq"


def _is_empty_page(value: Value) -> bool:
    """Whether an end is a page without rows, or one that is not full."""
    if not isinstance(value, Applied) or not value.values:
        return False
    of = value.values[0]
    if value.name == "not":
        return of in (Member("last_record", ()), Member("page_size", ()))
    return value.name in ("eq", "lt", "lteq") and of == Member("page_size", ())


def _of_response(value: Value) -> bool:
    return isinstance(value, Member) and value.of == "response"


def _is_member(value: Value) -> bool:
    return isinstance(value, Member)


def _lies_above(flag: Member, at: Value) -> bool:
    """Whether a member holds the next page's name: without it there is none."""
    return isinstance(at, Member) and flag.of == at.of and at.path[: len(flag.path)] == flag.path


def _ends_by_itself(value: Value, at: Value) -> bool:
    """Whether an end is one that is seen anyway: no rows, or no name of a next page."""
    if isinstance(value, Choice) and value.test == value.then:
        value = Applied("or", (value.test, value.otherwise))
    if isinstance(value, Applied) and value.name in ("and", "or"):
        if any(_ends_by_itself(part, at) for part in value.values):
            return True
        flags = [_flag(part) for part in value.values if not _is_comparison(part)]
        return all(flag is not None and _lies_above(flag, at) for flag in flags)
    return isinstance(at, Member) and at.of == "headers"
