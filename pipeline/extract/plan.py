"""From an endpoint's YAML to what reads it: the shape of a page, its decoder, its reader. Pure."""

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from pipeline.config.columns import DELETED, EXTRACTED_AT, DeletedMark
from pipeline.config.each import lists_of
from pipeline.config.endpoint import Endpoint
from pipeline.decode.base import Decoder
from pipeline.decode.nested_tables import ROW_NUMBER, NestedTable, NestedTablesDecoder
from pipeline.decode.row_selection import RowSelection
from pipeline.decode.shape import Column, Shape
from pipeline.decode.types import mark_of, parse_type
from pipeline.extract.alike_values import AlikeValues
from pipeline.extract.confirmation import (
    ConfirmedEmptyPages,
    OpenEndedPages,
    OverlappingPages,
    Pause,
    no_pause,
)
from pipeline.extract.contiguous import ContiguousReader
from pipeline.extract.cursor_pages import CursorPages
from pipeline.extract.fan_out import FanOut, FanOutReader
from pipeline.extract.feed import Feed, Feeds
from pipeline.extract.growing_tail import GrowingTail
from pipeline.extract.outages import KnownPages, OutageGuard
from pipeline.extract.pages import PageSource, with_hashed_columns
from pipeline.extract.partition_values import values_in_yaml
from pipeline.extract.position import EndpointReader, ExtractionProgress
from pipeline.extract.prefetch import Ahead
from pipeline.extract.sequential import SequentialReader
from pipeline.extract.window_cuts import cuts_of
from pipeline.model import split_path
from pipeline.pagination import Paging, SharedRows
from pipeline.partitions.window import Window


def shape_of(endpoint: Endpoint, max_body_bytes: int = Shape.max_body_bytes) -> Shape:
    """How a page's body looks, and what its rows are."""
    added = endpoint.context_columns
    zone = endpoint.window.zone if endpoint.window.timezone else None
    columns = [
        Column(
            name=name,
            type=parse_type(column.type).in_zone(zone),
            path=split_path(column.path) if column.path else (name,),
            # The user's function may be what fills a column: `transformed` looks behind it.
            nullable=bool(endpoint.transform) or name not in endpoint.needed,
            hidden=name in endpoint.hash,
            only=("timestamp", "date", "[") if name in endpoint.cursors else None,
        )
        for name, column in endpoint.columns.items()
        if name not in added
    ]
    if endpoint.deleted:
        columns.append(_deleted_column(endpoint.deleted))
    return Shape(
        rows=endpoint.row_selection,
        columns=tuple(columns),
        infer=endpoint.infer,
        needed=_needed(endpoint),
        ours=frozenset(endpoint.added_columns),
        excluded=frozenset(split_path(path) for path in endpoint.exclude),
        snake_case=endpoint.names == "snake_case",
        contract=endpoint.contract,
        extras=_extras(endpoint),
        through_objects=frozenset(endpoint.paging.references()),
        max_body_bytes=max_body_bytes,
    )


def _needed(endpoint: Endpoint) -> frozenset[str]:
    """The columns that each of the API's rows has."""
    if endpoint.transform:
        return frozenset()
    cursor = endpoint.cursors if len(endpoint.cursors) == 1 else ()
    needed = endpoint.needed.union(cursor).difference(endpoint.context_columns)
    return needed & endpoint.columns.keys() if endpoint.names else needed


def decoder_of(
    endpoint: Endpoint,
    max_body_bytes: int,
    known: pa.Schema | None,
    known_tables: Mapping[str, pa.Schema],
    *,
    label: str,
    salt: str = "",
) -> Decoder:
    """The decoder of an endpoint's pages, with the rows of its child tables.

    :param known: the schema so far. :param known_tables: the same, by table.
    :param salt: goes before each value of a table that is hashed.
    """
    shape = shape_of(endpoint, max_body_bytes)
    if not endpoint.tables:
        return endpoint.format.decoder(shape, known, label=label)
    tables = [_nested_table(endpoint, name, salt) for name in endpoint.tables]
    columns = (*shape.columns, *(table.column for table in tables))
    rows = endpoint.format.decoder(replace(shape, columns=columns), known, label=label)
    return NestedTablesDecoder(rows, tables, known_tables)


def _nested_table(endpoint: Endpoint, name: str, salt: str) -> NestedTable:
    table = endpoint.tables[name]
    zone = endpoint.window.zone if endpoint.window.timezone else None
    columns = (
        Column(
            name=column,
            type=parse_type(spec.type).in_zone(zone),
            path=split_path(spec.path) if spec.path else (column,),
            nullable=column not in table.key and spec.nullable,
            hidden=column in table.hash,
        )
        for column, spec in table.columns.items()
        if column not in table.added
    )
    shape = Shape(
        rows=RowSelection(
            form=table.rows_as,
            may_lack=True,
            key_column=table.key_column,
            value_column=table.value_column,
        ),
        columns=tuple(columns),
        infer=table.infer,
        ours=table.added | {ROW_NUMBER},
        excluded=frozenset(split_path(path) for path in table.exclude),
        snake_case=table.names == "snake_case",
        contract=table.contract,
    )
    return NestedTable(
        name, table.path, shape, lambda rows: with_hashed_columns(rows, table.hash, salt)
    )


def _deleted_column(deleted: str | DeletedMark) -> Column:
    if isinstance(deleted, str):
        return Column(DELETED, parse_type("bool"), split_path(deleted), only=())
    return Column(DELETED, mark_of(deleted.values), split_path(deleted.at))


def _extras(endpoint: Endpoint) -> dict[str, tuple[str, ...]]:
    """The members of a body that are read beside its rows."""
    references = dict(endpoint.paging.references())
    if endpoint.bookmark:
        references |= endpoint.bookmark.references()
    if endpoint.errors_at:
        references["error"] = endpoint.errors_at
    if endpoint.ok_when:
        references["ok"] = endpoint.ok_when.at
    paths = {name: split_path(path) for name, path in references.items()}
    for column in endpoint.columns.values():
        if column.response_path is not None and not column.is_outer:
            paths[str(column.from_)] = column.response_path
    return paths


def paging_of(endpoint: Endpoint) -> Paging:
    """How the pages of this endpoint follow each other."""
    return endpoint.paging.fitted(endpoint.row_order)


def reader_of(
    endpoint: Endpoint,
    pages: PageSource,
    window: Window,
    ahead: int,
    *,
    fan_out: FanOut | None = None,
    until_sure: bool = False,
    pause: Pause = no_pause,
    known: KnownPages | None = None,
    feeds: Feeds | None = None,
    progress: ExtractionProgress | None = None,
) -> EndpointReader:
    """The reader of the endpoint's pages, ``ahead`` of them at the same time.

    :param fan_out: of an endpoint that fans out; None: the values that the YAML lists.
    :param until_sure: pages that may have shifted are read until two passes show the same.
    :param pause: waits before the confirmation of an end.
    :param known: pages by which the API is seen to be there; None: those of this reading alone.
    :param feeds: of a feed, what its pages show.
    :param progress: filled while pages come, to be watched from outside.
    """
    known, of = known or KnownPages(pages), endpoint.parents or endpoint.each
    of_parent = endpoint.parents is not None

    def reader(
        pages: PageSource,
        window: Window,
        share: Ahead,
        value: str | None = None,
        progress: ExtractionProgress | None = None,
    ) -> EndpointReader:
        feed = feeds.begin(value, window) if feeds else None
        guard = OutageGuard(
            pages,
            paging_of(endpoint),
            pause,
            known,
            of_value=of is not None,
            of_parent=of_parent,
        )
        return _reader(endpoint, guard, window, share, feed, progress, until_sure=until_sure)

    if of is None:
        return reader(pages, window, lambda: ahead, progress=progress)
    return FanOutReader(
        pages,
        _fan_out_of(endpoint, fan_out or FanOut(values_in_yaml(endpoint)), of.concurrency),
        lambda of_value, value, share: reader(of_value, value.window or window, share, value.name),
        ahead=ahead,
        progress=progress,
    )


def _fan_out_of(endpoint: Endpoint, fan_out: FanOut, concurrency: int) -> FanOut:
    """The same values, read as the endpoint's YAML says."""
    whole = fan_out.failures.passes_over and not endpoint.incremental
    return replace(
        fan_out,
        keep=fan_out.keep if whole else None,
        concurrency=concurrency,
        ordered=endpoint.parents is not None and whole,
        as_a_whole=whole,
        key=endpoint.key,
        tells_values=_tells_values(endpoint),
        alike=_alike_of(endpoint),
    )


def _alike_of(endpoint: Endpoint) -> AlikeValues:
    """What finds out whether the API ignores the values. It looks only where a column has the
    value: else the rows of all values are equal, and one of them stays."""
    finds_its_own = endpoint.each is not None and endpoint.each.found_in_run
    lists = lists_of(endpoint) if endpoint.value_columns and not finds_its_own else ()
    return AlikeValues(
        [value_list.prefix for value_list in lists], {EXTRACTED_AT, *endpoint.context_columns}
    )


def _tells_values(endpoint: Endpoint) -> bool:
    """Whether the key tells that a row which comes again is of the same value.

    The same row may come under two parents. It is refused then, unless the key has the parent's
    column.
    """
    by_key = bool(endpoint.key) and endpoint.parents is None
    return by_key or bool({*endpoint.key} & {*endpoint.value_columns})


def _reader(
    endpoint: Endpoint,
    guard: OutageGuard,
    window: Window,
    ahead: Ahead,
    feed: Feed | None,
    progress: ExtractionProgress | None,
    *,
    until_sure: bool,
) -> EndpointReader:
    paging, pause = paging_of(endpoint), guard.pause
    shows_end = endpoint.format.shows_end
    pages = guard if shows_end else OpenEndedPages(guard, counted=endpoint.counted)
    if endpoint.proven:
        tail = GrowingTail(pages, pages, paging, endpoint.key, pause)
        return ContiguousReader(
            tail,
            paging,
            key=endpoint.key_of_rows[0],
            ahead=ahead,
            can_seek=endpoint.can_seek,
            descending=endpoint.order == "descending",
            pause=pause,
            feed=feed,
            tail=tail,
            progress=progress,
        )
    confirmed = _confirmed(endpoint, paging, pages, pause)
    ends_by_token = endpoint.bookmark is not None and endpoint.bookmark.in_order
    # A chain of changes ends with the page that has the token, however fast rows change.
    tail_of = None if ends_by_token else GrowingTail(confirmed, pages, paging, endpoint.key, pause)
    return SequentialReader(
        tail_of or confirmed,
        paging,
        key=endpoint.key,
        own_key=endpoint.key_of_rows,
        ahead=(lambda: 1) if endpoint.may_stop_early else ahead,
        cuts=cuts_of(endpoint, paging, pages, window),
        until_sure=until_sure,
        feed=feed,
        tail=tail_of,
        progress=progress,
    )


def _confirmed(endpoint: Endpoint, paging: Paging, pages: PageSource, pause: Pause) -> PageSource:
    """The pages, wrapped so that a page which may wrongly look like the end is requested again."""
    if paging.shared_rows is SharedRows.SAME_CURSOR:
        return CursorPages(pages, endpoint.window)
    if paging.shared_rows is SharedRows.LAST:
        first = paging.first_request().offset or 0
        return pages if endpoint.counted else OverlappingPages(pages, first)
    if endpoint.count is not None:
        return pages
    return ConfirmedEmptyPages(pages, paging, pause=pause)
