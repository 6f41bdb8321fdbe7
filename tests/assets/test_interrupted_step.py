"""A step that Dagster terminates: its interrupt comes amidst the loop, as a signal."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from assets.executors import run_in_step
from tests.auth.test_rotating import page, source


class Interrupted(BaseException):
    """As Dagster's is: no ``Exception``."""


@contextmanager
def interrupted_by(number: signal.Signals) -> Iterator[None]:
    """Raise ``Interrupted`` in the main thread when the signal comes, as Dagster does."""

    def interrupt(*_: Any) -> None:
        raise Interrupted

    before = signal.signal(number, interrupt)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_amidst_a_callback_ends_the_step(number: signal.Signals) -> None:
    """The loop would log it as an error of the callback, and the step would go on."""

    async def work() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        await asyncio.sleep(30)

    with interrupted_by(number), pytest.raises(Interrupted):
        run_in_step(work())


def test_an_interrupt_in_a_task_beside_ends_the_step() -> None:
    async def beside() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    async def work() -> None:
        task = asyncio.create_task(beside())
        await asyncio.sleep(30)
        await task

    with interrupted_by(signal.SIGINT), pytest.raises(Interrupted):
        run_in_step(work())


def test_a_second_interrupt_does_not_wait_for_the_work() -> None:
    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(30)

    with interrupted_by(signal.SIGINT), pytest.raises(Interrupted):
        run_in_step(work())


def test_work_that_ends_by_itself_gives_its_result() -> None:
    async def work() -> int:
        return 7

    with interrupted_by(signal.SIGINT):
        assert run_in_step(work()) == 7


def test_a_terminated_step_keeps_the_refresh_token_that_its_renewal_has_got(
    tmp_path: Path,
) -> None:
    with interrupted_by(signal.SIGINT):

        class TokenEndpoint(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                os.kill(os.getpid(), signal.SIGINT)  # the old refresh token is spent by now
                time.sleep(0.3)  # the request is cancelled by now
                body = json.dumps({"access_token": "a", "refresh_token": "refresh-1"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), TokenEndpoint)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}"
            of = source(url, tmp_path / "tokens", timeouts="{read_s: 30, total_s: 60}")
            with pytest.raises(Interrupted):
                run_in_step(page(of))
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
    (kept,) = (tmp_path / "tokens").glob("*.json")
    assert json.loads(kept.read_text())["refresh"] == "refresh-1"
