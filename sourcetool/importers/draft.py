"""An endpoint in the making: what the YAML will say, what was needed for it, what is doubtful."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.partitions.base import is_folder_column
from sourcetool.credentials import masked
from sourcetool.importers.abilities import KNOWN, Need
from sourcetool.importers.literals import without_secrets
from sourcetool.importers.settings import SettingNames
from sourcetool.importers.values import Value

STATE = "stream_state"
BOUNDS = ("{start}", "{end}")
BY_COMMA = "|join"
"""The name of a list of partition values by comma, behind that of the list."""
ABOVE = "parent_slice"
"""The member of a partition value that is the one which its parent's rows were read for."""
EMPTY = re.compile(r"\$\{\w+:-\}")
"""A setting that is nothing by default."""
_MAY_LACK = re.compile(r"(?<!\$)\{[a-z]|\$\{\w+:-\}")
"""A value that a request may lack: one of the window, the page or the partition value, too."""


@dataclass(frozen=True)
class Slot:
    """The placeholder that stands for a member of the partition value.

    :ivar text: the placeholder, e.g. ``{parent}``.
    :ivar ability: that its use needs, if any.
    :ivar land: makes a column of the parent's rows of it, where it is one that the parent has from
        its own parents.
    """

    text: str
    ability: str | None = None
    land: Callable[[], None] | None = None


@dataclass
class Draft:
    """An endpoint while it is converted: its parts of the YAML, its needs and doubts.

    :ivar component: the stream's name in the manifest.
    :ivar needs: the abilities that it took.
    :ivar doubts: what a person has to look at; each becomes a comment with a ``?``.
    :ivar slots: members of the partition value and of the window, by their names in Jinja.
    :ivar known: the abilities that the engine has.
    :ivar omitted: columns that are left out, and why; a key or a child that wants one needs it.
    :ivar objects: members of rows by the names that an added object has for them, by its name: it
        is no column, and a child may name its members.
    :ivar offset_colon: bounds are written with +00:00 where the format has %z.
    :ivar alone: of a list whose default is one value that stands for all: that value, by its name.
    :ivar untyped: columns of the schema whose types the rows say better: they have other names
        there, or a filter compares them with values of another type.
    :ivar routed: a router gives partition values.
    :ivar schema_names: the members of a row that the manifest's schema names; none: not known.
    :ivar schema_types: the columns that the manifest's schema names plainly.
    :ivar token_plus: what the request adds to an offset.
    :ivar first_tokens: what the request has in the token's place at the first page.
    :ivar first_path: later pages have the token in place of the path.
    :ivar first_alone: the value that was written last is the first page's alone; who puts it into
        the request notes its name in ``first_params``.
    :ivar window_formats: the formats in which the request writes bounds.
    :ivar stateless: the manifest's stream has no cursor, and so never a state.
    :ivar of_state: the request has the state of the cursor, which is where the window starts.
    :ivar of_slices: the request has a bound of the manifest's slices.
    :ivar at_first: what the request has in place of a state that lacks; None: nothing.
    """

    name: str
    component: str
    settings: SettingNames
    data: dict[str, Any] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)
    needs: list[Need] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)
    window_formats: set[str] = field(default_factory=set)
    columns: dict[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    known: frozenset[str] = KNOWN
    omitted: dict[str, Need] = field(default_factory=dict)
    objects: dict[str, dict[str, str]] = field(default_factory=dict)
    offset_colon: bool = False
    token_plus: int = 0
    first_tokens: set[str] = field(default_factory=set)
    first_path: bool = False
    first_alone: bool = False
    first_params: set[str] = field(default_factory=set)
    stateless: bool = False
    of_state: bool = False
    of_slices: bool = False
    at_first: Value | None = None
    untyped: frozenset[str] = frozenset()
    routed: bool = False
    schema_names: frozenset[str] = frozenset()
    schema_types: Mapping[str, str] = field(default_factory=dict)
    alone: dict[str, Value] = field(default_factory=dict)
    base_url: str = ""
    auth: dict[str, Any] = field(default_factory=dict)

    def need(self, ability: str, component: str, what: Any = "") -> None:
        """Note an ability."""
        text = " ".join(str(what).split())
        shown = text if ability == "python" else masked(text)  # a class's name is no credential
        self.needs.append(Need(ability, component, shown[:160]))

    def can(self, ability: str) -> bool:
        """Whether the engine has an ability."""
        return ability in self.known

    def column(self, name: str, spec: Any, ability: str, component: str, what: Any = "") -> None:
        """A column that takes an ability; without it the column is left out, the rows stay."""
        need = Need(ability, component, masked(" ".join(str(what).split()))[:160])
        if self.can(ability):
            self.columns[name] = spec
            self.needs.append(need)
        else:
            self.columns.pop(name, None)
            self.omitted[name] = need

    def wants_column(self, name: str) -> None:
        """Note that an endpoint can't do without a column."""
        if name in self.omitted:
            self.needs.append(self.omitted[name])

    def doubt(self, text: str) -> None:
        if (shown := masked(text)) not in self.doubts:
            self.doubts.append(shown)

    def put(self, place: str, names: list[str], value: Any) -> None:
        """Put a value into the request: params, headers, json or form, under nested names.

        One whose setting may be empty is left out, unless the engine leaves it out then itself.
        """
        if isinstance(value, str) and EMPTY.fullmatch(value) and not self.can("param_optional"):
            named = ".".join(names)
            self.doubt(f"the optional {named} of {place} is left out (setting {value[2:-3]})")
            return
        level = self.request.setdefault(place, {})
        for name in names[:-1]:
            level = level.setdefault(name, {})
        level[names[-1]] = without_secrets(value, self.settings, names[-1])

    def add(self, place: str, name: str, value: Any) -> None:
        """Put a parameter beside one of its name that the URL has already: both are sent."""
        now = (self.request.get(place) or {}).get(name)
        values = now if isinstance(now, list) else [now] if isinstance(now, str) else []
        new = [
            item for item in (value if isinstance(value, list) else [value]) if item not in values
        ]
        if values and place in ("params", "form") and not _MAY_LACK.search(str(now)):
            value = now if not new else [str(item) for item in (*values, *new)]
        self.put(place, [name], value)

    def slot_of(self, path: tuple[Any, ...]) -> Slot | None:
        """The placeholder of a member of the partition value, or of its parent's."""
        return self.slots.get(".".join(map(str, path)))

    def slot_of_state(self, path: tuple[Any, ...]) -> Slot | None:
        """The placeholder of the state of the cursor; none of another member of the state."""
        return self.slots.get(".".join(map(str, (STATE, *path))))

    def placeholders(self) -> set[str]:
        """The names in braces that path and request have."""
        text = f"{self.data.get('path', '')} {self.request}"
        return set(re.findall(r"\{([a-z]+)(?:\.[^{}]+)?\}", text))


def rename_folder_columns(draft: Draft) -> None:
    """A column with the name of the partitions' folders (``dt``) gets another name."""
    for name in [column for column in draft.columns if is_folder_column(column)]:
        spec = draft.columns.pop(name)
        of = dict(spec) if isinstance(spec, dict) else {"type": spec}
        if not {"from", "value"} & set(of):
            of.setdefault("path", name)
        other = f"their_{name}"
        draft.columns[other] = of
        for member in ("key", "cursor"):
            now = draft.data.get(member)
            if isinstance(now, list):
                draft.data[member] = [other if column == name else column for column in now]
            elif now == name:
                draft.data[member] = other


def free_name(name: str, taken: Collection[str]) -> str:
    """A name that none of some others is: with ``_2`` behind it, if it has to be."""
    while name in taken:
        name = f"{name}_2"
    return name


def needed(text: str) -> str:
    """A setting that can't be empty, whatever the specification says."""
    return f"{text[:-3]}}}" if EMPTY.fullmatch(text) else text


def plain(text: str) -> str:
    """A text as a name: lower case letters, digits and _, starting with a letter."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    name = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")[:60]
    return name if name[:1].isalpha() else f"x_{name}" if name else "rows"
