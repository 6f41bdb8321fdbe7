"""``new aws:SERVICE:OPERATION``: the endpoint that an operation's own model suggests.

Nothing is asked of AWS: pages, rows and columns stand in botocore's service models. Which columns
identify a row does not, and is guessed by their names.
"""

from typing import Any, Final

import yaml
from rich.console import Console
from rich.markup import escape

from pipeline.aws.regions import is_global
from pipeline.aws.row_columns import RowShape, row_shape
from pipeline.aws.service_models import AwsOperation, operation, reading_operations
from pipeline.errors import ConfigError

PREFIX: Final = "aws:"
_VERBS: Final = ("list_", "describe_", "get_", "lookup_", "search_")
_MOST_NAMED: Final = 200


def new_aws(address: str, console: Console) -> int:
    """Print the YAML of an endpoint; 0, or 2 if there is no such operation."""
    service, _, name = address.removeprefix(PREFIX).partition(":")
    try:
        if not name:
            names = reading_operations(service)[:_MOST_NAMED]
            raise ConfigError(
                f"expected aws:SERVICE:OPERATION, e.g. aws:ec2:describe_volumes; {service} has "
                f"{', '.join(names)}"
            )
        found = operation(service, name)
        shape, places = _shape_of(found)
        text = yaml.safe_dump(
            {endpoint_name(found): endpoint(found, shape)}, sort_keys=False, width=100
        )
    except ConfigError as error:
        console.print(f"[bold red]✗[/] {escape(str(error))}", highlight=False)
        return 2
    console.print("".join(f"  {line}\n" for line in text.splitlines()), highlight=False, end="")
    console.print(
        f"[green]✓[/] {len(shape.columns)} columns with types and descriptions. Next: put it under "
        "`endpoints` of sources/aws.yaml, look at its key, then make check-source SOURCE=aws",
        highlight=False,
    )
    if places:
        others = ", ".join(places)
        console.print(f"  [yellow]?[/] The response has several lists: {others}", highlight=False)
    return 0


def _shape_of(found: AwsOperation) -> tuple[RowShape, tuple[str, ...]]:
    """The rows; if the response has several lists, its first one, and the names of all.

    :raises ConfigError: there is none.
    """
    try:
        return row_shape(found, None), ()
    except ConfigError:
        members = found.model.output_shape.members if found.model.output_shape else {}
        lists = tuple(name for name, of in members.items() if of.type_name == "list")
        if not lists:
            raise
        return row_shape(found, lists[0]), lists


def endpoint_name(found: AwsOperation) -> str:
    """``ec2_volumes`` for ``describe_volumes``."""
    noun = next((found.name.removeprefix(v) for v in _VERBS if found.name.startswith(v)), "")
    plain = found.service.replace("-", "_")
    return noun if noun.startswith(plain) else f"{plain}_{noun}"


def endpoint(found: AwsOperation, shape: RowShape) -> dict[str, Any]:
    """The endpoint, as its YAML has it."""
    required = found.model.input_shape.required_members if found.model.input_shape else ()
    said: dict[str, Any] = {"service": found.service, "operation": found.name}
    keys = found.paging.result_keys if found.paging else ()
    if shape.path and keys != (shape.path,):
        said["rows"] = shape.path
    if required:
        said["each"] = {"endpoint": "NAME_OF_AN_ENDPOINT", "column": "ITS_COLUMN"}
        said["params"] = dict.fromkeys(required, "{each}")
    if is_global(found.service):
        said["global"] = True
    said["key"] = key_of(shape) or "none"
    if limit := _limit(found):
        said["limit"] = limit
    return said


def key_of(shape: RowShape) -> list[str]:
    """The column whose name says that it identifies a row; empty: none does."""
    if shape.form == "scalars":
        return [shape.value_column]
    names = list(shape.columns)
    noun = shape.path.rpartition(".")[2].lower().removesuffix("s")
    own = [name for name in names if name.replace("_", "").startswith(noun)]
    for ending in ("_id", "_arn", "id", "arn", "_identifier", "_name", "name"):
        for group in (own, [n for n in names if n in ("id", "arn", "name")]):
            if fits := next((name for name in group if name.endswith(ending)), None):
                return [fits]
    return []


def _limit(found: AwsOperation) -> int | None:
    """The most rows of a page that the model allows, where it says so."""
    if found.paging is None or not found.paging.limit_key or found.model.input_shape is None:
        return None
    shape = found.model.input_shape.members.get(found.paging.limit_key)
    most = shape.metadata.get("max") if shape is not None else None
    return int(most) if most else None
