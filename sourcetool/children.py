"""Endpoints that are read for values: looked at for one of those that the YAML lists, or that the
first page of another endpoint showed.
"""

from collections.abc import Mapping, Sequence
from itertools import islice

from pipeline.config.each import ValueList, lists_of
from pipeline.config.source import Source
from pipeline.errors import ContractBroken
from pipeline.extract.fan_out import PartitionValue, product_of, written_values
from pipeline.messages import Sender
from pipeline.partitions.window import Window
from pipeline.run.values import check_column, values_of
from sourcetool.probe import Seen, look

_MOST_PARENTS = 5


async def look_at_children(
    source: Source,
    name: str,
    all_seen: Mapping[str, Seen],
    window: Window,
    sender: Sender,
    most_pages: int,
    most_rows: int = 0,
) -> Seen:
    """The rows of a value that has some, if one of the first few has.

    :param all_seen: what was seen of the endpoints whose rows the values are of.
    """
    endpoint = source.endpoints[name]
    if endpoint.parents is not None and not endpoint.incremental:
        window = all_seen[endpoint.parents.endpoint].window
    seen = Seen(name, endpoint, window)
    try:
        lists = [_shown(source, name, one, all_seen) for one in lists_of(endpoint)]
    except ContractBroken as error:
        seen.error = error
        return seen
    values = lists[0] if len(lists) == 1 else [*islice(product_of(lists), _MOST_PARENTS)]
    for value in values[:_MOST_PARENTS]:
        seen = await look(source, name, sender, window, most_pages, value, most_rows)
        if seen.error or seen.came or not source.upstream(name):
            break
    return seen


def _shown(
    source: Source, name: str, one: ValueList, all_seen: Mapping[str, Seen]
) -> Sequence[PartitionValue]:
    """The values of one list, of another endpoint's rows those of its first page."""
    if one.endpoint is None:
        return written_values(one)
    above = all_seen[one.endpoint]
    if not above.came:
        return ()
    table = above.came[0]
    check_column(source.source, one, one.column, table.column_names)
    return values_of(source, name, one, table)
