"""A source of kind ``aws``: accounts, regions, and operations that only read, to a ``Source``.

Paging, the rows' place and the columns come from botocore's service models, so that an endpoint is
its service, its operation and its key. All else is the engine's: the fan-out over the lanes, the
decoder, the partitions, the commit.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from pipeline.aws.regions import check_region
from pipeline.aws.row_columns import RowShape, description, row_shape
from pipeline.aws.service_models import AwsOperation, operation
from pipeline.aws.wire import NEXT
from pipeline.config.columns import STALE, Columns, HashKind, RowFilter
from pipeline.config.each import EachList
from pipeline.config.lanes import (
    AwsKeys,
    AwsLimits,
    LaneAccess,
    LaneEach,
    OperationTemplate,
    Scope,
)
from pipeline.config.limits import BreakerConfig, RetriesConfig, TimeoutsConfig
from pipeline.config.request import WindowFormat
from pipeline.config.source import (
    BackfillConfig,
    Freshness,
    ProxyUrl,
    Schedule,
    Source,
    TlsConfig,
)
from pipeline.errors import ConfigError
from pipeline.model import DottedPath, HostUrl, Model, Name, RowsPath
from pipeline.partitions import SCHEMES, PartitionScheme

ENABLED = "enabled"
_OF_LANES: Mapping[str, dict[str, Any]] = {
    "account_id": {
        "type": "string",
        "from": "each.account_id",
        "description": "The account that the row is of.",
    },
    "account_name": {
        "type": "string",
        "from": "each.account_name",
        "description": "The account's name in AWS Organizations, if it is known.",
    },
    "region": {
        "type": "string",
        "from": "each.region",
        "description": "The region that the row is of; `global` of a service that has none.",
    },
    STALE: {
        "type": "bool",
        "value": False,
        "description": "True: of an earlier partition, since the lane could not be read.",
    },
}
_MANY = 100_000
"""Rows of a page, where the operation alone knows how many it gives."""


def _words(value: Any) -> Any:
    """A setting is a text: its words are told apart by commas."""
    if isinstance(value, str):
        return [word for word in map(str.strip, value.split(",")) if word]
    return [str(word) if isinstance(word, int) else word for word in value or ()]


Words = Annotated[
    tuple[str, ...], BeforeValidator(_words, json_schema_input_type=list[str | int] | str)
]


class RowsOfEndpoint(EachList):
    """A second call for each row of another endpoint, in the lane that the row came from."""

    endpoint: Name
    column: str
    region: str = Field(
        "region", description="the column of these rows with the region that is asked"
    )


class AwsEndpoint(Model):
    """An operation of a service, in every lane: an asset."""

    service: str = Field(description="as boto3 calls it: ec2, s3, iam")
    operation: str = Field(description="as boto3 calls it: describe_volumes")
    description: str | None = None
    rows: RowsPath | None = Field(
        None, description="path to the rows in the response; default: the one list that it has"
    )
    params: dict[str, Any] = Field(
        {}, description="the operation's parameters; {start}, {end} and {each} are filled"
    )
    limit: int | None = Field(
        None, ge=1, description="rows of a page, where the operation has a parameter for it"
    )
    key: tuple[str, ...] | Literal["none"] = Field(
        description="the columns that identify a row in its lane"
    )
    global_: bool = Field(
        False, alias="global", description="the service has no regions: once an account"
    )
    home: bool = Field(False, description="once, with the source's own credentials (Organizations)")
    each: RowsOfEndpoint | None = None
    cursor: str | None = Field(None, description="the column that moves; {start}, {end} in params")
    window: WindowFormat = WindowFormat()
    safety_margin_s: float | None = Field(None, ge=0, le=86_400 * 366)
    columns: Columns = Field({}, description="columns beside those of the response, or other types")
    where: RowFilter = {}
    exclude: tuple[DottedPath, ...] = ()
    hash: dict[str, HashKind] = {}
    transform: str | None = Field(None, pattern=r"^[\w.]+:\w+$")
    batch_rows: int = Field(25_000, ge=1)
    max_rows: int | None = Field(None, gt=0)
    max_failed_share: float | None = Field(
        None, ge=0, le=1, description="the partition commits while at most this share failed"
    )
    timeout_s: float | None = Field(None, gt=0, description="a lane that takes longer has failed")
    deps: tuple[str, ...] = ()
    preview: bool | None = None

    @model_validator(mode="after")
    def _operation_exists(self) -> Self:
        try:
            operation = self.aws_operation
            row_shape(operation, self.rows)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if self.global_ and self.home:
            raise ValueError("`global` is once an account, and `home` once in all: keep one")
        parameters = operation.model.input_shape.members if operation.model.input_shape else {}
        unknown = next((name for name in self.params if name not in parameters), None)
        if unknown is not None:
            raise ValueError(
                f"`params` has `{unknown}`, which `{self.operation}` has not: expected some of "
                f"{', '.join(parameters) or 'none'}"
            )
        missing = (
            operation.model.input_shape.required_members if operation.model.input_shape else []
        )
        if lacking := [name for name in missing if name not in self.params]:
            raise ValueError(
                f"`{self.operation}` needs `{lacking[0]}`: add it to `params`, e.g. "
                f"`{lacking[0]}: '{{each}}'` with `each: {{endpoint: …, column: …}}`"
            )
        return self

    @property
    def aws_operation(self) -> AwsOperation:
        """:raises ConfigError: there is none."""
        return operation(self.service, self.operation)

    @property
    def scope(self) -> Scope:
        return "home" if self.home else "global" if self.global_ else "region"

    def as_endpoint(self, source: "AwsSource") -> dict[str, Any]:
        """The endpoint that the engine reads, as in the YAML of any source."""
        operation = self.aws_operation
        shape = row_shape(operation, self.rows)
        return {
            "path": f"{self.service}/{operation.api_name}",
            "description": self.description or description(operation.model.documentation) or None,
            "request": self._request(operation, shape),
            "paging": self._paging(operation),
            "whole": operation.paging is None,
            "each": self._each(source),
            "rows": shape.path,
            "as": shape.form,
            "rows_may_lack": True,
            **({"value_column": shape.value_column} if shape.form == "scalars" else {}),
            "key": "none" if self.key == "none" else ["account_id", "region", *self.key],
            "cursor": self.cursor,
            "window": self._window(source),
            "safety_margin_s": self.safety_margin_s,
            "order": "none",
            "infer": False,
            "columns": {**shape.columns, **_OF_LANES, **self.columns},
            "where": self.where,
            "exclude": self.exclude,
            "hash": self.hash,
            "transform": self.transform,
            "batch_rows": self.batch_rows,
            "max_rows": self.max_rows,
            "deps": self.deps,
            "preview": self.preview,
        }

    def _window(self, source: "AwsSource") -> WindowFormat:
        """AWS wants both bounds: a baseline begins with the source, unless it says otherwise."""
        if self.cursor is None or self.window.floor is not None:
            return self.window
        return self.window.model_copy(update={"floor": source.start.isoformat()})

    def _request(self, operation: AwsOperation, shape: RowShape) -> OperationTemplate:
        params = dict(self.params)
        if self.limit is not None and operation.paging and operation.paging.limit_key:
            params.setdefault(operation.paging.limit_key, self.limit)
        region = f"{{each.{self.each.region}}}" if self.each else "{each.region}"
        return OperationTemplate(
            method="POST",
            json=params,
            service=self.service,
            operation=operation.api_name,
            region=region,
            rows=shape.path,
        )

    def _paging(self, operation: AwsOperation) -> dict[str, Any]:
        if operation.paging is None:
            return {"kind": "none", "limit": _MANY}
        limit = self.limit or _MANY
        return {"kind": "token", "limit": limit, "next": NEXT, "as_params": True, "numbered": False}

    def _each(self, source: "AwsSource") -> LaneEach:
        share = source.max_failed_share if self.max_failed_share is None else self.max_failed_share
        of = self.each
        return LaneEach(
            scope=self.scope,
            endpoint=of.endpoint if of else None,
            column=of.column if of else None,
            where=of.where if of else {},
            concurrency=source.limits.lanes_at_once,
            timeout_s=self.timeout_s or source.lane_timeout_s,
            max_failed_share=share,
        )


class AwsSource(Model):
    """An inventory of AWS over accounts and regions."""

    kind: Literal["aws"]
    source: Name
    description: str | None = None
    start: date = Field(ge=date(2006, 3, 14), description="the first partition (YYYY-MM-DD)")
    accounts: Words = Field(
        ("self",),
        description="ids of accounts; `self`, the credentials' own; `organization`, all that are "
        "active in AWS Organizations; a text with commas, such as a setting",
    )
    exclude_accounts: Words = Field((), description="accounts that are left out")
    profiles: Words = Field(
        (), description="profiles of the shared config file, each with an account of its own"
    )
    role: str | None = Field(
        None,
        description="the role that is assumed in each account but the own: its name, or an ARN "
        "with {account_id}",
    )
    external_id: SecretStr | None = Field(None, description="what the role's trust policy asks for")
    session_name: str = Field(
        "headrace", pattern=r"^[\w+=,.@-]{2,64}$", description="stands in AWS's audit log"
    )
    session_s: int = Field(3600, ge=900, le=43_200, description="life of an assumed role's session")
    renew_before_s: float = Field(300.0, ge=0, description="before it ends; at most half its life")
    regions: Words = Field(
        (ENABLED,),
        min_length=1,
        description="names of regions; or `enabled`, those that each account has switched on",
    )
    home_region: str = Field("us-east-1", description="where sessions and regions are asked for")
    profile: str | None = Field(None, description="of the shared config file; default: boto3's")
    credentials: AwsKeys | None = Field(
        None, description="keys that are written down (settings); default: boto3's own chain"
    )
    endpoint_url: HostUrl | None = Field(
        None, description="where to send in place of AWS: an emulator, a private endpoint"
    )
    limits: AwsLimits = AwsLimits()
    lane_timeout_s: float = Field(900.0, gt=0, description="a lane that takes longer has failed")
    max_failed_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="a partition commits while at most this share of its lanes failed; they keep "
        "their rows of the partition before, marked `_stale`",
    )
    timezone: str = "UTC"
    partitions: Annotated[PartitionScheme, SCHEMES.field] = SCHEMES["days"](kind="days")
    safety_margin_s: float = Field(3600.0, ge=0, le=86_400 * 366)
    hash_salt: SecretStr | None = None
    proxy: ProxyUrl | None = None
    tls: TlsConfig = TlsConfig()
    retries: RetriesConfig = RetriesConfig(timeouts=2, errors=4, throttled=30)
    breaker: BreakerConfig = BreakerConfig()
    timeouts: TimeoutsConfig = TimeoutsConfig()
    schedule: Schedule = Schedule()
    backfill: BackfillConfig = BackfillConfig()
    owners: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    freshness: Freshness | None = None
    preview: bool = True
    endpoints: dict[Name, AwsEndpoint] = Field(min_length=1)

    @field_validator("regions", "home_region")
    @classmethod
    def _regions_exist(cls, value: Any) -> Any:
        for name in (value,) if isinstance(value, str) else value:
            try:
                if name != ENABLED:
                    check_region(name)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("accounts", "exclude_accounts")
    @classmethod
    def _accounts_are_ids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for account in value:
            if account not in ("self", "organization") and not (
                account.isascii() and account.isdigit() and len(account) == 12
            ):
                raise ValueError(
                    f"`{account}` is no account: expected 12 digits in quotes, `self` or "
                    "`organization`"
                )
        return value

    @model_validator(mode="after")
    def _has_accounts(self) -> Self:
        if ENABLED in self.regions and len(self.regions) > 1:
            raise ValueError("`regions`: `enabled` stands alone: leave the names out, or it")
        of_others = [name for name in self.accounts if name != "self"]
        if of_others and self.role is None:
            raise ValueError(
                f"`accounts` has `{of_others[0]}`, and no role to read it by: set `role`, e.g. "
                "`role: OrganizationAccountAccessRole`"
            )
        return self

    @property
    def access(self) -> LaneAccess:
        """Which accounts and regions are read, and with which sessions."""
        return LaneAccess(
            accounts=() if self.profiles else self.accounts,
            exclude_accounts=self.exclude_accounts,
            profiles=self.profiles,
            regions=self.regions,
            home_region=self.home_region,
            role=self.role,
            external_id=self.external_id,
            session_name=self.session_name,
            session_s=self.session_s,
            renew_before_s=self.renew_before_s,
            profile=self.profile,
            keys=self.credentials,
            endpoint_url=self.endpoint_url,
            limits=self.limits,
        )

    def as_source(self) -> Source:
        """The source that the engine reads.

        :raises pydantic.ValidationError: an endpoint does not fit it.
        """
        same = {name: getattr(self, name) for name in _SAME}
        endpoints = {name: of.as_endpoint(self) for name, of in self.endpoints.items()}
        base_url = self.endpoint_url or "https://amazonaws.com"
        source = Source.model_validate(
            {
                **same,
                "base_url": base_url,
                "endpoints": endpoints,
                "limits": {"max_body_mb": self.limits.max_body_mb},
            }
        )
        return source.with_lanes(self.access).with_secrets(self._secret_texts())

    def _secret_texts(self) -> Iterator[str]:
        if self.external_id is not None:
            yield self.external_id.get_secret_value()
        if self.credentials is not None:
            yield self.credentials.secret_access_key.get_secret_value()
            if self.credentials.session_token is not None:
                yield self.credentials.session_token.get_secret_value()


_SAME = tuple(
    name
    for name in Source.model_fields
    if name in AwsSource.model_fields and name not in ("endpoints", "limits")
)
