"""From an endpoint's YAML to the parts that read it: page shape, pager, extraction. Pure."""

from datetime import datetime, timedelta
from itertools import pairwise

from pipeline.extract.by_cursor import CursorPager, CursorPages
from pipeline.extract.by_each import ByEach, PagesOf, Value
from pipeline.extract.by_key import ByKey
from pipeline.extract.chains import ByChain
from pipeline.extract.empty import EmptyTwice
from pipeline.extract.fetch import Pages
from pipeline.extract.lanes import Ahead
from pipeline.extract.overlap import OverlapPages
from pipeline.paging.pagers import (
    ChainPager,
    CustomPager,
    KeysetPager,
    NumberPager,
    OffsetPager,
    Pager,
)
from pipeline.plugin import following, load_function
from pipeline.rows.reader import Column, Shape
from pipeline.rows.types import parse_type
from pipeline.spec.endpoint import Endpoint
from pipeline.spec.model import split_path
from pipeline.spec.paging import Cursor, CustomPaging, Keyset, Link, Offset, Page, Single, Token
from pipeline.window import Window

Extraction = ByKey | ByChain | ByEach


def shape_of(endpoint: Endpoint) -> Shape:
    """How a page's body looks, and what its rows are."""
    columns = [
        Column(
            name=name,
            type=parse_type(column.type),
            path=split_path(column.path) if column.path else (name,),
            # The user's function may be what fills a column: `transformed` looks behind it.
            nullable=bool(endpoint.transform) or name not in endpoint.needed,
        )
        for name, column in endpoint.columns.items()
        if name != endpoint.column_of_parent
    ]
    if endpoint.deleted:
        columns.append(Column("_deleted", parse_type("bool"), split_path(endpoint.deleted)))
    return Shape(
        rows=endpoint.rows_path,
        rows_may_lack=endpoint.rows_may_lack,
        columns=tuple(columns),
        infer=endpoint.infer,
        ours=frozenset({endpoint.column_of_parent or ""} - {""}),
        contract=endpoint.contract,
        extras=_extras(endpoint),
    )


def _extras(endpoint: Endpoint) -> dict[str, tuple[str, ...]]:
    paging = endpoint.paging
    named = {name: getattr(paging, name, None) for name in ("total", "more")}
    named["error"] = endpoint.errors_at
    if isinstance(paging, Token):
        named["token"] = paging.next
    if isinstance(paging, Link):
        named["url"] = paging.next
    return {name: split_path(path) for name, path in named.items() if path}


def pager_of(endpoint: Endpoint) -> Pager:
    """How the pages of this endpoint follow each other."""
    match endpoint.paging:
        case Offset() as p:
            return OffsetPager(p.limit, p.first, endpoint.overlaps)
        case Keyset() as p:
            return KeysetPager(p.limit, p.ranges)
        case Page() as p:
            return NumberPager(p.limit, p.first)
        case Token() as p:
            return ChainPager(p.limit, p.until_short, p.first)
        case Link() as p:
            return ChainPager(p.limit)
        case Cursor() as p:
            return CursorPager(p.limit)
        case CustomPaging() as p:
            return CustomPager(p.limit, following(load_function(p.path, "paging.path"), p.path))
        case Single() as p:
            return ChainPager(p.limit)


def extraction_of(
    endpoint: Endpoint, pages: Pages, window: Window, ahead: int, *, until_sure: bool = False
) -> Extraction:
    """What reads the endpoint's pages, ``ahead`` of them at the same time.

    :param until_sure: pages that may have shifted are read until two passes show the same.
    """
    each = endpoint.each
    if each is None:
        return _extraction(endpoint, pages, window, lambda: ahead, until_sure)

    def reader(value: Value, share: Ahead) -> ByKey | ByChain:
        return _extraction(endpoint, PagesOf(pages, value), window, share, until_sure)

    return ByEach(each.values, reader, each.concurrency, ahead)


def _extraction(
    endpoint: Endpoint, pages: Pages, window: Window, ahead: Ahead, until_sure: bool
) -> ByKey | ByChain:
    pager = pager_of(endpoint)
    if endpoint.proven:
        return ByKey(
            pages,
            pager,
            key=endpoint.key_of_rows[0],
            ahead=ahead,
            can_seek=endpoint.can_seek,
            descending=endpoint.order == "descending",
        )
    form = endpoint.window
    parts = getattr(endpoint.paging, "slices", 1)
    slices = window_slices(window, parts, form.max_s, form.floor_at)
    if isinstance(endpoint.paging, Cursor):
        start = window.start.isoformat() if window.start else None
        slices = slices or ((start, window.end.isoformat()),)
        pages = CursorPages(pages, form.resolution_s)
    elif isinstance(pager, OffsetPager) and pager.overlap:
        pages = pages if endpoint.counted else OverlapPages(pages, pager.first_offset)
    elif endpoint.count is None:
        of_parent = endpoint.parents is not None
        by_row = bool(getattr(endpoint.paging, "last", None))
        pages = EmptyTwice(pages, pager, of_parent=of_parent, by_row=by_row)
    return ByChain(
        pages,
        pager,
        key=endpoint.key,
        ahead=ahead,
        slices=slices,
        counted_by=window_slices(window, 1, form.max_s, form.floor_at),
        numbered=getattr(endpoint.paging, "numbered", False),
        until_sure=until_sure,
    )


def window_slices(
    window: Window, parts: int, max_s: float | None, floor: datetime | None = None
) -> tuple[tuple[str | None, str], ...]:
    """The window cut into whole-second slices: ``parts``, or more if the API allows less.

    :param floor: where a baseline begins for the API; without it a baseline is whole.
    """
    begins = window.start or floor
    if begins is None or begins >= window.end:
        return ()
    length_s = (window.end - begins).total_seconds()
    needed = int(-(-length_s // max_s)) if max_s else 1
    count = max(1, min(max(parts, needed), int(length_s)))
    if count == 1:
        return ()
    cuts = [begins + timedelta(seconds=int(length_s * i / count)) for i in range(count)]
    bounds: list[datetime] = [*cuts, window.end]
    slices = [(a.isoformat(), b.isoformat()) for a, b in pairwise(bounds)]
    return tuple(slices) if window.start else ((None, slices[0][1]), *slices[1:])
