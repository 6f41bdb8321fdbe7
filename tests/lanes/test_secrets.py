"""No secret of AWS is in a log, an error, a manifest, a checkpoint or a row."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.responses import Response

from pipeline.lake.read import current
from pipeline.lake.s3 import Lake
from pipeline.lanes import open_lanes
from resources import BudgetResource
from tests.lanes.support import (
    DAYS,
    INSTANCES,
    REGIONS,
    SECRET,
    VOLUMES,
    Call,
    Proxy,
    error,
    inventory,
    read,
    with_instances,
)

pytestmark = pytest.mark.slow

EXTERNAL_ID = "the-external-id-of-the-tests"
ACCOUNTS = ["111111111111", "222222222222"]


class Everything(logging.Handler):
    """All that any library logs, of whatever level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.name}: {record.getMessage()} {record.exc_info or ''}")


@pytest.fixture
def logged() -> Iterator[Everything]:
    """Every logger says all that it can."""
    handler, root = Everything(), logging.getLogger()
    names = ["botocore", "boto3", "aiohttp", "httpx", "httpcore", "asyncio", "headrace"]
    levels = {name: logging.getLogger(name).level for name in ["", *names]}
    root.addHandler(handler)
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def all_texts(lake: Lake) -> str:
    """All that is in the lake: names, manifests, checkpoints, rows."""
    names = [entry.key for entry in lake.list("aws/")]
    objects = [lake.get(name) for name in names if name.endswith(".json")]
    small = [each.body.decode() for each in objects if each]
    rows = [str(current(lake, "aws", name).to_pylist()) for name in ("ec2_instances",)]
    return "\n".join([*names, *small, *rows])


def test_a_run_shows_no_secret_anywhere_though_aws_repeats_them(
    aws: tuple[Proxy, str], moto: str, lake: Lake, tmp_path: Path, logged: Everything
) -> None:
    proxy, url = aws
    with_instances(moto, ACCOUNTS[0], REGIONS[0], 12)

    def repeats(call: Call) -> Response | None:
        """Every kind of error, with all secrets in its words."""
        if call.region != REGIONS[1] or call.service != "ec2":
            return None
        known = " ".join([EXTERNAL_ID, SECRET, *proxy.secrets])
        code = "Odd" if call.action == "DescribeVolumes" else "UnauthorizedOperation"
        return error(code, 400, message=f"you sent {known}")

    proxy.rules.append(repeats)
    more = "max_failed_share: 1.0"
    source = inventory(url, ACCOUNTS, REGIONS[:2], tmp_path, VOLUMES + INSTANCES, more)
    outcome = read(source, lake, DAYS[0])
    assert {result.endpoint for result in outcome.results} == {"ec2_volumes", "ec2_instances"}
    secrets = {EXTERNAL_ID, SECRET, *proxy.secrets}
    assert len(secrets) == 2 + 2 * len(ACCOUNTS), "a key and a token of each role"
    texts = {
        "logs": "\n".join(logged.texts),
        "lake": all_texts(lake),
        "outcome": repr(outcome),
        "source": repr(source) + repr(source.lanes) + str(source.lanes),
    }
    for place, text in texts.items():
        shown = [secret for secret in secrets if secret in text]
        assert not shown, f"{len(shown)} secrets in the {place}"
    assert any(text.startswith("botocore") for text in logged.texts), "the logs were listened to"


def test_credentials_that_are_refused_are_not_shown(
    aws: tuple[Proxy, str], tmp_path: Path, logged: Everything
) -> None:
    proxy, url = aws
    proxy.rules.append(lambda call: error("InvalidClientTokenId", 403, "sts", f"no: {SECRET}"))
    source = inventory(url, ACCOUNTS[:1], REGIONS[:1], tmp_path)

    async def open_them() -> None:
        async with open_lanes(source, BudgetResource(where="memory").open):
            pass

    with pytest.raises(Exception, match="AWS refuses the credentials") as raised:
        asyncio.run(open_them())
    assert SECRET not in str(raised.value) + "".join(logged.texts)
