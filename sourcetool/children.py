"""Endpoints that are read for values: looked at for one of those that the YAML lists, or that the
first page of another endpoint showed.
"""

from collections.abc import Mapping, Sequence
from itertools import islice

from pipeline.config.each import ValueList, lists_of
from pipeline.config.source import Source
from pipeline.errors import ContractBroken
from pipeline.extract.partition_values import PartitionValue, product_of, written_values
from pipeline.messages import Sender
from pipeline.partitions.window import Window
from pipeline.run.values import check_column, values_of
from sourcetool.probe import ProbeResult, look

_MOST_PARENTS = 5


async def look_at_children(
    source: Source,
    name: str,
    probes: Mapping[str, ProbeResult],
    window: Window,
    sender: Sender,
    most_pages: int,
    most_rows: int = 0,
) -> ProbeResult:
    """The rows of a value that has some, if one of the first few has.

    :param probes: the results of the endpoints whose rows the values are of.
    """
    endpoint = source.endpoints[name]
    if endpoint.parents is not None and not endpoint.incremental:
        window = probes[endpoint.parents.endpoint].window
    probe = ProbeResult(name, endpoint, window)
    try:
        lists = [_shown(source, name, value_list, probes) for value_list in lists_of(endpoint)]
    except ContractBroken as error:
        probe.error = error
        return probe
    values = lists[0] if len(lists) == 1 else [*islice(product_of(lists), _MOST_PARENTS)]
    for value in values[:_MOST_PARENTS]:
        probe = await look(source, name, sender, window, most_pages, value, most_rows)
        if probe.error or probe.tables or not source.upstream(name):
            break
    return probe


def _shown(
    source: Source, name: str, value_list: ValueList, probes: Mapping[str, ProbeResult]
) -> Sequence[PartitionValue]:
    """The values of one list, of another endpoint's rows those of its first page."""
    if value_list.endpoint is None:
        return written_values(value_list)
    above = probes[value_list.endpoint]
    if not above.tables:
        return ()
    table = above.tables[0]
    check_column(source.source, value_list, value_list.column, table.column_names)
    return values_of(source, name, value_list, table)
