"""Operations by their names, as botocore's service models describe them.

Only operations that read are found: an inventory must not be able to change anything. Those that
give credentials out, though they are called *get*, are refused as well.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from botocore import xform_name
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import Loader, create_loader
from botocore.model import OperationModel, ServiceModel

from pipeline.errors import ConfigError

READING: Final = ("list", "get", "describe", "lookup", "search")
"""The verbs of operations that only read."""
_SECRETS: Final = frozenset(
    {
        "codeartifact.get_authorization_token",
        "cognito-identity.get_credentials_for_identity",
        "cognito-identity.get_open_id_token",
        "ec2.get_password_data",
        "ecr.get_authorization_token",
        "ecr-public.get_authorization_token",
        "lightsail.get_instance_access_details",
        "redshift.get_cluster_credentials",
        "redshift.get_cluster_credentials_with_iam",
        "redshift-serverless.get_credentials",
        "secretsmanager.get_random_password",
        "secretsmanager.get_secret_value",
        "ssm.get_access_token",
        "ssm.get_parameter",
        "ssm.get_parameters",
        "ssm.get_parameters_by_path",
        "sso.get_role_credentials",
        "sts.get_federation_token",
        "sts.get_session_token",
        "sts.get_web_identity_token",
    }
)
_OLDEST_PROTOCOLS_FIRST: Final = ("json", "rest-json", "query", "ec2", "rest-xml")
"""Those that parse without further packages, where a service speaks several."""


@cache
def loader() -> Loader:
    """botocore's data, read once a process."""
    return create_loader()


@cache
def service_names() -> tuple[str, ...]:
    """The services that botocore knows."""
    return tuple(loader().list_available_services("service-2"))


@cache
def service(name: str) -> ServiceModel:
    """A service's model.

    :raises ConfigError: botocore has no service of this name; with the nearest names.
    """
    try:
        return ServiceModel(loader().load_service_model(name, "service-2"), name)
    except (UnknownServiceError, DataNotFoundError):
        raise ConfigError(
            f"`service: {name}` is no service of AWS that botocore knows"
            f"{_nearest(name, service_names())}: expected a name such as `ec2`, `s3`, `iam`"
        ) from None


@dataclass(frozen=True)
class OperationPaging:
    """How the pages of an operation follow each other, as botocore's paginators say.

    :ivar inputs: the parameters that carry the token of the next page.
    :ivar outputs: where a response says them, as JMESPath.
    :ivar more: where a response says whether a page follows; empty: a token says so.
    :ivar limit_key: the parameter for the rows of a page; empty: there is none.
    """

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    more: str = ""
    limit_key: str = ""
    result_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class AwsOperation:
    """A reading operation of a service."""

    service: str
    name: str
    """As in the YAML: ``describe_volumes``."""
    model: OperationModel
    paging: OperationPaging | None

    @property
    def protocol(self) -> str:
        """How the service is spoken to: ec2, query, json, rest-json or rest-xml."""
        spoken = self.model.service_model.metadata.get("protocols") or []
        first = next((p for p in _OLDEST_PROTOCOLS_FIRST if p in spoken), None)
        return first or str(self.model.service_model.resolved_protocol)

    @property
    def host_prefix(self) -> str:
        """What stands before the service's host: empty, ``api.``, or ``{AccountId}.``."""
        return str((self.model.endpoint or {}).get("hostPrefix", ""))

    @property
    def api_name(self) -> str:
        """As AWS writes it: ``DescribeVolumes``."""
        return str(self.model.name)


@cache
def operation(service_name: str, name: str) -> AwsOperation:
    """A reading operation by its name in the YAML, such as ``describe_volumes``.

    :raises ConfigError: there is no such service or operation, or it does not only read.
    """
    model = service(service_name)
    by_name = {xform_name(each): each for each in model.operation_names}
    api_name = by_name.get(name) or next((n for n in model.operation_names if n == name), None)
    if api_name is None:
        readers = [each for each in by_name if _reads(service_name, each)]
        raise ConfigError(
            f"`operation: {name}` is no operation of `{service_name}`{_nearest(name, readers)}"
        )
    snake = xform_name(api_name)
    if f"{service_name}.{snake}" in _SECRETS:
        raise ConfigError(
            f"`operation: {snake}` of `{service_name}` gives secrets out, which an inventory must "
            "not hold: use an operation that lists their names"
        )
    if not _reads(service_name, snake):
        raise ConfigError(
            f"`operation: {snake}` of `{service_name}` may change something: an inventory only "
            f"reads, by operations that begin with {', '.join(READING[:-1])} or {READING[-1]}"
        )
    if "{" in any_operation(service_name, api_name).host_prefix.replace("{AccountId}", ""):
        raise ConfigError(
            f"`operation: {snake}` of `{service_name}` is asked at a host of each resource's own, "
            "which is not supported: use another operation"
        )
    return any_operation(service_name, api_name)


@cache
def any_operation(service_name: str, api_name: str) -> AwsOperation:
    """An operation by AWS's own name, whatever it does: for sessions (``AssumeRole``)."""
    model = service(service_name)
    return AwsOperation(
        service_name,
        xform_name(api_name),
        model.operation_model(api_name),
        _paging(model, api_name),
    )


def reading_operations(service_name: str) -> tuple[str, ...]:
    """The operations of a service that only read, in the order of their names."""
    names = (xform_name(each) for each in service(service_name).operation_names)
    return tuple(sorted(name for name in names if _reads(service_name, name)))


def _reads(service_name: str, name: str) -> bool:
    return name.partition("_")[0] in READING and f"{service_name}.{name}" not in _SECRETS


@cache
def _paginators(service_name: str) -> Mapping[str, Any]:
    try:
        data = loader().load_service_model(service_name, "paginators-1")
    except (UnknownServiceError, DataNotFoundError):
        return {}
    paginators: Mapping[str, Any] = data.get("pagination", {})
    return paginators


def _paging(model: ServiceModel, api_name: str) -> OperationPaging | None:
    """As the paginators say; else by the members that a paged operation has by AWS's convention."""
    entry = _paginators(model.service_name).get(api_name)
    if entry is None:
        return _by_convention(model.operation_model(api_name))
    return OperationPaging(
        inputs=_listed(entry["input_token"]),
        outputs=_listed(entry["output_token"]),
        more=entry.get("more_results", ""),
        limit_key=entry.get("limit_key", ""),
        result_keys=_listed(entry.get("result_key", ())),
    )


_TOKENS: Final = ("NextToken", "nextToken", "NextPageToken", "nextPageToken", "Marker", "PageToken")
_LIMITS: Final = ("MaxResults", "maxResults", "MaxItems", "Limit", "limit", "MaxRecords")


def _by_convention(model: OperationModel) -> OperationPaging | None:
    inputs = model.input_shape.members if model.input_shape else {}
    outputs = model.output_shape.members if model.output_shape else {}
    for name in _TOKENS:
        after = "NextMarker" if name == "Marker" and "NextMarker" in outputs else name
        if name in inputs and after in outputs:
            limit_key = next((limit for limit in _LIMITS if limit in inputs), "")
            more = "IsTruncated" if "IsTruncated" in outputs else ""
            return OperationPaging((name,), (after,), more, limit_key)
    return None


def _listed(value: Any) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (str(value),)


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=3)
    quoted = [f"`{each}`" for each in near]
    return f" (the nearest are {', '.join(quoted)})" if quoted else ""
