"""One service of docker-compose.yaml as a process: started, asked for its health, killed."""

import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from local.guard import descendants
from local.process import Child, running, tail
from tests.deploy.compose import ServiceSpec

HEALTHY_S = 120.0


@dataclass
class Service:
    """One service: it can be started, killed and started again."""

    spec: ServiceSpec
    command: list[str]
    healthcheck: list[str]
    env: dict[str, str]
    cwd: Path
    log: Path
    port: int | None = None
    child: Child | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        self._stack = ExitStack()
        context = running(self.command, env=self.env, cwd=self.cwd, log=self.log, grace_s=10)
        self.child = self._stack.enter_context(context)

    def stop(self) -> None:
        """As `docker compose stop`."""
        self._stack.close()
        self.child = None

    def pids(self) -> list[int]:
        """All processes of the service, parents first."""
        return descendants(self.child.guard.pid) if self.child else []

    def kill(self) -> None:
        """SIGKILL to all processes at once, as when the machine goes down."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        assert self.child is not None
        self.child.wait(20)
        self.stop()

    def is_healthy(self) -> bool:
        """Whether the service's own healthcheck succeeds."""
        done = subprocess.run(
            self.healthcheck, env=self.env, cwd=self.cwd, check=False, timeout=240,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode == 0

    def wait_until_healthy(self) -> None:
        """Until the healthcheck succeeds: it costs seconds, and so waits for the port."""
        deadline = time.monotonic() + HEALTHY_S
        while not (self._listens() and self.is_healthy()):
            assert self.child is not None
            assert self.child.exit_code() is None, f"{self.spec.name} ended; {self.said(30)}"
            assert time.monotonic() < deadline, f"{self.spec.name} is not healthy; {self.said(30)}"
            time.sleep(0.1)

    def _listens(self) -> bool:
        if self.port is None:
            return True
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    def said(self, lines: int = 100_000) -> str:
        """The end of the log."""
        return tail(self.log, lines)
