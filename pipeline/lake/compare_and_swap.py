"""Compare-and-swap of one object, with the third outcome resolved: written without a response?

A client (boto3) retries a request whose response was lost, and then conflicts with its own write.
So a conflict, like a failure, is believed only after a look at what is there. For that, no two
writes of a key may have the same body: checkpoints count their writes, manifests bear a
generation.
"""

from typing import Final

from pipeline.errors import LakeUnavailable
from pipeline.lake.stores.base import ObjectStore, WriteConflict

_ATTEMPTS: Final = 3


def compare_and_swap(lake: ObjectStore, key: str, body: bytes, *, replaces: str | None) -> str:
    """Write an object in place of the one with that etag (None: of none); returns its etag.

    :raises WriteConflict: another write came first.
    :raises LakeUnavailable: still unknown, and nothing may be concluded from it.
    """
    failure: WriteConflict | LakeUnavailable | None = None
    for _ in range(_ATTEMPTS):
        try:
            return lake.put(key, body, replaces=replaces)
        except (WriteConflict, LakeUnavailable) as error:
            failure = error
        found = lake.get(key)
        if found is not None and found.body == body:
            return found.etag
        if (found.etag if found else None) != replaces:
            raise WriteConflict(f"{lake.url(key)} was changed by another run") from failure
    raise LakeUnavailable(
        f"{lake.address} did not say whether `{lake.url(key)}` was written. The next attempt finds"
        f" out. {failure}"
    ) from failure
