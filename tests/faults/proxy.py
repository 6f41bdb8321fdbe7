"""An HTTP proxy in front of S3 that breaks what it is told to break. Not one line of S3 is faked.

``fault`` is asked before each request, with its operation and key, and names what is to happen:

==============  ======================================================================
``slow down``   503 SlowDown; the request does not reach S3
``denied``      403 AccessDenied; the request does not reach S3; likewise ``full``, ``expired``,
                ``unknown key``, ``skewed`` and ``quota``, by S3's codes for them
``stall``       no answer, until the client gives up; the request does not reach S3
``reset``       half of the body is read, then the connection is reset
``lost``        S3 does what it is asked, and the connection is reset instead of the answer
==============  ======================================================================
"""

import http.client
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Fault = Callable[[str, str], str | None]
STALL_S = 30.0
_ERRORS = {
    "slow down": (503, "SlowDown"),
    "full": (507, "XMinioStorageFull"),
    "denied": (403, "AccessDenied"),
    "expired": (400, "ExpiredToken"),
    "unknown key": (403, "InvalidAccessKeyId"),
    "skewed": (403, "RequestTimeTooSkewed"),
    "quota": (403, "QuotaExceeded"),
}
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Proxy:
    """What is to happen, and what has passed. ``fault`` may be changed at any time."""

    def __init__(self) -> None:
        self.fault: Fault = lambda operation, key: None
        self.url = ""
        self.broken: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.stop = threading.Event()

    def some(
        self, what: str, operations: str, *, times: int = 1, path: str = "", after: int = 0
    ) -> None:
        """Break the next requests of these operations, whose key has ``path`` in it."""
        left, spared, lock = [times], [after], threading.Lock()

        def fault(operation: str, key: str) -> str | None:
            with lock:
                if operation not in operations.split() or path not in key or not left[0]:
                    return None
                if spared[0]:
                    spared[0] -= 1
                    return None
                left[0] -= 1
                return what

        self.fault = fault

    def heal(self) -> None:
        self.fault = lambda operation, key: None


def operation_of(method: str, path: str) -> tuple[str, str]:
    """As `pipeline.lake.s3` calls it, and the key (with the bucket)."""
    parts = urlsplit(path)
    query, key = parse_qs(parts.query, keep_blank_values=True), unquote(parts.path)
    by_query = {
        ("POST", "uploads"): "create_upload",
        ("GET", "uploads"): "list_uploads",
        ("PUT", "partNumber"): "upload_part",
        ("POST", "uploadId"): "complete_upload",
        ("DELETE", "uploadId"): "abort_upload",
        ("GET", "list-type"): "list",
        ("POST", "delete"): "delete",
    }
    for (verb, name), operation in by_query.items():
        if verb == method and name in query:
            return operation, key
    return {"PUT": "put", "GET": "get", "HEAD": "head", "DELETE": "delete"}[method], key


def _handler(proxy: Proxy, host: str, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            operation, key = operation_of(self.command, self.path)
            what = proxy.fault(operation, key)
            length = int(self.headers.get("Content-Length") or 0)
            (proxy.broken if what else proxy.passed)[operation] += 1
            if what == "reset":
                self.rfile.read(length // 2)
                self._reset()
                return
            body = self.rfile.read(length)
            if what == "stall":
                proxy.stop.wait(STALL_S)
                self._reset()
            elif what in _ERRORS:
                self._refuse(*_ERRORS[what])
            else:
                answer, content = self._forward(body)
                if what == "lost":
                    self._reset()
                    return
                self._answer(answer.status, answer.getheaders(), content)

        def _forward(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
            upstream = http.client.HTTPConnection(host, port, timeout=30)
            try:
                upstream.putrequest(
                    self.command, self.path, skip_host=True, skip_accept_encoding=True
                )
                for name, value in self.headers.items():
                    if name.lower() not in ("expect", "connection"):
                        upstream.putheader(name, value)
                upstream.endheaders(body)
                answer = upstream.getresponse()
                return answer, answer.read()
            finally:
                upstream.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            size = str(len(content))
            for name, value in headers:
                if name.lower() == "content-length":
                    size = value  # of a HEAD
                elif name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", size)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _refuse(self, status: int, code: str) -> None:
            text = f"<Error><Code>{code}</Code><Message>-</Message></Error>".encode()
            self._answer(status, [("Content-Type", "application/xml")], text)

        def _reset(self) -> None:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            # The buffered files hold the socket open: it is closed under them.
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RD)
            self.connection.close()
            self.wfile = _Nowhere()  # type: ignore[assignment]
            self.rfile.close()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    for method in ("GET", "PUT", "POST", "DELETE", "HEAD"):
        setattr(Handler, f"do_{method}", Handler._serve)
    return Handler


class _Nowhere:
    closed = True

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up is what these tests are about


@contextmanager
def proxied(endpoint_url: str) -> Iterator[Proxy]:
    """A proxy in front of an S3 endpoint, on a free port."""
    target = urlsplit(endpoint_url)
    proxy = Proxy()
    server = _Server(("127.0.0.1", 0), _handler(proxy, str(target.hostname), target.port or 80))
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.stop.set()
        server.shutdown()
        thread.join()
        server.server_close()
