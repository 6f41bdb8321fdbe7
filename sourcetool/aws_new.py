"""``new aws:SERVICE:OPERATION``: the endpoint that an operation's own model suggests.

Nothing is asked of AWS: pages, rows and columns stand in botocore's service models. Which columns
identify a row does not, and is guessed by their names.
"""

from typing import Any, Final

import yaml
from rich.console import Console

from pipeline.aws.regions import is_global
from pipeline.aws.row_columns import RowShape, row_shape
from pipeline.aws.service_models import AwsOperation, operation, reading_operations
from pipeline.errors import ConfigError
from sourcetool.show import print_refusal

PREFIX: Final = "aws:"
_VERBS: Final = ("list_", "describe_", "get_", "lookup_", "search_")
_MOST_NAMED: Final = 200
_ACCOUNT: Final = "AccountId"
"""A parameter that each lane knows by itself."""


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
        aws_operation = operation(service, name)
        shape, places = _shape_of(aws_operation)
        text = yaml.safe_dump(
            {endpoint_name(aws_operation): endpoint(aws_operation, shape)},
            sort_keys=False,
            width=100,
        )
    except ConfigError as error:
        print_refusal(console, str(error))
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


def _shape_of(aws_operation: AwsOperation) -> tuple[RowShape, tuple[str, ...]]:
    """The rows; if the response has several lists, its first one, and the names of all.

    :raises ConfigError: there is none.
    """
    try:
        return row_shape(aws_operation, None), ()
    except ConfigError:
        members = (
            aws_operation.model.output_shape.members if aws_operation.model.output_shape else {}
        )
        lists = tuple(name for name, of in members.items() if of.type_name == "list")
        if not lists:
            raise
        return row_shape(aws_operation, lists[0]), lists


def endpoint_name(aws_operation: AwsOperation) -> str:
    """``ec2_volumes`` for ``describe_volumes``."""
    noun = next(
        (aws_operation.name.removeprefix(v) for v in _VERBS if aws_operation.name.startswith(v)), ""
    )
    plain = aws_operation.service.replace("-", "_")
    return noun if noun.startswith(plain) else f"{plain}_{noun}"


def endpoint(aws_operation: AwsOperation, shape: RowShape) -> dict[str, Any]:
    """The endpoint, as its YAML has it."""
    required = (
        aws_operation.model.input_shape.required_members if aws_operation.model.input_shape else ()
    )
    settings: dict[str, Any] = {"service": aws_operation.service, "operation": aws_operation.name}
    keys = aws_operation.paging.result_keys if aws_operation.paging else ()
    if shape.path and keys != (shape.path,):
        settings["rows"] = shape.path
    of_rows = [name for name in required if name != _ACCOUNT]
    if of_rows:
        settings["each"] = {"endpoint": "NAME_OF_AN_ENDPOINT", "column": "ITS_COLUMN"}
    if required:
        values = {**dict.fromkeys(of_rows, "{each}"), _ACCOUNT: "{each.account_id}"}
        settings["params"] = {name: values[name] for name in required}
    if is_global(aws_operation.service):
        settings["global"] = True
    settings["key"] = key_of(shape) or "none"
    if limit := _limit(aws_operation):
        settings["limit"] = limit
    return settings


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


def _limit(aws_operation: AwsOperation) -> int | None:
    """The most rows of a page that the model allows, where it says so."""
    if (
        aws_operation.paging is None
        or not aws_operation.paging.limit_key
        or aws_operation.model.input_shape is None
    ):
        return None
    shape = aws_operation.model.input_shape.members.get(aws_operation.paging.limit_key)
    most = shape.metadata.get("max") if shape is not None else None
    return int(most) if most else None
