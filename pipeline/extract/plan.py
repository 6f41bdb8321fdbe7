"""From an endpoint's YAML to the parts that read it: page shape, pager, extraction. Pure."""

from datetime import datetime, timedelta
from itertools import pairwise

from pipeline.config.endpoint import Endpoint
from pipeline.config.model import split_path
from pipeline.config.paging import (
    CursorPaging,
    CustomPaging,
    KeysetPaging,
    LinkPaging,
    NumberedPaging,
    OffsetPaging,
    SinglePaging,
    TokenPaging,
)
from pipeline.decode.reader import Column, Shape
from pipeline.decode.types import parse_type
from pipeline.extract.contiguous import ContiguousReader
from pipeline.extract.cursor_pages import CursorPager, CursorPages
from pipeline.extract.empty_pages import ConfirmedEmptyPages
from pipeline.extract.fan_out import EachReader, PagesOfValue, Value
from pipeline.extract.fetcher import PageSource
from pipeline.extract.overlapping_pages import OverlappingPages
from pipeline.extract.prefetch import Ahead
from pipeline.extract.sequential import SequentialReader
from pipeline.hooks import following, load_function
from pipeline.pagination.pagers import (
    ChainPager,
    CustomPager,
    KeysetPager,
    NumberedPager,
    OffsetPager,
    Pager,
)
from pipeline.partitions.window import Window

EndpointReader = ContiguousReader | SequentialReader | EachReader


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
    if isinstance(paging, TokenPaging):
        named["token"] = paging.next
    if isinstance(paging, LinkPaging):
        named["url"] = paging.next
    return {name: split_path(path) for name, path in named.items() if path}


def pager_of(endpoint: Endpoint) -> Pager:
    """How the pages of this endpoint follow each other."""
    match endpoint.paging:
        case OffsetPaging() as p:
            return OffsetPager(p.limit, p.first, endpoint.overlaps)
        case KeysetPaging() as p:
            return KeysetPager(p.limit, p.ranges)
        case NumberedPaging() as p:
            return NumberedPager(p.limit, p.first)
        case TokenPaging() as p:
            return ChainPager(p.limit, p.until_short, p.first)
        case LinkPaging() as p:
            return ChainPager(p.limit)
        case CursorPaging() as p:
            return CursorPager(p.limit)
        case CustomPaging() as p:
            return CustomPager(p.limit, following(load_function(p.path, "paging.path"), p.path))
        case SinglePaging() as p:
            return ChainPager(p.limit)


def reader_of(
    endpoint: Endpoint, pages: PageSource, window: Window, ahead: int, *, until_sure: bool = False
) -> EndpointReader:
    """What reads the endpoint's pages, ``ahead`` of them at the same time.

    :param until_sure: pages that may have shifted are read until two passes show the same.
    """
    each = endpoint.each
    if each is None:
        return _extraction(endpoint, pages, window, lambda: ahead, until_sure)

    def reader(value: Value, share: Ahead) -> ContiguousReader | SequentialReader:
        return _extraction(endpoint, PagesOfValue(pages, value), window, share, until_sure)

    return EachReader(each.values, reader, each.concurrency, ahead)


def _extraction(
    endpoint: Endpoint, pages: PageSource, window: Window, ahead: Ahead, until_sure: bool
) -> ContiguousReader | SequentialReader:
    pager = pager_of(endpoint)
    if endpoint.proven:
        return ContiguousReader(
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
    if isinstance(endpoint.paging, CursorPaging):
        start = window.start.isoformat() if window.start else None
        slices = slices or ((start, window.end.isoformat()),)
        pages = CursorPages(pages, form.resolution_s)
    elif isinstance(pager, OffsetPager) and pager.overlap:
        pages = pages if endpoint.counted else OverlappingPages(pages, pager.first_offset)
    elif endpoint.count is None:
        of_parent = endpoint.parents is not None
        by_row = bool(getattr(endpoint.paging, "last", None))
        pages = ConfirmedEmptyPages(pages, pager, of_parent=of_parent, by_row=by_row)
    return SequentialReader(
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
