"""A stand-in for the Kubernetes API: it takes Jobs and remembers them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

Job = dict[str, Any]


class _Handler(BaseHTTPRequestHandler):
    jobs: list[Job]

    def do_POST(self) -> None:
        assert self.path.startswith("/apis/batch/v1/namespaces/data/jobs"), self.path
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.jobs.append(job)
        body = json.dumps(job).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Not to the tests' output."""


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Path, list[Job]]]:
    """(a kubeconfig file, the Jobs that were made)."""
    jobs: list[Job] = []
    handler = type("Handler", (_Handler,), {"jobs": jobs})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    config = folder / "kubeconfig"
    config.write_text(yaml.safe_dump(_kubeconfig(f"http://127.0.0.1:{server.server_port}")))
    try:
        yield config, jobs
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": "of-the-test"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
