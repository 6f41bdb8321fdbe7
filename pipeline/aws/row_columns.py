"""From the shape of an operation's response to the rows' place, and to declared columns."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from botocore import xform_name
from botocore.model import Shape

from pipeline.aws.service_models import AwsOperation
from pipeline.decode.types import member_text
from pipeline.errors import ConfigError

_SCALARS: Final = {
    "string": "string",
    "character": "string",
    "boolean": "bool",
    "integer": "int64",
    "long": "int64",
    "short": "int64",
    "float": "double",
    "double": "double",
    "timestamp": "timestamp[iso]",
    "blob": "binary",
}
_OURS: Final = frozenset({"dt", "account_id", "account_name", "region"})
"""Columns of the lane, and of the partition: a member with such a name gets another one."""
_DEEPEST: Final = 5
"""Levels of nested types; what lies below lands as JSON text."""
_LONGEST_DESCRIPTION: Final = 300
_TAG = re.compile(r"<[^>]+>")


@dataclass(frozen=True)
class RowShape:
    """The rows of a response: where they are, and their columns.

    :ivar path: as in the YAML: ``Reservations.*.Instances``.
    :ivar form: ``list``, ``object`` or ``scalars``, as the YAML's ``as``.
    :ivar value_column: of scalars.
    :ivar columns: as in the YAML, with descriptions.
    """

    path: str
    form: str
    value_column: str
    columns: dict[str, dict[str, Any]]


def row_shape(operation: AwsOperation, path: str | None) -> RowShape:
    """The rows of an operation.

    :param path: of the YAML; None: the one list that the response has.
    :raises ConfigError: it leads to nothing, or the response has several lists.
    """
    path = _only_list(operation) if path is None else path
    shape: Any = operation.model.output_shape
    parts = [part for part in path.split(".") if part]
    for at, part in enumerate(parts):
        shape = _below(operation, shape, part, ".".join(parts[:at]))
    name = parts[-1] if parts else ""
    if shape.type_name == "list":
        item = shape.member
        if item.type_name == "structure":
            return RowShape(path, "list", "", columns_of(item))
        column = _value_column(item, name)
        return RowShape(path, "scalars", column, {column: {"type": _type(item)}})
    if shape.type_name == "structure":
        return RowShape(path, "object", "", columns_of(shape))
    raise ConfigError(
        f"`rows: {path}` of `{operation.name}` leads to a {shape.type_name}, expected a list of "
        "rows or an object, which is one row"
    )


def _value_column(item: Shape, name: str) -> str:
    """``QueueUrls`` → ``queue_url``."""
    plain = str(xform_name(name))
    return plain[:-1] if plain.endswith("s") else plain or str(xform_name(item.name))


def _only_list(operation: AwsOperation) -> str:
    keys = operation.paging.result_keys if operation.paging else ()
    if len(keys) == 1:
        return keys[0]
    output = operation.model.output_shape
    members = output.members if output else {}
    lists = [name for name, shape in members.items() if shape.type_name == "list"]
    if len(lists) == 1:
        return str(lists[0])
    if not lists and operation.name.startswith("get_"):
        return ""
    several = ", ".join(f"`{name}`" for name in lists or members) or "none"
    raise ConfigError(
        f"`{operation.name}` of `{operation.service}` has not one list of rows: say `rows`, one of "
        f"{several}"
    )


def _below(operation: AwsOperation, shape: Any, part: str, above: str) -> Any:
    if part == "*" and shape.type_name == "list":
        return shape.member
    if part == "*" and shape.type_name == "map":
        return shape.value
    if shape.type_name == "list" and shape.member.type_name == "structure":
        raise ConfigError(
            f"`rows` of `{operation.name}`: `{above}` is a list: write `{above}.*.{part}` for the "
            "rows inside its items"
        )
    members = shape.members if shape is not None and shape.type_name == "structure" else {}
    if part not in members:
        names = ", ".join(f"`{name}`" for name in members) or "none"
        raise ConfigError(
            f"`rows` of `{operation.name}`: there is no `{part}`"
            + (f" in `{above}`" if above else " in the response")
            + f": expected one of {names}"
        )
    return members[part]


def columns_of(shape: Any) -> dict[str, dict[str, Any]]:
    """The members of a structure as declared columns: ``VolumeId`` is ``volume_id``."""
    columns: dict[str, dict[str, Any]] = {}
    for name, member in shape.members.items():
        column: dict[str, Any] = {"type": _type(member), "path": name.replace(".", r"\.")}
        if text := description(member.documentation):
            column["description"] = text
        columns[_column_name(name, columns)] = column
    return columns


def _column_name(name: str, columns: dict[str, Any]) -> str:
    plain = re.sub(r"\W", "_", xform_name(name))
    return f"aws_{plain}" if plain in columns or plain in _OURS else plain


def _type(shape: Any, depth: int = 0, above: tuple[str, ...] = ()) -> str:
    """A shape as a declared type; what is recursive, keyed by names or too deep is ``json``."""
    kind = shape.type_name
    if kind in _SCALARS:
        return _SCALARS[kind]
    if depth >= _DEEPEST or shape.name in above:
        return "json"
    inner = (*above, shape.name)
    if kind == "list":
        item = _type(shape.member, depth + 1, inner)
        return f"list<{item}>" if "json" not in item else "json"
    if kind == "structure" and shape.members and not getattr(shape, "is_document_type", False):
        parts = [(n, _type(m, depth + 1, inner)) for n, m in shape.members.items()]
        if any("json" in part for _, part in parts):
            return "json"
        return f"struct<{', '.join(f'{member_text(n)}: {part}' for n, part in parts)}>"
    return "json"


def description(html: str | None) -> str:
    """The first sentences of a documentation, without its markup."""
    text = " ".join(_TAG.sub(" ", html or "").split()).replace(" .", ".").replace(" ,", ",")
    if len(text) <= _LONGEST_DESCRIPTION:
        return text
    return "".join(_sentences(text)) or text[: _LONGEST_DESCRIPTION - 1] + "…"


def _sentences(text: str) -> Iterator[str]:
    length = 0
    for part in re.split(r"(?<=\. )", text):
        length += len(part)
        if length > _LONGEST_DESCRIPTION:
            return
        yield part
