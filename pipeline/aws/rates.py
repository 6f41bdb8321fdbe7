"""How many requests AWS takes of one account in one region, by service: token buckets. Pure.

AWS fills a bucket of ``burst`` tokens by ``per_s`` a second, and a request takes one. Where AWS
documents a limit, ``PUBLISHED`` has the page that does, and no higher one; the buckets in
``ASSUMED`` are assumptions, low ones, since an inventory shares the account with everything else
that runs in it. ``limits.services`` of the YAML sets another one.

As a window: at most ``burst`` requests in any ``burst / per_s`` seconds. That is never more than
the bucket gives, for the bucket is full again after such a time, and as much over a longer one.
"""

from typing import Final

from pydantic import Field

from pipeline.model import Model


class TokenBucket(Model):
    """A token bucket of one account in one region."""

    burst: int = Field(gt=0, le=10_000, description="requests at once from a full bucket")
    per_s: float = Field(gt=0, le=10_000, description="requests a second for long")

    @property
    def window_s(self) -> float:
        """Seconds after which a bucket that was emptied is full again."""
        return self.burst / self.per_s


def _bucket(burst: int, per_s: float) -> TokenBucket:
    return TokenBucket(burst=burst, per_s=per_s)


USUAL: Final = _bucket(20, 10)
"""An assumption, for services without a bucket of their own."""
PUBLISHED: Final[dict[str, tuple[TokenBucket, str]]] = {
    "acm": (_bucket(1, 1), "acm/latest/userguide/acm-limits.html"),
    "cloudtrail": (_bucket(2, 2), "awscloudtrail/latest/userguide/WhatIsCloudTrail-Limits.html"),
    "cloudwatch": (_bucket(9, 9), "AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html"),
    "ec2": (_bucket(100, 20), "ec2/latest/devguide/ec2-api-throttling.html"),
    "ecs": (_bucket(50, 20), "AmazonECS/latest/APIReference/request-throttling.html"),
    "kms": (_bucket(50, 50), "kms/latest/developerguide/requests-per-second.html"),
    "lambda": (_bucket(15, 15), "lambda/latest/dg/gettingstarted-limits.html"),
    "logs": (_bucket(10, 10), "AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html"),
    "route53": (_bucket(5, 5), "Route53/latest/DeveloperGuide/DNSLimitations.html"),
    "secretsmanager": (_bucket(40, 40), "secretsmanager/latest/userguide/reference_limits.html"),
    "sns": (_bucket(30, 30), "general/latest/gr/sns.html"),
    "sts": (_bucket(100, 100), "IAM/latest/UserGuide/reference_iam-quotas.html"),
}
"""With the page at docs.aws.amazon.com: of several limits of a service the lowest that an inventory
meets, or less."""
ASSUMED: Final = {
    "autoscaling": _bucket(20, 10),
    "ce": _bucket(5, 1),
    "dynamodb": _bucket(10, 10),
    "eks": _bucket(10, 5),
    "health": _bucket(5, 5),
    "iam": _bucket(30, 15),
    "organizations": _bucket(8, 4),
    "s3": _bucket(100, 100),
}
"""Of these AWS publishes no limit of the operations that list."""


def bucket_of(service: str, own: dict[str, TokenBucket]) -> TokenBucket:
    """The bucket of a service: the YAML's, else AWS's, else an assumed one."""
    published = PUBLISHED.get(service)
    return own.get(service) or (published[0] if published else ASSUMED.get(service, USUAL))
