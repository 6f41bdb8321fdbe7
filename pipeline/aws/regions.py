"""The regions of AWS as botocore's data lists them, and where global services are asked."""

import difflib
from functools import cache
from typing import Any, Final

from botocore.regions import EndpointResolver

from pipeline.aws.service_models import loader, service
from pipeline.errors import ConfigError

GLOBAL: Final = "global"
"""In the column ``region``: the rows are of the account as a whole."""
EVERY: Final = "*"
"""In place of a region: those of the account are not known, since it can't be looked into."""


@cache
def _partitions() -> tuple[dict[str, Any], ...]:
    return tuple(loader().load_data("partitions")["partitions"])


@cache
def regions() -> tuple[str, ...]:
    """All regions, of all partitions of AWS."""
    names = [name for each in _partitions() for name in each["regions"]]
    return tuple(name for name in names if not name.endswith("-global"))


def check_region(name: str) -> str:
    """The name, if it is a region's. :raises ConfigError: it is not; with the nearest."""
    if name in regions():
        return name
    near = [f"`{each}`" for each in difflib.get_close_matches(name, regions(), n=3)]
    maybe = f" (the nearest are {', '.join(near)})" if near else ""
    raise ConfigError(
        f"`{name}` is no region of AWS that botocore knows{maybe}: correct it, or upgrade botocore "
        "if the region is new"
    )


def global_region(of: str) -> str:
    """The region to call global services in, by a region of the same partition: ``us-east-1``."""
    for each in _partitions():
        if of in each["regions"]:
            return str(each["outputs"]["implicitGlobalRegion"])
    return "us-east-1"


def partition_of(region: str) -> str:
    """The partition that a region is in: ``aws``, ``aws-cn``, ``aws-us-gov``, …"""
    return next((str(each["id"]) for each in _partitions() if region in each["regions"]), "aws")


@cache
def _resolver() -> EndpointResolver:
    return EndpointResolver(loader().load_data("endpoints"))


def is_global(service_name: str) -> bool:
    """Whether a service has one place for all regions, by botocore's list of endpoints."""
    services = loader().load_data("endpoints")["partitions"][0]["services"]
    entry = services.get(service(service_name).endpoint_prefix, {})
    listed = entry.get("isRegionalized") is False
    return listed or service_name in ("ce", "health", "organizations")


def service_is_in(service_name: str, region: str) -> bool:
    """Whether botocore's list of endpoints has a service in a region.

    True where the list tells nothing: of a service that it has not, and of a region that is newer
    than the list, in which it has not even EC2.
    """
    places = _places(service(service_name).endpoint_prefix, partition_of(region))
    return not places or region in places or region not in _places("ec2", partition_of(region))


@cache
def _places(endpoint_prefix: str, partition: str) -> frozenset[str]:
    return frozenset(_resolver().get_available_endpoints(endpoint_prefix, partition))
