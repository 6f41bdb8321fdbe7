"""A source that is read in lanes: an account in a region, with a session and limits of its own.

``LaneAccess`` is what its sender needs to know; ``LaneEach`` is the fan-out over its lanes, which
are found when a run begins.
"""

from typing import Literal

from pydantic import Field, SecretStr

from pipeline.aws.rates import TokenBucket
from pipeline.config.each import EachConfig
from pipeline.config.request import HttpTemplate
from pipeline.model import Model

Scope = Literal["region", "global", "home"]


class OperationTemplate(HttpTemplate):
    """An operation of AWS in place of a path: ``json_body`` has its parameters.

    :ivar account: the placeholder of the account that is asked; ``region`` that of the region.
    :ivar rows: where the response has its rows.
    """

    service: str
    operation: str
    account: str = "{each.account_id}"
    region: str = "{each.region}"
    rows: str = ""

    @property
    def templates(self) -> tuple[object, ...]:
        return (*super().templates, self.account, self.region)


class LaneEach(EachConfig):
    """The lanes of a source, or the rows of another endpoint, which know theirs.

    :ivar scope: one lane for each account and region, for each account, or one in all.
    """

    scope: Scope = "region"

    @property
    def found_in_run(self) -> bool:
        return self.endpoint is None

    @property
    def in_lanes(self) -> bool:
        return True

    @property
    def lists_failures(self) -> bool:
        return True


class AwsKeys(Model):
    """Credentials that are written down; without them boto3's own chain is used."""

    access_key_id: SecretStr
    secret_access_key: SecretStr
    session_token: SecretStr | None = None


class AwsLimits(Model):
    """How fast AWS is asked. AWS counts by account, region and service, and so does Headrace."""

    lanes_at_once: int = Field(20, ge=1, le=500, description="lanes that are read side by side")
    in_flight: int = Field(
        4, ge=1, le=100, description="open requests of one account, region and service"
    )
    services: dict[str, TokenBucket] = Field(
        {}, description="token buckets in place of those that AWS documents: {ec2: {burst, per_s}}"
    )
    backfill_share: float = Field(0.75, gt=0, le=1)
    max_body_mb: float = Field(64.0, gt=0, le=1024)


class LaneAccess(Model):
    """Which accounts and regions are read, and with which sessions.

    :ivar accounts: ids; ``self`` is the credentials' own, ``organization`` all active ones.
    """

    accounts: tuple[str, ...] = ()
    exclude_accounts: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    home_region: str = "us-east-1"
    role: str | None = None
    external_id: SecretStr | None = None
    session_name: str = "headrace"
    session_s: int = 3600
    renew_before_s: float = 300.0
    profile: str | None = None
    keys: AwsKeys | None = None
    endpoint_url: str | None = None
    limits: AwsLimits = AwsLimits()
