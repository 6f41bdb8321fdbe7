"""moto as a server, a proxy before it that does what moto does not, and the engine over both."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import parse_qs

import boto3
import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipeline.config import Source, load_source
from pipeline.lake.stores.base import ObjectStore
from pipeline.lanes import lanes_of, open_lanes, values_of_lanes
from pipeline.run.context import RunContext
from pipeline.run.runner import RunOutcome, run_source
from resources import BudgetResource
from tests.support.clock import at_once
from tests.support.runs import serving

KEY, SECRET = "AKIAHEADRACETESTING1", "a-secret-access-key-of-the-tests"
MANAGEMENT = "123456789012"
"""The account that moto takes unknown keys for."""
REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "eu-central-1")
DAYS = ("2026-11-01", "2026-11-02", "2026-11-03")
_numbers = count()

HEAD = """
kind: aws
source: aws
start: 2026-11-01
home_region: us-east-1
accounts: [{accounts}]
role: audit
external_id: the-external-id-of-the-tests
regions: [{regions}]
endpoint_url: {url}
credentials: {{access_key_id: {key}, secret_access_key: {secret}}}
retries: {{errors: 2, timeouts: 1, throttled: 20, first_wait_s: 0.01, max_wait_s: 0.05}}
limits: {{services: {{ec2: {{burst: 1000, per_s: 1000}}, sts: {{burst: 1000, per_s: 1000}},
  iam: {{burst: 1000, per_s: 1000}}, s3: {{burst: 1000, per_s: 1000}}}}}}
{more}
endpoints:
{endpoints}
"""
VOLUMES = "  ec2_volumes: {service: ec2, operation: describe_volumes, key: [volume_id], limit: 5}\n"
INSTANCES = """
  ec2_instances: {service: ec2, operation: describe_instances, rows: Reservations.*.Instances,
    key: [instance_id], limit: 5}
"""
"""moto pages these, and no volumes."""


def after(day: str) -> datetime:
    """Two hours before a day ends: its snapshot may be taken."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC, hour=22)


@dataclass(frozen=True)
class Call:
    """A request as AWS sees it.

    :ivar key: the access key that has signed it. :ivar action: AWS's name of the operation.
    """

    key: str
    region: str
    service: str
    action: str
    account: str
    session: int
    params: dict[str, Any]


Rule = Callable[[Call], Response | Awaitable[Response] | None]


@dataclass
class Proxy:
    """Stands in front of moto: hears every call, and may respond in its place.

    :ivar rules: the first that responds wins.
    :ivar calls: that came, by service and action.
    :ivar sessions: assumed so far, by account.
    :ivar secrets: the keys and tokens of these.
    """

    moto: str
    rules: list[Rule] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    sessions: Counter[str] = field(default_factory=Counter)
    accounts: dict[str, tuple[str, int]] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)

    def app(self) -> Starlette:
        methods = ["GET", "POST", "PUT", "HEAD"]
        return Starlette(routes=[Route("/{path:path}", self._respond, methods=methods)])

    async def _respond(self, request: Request) -> Response:
        body = await request.body()
        call = self._call(request, body)
        self.calls.append(call)
        for rule in self.rules:
            found = rule(call)
            if isinstance(found, Awaitable):
                found = await found
            if found is not None:
                return found
        passed = {n: v for n, v in request.headers.items() if n not in ("host", "content-length")}
        async with httpx.AsyncClient(timeout=60) as client:
            url = self.moto + request.url.path
            sent = await client.request(
                request.method, url, params=request.url.query, headers=passed, content=body
            )
        if call.action == "AssumeRole" and sent.status_code == 200:
            self._heard(call, sent.text)
        kept = {n: v for n, v in sent.headers.items() if n in ("content-type", "x-amzn-requestid")}
        return Response(sent.content, sent.status_code, kept)

    def _heard(self, call: Call, text: str) -> None:
        account = call.params["RoleArn"].split(":")[4]
        key = re.search(r"<AccessKeyId>(\w+)<", text)
        assert key is not None
        self.secrets |= set(re.findall(r"<(?:SecretAccessKey|SessionToken)>([^<]+)<", text))
        self.sessions[account] += 1
        self.accounts[key[1]] = (account, self.sessions[account])

    def _call(self, request: Request, body: bytes) -> Call:
        signed = request.headers.get("authorization", "")
        scope = re.search(r"Credential=(\w+)/\d+/([\w-]+)/([\w-]+)/", signed)
        assert scope is not None, "a request without a signature"
        key, region, service = scope.groups()
        target = request.headers.get("x-amz-target", "")
        text = body.decode("utf-8", "replace")
        if target:
            action, params = target.rpartition(".")[2], json.loads(text or "{}")
        else:
            params = {name: values[0] for name, values in parse_qs(text).items()}
            action = params.get("Action", f"{request.method} {request.url.path}")
        account, session = self.accounts.get(key, (MANAGEMENT, 0))
        return Call(key, region, service, action, account, session, params)

    def of(self, action: str) -> list[Call]:
        """The calls of one operation."""
        return [call for call in self.calls if call.action == action]


def error(code: str, status: int = 400, service: str = "ec2", message: str = "no") -> Response:
    """An error as a service writes it."""
    if service == "ec2":
        text = f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        return Response(f"{text}</Errors><RequestID>1</RequestID></Response>", status)
    if service in ("iam", "sts", "s3"):
        inner = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        return Response(
            inner if service == "s3" else f"<ErrorResponse>{inner}</ErrorResponse>", status
        )
    return Response(json.dumps({"__type": code, "message": message}), status)


def volumes_page(*volume_ids: str, token: str | int | None = None) -> Response:
    """A page of DescribeVolumes, as EC2 writes it.

    :param token: of the page behind it; None: there is none.
    """
    items = "".join(f"<item><volumeId>{name}</volumeId></item>" for name in volume_ids)
    more = "" if token is None else f"<nextToken>{token}</nextToken>"
    inner = f"<volumeSet>{items}</volumeSet>{more}"
    return Response(f"<DescribeVolumesResponse>{inner}</DescribeVolumesResponse>")


def region_state(state: str) -> Response:
    """What `DescribeRegions` says of one region: ``opted-in``, ``not-opted-in``, …"""
    item = f"<item><regionName>x</regionName><optInStatus>{state}</optInStatus></item>"
    inner = f"<regionInfo>{item}</regionInfo>"
    return Response(f"<DescribeRegionsResponse>{inner}</DescribeRegionsResponse>")


def refusing(response: Callable[[], Response], **wanted: str) -> Rule:
    """A rule for the calls whose members are as wanted: ``account``, ``region``, ``action``."""

    def rule(call: Call) -> Response | None:
        fits = all(getattr(call, name) == value for name, value in wanted.items())
        return response() if fits else None

    return rule


def hanging(until: Event, **wanted: str) -> Rule:
    """A rule for calls that get no response until the event is set."""

    def rule(call: Call) -> Awaitable[Response] | None:
        if not all(getattr(call, name) == value for name, value in wanted.items()):
            return None

        async def wait() -> Response:
            await asyncio.to_thread(until.wait, 30)
            return Response(status_code=500)

        return wait()

    return rule


@contextmanager
def proxied(moto: str, *, date_header: bool = True) -> Iterator[tuple[Proxy, str]]:
    """A proxy in front of moto, and its URL. :param date_header: False: a rule may send one."""
    proxy = Proxy(moto)
    with serving(proxy.app(), date_header=date_header) as url:
        yield proxy, url


def client_of(moto: str, service: str, account: str, region: str) -> Any:
    """A client of boto3's, straight to moto, for what an account has."""
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
    options = {"endpoint_url": moto, "region_name": region}
    if account != MANAGEMENT:
        sts = boto3.client("sts", **options, **keys)
        arn = f"arn:aws:iam::{account}:role/setup"
        found = sts.assume_role(RoleArn=arn, RoleSessionName="setup")["Credentials"]
        keys = {
            "aws_access_key_id": found["AccessKeyId"],
            "aws_secret_access_key": found["SecretAccessKey"],
            "aws_session_token": found["SessionToken"],
        }
    return boto3.client(service, **options, **keys)


def with_volumes(moto: str, account: str, region: str, number: int) -> list[str]:
    """Volumes in a lane: their ids."""
    ec2 = client_of(moto, "ec2", account, region)
    zone = f"{region}a"
    return [
        ec2.create_volume(Size=10 + n, AvailabilityZone=zone)["VolumeId"] for n in range(number)
    ]


def with_instances(moto: str, account: str, region: str, number: int) -> list[str]:
    """Instances in a lane, each of a reservation of its own: their ids."""
    ec2 = client_of(moto, "ec2", account, region)
    found = [
        ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1) for _ in range(number)
    ]
    return [each["Instances"][0]["InstanceId"] for each in found]


def inventory(
    url: str,
    accounts: Sequence[str],
    regions: Sequence[str],
    folder: Path,
    endpoints: str = VOLUMES,
    more: str = "",
) -> Source:
    """A source of kind aws, over an emulated AWS."""
    file = folder / f"aws{next(_numbers)}.yaml"
    file.write_text(
        HEAD.format(
            accounts=", ".join(f'"{account}"' for account in accounts),
            regions=", ".join(regions),
            url=url,
            key=KEY,
            secret=SECRET,
            more=more,
            endpoints=endpoints,
        )
    )
    return load_source(file, {})


def read(
    source: Source,
    lake: ObjectStore,
    day: str,
    run_id: str | None = None,
    budget: str = "memory",
    now: datetime | None = None,
) -> RunOutcome:
    """One run over all endpoints of a source."""

    async def main() -> RunOutcome:
        outcome = RunOutcome()
        async with open_lanes(source, BudgetResource(where=budget).open) as sender:
            lanes = await lanes_of(sender)
            values = values_of_lanes(source, lanes, sender.sessions.own_account)
            assert source.lanes is not None
            run = RunContext(
                source,
                lake,
                sender,
                run_id or f"run-{next(_numbers)}",
                lambda: now or after(day),
                values=dict(values),
                lanes=asyncio.Semaphore(source.lanes.limits.lanes_at_once),
                sleep=at_once,
            )
            await run_source(run, list(source.endpoints), [day], outcome)
        return outcome

    return asyncio.run(main())
