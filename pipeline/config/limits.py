"""Rate limits of an API, and what is done when it refuses. Units: seconds, requests."""

from pydantic import Field, model_validator

from pipeline.model import DottedPath, Model, Name


class RateWindowConfig(Model):
    """At most ``requests`` in any ``per_s`` seconds."""

    requests: int = Field(gt=0, le=1_000_000, description="so many at most")
    per_s: float = Field(gt=0, le=86_400 * 31, description="in so many seconds")


class RateHeadersConfig(Model):
    """The response headers in which the API says its limit, and what is left of the quota."""

    remaining: str = Field(
        "x-ratelimit-remaining", description="the header that says how many requests are left"
    )
    reset: str = Field("x-ratelimit-reset", description="the header that says when there are more")
    reset_is: str = Field(
        "epoch_s", pattern="^(epoch_s|seconds)$", description="the form of that header"
    )
    limit: str | None = Field(
        None, description="requests that are allowed; slows the budget down if it is lower"
    )
    interval: str | None = Field(
        None,
        description="in which time they are allowed: seconds (milliseconds if its "
        "name ends so), or with a unit (1s, 5m)",
    )
    interval_s: float | None = Field(
        None, gt=0, le=86_400 * 31, description="the same, where no header says it"
    )

    @model_validator(mode="after")
    def _limit_has_its_interval(self) -> "RateHeadersConfig":
        intervals = (self.interval is not None) + (self.interval_s is not None)
        if intervals != (self.limit is not None):
            raise ValueError(
                "a limit is a number of requests in a time: set `limit`, and one of `interval` (a "
                "header) and `interval_s` (seconds)"
            )
        return self


class LimitsConfig(Model):
    """The limits of one API key. Every process that uses the key shares them."""

    budget: Name | None = Field(
        None,
        description="a name for the budget; default: one for host and key, whatever the path",
    )
    windows: tuple[RateWindowConfig, ...] = Field(
        (), description="requests per window; empty = the API has no rate limit"
    )
    in_flight: int = Field(8, gt=0, le=1000, description="open requests at the same time")
    throttle_wait_s: float | None = Field(
        None,
        gt=0,
        description="wait after a 429 that does not say how long; default: 1, and for the "
        "first of a burst a quarter of a short window",
    )
    headers: RateHeadersConfig | None = Field(
        None, description="headers in which the API states its limit"
    )
    not_modified_is_free: bool = Field(
        False,
        description="the API does not count a request that it responds to with 304 in the "
        "longest of the windows (GitHub)",
    )
    backfill_share: float = Field(
        0.75,
        gt=0,
        le=1,
        description="part of the budget that a backfill keeps to while other runs send; the rest "
        "is lent to it",
    )

    max_body_mb: float = Field(
        64.0,
        gt=0,
        le=1024,
        description="MiB of one response, decompressed: a larger one is refused",
    )

    @property
    def max_body_bytes(self) -> int:
        return int(self.max_body_mb * 2**20)

    @property
    def rate_per_s(self) -> float | None:
        """Requests a second that all windows together allow for long; None = no limit."""
        return min((window.requests / window.per_s for window in self.windows), default=None)

    @model_validator(mode="after")
    def _something_paces_what_is_free(self) -> "LimitsConfig":
        if self.not_modified_is_free and len({window.per_s for window in self.windows}) < 2:
            raise ValueError(
                "not_modified_is_free needs a second, shorter window: requests that the longest "
                "does not count would go out as fast as they can"
            )
        return self


class ResponsesConfig(Model):
    """Meanings of the API's statuses where they differ from the common one."""

    empty: tuple[int, ...] = Field(
        (),
        description="no rows match (some APIs respond with 404); 200 means so only where the "
        "response has no body, or nothing but `empty_text`",
    )
    empty_text: str | None = Field(
        None,
        min_length=1,
        description="text in the body of a refusal (4xx) that means no rows; with `empty` a "
        "refusal means so only if both its status and its body do",
    )
    throttled: tuple[int, ...] = Field((), description="too many requests (NVD: 403)")
    throttled_text: str | None = Field(
        None,
        description="text in a refusal's body that means too many requests (GitHub), or in a "
        "response with an error at errors_at",
    )
    dead_token: tuple[int, ...] = Field(
        (),
        description="the token of `auth` is dead, as with 401: it is renewed once (some APIs "
        "respond with 403 or 498)",
    )
    dead_token_text: str | None = Field(
        None,
        min_length=1,
        description="text in a refusal's body, or in a response with an error at errors_at, that "
        "means the same",
    )
    dead_page_token: tuple[int, ...] = Field(
        (),
        description="the page token of a chain has expired: the chain begins anew, at most three "
        "times a partition (some APIs respond with 410)",
    )
    dead_page_token_text: str | None = Field(
        None,
        min_length=1,
        description="text in a refusal's body, or in a response with an error at errors_at, that "
        "means the same",
    )
    retry: tuple[int, ...] = Field((), description="statuses that are retried")
    permanent: tuple[int, ...] = Field((), description="statuses that are not retried")

    def with_those_of(self, own: "ResponsesConfig | None") -> "ResponsesConfig":
        """The meanings of a source, but for those that an endpoint has of its own."""
        if own is None:
            return self
        return self.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


class OkWhen(Model):
    """A response is a success if the member ``at`` has one of ``values``; else it is an error."""

    at: DottedPath = Field(description="a member outside the rows, e.g. `status`")
    values: tuple[bool | int | float | str, ...] = Field(
        min_length=1, description="those that mean success, e.g. `[ok, success]`"
    )

    def is_met(self, value: object) -> bool:
        """Whether a response with this value is a success: ``0`` and ``"0"`` are the same."""
        return _as_text(value) in {_as_text(success) for success in self.values}


def _as_text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower()


class RetriesConfig(Model):
    """How often and how long the client retries one page, by kind of failure."""

    timeouts: int = Field(
        3, ge=0, le=100, description="at most 1 while the API has not responded once in a run"
    )
    errors: int = Field(5, ge=0, le=100, description="5xx, lost connections, bad bodies")
    throttled: int = Field(60, ge=0, le=10_000, description="429s of one page in a row")
    first_wait_s: float = Field(0.5, gt=0, description="the first wait; each further one is longer")
    max_wait_s: float = Field(30.0, gt=0, description="the longest wait")
    total_s: float = Field(
        600.0, gt=0, description="sum of the waits that a run of one source may spend on failures"
    )


class BreakerConfig(Model):
    """When the API counts as down: failures in a row, over all requests of the source."""

    failures: int = Field(20, gt=0, description="so many in a row open the breaker")
    open_s: float = Field(30.0, gt=0, description="seconds that no request leaves")


class TimeoutsConfig(Model):
    """Seconds for each stage of one request."""

    connect_s: float = Field(5.0, gt=0, description="to connect")
    read_s: float = Field(30.0, gt=0, description="for the response, and between two pieces of it")
    total_s: float = Field(
        120.0, gt=0, description="for the whole response, from when the request has left"
    )
