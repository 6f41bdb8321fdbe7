"""An emulated AWS that is fast: canned rows, AWS's own token buckets, and a count of all it did.

``python -m benchmarks.aws_server PORT_FILE OPTIONS`` serves until it is ended. A lane's rows follow
from its account, its region and the operation, so that a reader's rows can be held against them.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from zlib import crc32

_SCOPE = re.compile(r"Credential=(\w+)/\d+/([\w-]+)/([\w-]+)/")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
EC2 = {
    "DescribeVolumes": ("volumeSet", "volumeId"),
    "DescribeVpcs": ("vpcSet", "vpcId"),
    "DescribeSubnets": ("subnetSet", "subnetId"),
    "DescribeSecurityGroups": ("securityGroupInfo", "groupId"),
    "DescribeAddresses": ("addressesSet", "allocationId"),
}
JSON = {
    "ListTables": ("TableNames", None, "LastEvaluatedTableName", "ExclusiveStartTableName"),
    "ListQueues": ("QueueUrls", None, "NextToken", "NextToken"),
    "ListKeys": ("Keys", "KeyId", "NextMarker", "Marker"),
    "ListSecrets": ("SecretList", "ARN", "NextToken", "NextToken"),
    "ListFunctions": ("Functions", "FunctionArn", "NextMarker", "Marker"),
}


def rows_of(account: str, region: str, action: str, most: int) -> list[str]:
    """The ids of a lane's rows."""
    number = crc32(f"{account}{region}{action}".encode()) % (most + 1)
    return [f"{action.lower()}-{account}-{region}-{n}" for n in range(number)]


@dataclass
class Bucket:
    """A token bucket, as AWS's documentation describes it."""

    burst: float
    per_s: float
    tokens: float
    at: float

    def take(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.per_s)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass
class EmulatedAws:
    """What it has, and what came.

    :ivar rates: the bucket of each service: requests at once, and a second.
    :ivar pages: of each operation in each lane, each with ``most`` rows; 0: one page.
    """

    rates: dict[str, tuple[float, float]] = field(default_factory=dict)
    most: int = 3
    pages: int = 0
    latency_s: float = 0.0
    buckets: dict[tuple[str, str, str], Bucket] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    first: float = 0.0
    last: float = 0.0

    def respond(self, head: bytes, body: bytes) -> tuple[int, str, str]:
        """The status, the type and the body of a response."""
        text = head.decode("latin-1")
        path = text.split(" ", 2)[1]
        if path.startswith("/_counts"):
            said = {**self.counts, "first": self.first, "last": self.last}
            if path.endswith("reset"):
                self.counts.clear()
                self.buckets.clear()
                self.first = 0.0
            return 200, "application/json", json.dumps(said)
        scope = _SCOPE.search(text)
        if scope is None:
            return 403, "text/plain", "unsigned"
        key, region, service = scope.groups()
        account = key[4:16] if key.startswith("ASIA") else "999999999999"
        target = re.search(r"x-amz-target: *[\w.]+\.(\w+)", text, re.IGNORECASE)
        if target:
            action, params = target[1], json.loads(body or b"{}")
        elif path.startswith("/2015-03-31/functions"):
            query = parse_qs(path.partition("?")[2])
            action, params = "ListFunctions", {name: v[0] for name, v in query.items()}
        else:
            params = {n: v[0] for n, v in parse_qs(body.decode()).items()}
            action = params.get("Action", "")
        return self._operation(account, region, service, action, params)

    def _operation(
        self, account: str, region: str, service: str, action: str, params: dict[str, Any]
    ) -> tuple[int, str, str]:
        now = time.monotonic()
        if service == "sts":
            self.counts["sts"] += 1
            return 200, "text/xml", _sts(action, params)
        bucket = self.buckets.get((account, region, service))
        if bucket is None:
            burst, per_s = self.rates.get(service, (100, 20))
            bucket = Bucket(burst, per_s, burst, now)
            self.buckets[account, region, service] = bucket
        self.counts["requests"] += 1
        self.first = self.first or now
        self.last = now
        if not bucket.take(now):
            self.counts["throttled"] += 1
            return _throttled(service)
        self.counts["passed"] += 1
        return 200, *self._page(account, region, action, params)

    def _page(
        self, account: str, region: str, action: str, params: dict[str, Any]
    ) -> tuple[str, str]:
        if not self.pages:
            ids, following = rows_of(account, region, action, self.most), None
        else:
            names = ("NextToken", "ExclusiveStartTableName", "Marker")
            token = next((params[name] for name in names if params.get(name)), "page-0")
            at = int(token.removeprefix("page-"))
            ids = [f"{action.lower()}-{region}-{at}-{n}" for n in range(self.most)]
            following = f"page-{at + 1}" if at + 1 < self.pages else None
        self.counts["rows"] += len(ids)
        if action in EC2:
            return "text/xml", _ec2(action, ids, following)
        name, member, token, _ = JSON[action]
        items = [{member: each} for each in ids] if member else ids
        return "application/x-amz-json-1.0", json.dumps(
            {name: items, **({token: following, "Truncated": True} if following else {})}
        )


def _ec2(action: str, ids: list[str], following: str | None) -> str:
    name, member = EC2[action]
    items = "".join(f"<item><{member}>{each}</{member}></item>" for each in ids)
    token = f"<nextToken>{following}</nextToken>" if following else ""
    return (
        f"<{action}Response><requestId>1</requestId><{name}>{items}</{name}>{token}"
        f"</{action}Response>"
    )


def _sts(action: str, params: dict[str, Any]) -> str:
    if action == "GetCallerIdentity":
        arn = "arn:aws:iam::999999999999:user/u"
        inner = f"<Account>999999999999</Account><UserId>u</UserId><Arn>{arn}</Arn>"
    else:
        account = params["RoleArn"].split(":")[4]
        inner = (
            f"<Credentials><AccessKeyId>ASIA{account}</AccessKeyId><SecretAccessKey>secret-{account}"
            f"</SecretAccessKey><SessionToken>token-{account}</SessionToken><Expiration>"
            "2099-01-01T00:00:00Z</Expiration></Credentials>"
        )
    return f"<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>"


def _throttled(service: str) -> tuple[int, str, str]:
    if service == "ec2":
        return (
            503,
            "text/xml",
            (
                "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>slow</Message>"
                "</Error></Errors><RequestID>1</RequestID></Response>"
            ),
        )
    return 400, "application/json", '{"__type": "ThrottlingException", "message": "slow"}'


async def _serve(aws: EmulatedAws, told: Callable[[str], object]) -> None:
    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
                if aws.latency_s:
                    await asyncio.sleep(aws.latency_s)
                status, kind, text = aws.respond(head, body)
                data = text.encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}"
                    "\r\n\r\n".encode()
                    + data
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=256)
    told(str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(EmulatedAws(**json.loads(sys.argv[2])), Path(sys.argv[1]).write_text))
