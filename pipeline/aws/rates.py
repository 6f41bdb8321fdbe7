"""How many requests AWS takes of one account in one region, by service: token buckets. Pure.

AWS fills a bucket of ``burst`` tokens by ``per_s`` a second, and a request takes one. Where AWS
documents a bucket it stands here; the others get a small one, since an inventory shares the account
with everything else that runs in it. ``limits.services`` of the YAML sets another one.

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


USUAL: Final = TokenBucket(burst=20, per_s=10)
BY_SERVICE: Final = {
    "acm": TokenBucket(burst=8, per_s=8),
    "autoscaling": TokenBucket(burst=20, per_s=10),
    "ce": TokenBucket(burst=5, per_s=1),
    "cloudtrail": TokenBucket(burst=2, per_s=2),
    "cloudwatch": TokenBucket(burst=9, per_s=9),
    "dynamodb": TokenBucket(burst=10, per_s=10),
    "ec2": TokenBucket(burst=100, per_s=20),
    "ecs": TokenBucket(burst=50, per_s=20),
    "eks": TokenBucket(burst=10, per_s=5),
    "health": TokenBucket(burst=5, per_s=5),
    "iam": TokenBucket(burst=30, per_s=15),
    "kms": TokenBucket(burst=50, per_s=50),
    "lambda": TokenBucket(burst=15, per_s=15),
    "logs": TokenBucket(burst=10, per_s=10),
    "organizations": TokenBucket(burst=8, per_s=4),
    "route53": TokenBucket(burst=5, per_s=5),
    "s3": TokenBucket(burst=100, per_s=100),
    "secretsmanager": TokenBucket(burst=40, per_s=40),
    "sns": TokenBucket(burst=30, per_s=30),
    "sts": TokenBucket(burst=100, per_s=100),
}


def bucket_of(service: str, own: dict[str, TokenBucket]) -> TokenBucket:
    """The bucket of a service: the YAML's, else AWS's, else a usual one."""
    return own.get(service) or BY_SERVICE.get(service) or USUAL
