"""A step that Dagster terminates: its interrupt comes amidst the loop, as a signal."""

import json
import os
import signal
import sys
import threading
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
def interrupted_by(number: signal.Signals) -> Iterator[threading.Event]:
    """Raise ``Interrupted`` in the main thread when the signal comes, as Dagster does."""
    came = threading.Event()

    def interrupt(*_: Any) -> None:
        came.set()
        raise Interrupted

    before = signal.signal(number, interrupt)
    try:
        yield came
    finally:
        signal.signal(number, before)


def wait_until_the_loop_waits() -> None:
    """An interrupt in a callback is the loop's, which logs it."""
    main, waits = threading.main_thread().ident, 0
    for _ in range(3000):
        frame = sys._current_frames()[main or 0]
        waits = waits + 1 if frame.f_code.co_name == "select" else 0
        if waits == 3:
            return
        threading.Event().wait(0.01)
    raise AssertionError("the loop never waits")


def test_a_terminated_step_keeps_the_refresh_token_that_its_renewal_has_got(
    tmp_path: Path,
) -> None:
    with interrupted_by(signal.SIGUSR1) as came:

        class TokenEndpoint(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                wait_until_the_loop_waits()
                os.kill(os.getpid(), signal.SIGUSR1)  # the old refresh token is spent by now
                assert came.wait(30)
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
            of = source(f"http://127.0.0.1:{server.server_address[1]}", tmp_path / "tokens")
            with pytest.raises(Interrupted):
                run_in_step(page(of))
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
    (kept,) = (tmp_path / "tokens").glob("*.json")
    assert json.loads(kept.read_text())["refresh"] == "refresh-1"
