"""From ``HEADRACE_LAKE`` to the store that the lake lies in: by the scheme of its URL."""

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import ConfigError
from pipeline.lake.stores import s3 as s3  # registers itself
from pipeline.lake.stores.base import STORES, ObjectStore


def check_lake_url(text: str) -> tuple[str, str]:
    """A lake's URL as its scheme and the rest. :raises ConfigError: no lake can lie there."""
    scheme, separator, rest = text.strip().rstrip("/").partition("://")
    if not separator or scheme not in STORES.names:
        expected = " or ".join(kind.example for _, kind in STORES)
        raise ConfigError(f"`HEADRACE_LAKE` is `{text[:100]}`; expected {expected}.")
    STORES[scheme].check_url(rest)
    return scheme, rest


def open_lake(url: str, clients: Mapping[str, Callable[[], Any]] | None = None) -> ObjectStore:
    """The lake at a URL; nothing is sent.

        lake = open_lake("s3://my-bucket/lake")

    :param clients: by scheme, what makes the client that requests are sent with; else the kind
        makes its own, by its own settings (S3: boto3's).
    :raises ConfigError: no lake can lie there.
    """
    scheme, _ = check_lake_url(url)
    return STORES[scheme].open(url, (clients or {}).get(scheme))
