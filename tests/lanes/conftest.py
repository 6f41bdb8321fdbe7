"""One moto server for the tests of a session; each test begins with nothing in it."""

import logging
from collections.abc import Iterator

import httpx
import pytest
from moto.server import ThreadedMotoServer

from tests.lanes.support import Proxy, proxied


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto(moto_server: str) -> str:
    httpx.post(f"{moto_server}/moto-api/reset", timeout=60).raise_for_status()
    return moto_server


@pytest.fixture
def aws(moto: str) -> Iterator[tuple[Proxy, str]]:
    """The proxy in front of moto, and its URL."""
    with proxied(moto) as found:
        yield found
