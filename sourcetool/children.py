"""Children: looked at for one of the rows that their parent's first page showed."""

from pipeline.config.endpoint import ParentsConfig
from pipeline.config.source import Source
from pipeline.errors import ContractBroken
from pipeline.messages import Sender
from pipeline.run.parents import check_column, values_of
from sourcetool.probe import Seen, look

_MOST_PARENTS = 5


async def look_at_children(
    source: Source,
    name: str,
    children: ParentsConfig,
    above: Seen,
    sender: Sender,
    most_pages: int,
    most_rows: int = 0,
) -> Seen:
    """The children of a parent that has some, if one of the first few has.

    :param above: what was seen of the parent; the window is that of its rows.
    """
    seen = Seen(name, source.endpoints[name], above.window)
    if not above.came:
        return seen
    table = above.came[0]
    try:
        check_column(source.source, children, table.column_names)
        parents = values_of(source.source, children, table[children.column])
    except ContractBroken as error:
        seen.error = error
        return seen
    for parent in parents[:_MOST_PARENTS]:
        seen = await look(source, name, sender, above.window, most_pages, parent, most_rows)
        if seen.error or seen.came:
            break
    return seen
