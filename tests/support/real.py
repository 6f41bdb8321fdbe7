"""Servers that others wrote, as child processes on loopback, filled with made-up rows."""

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.paths import ROOT
from local.ports import free_block
from local.process import running, tail
from local.s3 import child_env

READY_S = 60.0
SERVERS = Path(__file__).with_name("servers")
JSON_SERVER = ("json-server@0.17.4",)
GRAPHQL = ("graphql@16.11.0", "graphql-http@1.22.4", "graphql-relay@0.10.2")
COUCHDB = (
    *("express@4.22.1", "express-pouchdb@4.2.0", "pouchdb-adapter-memory@9.0.0"),
    *("pouchdb-core@9.0.0", "pouchdb-find@9.0.0", "pouchdb-mapreduce@9.0.0"),
)
FIRST = datetime(2026, 11, 1, tzinfo=UTC)


def rows(number: int, days: int, form: str = "%Y-%m-%dT%H:%M:%SZ") -> list[dict[str, Any]]:
    """Rows whose ``changed`` is spread over days, midnights included; not in order of the id."""
    step_s = days * 86_400 // number
    return [
        {
            "id": (i * 7919) % number + 1,
            "name": f"Ünit {i}",
            "size": i % 1000 - 500,
            "changed": (FIRST + timedelta(seconds=i * step_s)).strftime(form),
        }
        for i in range(number)
    ]


@contextmanager
def _answering(command: Sequence[str], folder: Path, url: str, **env: str) -> Iterator[str]:
    log = folder / "server.log"
    with running(list(command), env=child_env() | env, cwd=ROOT, log=log) as child:
        deadline = time.monotonic() + READY_S
        while True:
            try:
                httpx.get(url, timeout=2.0, trust_env=False)
                break
            except httpx.HTTPError:
                assert child.exit_code() is None, tail(log)
                assert time.monotonic() < deadline, tail(log)
                time.sleep(0.1)
        yield url


def _npm(name: str, packages: Sequence[str]) -> tuple[str, Path]:
    """Node, and where its packages are: installed once into the clone; skips where npm is not."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip(f"{name} needs node and npm, which are not on this machine")
    home = ROOT / ".local" / "cache" / name
    modules, done = home / "node_modules", home / "installed.txt"
    wanted = "\n".join(packages)
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:  # several test processes may want it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists() and done.read_text() == wanted:
            return node, modules
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        command += ["--prefix", str(home), *packages]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        if ran.returncode:
            pytest.skip(f"npm could not install {packages[0]}: {ran.stderr[-200:]}")
        done.write_text(wanted)
    return node, modules


@contextmanager
def json_server(folder: Path, table: list[dict[str, Any]]) -> Iterator[str]:
    """json-server (npm)."""
    node, modules = _npm("json-server", JSON_SERVER)
    program = modules / "json-server" / "lib" / "cli" / "bin.js"
    database, port = folder / "db.json", free_block(1)
    database.write_text(json.dumps({"units": table}))
    command = [node, str(program), "--quiet", "--host", "127.0.0.1"]
    command += ["--port", str(port), str(database)]
    with _answering(command, folder, f"http://127.0.0.1:{port}") as url:
        yield url


@contextmanager
def graphql(folder: Path, table: list[dict[str, Any]]) -> Iterator[str]:
    """Relay's connections, by its reference implementation (npm)."""
    node, modules = _npm("graphql", GRAPHQL)
    data, port = folder / "rows.json", free_block(1)
    data.write_text(json.dumps(table))
    command = [node, str(SERVERS / "graphql_relay.cjs"), str(data), str(port)]
    url = f"http://127.0.0.1:{port}"
    with _answering(command, folder, url, NODE_PATH=str(modules)):
        yield url


@contextmanager
def couchdb(folder: Path, table: list[dict[str, Any]]) -> Iterator[str]:
    """CouchDB's API, by PouchDB's server (npm); the documents are the rows."""
    node, modules = _npm("couchdb", COUCHDB)
    port = free_block(1)
    command = [node, str(SERVERS / "couchdb.cjs"), str(port)]
    url = f"http://127.0.0.1:{port}"
    with (
        _answering(command, folder, url, NODE_PATH=str(modules)),
        httpx.Client(base_url=url, trust_env=False, timeout=60.0) as http,
    ):
        assert http.put("/units").status_code == 201
        for start in range(0, len(table), 1000):
            made = http.post("/units/_bulk_docs", json={"docs": table[start : start + 1000]})
            assert made.status_code == 201, made.text
        yield f"{url}/units"


@contextmanager
def django_rest(folder: Path, table: list[dict[str, Any]]) -> Iterator[str]:
    """Django REST framework, with cursor pagination and with limit and offset."""
    data, port = folder / "rows.json", free_block(1)
    data.write_text(json.dumps(table))
    command = [sys.executable, "-m", "tests.support.drf_app", str(data), str(port)]
    with _answering(command, folder, f"http://127.0.0.1:{port}") as url:
        yield url


@contextmanager
def pocketbase(folder: Path, table: list[dict[str, Any]]) -> Iterator[str]:
    """PocketBase, with one public collection."""
    program = Path(sys.executable).with_name("pocketbase")
    data, port = folder / "pb", free_block(1)
    email, password = "root@example.org", "a-made-up-password"
    base = [str(program), f"--dir={data}"]
    subprocess.run(
        [*base, "superuser", "upsert", email, password],
        check=True, capture_output=True, timeout=60, env=dict(os.environ),
    )  # fmt: skip
    command = [*base, "serve", f"--http=127.0.0.1:{port}"]
    with _answering(command, folder, f"http://127.0.0.1:{port}") as url:
        with httpx.Client(base_url=url, trust_env=False, timeout=30.0) as http:
            _make_collection(http, email, password)
        with sqlite3.connect(data / "data.db") as database:
            database.executemany(
                "INSERT INTO units (id, name, size, changed) VALUES (?, ?, ?, ?)",
                [(f"{r['id']:015}", r["name"], r["size"], r["changed"]) for r in table],
            )
        database.close()
        yield url


def _make_collection(http: httpx.Client, email: str, password: str) -> None:
    login = "/api/collections/_superusers/auth-with-password"
    token = http.post(login, json={"identity": email, "password": password}).json()["token"]
    fields = [
        {"name": "name", "type": "text"},
        {"name": "size", "type": "number"},
        {"name": "changed", "type": "date"},
    ]
    collection = {"name": "units", "type": "base", "listRule": "", "fields": fields}
    made = http.post("/api/collections", json=collection, headers={"Authorization": token})
    assert made.status_code == 200, made.text
