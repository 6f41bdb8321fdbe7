"""A page in headless Chromium, for tests of the UI and the README's pictures. Units: seconds."""

import base64
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from local.ports import LOOPBACK
from local.process import LocalError, running
from local.s3 import child_env

READY_S = 60.0
SETTLE_S = 3.0
GRACE_S = 5.0
CHROMIUM = [
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--no-proxy-server", "--remote-debugging-port=0", "about:blank",
]  # fmt: skip


class Browser:
    """One page of a browser, driven by the DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=READY_S))
            if answer.get("id") == self._number:
                return dict(answer.get("result", {}))

    def evaluate(self, script: str) -> Any:
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return found.get("result", {}).get("value")

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.evaluate("document.body.innerText"))

    def open(self, url: str, text: str, width: int = 1400, height: int = 1000) -> None:
        """Go there, and wait until the text shows and the page has settled."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + READY_S
        while text not in (shown := self.text()):
            if time.monotonic() > deadline:
                raise LocalError(
                    f"{url} does not show {text!r} within {READY_S:.0f} s. It shows: {shown[:1000]}"
                )
            time.sleep(0.2)
        time.sleep(SETTLE_S)

    def picture(self, file: Path) -> None:
        shot = self.call("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser() -> Iterator[Browser]:
    """A new Chromium with an empty profile."""
    if shutil.which("chromium") is None:
        raise LocalError("chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM[0], f"--user-data-dir={profile}", *CHROMIUM[1:]]
        log, told = Path(profile) / "chromium.log", Path(profile) / "DevToolsActivePort"
        with running(command, env=child_env() | {"TMPDIR": profile}, log=log, grace_s=GRACE_S):
            deadline = time.monotonic() + READY_S
            while not (told.exists() and told.read_text().count("\n")):
                if time.monotonic() > deadline:
                    raise LocalError("Chromium did not start.")
                time.sleep(0.1)
            port = told.read_text().splitlines()[0]
            pages = httpx.get(f"http://{LOOPBACK}:{port}/json/list", trust_env=False).json()
            where = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            with connect(where, max_size=None, proxy=None) as socket:
                yield Browser(socket)
