"""The values that an endpoint is read for: those in its YAML, and every combination of them.

Values that are of other endpoints' rows are read by ``pipeline.run.values``, and lanes are found by
``pipeline.lanes``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from pipeline.config.each import ValueList, lists_of
from pipeline.config.endpoint import Endpoint
from pipeline.extract.pages import PageSource, ParsedPage
from pipeline.pagination.page import PageRequest
from pipeline.partitions.window import Window

Value = str | int


@dataclass(frozen=True)
class PartitionValue:
    """A value that an endpoint is read for, or a group of values in one request.

    :ivar name: tells it from the others, today and tomorrow.
    :ivar value: of ``{each}`` or ``{parent}``: a number stays one, as in any ``json``.
    :ivar fields: of the other placeholders and columns, by their names (``parent.shop``).
    :ivar members: the names of a group's values; of a single value its own.
    :ivar window: where it differs from that of the partition; with the same end.
    """

    name: str
    value: Value
    fields: Mapping[str, Any] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    window: Window | None = None

    @classmethod
    def of(cls, value: Value) -> "PartitionValue":
        """A value of which nothing else is known."""
        return cls(str(value), value, members=(str(value),))


def written_values(value_list: ValueList) -> tuple[PartitionValue, ...]:
    """The values that the YAML, or a setting, lists."""
    return tuple(
        PartitionValue(str(value), value, {value_list.prefix: value}, (str(value),))
        for value in value_list.values or ()
    )


def product_of(lists: Sequence[Sequence[PartitionValue]]) -> Iterator[PartitionValue]:
    """Every combination; its name tells its values apart, whatever is in them."""
    for parts in product(*lists):
        name = json.dumps([part.name for part in parts], ensure_ascii=False)
        fields = {key: value for part in parts for key, value in part.fields.items()}
        yield PartitionValue(name, name, fields, (name,))


def values_in_yaml(endpoint: Endpoint) -> tuple[PartitionValue, ...]:
    """The values of an endpoint whose lists are all written down.

    :raises ValueError: one is of another endpoint's rows.
    """
    lists = lists_of(endpoint)
    if not lists or any(value_list.endpoint is not None for value_list in lists):
        raise ValueError("the values are not all in the YAML")
    values = [written_values(value_list) for value_list in lists]
    return values[0] if len(values) == 1 else tuple(product_of(values))


class PagesOfValue:
    """The pages of one value."""

    def __init__(self, pages: PageSource, value: PartitionValue) -> None:
        self._pages, self._value = pages, value

    async def page(self, request: PageRequest) -> ParsedPage:
        return await self._pages.page(self._of_value(request))

    async def count(self, request: PageRequest) -> int | None:
        return await self._pages.count(self._of_value(request))

    def _of_value(self, request: PageRequest) -> PageRequest:
        of, window = self._value, request.window
        if window is None and of.window is not None:
            window = of.window.as_text
        return replace(request, parent=of.value, fields=of.fields, window=window)
