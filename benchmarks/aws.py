"""An inventory of AWS, side by side with the usual way: boto3 in a pool of 20 threads.

    python -m benchmarks.aws limits
    python -m benchmarks.aws inventory [ACCOUNTS [REGIONS]]     default: 200 accounts, 17 regions

Two cases, against one emulated AWS with the token buckets that the source has for AWS's services
(``aws_server``, a process of its own). ``inventory``: one page of ten operations in each lane.
``limits``: one service after the other, many pages in one lane, whose bucket is what there is to
use. Each peer is a process of its own; both write Parquet. What is compared: rows, seconds, seconds
of CPU, throttled calls, and the memory of the process at its peak.
"""

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.aws_server import EC2, JSON, rows_of
from local.services import seaweedfs
from pipeline.aws.rates import bucket_of

RESULT = Path(__file__).parent / "results" / "aws.json"
REGIONS = (
    "us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "eu-west-1", "eu-west-2",
    "eu-west-3", "eu-central-1", "eu-north-1", "ap-south-1", "ap-northeast-1", "ap-northeast-2",
    "ap-northeast-3", "ap-southeast-1", "ap-southeast-2", "sa-east-1",
)  # fmt: skip
OPERATIONS = {
    "volumes": ("ec2", "describe_volumes", "Volumes", "volume_id"),
    "vpcs": ("ec2", "describe_vpcs", "Vpcs", "vpc_id"),
    "subnets": ("ec2", "describe_subnets", "Subnets", "subnet_id"),
    "groups": ("ec2", "describe_security_groups", "SecurityGroups", "group_id"),
    "addresses": ("ec2", "describe_addresses", "Addresses", "allocation_id"),
    "tables": ("dynamodb", "list_tables", "TableNames", "table_name"),
    "queues": ("sqs", "list_queues", "QueueUrls", "queue_url"),
    "keys": ("kms", "list_keys", "Keys", "key_id"),
    "secrets": ("secretsmanager", "list_secrets", "SecretList", "arn"),
    "functions": ("lambda", "list_functions", "Functions", "function_arn"),
}
PAGE = 5
"""Rows of a page, where there are several."""
FOR_S = 60
"""Seconds for which a service's bucket is drawn on, behind its first burst."""
WHOLE = {"describe_addresses"}
"""Operations that have one page, whatever is in it."""
KEYS = {"access_key_id": "AKIABENCH", "secret_access_key": "a-secret-of-the-benchmark"}


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[str]:
    """The emulated AWS as a process of its own: its URL."""
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.aws_server", str(port_file), json.dumps(options)]
    process = subprocess.Popen(command)
    try:
        while not (port_file.exists() and port_file.read_text()):
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port_file.read_text()}"
    finally:
        process.terminate()
        process.wait(10)


# ---- the peers: each in a process of its own


def headrace_peer(job: dict[str, Any]) -> dict[str, Any]:
    """The engine, over the source that the job describes."""
    from pipeline.config import load_source
    from pipeline.lake.s3 import Lake
    from pipeline.lanes import lanes_of, open_lanes, values_of_lanes
    from pipeline.run.context import RunContext
    from pipeline.run.runner import RunOutcome, run_source
    from resources import BudgetResource

    file = Path(job["folder"]) / "aws.yaml"
    file.write_text(job["yaml"])
    source = load_source(file, {})
    day = f"{datetime.now(UTC):%Y-%m-%d}"

    async def main() -> tuple[int, list[str]]:
        import boto3

        s3 = boto3.client("s3", **job["s3"])
        lake, outcome = Lake(s3, f"s3://lake/{job['prefix']}"), RunOutcome()
        assert source.lanes is not None
        async with open_lanes(source, BudgetResource(where=job["budget"]).open) as sender:
            lanes = await lanes_of(sender)
            values = values_of_lanes(source, lanes, sender.sessions.own_account)
            at_once = asyncio.Semaphore(source.lanes.limits.lanes_at_once)
            now = lambda: datetime.now(UTC)  # noqa: E731
            run = RunContext(source, lake, sender, "bench", now, values=dict(values), lanes=at_once)
            await run_source(run, list(source.endpoints), [day], outcome)
        lanes_seen = sum(sum(r.manifest.notes.values["lanes"].values()) for r in outcome.results)
        rows = sum(receipt.manifest.rows for receipt in outcome.results)
        return rows, [str(failed.error) for failed in outcome.failed] + [f"{lanes_seen} lanes"]

    rows, said = asyncio.run(main())
    return {"rows": rows, "said": said}


def boto3_peer(job: dict[str, Any]) -> dict[str, Any]:
    """boto3 as it is usually used: a session an account, a client a service, and 20 threads."""
    import boto3
    import pyarrow as pa
    import pyarrow.parquet as pq

    url, folder = job["url"], Path(job["folder"])
    keys = {f"aws_{name}": value for name, value in KEYS.items()}
    sts = boto3.client("sts", endpoint_url=url, region_name="us-east-1", **keys)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in job["operations"]}

    def session_of(account: str) -> Any:
        arn = f"arn:aws:iam::{account}:role/audit"
        found = sts.assume_role(RoleArn=arn, RoleSessionName="bench")["Credentials"]
        return boto3.Session(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])

    def lane(account: str, session: Any, region: str, names: list[str]) -> None:
        clients: dict[str, Any] = {}
        for name in names:
            service, operation, path, _ = OPERATIONS[name]
            if service not in clients:
                clients[service] = session.client(service, endpoint_url=url, region_name=region)
            client = clients[service]
            pages = (
                client.get_paginator(operation).paginate()
                if client.can_paginate(operation)
                else [getattr(client, operation)()]
            )
            for page in pages:
                for row in page.get(path, ()):
                    of = row if isinstance(row, dict) else {"value": row}
                    rows[name].append({"account_id": account, "region": region, **of})

    with ThreadPoolExecutor(20) as pool:
        sessions = dict(zip(job["accounts"], pool.map(session_of, job["accounts"]), strict=True))
        parts = [[n] for n in job["operations"]] if job["apart"] else [list(job["operations"])]
        lanes = [
            pool.submit(lane, account, session, region, names)
            for account, session in sessions.items()
            for region in job["regions"]
            for names in parts
        ]
        errors = [str(each.exception()) for each in lanes if each.exception()]
    for name, found in rows.items():
        pq.write_table(pa.Table.from_pylist(found), folder / f"{name}.parquet")
    return {"rows": sum(map(len, rows.values())), "said": [*errors[:3], f"{len(errors)} errors"]}


PEERS = {"headrace": headrace_peer, "boto3": boto3_peer}


def _measured(peer: str, job: dict[str, Any]) -> dict[str, Any]:
    """Run a peer, and add what it took; its server is counted by itself."""
    httpx.get(f"{job['url']}/_counts/reset")
    command = [sys.executable, "-m", "benchmarks.aws", "peer", peer]
    began = time.monotonic()
    done = subprocess.run(
        command, input=json.dumps(job), capture_output=True, text=True, check=False
    )
    took_s = time.monotonic() - began
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found = json.loads(done.stdout.splitlines()[-1])
    counts = httpx.get(f"{job['url']}/_counts").json()
    sent_s = counts["last"] - counts["first"]
    return {
        **found,
        "seconds": round(took_s, 1),
        "requests": counts.get("requests", 0),
        "throttled": counts.get("throttled", 0),
        "passed": counts.get("passed", 0),
        "sessions": counts.get("sts", 0),
        "sent_s": round(sent_s, 2),
    }


# ---- the cases


def _yaml(url: str, accounts: list[str], regions: list[str], names: list[str]) -> str:
    lines = [
        f"  {name}: {{service: {service}, operation: {operation}, key: [{key}], limit: {PAGE}}}"
        for name in names
        for service, operation, _, key in [OPERATIONS[name]]
    ]
    quoted = ", ".join(f'"{account}"' for account in accounts)
    return (
        "kind: aws\nsource: aws\nstart: 2026-01-01\nrole: audit\n"
        f"accounts: [{quoted}]\nregions: [{', '.join(regions)}]\nendpoint_url: {url}\n"
        f"credentials: {{access_key_id: {KEYS['access_key_id']}, secret_access_key: "
        f"{KEYS['secret_access_key']}}}\nendpoints:\n" + "\n".join(lines) + "\n"
    )


def _rates() -> dict[str, tuple[float, float]]:
    """The buckets of the services, as the source has them."""
    services = {service for service, *_ in OPERATIONS.values()}
    buckets = {service: bucket_of(service, {}) for service in sorted(services)}
    return {service: (bucket.burst, bucket.per_s) for service, bucket in buckets.items()}


def _compared(
    folder: Path, s3: dict[str, str], accounts: list[str], regions: list[str], names: list[str],
    **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """Both peers, one after the other, against one emulated AWS."""
    with serving(folder, rates=_rates(), **options) as url:
        job = {
            "url": url,
            "yaml": _yaml(url, accounts, regions, names),
            "accounts": accounts,
            "regions": regions,
            "operations": names,
            "folder": str(folder),
            "s3": s3,
            "prefix": "-".join(names),
            "budget": "memory",
            "apart": len(accounts) == 1,
        }
        return {peer: _measured(peer, job) for peer in PEERS}


def inventory(folder: Path, s3: dict[str, str], accounts: int, regions: int) -> dict[str, Any]:
    """One page of ten operations in every lane."""
    ids = [f"{n:012d}" for n in range(1, accounts + 1)]
    places, names = list(REGIONS[:regions]), list(OPERATIONS)
    expected = sum(len(rows_of(a, r, o, 3)) for a in ids for r in places for o in [*EC2, *JSON])
    found = _compared(folder, s3, ids, places, names, most=3)
    lanes = accounts * regions * len(names)
    return {"accounts": accounts, "regions": regions, "lanes": lanes, "rows": expected, **found}


def limits(folder: Path, s3: dict[str, str]) -> dict[str, Any]:
    """The whole bucket of each service, for a while, in one lane."""
    found: dict[str, Any] = {}
    for service, (burst, per_s) in _rates().items():
        names = [name for name, (of, *_) in OPERATIONS.items() if of == service]
        whole = sum(OPERATIONS[name][1] in WHOLE for name in names)
        pages = int(burst + FOR_S * per_s - whole) // (len(names) - whole)
        peers = _compared(
            folder, s3, ["000000000001"], ["eu-west-1"], names, most=PAGE, pages=pages
        )
        for peer in peers.values():  # of all that the bucket has given in that time
            peer["share_of_limit"] = round(peer["passed"] / (burst + per_s * peer["sent_s"]), 3)
        rows = PAGE * (pages * (len(names) - whole) + whole)
        found[service] = {"burst": burst, "per_s": per_s, "rows": rows, **peers}
    return found


def main() -> None:
    case, sizes = sys.argv[1], [int(word) for word in sys.argv[2:]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with seaweedfs(folder / "s3", buckets=["lake"]) as server:
            s3 = {
                "endpoint_url": server.endpoint_url,
                "aws_access_key_id": server.access_key,
                "aws_secret_access_key": server.secret_key,
                "region_name": "us-east-1",
            }
            if case == "limits":
                found = limits(folder, s3)
            else:
                accounts, regions = [*sizes, *(200, len(REGIONS))[len(sizes) :]]
                found = inventory(folder, s3, accounts, regions)
    before = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    RESULT.write_text(json.dumps({**before, case: found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["peer"]:
        done = PEERS[sys.argv[2]](json.load(sys.stdin))
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s, peak_mb = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
        print(json.dumps({**done, "peak_mb": round(peak_mb), "cpu_s": round(cpu_s, 1)}))
    else:
        main()
