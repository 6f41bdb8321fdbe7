"""A server of HTTP/1.0: its responses end with their connection, and name no length."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Respond = Callable[[str, int], tuple[str, dict[str, str]]]
"""The body and the headers, by the page (`?at=`, else the path's end) and how often it was
requested before."""


@contextmanager
def serving_1_0(respond: Respond) -> Iterator[tuple[str, list[str]]]:
    """A server of HTTP/1.0, whose responses end with their connection; the pages requested."""
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            page = parse_qs(url.query).get("at", [url.path.rpartition("/")[2]])[0]
            body, headers = respond(page, requested.count(page))
            requested.append(page)
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requested
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
