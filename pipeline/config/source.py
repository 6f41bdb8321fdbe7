"""A source: an API's address, network, credentials, limits, first partition and endpoints."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from pipeline.auth import AUTH, NO_AUTH, Auth
from pipeline.config.each import lists_of
from pipeline.config.endpoint import Endpoint
from pipeline.config.lanes import LaneAccess
from pipeline.config.limits import (
    BreakerConfig,
    LimitsConfig,
    ResponsesConfig,
    RetriesConfig,
    TimeoutsConfig,
)
from pipeline.config.request import DAY_S
from pipeline.config.tables import problems_of_names
from pipeline.model import BASE_URL, HeaderName, HeaderText, HostUrl, Model, Name
from pipeline.partitions import SCHEMES, Calendar, PartitionScheme
from pipeline.redaction import redact


def _is_proxy(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if text != "env" and not fits:
        raise ValueError(
            "expected env, for the proxy that the environment names, or http://host:port"
        )
    return value


ProxyUrl = Annotated[SecretStr, AfterValidator(_is_proxy)]
"""A secret: it may have a password in it."""


class TlsConfig(Model):
    """Certificates, as PEM files."""

    ca: str | None = Field(None, description="certificates to trust, besides the usual ones")
    cert: str | None = Field(None, description="the certificate that is shown to the API")
    key: str | None = Field(None, description="its key, unless cert has it")

    @model_validator(mode="after")
    def _key_has_a_cert(self) -> "TlsConfig":
        if self.key and not self.cert:
            raise ValueError("`tls.key` belongs to a certificate: add `tls.cert`")
        return self


_NO_MATTER: Final[Any] = {
    "base_url": True, "cache": True, "conditional": True, "description": True,
    "columns": {"__all__": {"description"}}, "each": {"concurrency"}, "deps": True,
    "preview": True,
}  # fmt: skip
"""What may change of an endpoint while its rows stay the same; its address is compared apart."""
_CREDENTIALS = ("authorization", "cookie", "proxy-authorization")


class Schedule(Model):
    """When the daily job runs, in the source's time zone; it materializes the partition before."""

    hour: int = Field(1, ge=0, le=23, description="of the source's zone")
    minute: int = Field(30, ge=0, le=59, description="of the hour")
    running: bool = Field(False, description="true: the schedule is on from the first load")


@dataclass(frozen=True)
class Origin:
    """The file and the lines that a source is defined in.

    :ivar lines: the line of each endpoint, from 1.
    """

    file: str
    lines: Mapping[str, int]


class BackfillConfig(Model):
    """How Dagster cuts a backfill into runs."""

    days_per_run: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="partitions of one run of a backfill that the UI starts; default: 30, and "
        "fewer for more than 16 endpoints: together 500 partitions of endpoints",
    )

    def partitions_per_run(self, assets: int) -> int:
        """Partitions of one run.

        Dagster's daemon writes an event for each asset and partition before a run begins, 20 to
        50 ms each.

        :param assets: endpoints that are read by partition, and their child tables.
        """
        fewer = max(1, _PLANNED_PER_RUN // max(1, assets))
        return self.days_per_run or min(_DAYS_PER_RUN, fewer)


_DAYS_PER_RUN = 30
_PLANNED_PER_RUN = 500


class Freshness(Model):
    """When Dagster says that an asset is out of date: `{}` for two hours after the schedule."""

    late_s: float = Field(
        7200.0,
        ge=60,
        lt=86_400,
        description="so many seconds after each tick of the schedule the run has to be done",
    )
    within_s: float | None = Field(
        None,
        ge=60,
        description="in place of the schedule: the newest materialization is not older",
    )


OWNER = r"^(team:.+|[^@\s]+@[^@\s]+\.[^@\s]+)$"
TAG_KEY = r"^([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}$"
TAG_VALUE = r"^[A-Za-z0-9_.-]{0,63}$"


class Source(Model):
    """An API and its endpoints."""

    source: Name
    description: str | None = Field(None, description="shown at all assets of the source")
    base_url: HostUrl = Field(
        repr=False,
        pattern=BASE_URL,
        description="the address that every `path` begins with; credentials go to its origin, and "
        "to none but those of endpoints with a `base_url` of their own",
    )
    start: date = Field(
        ge=date(1970, 1, 1), description="the first partition, the baseline (YYYY-MM-DD)"
    )
    timezone: str = Field("UTC", description="in which zone days begin and end")
    partitions: Annotated[
        PartitionScheme,
        SCHEMES.field,
        Field(description="how time is cut into partitions: `{kind: days}`"),
    ] = SCHEMES["days"](kind="days")
    safety_margin_s: float = Field(
        3600.0,
        ge=0,
        le=86_400 * 366,
        description="by how many seconds a window reaches back before its partition: how late "
        "the API may show a change",
    )
    auth: Annotated[Auth, AUTH.field] = Field(
        NO_AUTH, description="how a request shows who sends it"
    )
    headers: dict[HeaderName, HeaderText] = Field(
        {}, repr=False, description="sent with every request"
    )
    hash_salt: SecretStr | None = Field(
        None, description="goes before each value that `hash` hashes: ${HEADRACE_HASH_SALT}"
    )
    limits: LimitsConfig = Field(LimitsConfig(), description="how many requests the API allows")
    keyed_limits: LimitsConfig | None = Field(
        None,
        description="limits that hold instead where auth has a secret, such as a key or a token",
    )
    proxy: ProxyUrl | None = Field(
        None,
        description="env: the proxy that HTTPS_PROXY or HTTP_PROXY names; or http://host:port; "
        "hosts in NO_PROXY are asked without",
    )
    tls: TlsConfig = Field(TlsConfig(), description="certificates")
    cookies: bool | None = Field(
        None,
        description="send the cookies that the API sets back to it, within a run; by default once "
        "it has refused a request without them",
    )
    answers: ResponsesConfig = Field(
        ResponsesConfig(), description="meanings of statuses where they differ from the common one"
    )
    retries: RetriesConfig = Field(
        RetriesConfig(), description="how often a page is requested again"
    )
    breaker: BreakerConfig = Field(BreakerConfig(), description="when the API counts as down")
    timeouts: TimeoutsConfig = Field(TimeoutsConfig(), description="how long a request may take")
    schedule: Schedule = Field(Schedule(), description="when the job of the source runs")
    backfill: BackfillConfig = Field(
        BackfillConfig(), description="how Dagster cuts a backfill into runs"
    )
    owners: tuple[Annotated[str, Field(pattern=OWNER)], ...] = Field(
        (), description="of all assets: an e-mail address, or `team:name`"
    )
    tags: dict[Annotated[str, Field(pattern=TAG_KEY)], Annotated[str, Field(pattern=TAG_VALUE)]] = (
        Field({}, description="of all assets, for Dagster's selections and filters")
    )
    freshness: Freshness | None = Field(
        None,
        description="a freshness policy for all assets; default: `{}` if the schedule is on by "
        "`running: true`, else none",
    )
    preview: bool = Field(
        True, description="false: no rows of the API are stored in Dagster's database"
    )
    endpoints: dict[Name, Endpoint] = Field(
        min_length=1, description="the collections of rows, by name"
    )
    _credentials: tuple[str, ...] = ()
    _secrets: tuple[SecretStr, ...] = ()
    _origin: Origin | None = None
    _lanes: LaneAccess | None = None

    def with_lanes(self, lanes: LaneAccess) -> "Source":
        """This source, which is read in lanes: accounts and regions, each with its own session."""
        source = self.model_copy()
        source._lanes = lanes
        return source

    @property
    def lanes(self) -> LaneAccess | None:
        """How its lanes are found and asked; None for an API that is asked at ``base_url``."""
        return self._lanes

    def with_origin(self, origin: Origin) -> "Source":
        """This source, which can say in which lines of which file it stands."""
        source = self.model_copy()
        source._origin = origin
        return source

    @property
    def origin(self) -> Origin | None:
        """The file that it was read from; None for a source that was made otherwise."""
        return self._origin

    def with_credentials_of(self, variables: Sequence[str]) -> "Source":
        """This source, which can say where its credentials come from."""
        source = self.model_copy()
        source._credentials = tuple(variables)
        return source

    @property
    def credentials(self) -> tuple[str, ...]:
        """The environment variables that they come from, as they are told to the user."""
        return self._credentials

    def with_secrets(self, values: Iterable[str]) -> "Source":
        """This source, with texts outside ``auth`` that must not be shown either."""
        source = self.model_copy()
        source._secrets = tuple(SecretStr(value) for value in values)
        return source

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values of settings in headers, requests and addresses: a key may be among them."""
        return tuple(secret.get_secret_value() for secret in self._secrets)

    @property
    def partitions_per_run(self) -> int:
        """Partitions of one run of a backfill."""
        by_partition = [of for name, of in self.endpoints.items() if self.incremental(name)]
        return self.backfill.partitions_per_run(sum(1 + len(of.tables) for of in by_partition))

    @property
    def shown_url(self) -> str:
        """``base_url`` without the secrets in it, as in ``https://api.telegram.org/bot***``."""
        return redact(self.base_url, self.secrets)

    def base_url_of(self, endpoint: str) -> str:
        """The address of an endpoint; for "" that of the source."""
        spec = self.endpoints.get(endpoint)
        return self.base_url if spec is None or spec.base_url is None else spec.base_url

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The addresses of all endpoints, each once; that of the source is the first."""
        return tuple(dict.fromkeys([self.base_url, *map(self.base_url_of, self.endpoints)]))

    @property
    def pack(self) -> int:
        """Pages that ride in one request."""
        requests = (endpoint.request for endpoint in self.endpoints.values())
        return min((request.pages_per_request for request in requests), default=1)

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(
                f"expected an IANA time zone such as UTC or Europe/Berlin, got {name!r}"
            )
        return name

    @model_validator(mode="after")
    def _lists_exist(self) -> "Source":
        for name, endpoint in self.endpoints.items():
            for value_list in lists_of(endpoint):
                if value_list.endpoint is None or value_list.endpoint in self.endpoints:
                    continue
                whose = (
                    "its parent" if endpoint.parents else f"the endpoint of `{value_list.prefix}`,"
                )
                raise ValueError(
                    f"endpoint {name}: {whose} {value_list.endpoint!r} is not an endpoint here"
                )
        for name in self.endpoints:
            self._no_circle(name, (name,))
        for sentence in problems_of_names(self.endpoints):
            raise ValueError(sentence)
        return self

    def _no_circle(self, name: str, way: tuple[str, ...]) -> None:
        for above in self.upstream(name):
            if above in way:
                circle = " → ".join((*way[way.index(above) :], above))
                raise ValueError(
                    f"endpoint {above}: its values come from its own rows ({circle}): take "
                    "`each` or `parents` out of one of them"
                )
            self._no_circle(above, (*way, above))

    def upstream(self, name: str) -> tuple[str, ...]:
        """The endpoints whose committed rows an endpoint's values come from."""
        parents = (value_list.endpoint for value_list in lists_of(self.endpoints[name]))
        return tuple(dict.fromkeys(above for above in parents if above is not None))

    def tables(self, endpoint: str) -> tuple[str, ...]:
        """The child tables of an endpoint, as ``endpoint/table``."""
        return tuple(f"{endpoint}/{table}" for table in self.endpoints[endpoint].tables)

    def depth(self, name: str) -> int:
        """How many endpoints, one above the other, are read before an endpoint."""
        return max((1 + self.depth(above) for above in self.upstream(name)), default=0)

    @model_validator(mode="after")
    def _hashes_have_salt(self) -> "Source":
        hashing = next((name for name, of in self.endpoints.items() if of.hashes), None)
        if hashing is not None and not (self.hash_salt and self.hash_salt.get_secret_value()):
            raise ValueError(
                f"endpoint {hashing}: `hash` without a salt could be undone by hashing all likely "
                "values: set `hash_salt: ${HEADRACE_HASH_SALT}` beside base_url, and the setting"
            )
        return self

    @model_validator(mode="after")
    def _days_are_utc(self) -> "Source":
        for name, endpoint in self.endpoints.items():
            whole_days = endpoint.incremental and endpoint.window.resolution_s >= DAY_S
            if whole_days and self.timezone != "UTC" and endpoint.window.timezone is None:
                raise ValueError(
                    f"endpoint {name}: its cursor moves in whole days, which have no time zone "
                    f"of their own: expected timezone: UTC, got {self.timezone}. Set one: "
                    f"1. `timezone: UTC`; 2. the zone of the API's days, e.g. "
                    f"`window: {{timezone: {self.timezone}}}`"
                )
        return self

    def with_limits_of_key(self) -> "Source":
        """This source with the limits that hold for its credentials."""
        if self.keyed_limits is None or self.auth.is_anonymous:
            return self
        return self.model_copy(update={"limits": self.keyed_limits})

    def previews(self, endpoint: str) -> bool:
        """True if rows of an endpoint may be shown in Dagster."""
        own = self.endpoints[endpoint].preview
        return self.preview if own is None else own

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def calendar(self) -> Calendar:
        """The partitions of all its endpoints."""
        return Calendar(self.partitions, self.start, self.zone)

    def incremental(self, endpoint: str) -> bool:
        """Whether past partitions can be requested: it has a cursor, or its parent has."""
        spec = self.endpoints[endpoint]
        if spec.parents is not None and not spec.incremental:
            return self.incremental(spec.parents.endpoint)
        return spec.incremental

    def answers_of(self, endpoint: str) -> ResponsesConfig:
        """The meanings of statuses for an endpoint; for "" those of the source."""
        spec = self.endpoints.get(endpoint)
        if spec is None:
            return self.answers
        meanings = self.answers.with_those_of(spec.answers)
        if spec.bookmark is None or not spec.bookmark.expires:
            return meanings
        dead = {*meanings.dead_page_token, HTTPStatus.GONE}
        return meanings.model_copy(update={"dead_page_token": tuple(map(int, dead))})

    def margin_s(self, endpoint: str) -> float:
        """The safety margin of an endpoint, seconds."""
        own = self.endpoints[endpoint].safety_margin_s
        return self.safety_margin_s if own is None else own

    def definition(self, endpoint: str) -> str:
        """A digest of what decides which rows an endpoint has: a checkpoint of another is void.

        Headers are in it as they are sent, settings filled in, since the rows of two tenants must
        not mix. Credentials may rotate: ``auth`` is left out, and the headers that HTTP has for
        them. A key in another header is no more than hashed; with a new one, work is done again.
        """
        of = self.endpoints[endpoint]
        of_columns = {"columns": {"__all__": {"description"}}}
        tables: Any = {"__all__": {"description": True, **of_columns}} if of.tables else True
        spec = of.model_dump_json(by_alias=True, exclude=_NO_MATTER | {"tables": tables})
        text = "|".join(
            [
                self.base_url_of(endpoint),
                f"{self.start}|{self.timezone}|{self.partitions.model_dump_json()}",
                f"{self.margin_s(endpoint)}|{spec}",
            ]
        )
        if self.hash_salt is not None and self.endpoints[endpoint].hashes:
            text += f"|{self.hash_salt.get_secret_value()}"
        headers = sorted((name.lower(), value) for name, value in self.headers.items())
        if plain := [pair for pair in headers if pair[0] not in _CREDENTIALS]:
            text += f"|{json.dumps(plain)}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]
