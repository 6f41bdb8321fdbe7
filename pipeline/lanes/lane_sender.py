"""Calls operations of AWS in lanes: each account, region and service has a client of its own.

AWS counts requests by account, region and service, so each of them has a budget, shared by all
processes that use it, and a breaker. Connections are shared by all. Clients that were not used for
longest are closed when there are many: memory does not grow with the number of accounts.
"""

import asyncio
import json
import logging
import os
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Final, NamedTuple, TypeVar

import httpx

from pipeline.aws import wire
from pipeline.aws.error_codes import ErrorMeaning, meaning_of
from pipeline.aws.rates import bucket_of
from pipeline.aws.regions import EVERY, GLOBAL, global_region, service_is_in
from pipeline.aws.service_models import AwsOperation, any_operation
from pipeline.config.lanes import LaneAccess
from pipeline.config.limits import LimitsConfig, RateWindowConfig
from pipeline.config.source import Source
from pipeline.decode.body_checks import BadBody, ThrottledInBody
from pipeline.errors import AuthError, ConfigError, ContractBroken, HeadraceError, RequestRefused
from pipeline.http.network import Proxies, tls_context
from pipeline.http.response_body import BodyLimit
from pipeline.http.retry import Breaker, BreakerState, RetryBudget
from pipeline.http.session import HttpSession
from pipeline.http.transport import AiohttpTransport, BudgetedTransport, DeadlineTransport
from pipeline.lanes.lane_client import LaneAccount, LaneClient, LaneSigner, operation_of
from pipeline.lanes.sessions import OWN, AccountSessions
from pipeline.messages import HttpRequest, HttpResponse, OperationCall, Read, RequestCounts
from pipeline.ratelimit import Budget, BudgetStats
from pipeline.redaction import keep_secrets_out

log = logging.getLogger("headrace.lanes")
T = TypeVar("T")
OpenBudget = Callable[[Source], Budget]
_OPEN: Final = 256
"""Clients above which idle ones are closed, where closing forgets what their budgets have sent."""
_NO_NAME: Final = re.compile("[^a-z0-9]")
_BUDGET_CHARS: Final = 60
_IN_THREAD: Final = 32 * 1024
"""Bytes of a body from which on it is read in a thread."""


class LaneKey(NamedTuple):
    """The key by which AWS counts requests.

    :ivar host_prefix: stands before the service's host; not counted by itself.
    """

    account: str
    region: str
    service: str
    host_prefix: str = ""

    @property
    def budget(self) -> str:
        """The name of its budget: the same for all sources, and short enough for each store.

        An account whose id is not known yet goes by its profile's name, which may have any letter.
        """
        parts = ["aws", self.account, self.region, self.service]
        return _NO_NAME.sub("_", "_".join(parts).lower())[:_BUDGET_CHARS]


@dataclass(eq=False)
class _OpenClient:
    client: LaneClient
    endpoint: wire.ServiceEndpoint
    closing: AsyncExitStack
    users: int = 0


def _sum(first: BudgetStats, second: BudgetStats) -> BudgetStats:
    return BudgetStats(
        requests=first.requests + second.requests,
        throttled=first.throttled + second.throttled,
        waited_permit_s=first.waited_permit_s + second.waited_permit_s,
        waited_slot_s=first.waited_slot_s + second.waited_slot_s,
    )


class LaneSender:
    """Sends the calls of all lanes of a source.

    :ivar region_errors: by account, the error of listing its regions. Whatever is called in
        ``EVERY`` region of such an account fails with it.
    """

    def __init__(
        self,
        source: Source,
        transport: httpx.AsyncBaseTransport,
        open_budget: OpenBudget,
        proxies: Proxies,
        body_limit: BodyLimit,
    ) -> None:
        """:param transport: sends by the same proxies, and within the same limit."""
        assert source.lanes is not None
        self._source, self._transport, self._open_budget = source, transport, open_budget
        self._proxies, self._body_limit = proxies, body_limit
        self.access: LaneAccess = source.lanes
        self.sessions = AccountSessions(self.access, self._call_home)
        self._closed_stats = BudgetStats()
        self._clients: OrderedDict[LaneKey, _OpenClient] = OrderedDict()
        self._closed: dict[LaneKey, tuple[Breaker, RetryBudget]] = {}  # a lane goes on with them
        self._opening = asyncio.Lock()
        self._regions_off: dict[tuple[str, str], bool] = {}
        self.region_errors: dict[str, HeadraceError] = {}

    @property
    def stats(self) -> BudgetStats:
        """The usage of all lanes' budgets together; exporters call it from threads of their own."""
        clients = [each.client for each in [*self._clients.values()]]
        return reduce(_sum, (client.stats for client in clients), self._closed_stats)

    @property
    def breaker_state(self) -> str:
        """That of the source as a whole never opens: each lane has a breaker of its own."""
        return BreakerState.CLOSED.value

    async def fetch(
        self, request: HttpRequest, read: Read[T], label: object, sent: RequestCounts
    ) -> T:
        """Call an operation until ``read`` has read its response, a page as JSON.

        :raises RequestRefused, AuthError, ApiUnavailable: of the lane that it is called in.
        """
        call = request.call
        if call is None:
            raise ConfigError("a source of kind `aws` calls operations, and no URLs")
        if call.region == EVERY and (error := self.region_errors.get(call.account)):
            raise copy(error)
        operation = operation_of(request)

        async def read_page(response: HttpResponse) -> T:
            try:
                page = await self._page(operation, response, call.rows)
            except ValueError as error:
                raise BadBody(str(error)) from None
            return await read(page)

        prefix = operation.host_prefix.replace("{AccountId}", call.account)
        key = LaneKey(call.account, call.region, call.service, prefix)
        async with self._client(key) as opened:
            made = wire.written(
                operation, json.loads(request.content or b"{}"), opened.endpoint.url
            )
            wired = replace(
                request,
                method=made.method,
                url=made.url,
                headers=made.headers,
                content=made.content,
            )
            return await opened.client.fetch(wired, read_page, label, sent)

    async def _page(
        self, operation: AwsOperation, response: HttpResponse, rows: str
    ) -> HttpResponse:
        def page() -> HttpResponse:
            content = _read(operation, response)
            following = wire.next_params(operation, content.members)
            if following is None and not wire.has_rows(content.members, rows):
                return replace(response, status=204, body=b"")  # a list that is there, and empty
            return replace(response, body=wire.page_json(operation, content.members))

        long = len(response.body) > _IN_THREAD
        return await asyncio.to_thread(page) if long else page()

    async def call(
        self, account: str, region: str, service: str, api_name: str, params: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The response of one call, as botocore reads it.

        :raises HeadraceError: as ``fetch``.
        """
        operation = any_operation(service, api_name)

        async def members(response: HttpResponse) -> Mapping[str, Any]:
            try:
                return _read(operation, response).members
            except ValueError as error:
                raise BadBody(str(error)) from None

        async with self._client(LaneKey(account, region, service)) as opened:
            made = wire.written(operation, params, opened.endpoint.url)
            request = HttpRequest(
                made.method,
                made.url,
                headers=made.headers,
                content=made.content,
                call=OperationCall(service, api_name, account, region),
            )
            label = f"{self._source.source}, {service}:{api_name} ({account}/{region})"
            return await opened.client.fetch(request, members, label, RequestCounts())

    async def pages(
        self, account: str, region: str, service: str, api_name: str
    ) -> AsyncIterator[Mapping[str, Any]]:
        """The responses of all pages of one operation.

        :raises ContractBroken: a page names itself as the next one.
        """
        operation, params = any_operation(service, api_name), dict[str, Any]()
        while True:
            page = await self.call(account, region, service, api_name, params)
            yield page
            following = wire.next_params(operation, page)
            if following is None:
                return
            if following.items() <= params.items():
                raise ContractBroken(
                    f"{service}:{api_name} ({account}/{region}): a page names itself as the next "
                    "one, so that what follows can't be read"
                )
            params = params | following

    async def _region_is_off(self, key: LaneKey) -> bool:
        """Whether an account has not switched a region on. False where that can't be known."""
        home = self.access.home_region
        if key.region in (GLOBAL, home):
            return False
        lane = (key.account, key.region)
        if lane not in self._regions_off:
            params = {"AllRegions": True, "RegionNames": [key.region]}
            try:
                page = await self.call(key.account, home, "ec2", "DescribeRegions", params)
            except HeadraceError as error:
                log.warning("%s: whether %s is on is not known: %s", *lane, error)
                return False
            states = [region.get("OptInStatus") for region in page.get("Regions", ())]
            self._regions_off[lane] = states == ["not-opted-in"]
        return self._regions_off[lane]

    async def _call_home(
        self, account: str, service: str, api_name: str, params: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        return await self.call(account, self.access.home_region, service, api_name, params)

    @asynccontextmanager
    async def _client(self, key: LaneKey) -> AsyncIterator[_OpenClient]:
        # One lock for all keys: a client is opened once, and none is closed between look and use.
        async with self._opening:
            is_new = key not in self._clients
            opened = await self._opened(key) if is_new else self._clients[key]
            self._clients.move_to_end(key)
            opened.users += 1
        try:
            if is_new:
                async with self._opening:
                    await self._close_idle()
            yield opened
        finally:
            opened.users -= 1

    async def _opened(self, key: LaneKey) -> _OpenClient:
        region = global_region(self.access.home_region) if key.region == GLOBAL else key.region
        try:
            url = self.access.endpoint_url
            endpoint = wire.service_endpoint(key.service, region, url, key.host_prefix)
        except ConfigError as error:
            raise _not_there(key, str(error)) from None
        of_aws = self.access.endpoint_url is None and key.region != GLOBAL
        listed = not of_aws or service_is_in(key.service, region)
        if not listed and not await has_host(endpoint.url):
            raise _not_there(key, f"`{key.service}` is not in `{region}`")
        source = self._source.model_copy(
            update={"base_url": endpoint.url, "limits": self._limits(key)}
        )
        source = source.with_lanes(self.access)
        closing = AsyncExitStack()
        budget = await closing.enter_async_context(self._open_budget(source))
        # Never closed itself: that would close the transport, whose connections all lanes share.
        http = HttpSession(
            BudgetedTransport(self._transport, budget, httpx.URL(endpoint.url)),
            LaneSigner(self.sessions, key.account, endpoint),
        )
        fresh = Breaker(source.breaker.failures), RetryBudget()
        breaker, spent = self._closed.pop(key, fresh)
        client = LaneClient(
            source,
            http,
            budget,
            breaker,
            self._proxies,
            self._body_limit,
            LaneAccount(self.sessions, key.account, lambda: self._region_is_off(key)),
        )
        client.spent = spent
        opened = self._clients[key] = _OpenClient(client, endpoint, closing)
        return opened

    def _limits(self, key: LaneKey) -> LimitsConfig:
        limits = self.access.limits
        bucket = bucket_of(key.service, limits.services)
        return LimitsConfig(
            budget=key.budget,
            windows=(RateWindowConfig(requests=bucket.burst, per_s=bucket.window_s),),
            in_flight=limits.in_flight,
            backfill_share=limits.backfill_share,
            max_body_mb=limits.max_body_mb,
        )

    async def _close_idle(self) -> None:
        """Close clients that nobody uses, beyond what lanes that are read side by side need.

        A budget takes some file descriptors, or a connection: hundreds of them are too many for a
        process, or for a server.
        """
        outlive = all(each.client.budget.store.outlives_users for each in self._clients.values())
        most = 2 * self.access.limits.lanes_at_once if outlive else _OPEN
        surplus = len(self._clients) - most
        if surplus > 0:
            idle = [key for key, each in self._clients.items() if not each.users]
            for key in idle[:surplus]:
                await self._close(key)

    async def _close(self, key: LaneKey) -> None:
        opened = self._clients.pop(key)
        self._closed_stats = _sum(self._closed_stats, opened.client.stats)
        self._closed[key] = opened.client.breaker, opened.client.spent
        await opened.closing.aclose()

    async def aclose(self) -> None:
        """Close all clients, and give back what they hold."""
        for key in [*self._clients]:
            await self._close(key)


def _read(operation: AwsOperation, response: HttpResponse) -> wire.WireResponse:
    """A page. :raises ValueError: it is none. :raises BadBody: it is an error."""
    page = wire.read(operation, response.status, response.headers, bytes(response.body))
    if not page.error:
        return page
    sentence = f"AWS responded with {response.status}, and an error in it ({page.error})"
    if meaning_of(page.error, response.status) is ErrorMeaning.THROTTLED:
        raise ThrottledInBody(sentence)
    raise BadBody(sentence)


async def has_host(url: str) -> bool:
    """Whether the host of a URL has an address: botocore's list may be older than a service."""
    try:
        await asyncio.get_running_loop().getaddrinfo(httpx.URL(url).host, None)
    except OSError:
        return False
    return True


def _not_there(key: LaneKey, why: str) -> HeadraceError:
    error = RequestRefused(f"{key.account}/{key.region}: {why}")
    error.outcome, error.code = "none", "ServiceNotInRegion"
    return error


def stages_of(source: Source) -> httpx.Timeout:
    """The time limits of the stages of a request."""
    return httpx.Timeout(source.timeouts.read_s, connect=source.timeouts.connect_s, pool=None)


@asynccontextmanager
async def open_lanes(source: Source, open_budget: OpenBudget) -> AsyncIterator[LaneSender]:
    """The sender of a source's lanes, whose connections live as long as the ``async with``.

    :param open_budget: the budget of a source with the limits of one account, region and service.
    :raises ConfigError, AuthError: there are no credentials, or they can't be used.
    """
    assert source.lanes is not None
    keep_secrets_out()
    tls = await asyncio.to_thread(tls_context, source.tls, os.environ)
    limits = source.lanes.limits
    proxies = Proxies.of(source, os.environ)
    body_limit = BodyLimit(source.source, source.limits.max_body_bytes)
    wires = AiohttpTransport(2 * limits.lanes_at_once + 2, tls, proxies)
    transport = DeadlineTransport(wires, stages_of(source), source.timeouts.total_s, body_limit)
    sender = LaneSender(source, transport, open_budget, proxies, body_limit)
    try:
        try:
            who = await sender.call(OWN, source.lanes.home_region, "sts", "GetCallerIdentity", {})
        except RequestRefused as error:
            raise AuthError(
                f"AWS refuses the credentials: {error}. Check: 1. the access key and its secret; "
                "2. the session token, if they have one; 3. `profile`, AWS_PROFILE"
            ) from None
        sender.sessions.own_account = str(who["Account"])
        yield sender
    finally:
        await sender.aclose()
        await transport.aclose()
