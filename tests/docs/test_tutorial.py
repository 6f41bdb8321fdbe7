"""The tutorial, run from its pages as they stand, in a copy of the project."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3
import pytest

from local.paths import ROOT
from local.ports import free_port
from local.process import running, tail
from local.s3 import child_env
from pipeline.lake.read import manifests
from pipeline.lake.s3 import Lake
from tests.support.copies import copy_of_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAGES = sorted((ROOT / "docs" / "tutorial").glob("[0-9]*.md"))
BLOCK = re.compile(r"```(\w+)([^\n]*)\n(.*?)```", re.DOTALL)
READY_S, POLL_S = 120.0, 0.2


@dataclass(frozen=True)
class Block:
    language: str
    about: str
    text: str


@dataclass
class Reader:
    """Somebody who follows the tutorial: a shell's variables, and servers in other terminals."""

    root: Path
    stack: ExitStack
    port: int
    temporary: str
    said: str = ""

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        if block.language == "text":
            for line in block.text.splitlines():
                assert found(line, self.said), f"{line}\n--- is not in ---\n{self.said}"
        elif block.language == "yaml":
            (name,) = re.findall(r'title="([^"]+)"', block.about)
            (self.root / name).write_text(block.text, encoding="utf-8")
        elif "Terminal" in block.about:
            self.serve(block.text.replace("-p 3000", f"-p {self.port}"))
        else:
            text = block.text if block.language == "sh" else f"python - <<'END'\n{block.text}END\n"
            if text.strip() == "make install":
                return  # what runs this test is set up
            if "--last 3" in text and "load" not in text:
                self.wait_for("2026-11-10")
            if "rm -rf" in text:
                self.stack.close()  # the page says: stop the two servers
            self.run(text, fails="fails" in block.about)

    def run(self, text: str, *, fails: bool = False) -> None:
        """A block in the second terminal, whose variables stay."""
        script = f"set -e\n[ ! -f vars ] || . ./vars\n{text}\nexport -p > vars\n"
        done = self.shell(script)
        self.said = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, f"{text}\n{self.said[-3000:]}"

    def shell(self, script: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["sh", "-c", script],
            cwd=self.root,
            env=child_env({"TMPDIR": self.temporary}),
            capture_output=True,
            text=True,
            check=False,
        )

    def serve(self, text: str) -> None:
        """A block that goes on: its last line replaces the shell, so that ending it ends all."""
        *before, last = text.strip().splitlines()
        log = self.root / f"server-{len(text)}.log"
        command = ["sh", "-c", "\n".join([*before, f"exec {last}"])]
        child = self.stack.enter_context(
            running(command, env=child_env(), cwd=self.root, log=log, grace_s=20.0)
        )
        deadline = time.monotonic() + READY_S
        ready = f":{self.port}" if "dagster" in text else "Ctrl-C stops it"
        while ready not in log.read_text(encoding="utf-8"):
            assert child.exit_code() is None, tail(log)
            assert time.monotonic() < deadline, tail(log)
            time.sleep(POLL_S)

    def wait_for(self, partition: str) -> None:
        """Until the backfill's last day is in the lake."""
        exported = self.shell(". ./vars\nenv").stdout.splitlines()
        env = dict(line.split("=", 1) for line in exported if "=" in line)
        s3 = boto3.client(
            "s3",
            endpoint_url=env["AWS_ENDPOINT_URL_S3"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )
        lake = Lake(s3, env["HEADRACE_LAKE"])
        deadline = time.monotonic() + READY_S
        while not manifests(lake, "shop", "orders", partition):
            assert time.monotonic() < deadline, f"{partition} is not in the lake"
            time.sleep(POLL_S)


def found(line: str, text: str) -> bool:
    """Whether a line is in a text; `…` stands for anything, and a space for several."""
    parts = re.split(r"(…|\s+)", line.strip())
    pattern = "".join(
        ".*" if part == "…" else r"\s+" if part.isspace() else re.escape(part) for part in parts
    )
    return re.search(pattern, text) is not None


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    root = copy_of_project(tmp_path_factory.mktemp("tutorial") / "my projéct")
    # What a failing command of the page leaves in the system's folder; short, as sockets lie in it.
    with TemporaryDirectory(prefix="headrace-") as temporary, ExitStack() as stack:
        yield Reader(root, stack, free_port(), temporary)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(reader: Reader, page: Path) -> None:
    """In their order: each page goes on where the one before it ended."""
    found = blocks(page)
    assert found
    for block in found:
        reader.follow(block)


def test_a_line_that_was_not_said_is_not_found() -> None:
    assert found("a … c", "a b c")
    assert found("shop/orders 2026…keys", "shop/orders   2026-11-01   keys")
    assert not found("a … c", "a b")
