"""What an importer made: the data of a YAML, and what could not be said."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sourcetool.importers.abilities import Need
from sourcetool.importers.settings import SettingNames


@dataclass
class Converted:
    """A source, and what became of its streams.

    :ivar left_out: the reasons, by stream.
    :ivar omitted: the columns that are left out of an endpoint, by endpoint and column.
    :ivar streams: the endpoint of each stream of the manifest that is in ``data``.
    """

    name: str
    data: dict[str, Any]
    settings: SettingNames
    streams: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, list[Need]] = field(default_factory=dict)
    omitted: dict[str, dict[str, Need]] = field(default_factory=dict)
    doubts: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing but columns was left out."""
        return bool(self.streams) and not self.left_out

    def leave_out(self, endpoint: str, reason: Need) -> None:
        """Take an endpoint out again, and all that has it for a parent."""
        removed = set(self._with_children(endpoint))
        for name in removed:
            self.data["endpoints"].pop(name, None)
        for stream in [s for s, at in self.streams.items() if at in removed]:
            del self.streams[stream]
            self.left_out[stream] = [reason]

    def _with_children(self, endpoint: str) -> Iterator[str]:
        yield endpoint
        for name, members in self.data["endpoints"].items():
            if endpoint in upstream(members) and name != endpoint:
                yield from self._with_children(name)


def upstream(endpoint: Mapping[str, Any]) -> set[str]:
    """The endpoints whose rows an endpoint of the YAML is asked for, in a product or alone."""
    lists = [of for of in (endpoint.get("parents"), endpoint.get("each")) if isinstance(of, dict)]
    lists += [part for of in lists for part in of.values() if isinstance(part, dict)]
    return {name for of in lists if isinstance(name := of.get("endpoint"), str)}
