"""Whether the parts of an endpoint fit together: request, paging, window, key. Pure.

Each misfit is one sentence with its remedy. What one model can see by itself is checked there.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.config.columns import DELETED, EXTRACTED_AT, problems_of_columns
from pipeline.config.each import problems_of_each
from pipeline.config.request import (
    OPTIONAL,
    PLACEHOLDER,
    PLACEHOLDERS,
    QUOTES,
    HttpTemplate,
    placeholders_in,
)
from pipeline.config.tables import problems_of_tables
from pipeline.decode.row_selection import STAR, compiled
from pipeline.pagination import PAGINATION, SharedRows
from pipeline.partitions.base import is_folder_column

if TYPE_CHECKING:
    from pipeline.config.endpoint import Endpoint


def problems(endpoint: "Endpoint") -> Iterator[str]:
    """The sentences on all parts that do not fit, the first first."""
    if isinstance(endpoint.request, HttpTemplate):
        yield from _templates_fit(endpoint, endpoint.request)
    else:
        yield from _query_fits(endpoint)
    yield from problems_of_each(endpoint)
    yield from _keyless_fits(endpoint)
    yield from problems_of_columns(endpoint)
    yield from problems_of_tables(endpoint)
    yield from _rows_have_their_form(endpoint)
    yield from _key_lands(endpoint)
    yield from _cursor_is_shown(endpoint)
    if endpoint.bookmark is not None:
        yield from endpoint.bookmark.problems(endpoint)
    yield from _names_are_free(endpoint)
    yield from _key_compares(endpoint)
    yield from endpoint.paging.problems(endpoint)
    yield from _baseline_is_cut(endpoint)
    if endpoint.cache is not None and endpoint.incremental:
        yield (
            "an endpoint with a cursor can't be cached: a response from before the partition's "
            "end would lack rows: leave `cache` out, or `cursor` (then it is a snapshot)"
        )
    yield from _search_can_be_cut(endpoint)
    yield from _unchanged_is_empty(endpoint)
    yield from _sweep_sees_all(endpoint)
    if endpoint.whole and not (endpoint.paging.one_page or endpoint.paging.names_next):
        yield (
            "`whole` says that a page is the last one though it looks as if more follow; paging "
            f"of kind `{endpoint.paging.kind}` finds its last page itself: take `whole` out"
        )
    if endpoint.sort and not endpoint.feed:
        yield (
            "`sort` is about a feed, which is not requested by a window: say "
            "`window: {start: none, end: none}` and name the cursor, or leave `sort` out"
        )


def _query_fits(endpoint: "Endpoint") -> Iterator[str]:
    """Check a query in Apicalypse."""
    if endpoint.base_url is not None:
        yield (
            "`base_url` of an endpoint is for requests of HTTP: queries in Apicalypse go to that "
            "of the source: leave it out, or make a source of its own"
        )
    if not endpoint.key:
        yield "a query in Apicalypse is sorted by the key, and `key: none` says that there is none"
    if endpoint.incremental and len(endpoint.cursors) != 1:
        yield "IGDB's dialect filters by one column: name it alone as `cursor`"


def _templates_fit(endpoint: "Endpoint", request: HttpTemplate) -> Iterator[str]:
    """Check the placeholders of a plain HTTP request."""
    placeholders = endpoint.placeholders or frozenset()
    bounds = bool({"start", "end"} & placeholders)
    if endpoint.incremental and not (bounds or endpoint.feed or endpoint.bookmark):
        yield (
            "an endpoint with a cursor needs the window in its request: put {start} and {end} "
            "into `params`, or leave `cursor` out (then it is a snapshot), or say "
            "`window: {start: none, end: none}` for a feed, which sends its latest rows"
        )
    if endpoint.path is not None and set(endpoint.path) & set("?#"):
        yield ("`path` has a ? or #: put the query into `request.params`")
    yield from _baseline_keeps_its_end(endpoint, request)
    yield from _placeholders_are_known(request)
    yield from _quotes_are_known(endpoint, request)
    yield from _token_has_its_parameters(request)
    yield from _placeholders_are_filled(endpoint, placeholders)
    yield from _window_is_requested(endpoint, placeholders)


def _rows_have_their_form(endpoint: "Endpoint") -> Iterator[str]:
    """Check that ``rows`` and ``as`` fit each other, and that pages can go by such rows."""
    form, starred = endpoint.rows_as, STAR in endpoint.rows_path
    if (endpoint.rows or form != "list") and not endpoint.format.has_paths:
        yield (
            f"`rows` and `as` are about JSON, and a body of `format: {endpoint.format.kind}` is "
            "rows alone: leave them out"
        )
    expression = endpoint.row_selection.jmespath
    if expression is not None:
        try:
            compiled(expression)
        except ValueError as error:
            yield f"`rows` is no JMESPath expression: {error}"
    if endpoint.names_at is not None and form != "columns":
        yield "`names_at` is about `as: columns`: add it, or leave `names_at` out"
    if endpoint.key_column is not None and form != "map" and not starred:
        yield (
            "`key_column` gets the name of a member of an object: say `as: map`, or put a `*` into "
            "`rows`, or leave `key_column` out"
        )
    if "value_column" in endpoint.model_fields_set and form not in ("scalars", "map"):
        yield "`value_column` is about `as: scalars` or `as: map`: leave it out"
    several = starred or expression is not None
    if several and endpoint.pages_go_by_rows:
        way = "`overlap: false`" if endpoint.paging.kind == "offset" else "`token` or `link`"
        yield (
            f"`rows: {endpoint.rows}` makes other rows of a page than the API counts, and paging "
            f"of kind `{endpoint.paging.kind}` goes by the rows: use {way}"
        )


def _search_can_be_cut(endpoint: "Endpoint") -> Iterator[str]:
    """A capped search is cut along the window, by totals."""
    if endpoint.search_cap is None:
        return
    kind = endpoint.paging.kind
    if endpoint.proven or endpoint.paging.needs_window or endpoint.paging.one_page:
        yield (
            f"`search_cap` cuts the window into parts, and paging of kind `{kind}` is not read in "
            "parts: use `token`, `link`, `page`, or `offset` with `overlap: false`"
        )
    if {"start", "end"} - (endpoint.placeholders or frozenset()):
        yield "`search_cap` cuts the window: put both {start} and {end} into the request"
    if not endpoint.counted:
        yield (
            "`search_cap` needs to know how many rows a part has: name the total as "
            "`paging.total`, or `count`"
        )
    if endpoint.incremental and endpoint.window.floor_at is None:
        yield (
            "`search_cap` cuts a baseline too, which has no lower bound: say where it begins, e.g. "
            "`window: {floor: '2015-01-01'}`"
        )
    if endpoint.paging.limit > endpoint.search_cap:
        yield (
            f"`paging.limit: {endpoint.paging.limit}` is more than `search_cap: "
            f"{endpoint.search_cap}`: no page has so many rows"
        )


def _unchanged_is_empty(endpoint: "Endpoint") -> Iterator[str]:
    """A 304 makes an empty partition: right only where the unchanged response has nothing new."""
    if not endpoint.conditional:
        return
    if endpoint.cursor is None and endpoint.bookmark is None:
        yield (
            "`conditional` makes an empty partition of a 304, but a partition without a cursor is "
            "the whole collection: use `cache` instead, whose 304 serves the cached rows"
        )
    if not endpoint.feed:
        yield (
            "`conditional` needs a request that is the same every day: take {start} and {end} out "
            "of it and say `window: {start: none, end: none}`, or leave `conditional` out"
        )
    if not endpoint.request.is_get:
        yield "`conditional` is for GET: APIs send 304 for nothing else"
    if not endpoint.paging.first_tells_all:
        *kinds, last = [f"`{name}`" for name, kind in PAGINATION if kind.first_tells_all]
        yield (
            f"`conditional` can't be used with paging of kind `{endpoint.paging.kind}`: an "
            "unchanged first page says nothing of pages that are requested beside it: use "
            f"{', '.join(kinds)} or {last}"
        )
    if endpoint.count is not None:
        yield (
            "`conditional` requests the first page alone: leave `count` out, or use `paging.total`"
        )


def _sweep_sees_all(endpoint: "Endpoint") -> Iterator[str]:
    """A key that a sweep does not see is taken for deleted."""
    if not endpoint.sweep:
        return
    if endpoint.parents is not None:
        yield (
            "a sweep reads all keys of the API, and children can be requested by parent only: "
            "leave `sweep` out"
        )
    guessed = [name for name in endpoint.key if name not in endpoint.columns]
    if guessed:
        yield (
            f"a sweep reads only the keys, and the type of `{guessed[0]}` is not declared: add it, "
            f"e.g. `columns: {{{guessed[0]}: int64}}`"
        )


def _keyless_fits(endpoint: "Endpoint") -> Iterator[str]:
    """Rows without a key can't be told apart: nothing may depend on that."""
    if endpoint.key:
        return
    if endpoint.sweep:
        yield "a sweep reads keys, and `key: none` says that there are none: take one of them out"
    if endpoint.deleted:
        yield (
            "`deleted` marks the row of a key as gone, and `key: none` says that there are none: "
            "take one of them out"
        )
    if endpoint.paging.shared_rows is SharedRows.SAME_CURSOR:
        yield (
            f"paging of kind `{endpoint.paging.kind}` gives rows twice, which only a key tells, "
            "and `key: none` says that there is none: name the key, or use another kind of paging"
        )


def _key_lands(endpoint: "Endpoint") -> Iterator[str]:
    missing = [name for name in endpoint.key if name not in endpoint.columns]
    if missing and not endpoint.infer:
        yield (
            f"the key `{missing[0]}` is not among the columns, and `infer` is false: declare it, "
            f"e.g. `columns: {{{missing[0]}: int64}}`"
        )


def _cursor_is_shown(endpoint: "Endpoint") -> Iterator[str]:
    """A window without a cursor in the rows, or with one of several columns."""
    by_window = endpoint.incremental and endpoint.cursor is None and endpoint.bookmark is None
    if by_window and {"start", "end"} - (endpoint.placeholders or frozenset()):
        yield (
            "`cursor: window` says that the API alone knows which rows lie in the window: put both "
            "{start} and {end} into `params`, or name a column as `cursor`"
        )
    if by_window and "window" in endpoint.columns:
        yield (
            "`cursor: window` means that the rows do not show the time that the API filters by, "
            "and there is a column `window`: write `cursor: [window]` if it is that column"
        )
    if len(endpoint.cursors) > 1 and "_cursor" in endpoint.columns:
        yield "the column `_cursor` is added to rows whose cursor may come from several: rename it"


def _names_are_free(endpoint: "Endpoint") -> Iterator[str]:
    """Readers of the lake go by these columns."""
    if EXTRACTED_AT in endpoint.columns:
        yield (
            "the column `_extracted_at` is added to all rows: give the API's another name, e.g. "
            "`their_extracted_at: {type: json, path: _extracted_at}`"
        )
    tombstone = endpoint.columns.get(DELETED)
    if tombstone is not None and (endpoint.deleted or tombstone.type != "bool"):
        yield (
            "the column `_deleted` is true in a tombstone: name the member that says so as "
            "`deleted`, and give another one another name, e.g. "
            "`their_deleted: {type: json, path: _deleted}`"
        )
    for name in filter(is_folder_column, {**endpoint.columns, **endpoint.value_columns}):
        yield (
            f"the column `{name}` has the name of the partitions' folders (dt=…), and engines that "
            "read them by their path show the partition in its place: give the column another "
            f"name, e.g. `their_dt: {{type: json, path: {name}}}`"
        )


def _key_compares(endpoint: "Endpoint") -> Iterator[str]:
    """Rows are told apart by their keys, ordered by them, and requested from one of them on."""
    for name in endpoint.key:
        kind = endpoint.columns[name].type if name in endpoint.columns else ""
        if kind.startswith(("list", "struct")):
            yield (
                f"the key `{name}` is declared as `{kind}`: expected columns of single values; for "
                f"a member of an object, e.g. `{name}: {{type: int64, path: {name}.id}}`"
            )
        if kind.startswith(("decimal", "time", "binary")) and not kind.startswith("timestamp"):
            yield (
                f"the key `{name}` is declared as `{kind}`: expected text, whole numbers, days or "
                f"instants: declare `{name}: string`"
            )
        if kind == "float" and endpoint.paging.sorted_by_key and endpoint.can_seek:
            yield (
                f"the key `{name}` is declared as `float`, which keeps too few digits to "
                f"request the rows after one: declare `{name}: double`"
            )


def _baseline_is_cut(endpoint: "Endpoint") -> Iterator[str]:
    long = endpoint.incremental and endpoint.window.max_s and endpoint.window.floor
    if long and endpoint.proven:
        yield (
            f"a baseline from `window.floor` on is longer than `window.max_s`, and paging of kind "
            f"`{endpoint.paging.kind}`, whose pages are proved by the key, reads it in one piece: "
            "use a kind that is read in slices, such as `token`, `link`, `page`, or `offset` with "
            "`overlap: false`, or leave `max_s` out"
        )


def _placeholders_are_known(request: HttpTemplate) -> Iterator[str]:
    """Braces inside other text may be the API's own."""
    for name, member in [*request.params.items(), *request.headers.items()]:
        for value in member if isinstance(member, list) else [member]:
            alone = re.fullmatch(r"\{([\w.]+)\}", str(value))
            for near in re.findall(r"\{now[^{}|]*(?:\|\w*)?\}", str(value)):
                if not PLACEHOLDER.fullmatch(near):
                    yield (
                        f"`{name}` has {near}, which is no placeholder: expected {{now}}, or a "
                        "time before it in days, hours or minutes: {now-7d}, {now-12h}, {now-30m}"
                    )
            if alone and not PLACEHOLDER.fullmatch(str(value)):
                expected = ", ".join(f"{{{each}}}" for each in PLACEHOLDERS)
                yield f"`{name}` is `{value}`, which is no placeholder: expected one of {expected}"


def _quotes_are_known(endpoint: "Endpoint", request: HttpTemplate) -> Iterator[str]:
    text = f"{request.templates}{endpoint.path}"
    for name, how in PLACEHOLDER.findall(text) if "|" in text else ():
        if how and how not in QUOTES:
            yield (
                f"`{{{name}|{how}}}` says `{how}`, which is not known: expected one of "
                f"{', '.join(QUOTES)}"
            )


def _token_has_its_parameters(request: HttpTemplate) -> Iterator[str]:
    """`with_token` names what stays beside a token, and the token with it."""
    if not request.with_token:
        return
    names = [*request.params, *(request.json_body or {}), *(request.form or {})]
    unknown = next((name for name in request.with_token if name not in names), None)
    if unknown is not None:
        yield (
            f"`with_token` names `{unknown}`, which is no parameter: expected some of "
            f"{', '.join(names)}"
        )
    members = (request.params, request.json_body or {}, request.form or {})
    of_token = [n for of in members for n, v in of.items() if "{token" in str(v)]
    if of_token and not set(of_token) & set(request.with_token):
        yield (f"`with_token` leaves the token itself out: name its parameter too, `{of_token[0]}`")


def _placeholders_are_filled(endpoint: "Endpoint", placeholders: frozenset[str]) -> Iterator[str]:
    for name in sorted(placeholders - endpoint.paging.fills):
        fitting = [
            (len(kind.fills), kind_name) for kind_name, kind in PAGINATION if name in kind.fills
        ]
        if fitting:  # the kind that is about it: it fills the fewest others
            yield (
                f"the request has {{{name}}}, which paging of kind `{endpoint.paging.kind}` never "
                f"fills: take it out, or use `paging: {{kind: {min(fitting)[1]}, …}}`"
            )


def _window_is_requested(endpoint: "Endpoint", placeholders: frozenset[str]) -> Iterator[str]:
    open_end = endpoint.window.end == "none"
    if endpoint.feed and endpoint.sweep:
        yield "a feed forgets its old rows: a sweep would take them for deleted: leave `sweep` out"
    if endpoint.window.start == "none":
        if "start" in placeholders:
            yield "the request has {start}, but `window.start` is none: take one of them out"
        if endpoint.paging.window_parts > 1 or endpoint.window.max_s is not None:
            yield "without a lower bound (`window.start: none`) a window can't be read in slices"
    if "end" in placeholders and open_end:
        yield "the request has {end}, but `window.end` is none: take one of them out"
    if not endpoint.incremental:
        if {"start", "end"} & placeholders:
            yield (
                "the request has {start} or {end}, but the endpoint has no cursor: name the column "
                "that moves when a row changes, as `cursor`"
            )
        return
    if (
        "start" in placeholders
        and "end" not in placeholders
        and not open_end
        and endpoint.bookmark is None
    ):
        yield (
            "the request has {start}, but no {end}: add the parameter of the upper bound, or say "
            "`window: {end: none}` if the API has none (rows after the window are dropped then)"
        )


def _baseline_keeps_its_end(endpoint: "Endpoint", request: HttpTemplate) -> Iterator[str]:
    """A text with a placeholder without a value is left out, and the others in it as well."""
    if not endpoint.incremental:
        return
    together = endpoint.window.together or endpoint.window.floor is not None
    first = endpoint.paging.first_request().token is not None
    lacking = ([] if together else ["start"]) + ["after", "before"] + ([] if first else ["token"])
    templates = (request.params, request.headers, request.json_body, request.form, request.text)
    for text in _texts([*templates]):
        always = placeholders_in(OPTIONAL.sub("", text))
        left_out = next((name for name in lacking if name in always), None)
        if left_out is None or "end" not in always:
            continue
        what = "a baseline" if left_out == "start" else "a first page"
        floor = "set `window.floor`, e.g. '1970-01-01', or " if left_out == "start" else ""
        yield (
            f"{what} has no {{{left_out}}}, so that {text!r} would be left out with its "
            f"{{end}}: {floor}put the part that it may lack into [[ ]], e.g. "
            f"`[[changed >= {{{left_out}}} and ]]changed < {{end}}`"
        )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
