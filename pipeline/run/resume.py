"""Where an attempt at a partition starts: its window, what an earlier attempt left behind, and what
the partitions beside it show.

What is staged is resumed only if its rows and those to come are of one kind, by their
``fingerprint``: the YAML, and the values. A child's rows are of one generation of its parent's
partition, or of one list of values that are read from the same watermarks: staged beside rows of
another one, some would be there twice, and some not at all.

A 304 to the validators of the previous partition makes an empty partition. They are sent only where
that loses nothing: the previous one is committed and of the same definition, and this one has no
rows yet. A partition's own validators are never used for itself
(docs/decisions/0011-conditional-requests.md).
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import pyarrow as pa

from pipeline.config.columns import EXTRACTED_AT
from pipeline.config.source import Source
from pipeline.decode.nested_tables import list_column
from pipeline.decode.types import schema_of
from pipeline.extract.feed import NO_FEED, FeedNotes
from pipeline.extract.partition_values import PartitionValue
from pipeline.extract.plan import paging_of
from pipeline.extract.value_failures import policy_of
from pipeline.lake.attempt import Attempt
from pipeline.lake.manifest import Manifest
from pipeline.lake.paths import PartitionPaths
from pipeline.lake.takeover import open_attempt
from pipeline.pagination.page import PageRequest
from pipeline.partitions.window import Window, falls_short, incremental, snapshot
from pipeline.run.bookmarks import ends_elsewhere, reaches_into, span_of
from pipeline.run.context import RunContext
from pipeline.run.values import (
    ValueSelection,
    ValueWatermarks,
    digest_of,
    listed_values,
    names_of,
    parents_of,
)

_LOOK_BACK: Final = 10
"""Partitions among which one with rows is looked for."""


def _feed_of_previous(
    run: RunContext, endpoint: str, partition: str, window: Window, *, previous_in_run: bool
) -> FeedNotes:
    """What the previous partition's feed had shown; no validators: read it, whatever has changed.

    :param previous_in_run: the previous partition is being read anew beside this one.
    """
    spec = run.source.endpoints[endpoint]
    if not spec.conditional or window.kind != "incremental" or previous_in_run:
        return NO_FEED
    source, index, previous = run.source.source, run.index, run.calendar.previous(partition)
    before = index.get(source, endpoint, previous) if previous else None
    if before is None or before.definition != run.source.definition(endpoint):
        return NO_FEED
    mine = run.index.get(run.source.source, endpoint, partition)
    if mine is not None and mine.rows:
        return NO_FEED
    notes = before.notes
    return FeedNotes(
        feed_from=notes.feed_from, validators=notes.validators, newest_first=notes.newest_first
    )


def pages_with_rows(
    run: RunContext, endpoint: str, read_before: Window | None
) -> Iterator[PageRequest]:
    """Pages that should have rows, by which the API is seen to be there (`extract.outages`).

    The first one of a partition that had some, then the first one of all that there is, since those
    rows may have changed or gone. No page where none is known, or where the window does not tell
    one partition from another. What a bookmark brought comes only once.

    :param read_before: the window of this partition, if an earlier attempt has read rows of it.
    """
    spec, source = run.source.endpoints[endpoint], run.source.source
    if not spec.incremental or spec.feed or spec.fans_out or spec.bookmark is not None:
        return
    known = read_before or run.windows_with_rows.get(endpoint)
    if known is None:
        committed = run.index.partitions(source, endpoint)[: -_LOOK_BACK - 1 : -1]
        manifests = (run.index.get(source, endpoint, key) for key in committed)
        known = next((each.window for each in manifests if each and each.rows), None)
    if known is None:
        return
    all_rows = Window("baseline", spec.window.floor_at, run.now(), 0.0)
    for window in (known, all_rows):
        if spec.window.max_s is None or window.length_s <= spec.window.max_s:
            yield replace(paging_of(spec).first_request(), window=window.as_text)


def came_newest_first(run: RunContext, endpoint: str) -> bool | None:
    """Whether the newest partition shows that the feed comes newest first; None: nothing does."""
    latest = run.index.latest(run.source.source, endpoint)
    return (latest is not None and latest.notes.newest_first) or None


def _known_schema(run: RunContext, endpoint: str, attempt: Attempt) -> pa.Schema | None:
    """The schema to start from: the earlier attempt's, else the newest partition's."""
    spec, schema = run.source.endpoints[endpoint], attempt.schema
    if schema is None:
        latest = run.index.latest(run.source.source, endpoint)
        with suppress(ValueError):  # somebody has edited the manifest: types are inferred anew
            schema = schema_of(latest.columns) if latest and latest.columns else None
    added = {EXTRACTED_AT, *spec.added_columns, *map(list_column, spec.tables)}
    return None if schema is None else pa.schema(f for f in schema if f.name not in added)


def _is_followed(run: RunContext, endpoint: str, partition: str, *, next_in_run: bool) -> bool:
    """Whether the next partition is committed, and reads the rows of no value left behind here."""
    spec = run.source.endpoints[endpoint]
    if next_in_run or not spec.incremental or not policy_of(spec).lists:
        return False
    following = run.calendar.next(partition)
    return run.index.fresh(run.source.source, endpoint, following) is not None


class AlreadyCommitted(Exception):
    """The partition is committed by an earlier attempt of this run.

    :ivar manifest: the committed one.
    """

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest.partition)
        self.manifest = manifest


@dataclass(frozen=True)
class OpenedPartition:
    """A partition that this run may stage now, and all that says where its attempt starts.

    :ivar values: of an endpoint that fans out: what its requests are made from.
    :ivar schema: the columns that are known of earlier rows; None: there are none.
    :ivar previous_feed: its validators make the first request a conditional one.
    :ivar is_followed: the next partition does not read the rows of values that fail in this one.
    """

    attempt: Attempt
    values: ValueSelection | None
    schema: pa.Schema | None
    previous_feed: FeedNotes
    is_followed: bool


def open_partition(
    run: RunContext,
    endpoint: str,
    partition: str,
    *,
    previous_in_run: bool,
    next_in_run: bool,
) -> OpenedPartition:
    """Take the partition for this run, with what an earlier attempt has staged.

    :param previous_in_run: the previous partition is part of this run, and is committed first.
    :param next_in_run: the next partition is part of this run, and is staged after the commit.
    :raises AlreadyCommitted: nothing is left to do.
    :raises WindowRefused: the partition can't be requested.
    :raises LostRace: another run has it.
    """
    values = select_values(run, endpoint, partition, previous_in_run=previous_in_run)
    attempt = _open_attempt(run, endpoint, partition, values, previous_in_run=previous_in_run)
    feed = _feed_of_previous(
        run, endpoint, partition, attempt.window, previous_in_run=previous_in_run
    )
    return OpenedPartition(
        attempt=attempt,
        values=values,
        previous_feed=feed,
        is_followed=_is_followed(run, endpoint, partition, next_in_run=next_in_run),
        schema=_known_schema(run, endpoint, attempt),
    )


def _open_attempt(
    run: RunContext,
    endpoint: str,
    partition: str,
    values: ValueSelection | None,
    *,
    previous_in_run: bool,
) -> Attempt:
    """The attempt that goes on from what is staged, or begins anew where that is of other rows."""
    source = run.source
    common = values.window if values else None
    window = common or _window(run, endpoint, partition, previous_in_run=previous_in_run)
    definition = fingerprint(source, endpoint, _origin(values, window))
    cursor = source.endpoints[endpoint].bookmark

    def is_done(manifest: Manifest) -> bool:
        """Whether an earlier attempt of this run has committed it, and nothing is missing since."""
        ours = (manifest.run_id, manifest.definition) == (run.run_id, definition)
        is_whole = not falls_short(manifest.window, window)
        return ours and is_whole and not reaches_into(cursor, manifest, window)

    committed = run.index.get(source.source, endpoint, partition)
    if committed is not None and is_done(committed):
        raise AlreadyCommitted(committed)
    while True:
        attempt = open_attempt(
            run.lake,
            PartitionPaths(source.source, endpoint, partition),
            definition=definition,
            window=window,
            run_id=run.run_id,
            index=run.index,
        )
        if attempt.committed is None:
            if falls_short(attempt.window, window) or ends_elsewhere(
                cursor, attempt.window, window
            ):
                attempt.start_over(window)
            return attempt
        # A commit that was decided is carried out now. That of another run is replaced: what it
        # read may be as old as the run.
        if is_done(attempt.committed):
            raise AlreadyCommitted(attempt.committed)


def _origin(values: ValueSelection | None, window: Window) -> str:
    """What decides which rows there are besides the YAML: the values, or the bookmark.

    Children have the window of their parents, and with it a bookmark that is not theirs.
    """
    if values is not None:
        return values.origin
    start = window.bookmarks.start if window.bookmarks else None
    return digest_of([start.kind, start.of, start.value]) if start else ""


def select_values(
    run: RunContext, endpoint: str, partition: str, *, previous_in_run: bool
) -> ValueSelection | None:
    """The values that a partition is made from; None if the endpoint does not fan out.

    :raises WindowRefused: what they come from is not committed.
    """
    spec = run.source.endpoints[endpoint]
    if not spec.fans_out:
        return None
    if spec.parents is not None and not spec.incremental:
        return parents_of(run, endpoint, partition)
    values = listed_values(run, endpoint)
    behind = {} if previous_in_run else behind_of(run, endpoint, partition, values)
    of_rows = bool(run.source.upstream(endpoint)) or (spec.each and spec.each.found_in_run)
    parts = [names_of(values) if of_rows else (), sorted(behind.items())]
    origin = digest_of(parts) if of_rows or behind else ""
    return ValueSelection(values, None, origin, behind)


def behind_of(
    run: RunContext, endpoint: str, partition: str, values: Sequence[PartitionValue]
) -> dict[str, datetime | None]:
    """The values that are to be read from further back than the partition begins.

    A baseline has no lower bound for any. What the newest partition before says of its values holds
    though it is not the previous one: the partitions between the two are missing for all values.
    """
    calendar, name = run.calendar, run.source.source
    if not run.source.endpoints[endpoint].incremental or partition == calendar.first:
        return {}
    previous = calendar.previous(partition)
    earlier = [key for key in run.index.partitions(name, endpoint) if key < partition]
    near = previous if previous in earlier else earlier[-1] if earlier else None
    newest = run.index.get(name, endpoint, near) if near else None
    return ValueWatermarks.of(newest).behind_now(v.name for v in values) if newest else {}


def _window(run: RunContext, endpoint: str, partition: str, *, previous_in_run: bool) -> Window:
    """The window now; whole seconds, since cursors are."""
    now = run.now().replace(microsecond=0)
    calendar = run.calendar
    if not run.source.endpoints[endpoint].incremental:
        return snapshot(calendar, partition, now=now)
    calendar.check(partition)
    form = run.source.endpoints[endpoint].window
    bookmarks = span_of(run, endpoint, partition)
    previous = calendar.previous(partition)
    manifest = run.index.get(run.source.source, endpoint, previous) if previous else None
    # Of another run, it is replaced before this partition is committed.
    counts = manifest is not None and (not previous_in_run or manifest.run_id == run.run_id)
    before = manifest.watermark_at if manifest and counts else None
    window = incremental(
        calendar,
        partition,
        now=now,
        safety_margin_s=0.0 if bookmarks else run.source.margin_s(endpoint),
        watermark_before=before,
        step_s=form.resolution_s,
        zone=form.zone,
    )
    return replace(window, bookmarks=bookmarks)


def fingerprint(source: Source, endpoint: str, values: str = "") -> str:
    """A digest: rows that were staged under another one are not resumed.

    :param values: where the values come from, such as the generation of the parent's partition.
    """
    yaml = source.definition(endpoint)
    return f"{yaml}-{values}" if values else yaml


def of_this_yaml(definition: str, source: Source, endpoint: str) -> bool:
    """Whether a definition is of the YAML as it is now, whatever the values were."""
    return definition.partition("-")[0] == source.definition(endpoint)
