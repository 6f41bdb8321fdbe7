"""Which accounts and regions are there, found when a run begins.

An account that can't be looked into gets one lane for each endpoint in place of its regions, which
fails with the reason: no account is left out in silence.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.aws.regions import EVERY, GLOBAL
from pipeline.config.lanes import LaneEach, Scope
from pipeline.config.source import Source
from pipeline.errors import AuthError, HeadraceError
from pipeline.extract.partition_values import PartitionValue
from pipeline.lanes.lane_sender import LaneSender
from pipeline.lanes.sessions import OWN

log = logging.getLogger("headrace.lanes")

ORGANIZATION: Final = "organization"
ENABLED: Final = "enabled"


@dataclass(frozen=True, order=True)
class Lane:
    """An account in a region: what is read, limited, and fails by itself."""

    account_id: str
    region: str
    account_name: str = ""

    @property
    def value(self) -> PartitionValue:
        """As a value of the fan-out: what placeholders and columns take of it."""
        name = f"{self.account_id}/{self.region}"
        fields = {
            "each": name,
            "each.account_id": self.account_id,
            "each.account_name": self.account_name or None,
            "each.region": self.region,
        }
        return PartitionValue(name, name, fields, (name,))


async def lanes_of(sender: LaneSender) -> tuple[Lane, ...]:
    """The lanes of a source, in the order of accounts and regions.

    :raises HeadraceError: the accounts can't be listed.
    """
    accounts = await _accounts(sender)
    permits = asyncio.Semaphore(sender.access.limits.lanes_at_once)

    async def of_account(account: str) -> Sequence[str]:
        async with permits:
            return await _regions(sender, account)

    regions_of = await asyncio.gather(*map(of_account, accounts))
    lanes = [
        Lane(account, region, name)
        for (account, name), regions in zip(accounts.items(), regions_of, strict=True)
        for region in regions
    ]
    return tuple(sorted(lanes))


def values_of_lanes(
    source: Source, lanes: Sequence[Lane], own_account: str
) -> dict[str, tuple[PartitionValue, ...]]:
    """The values of each endpoint that is read in lanes, by its name."""
    by_scope: dict[Scope, tuple[PartitionValue, ...]] = {
        "region": tuple(lane.value for lane in lanes),
        "global": tuple(lane.value for lane in _of_accounts(lanes)),
        "home": tuple(lane.value for lane in _home(lanes, own_account)),
    }
    return {
        name: by_scope[endpoint.each.scope]
        for name, endpoint in source.endpoints.items()
        if isinstance(endpoint.each, LaneEach) and endpoint.each.found_in_run
    }


def _of_accounts(lanes: Iterable[Lane]) -> Iterable[Lane]:
    return dict.fromkeys(Lane(lane.account_id, GLOBAL, lane.account_name) for lane in lanes)


def _home(lanes: Sequence[Lane], own_account: str) -> Iterable[Lane]:
    name = next((lane.account_name for lane in lanes if lane.account_id == own_account), "")
    return (Lane(own_account, GLOBAL, name),)


async def _accounts(sender: LaneSender) -> Mapping[str, str]:
    """The accounts' names by their ids."""
    access, own = sender.access, sender.sessions.own_account
    names: dict[str, str] = {}
    for profile in access.profiles:
        # Until the profile's account is known, the profile's name stands for its id.
        sender.sessions.use_profile(profile, profile)
        region = access.home_region
        who = await sender.call(profile, region, "sts", "GetCallerIdentity", {})
        sender.sessions.use_profile(str(who["Account"]), profile)
        names[str(who["Account"])] = profile
    for account in access.accounts:
        if account == ORGANIZATION:
            names |= await _of_organization(sender)
        else:
            names.setdefault(own if account == OWN else account, "")
    return {n: name for n, name in sorted(names.items()) if n not in access.exclude_accounts}


async def _of_organization(sender: LaneSender) -> Mapping[str, str]:
    names: dict[str, str] = {}
    try:
        async for page in sender.pages(OWN, GLOBAL, "organizations", "ListAccounts"):
            for account in page.get("Accounts", ()):
                state = account.get("State") or account.get("Status")
                if state == "ACTIVE":
                    names[str(account["Id"])] = str(account.get("Name", ""))
    except HeadraceError as error:
        if error.outcome == "failed":
            raise
        raise AuthError(
            f"The accounts of the organization can't be listed: {error}. Check: 1. that the "
            "credentials are of the management account, or of a delegated administrator; 2. "
            "`organizations:ListAccounts`; or list them in `accounts`."
        ) from None
    return names


async def _regions(sender: LaneSender, account: str) -> Sequence[str]:
    wanted = sender.access.regions
    if ENABLED not in wanted:
        return wanted
    home, regions = sender.access.home_region, list[str]()
    try:
        async for page in sender.pages(account, home, "ec2", "DescribeRegions"):
            regions += [str(region["RegionName"]) for region in page.get("Regions", ())]
    except HeadraceError as error:
        sender.region_errors[account] = error
        log.warning("the regions of the account %s are not known: %s", account, error)
        return (EVERY,)
    return regions
