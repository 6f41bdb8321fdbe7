"""A class of the user's own: looked at before it is called, and no secret in its errors."""

import asyncio
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from pipeline.auth import AuthContext
from pipeline.auth.custom import CustomAuth
from pipeline.errors import ApiUnavailable, AuthError, ConfigError, HeadraceError

KEY = "hush-hush-0815"


class Careless(httpx.Auth):
    """Says its key in its errors."""

    def __init__(self, key: str, how: str) -> None:
        if how == "at once":
            raise ValueError(f"no such key: {key}")
        self.key, self.how = key, how

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self.how == "refused":
            raise RuntimeError(f"no such key: {self.key}")
        if self.how == "away":
            raise ConnectionResetError(f"no server for {self.key}")
        if self.how == "no route":
            raise httpx.ConnectError(f"no server for {self.key}")
        if self.how in ("403", "503"):  # of a request of its own
            own = httpx.Request("POST", f"https://login.test/token?key={self.key}")
            httpx.Response(int(self.how), request=own).raise_for_status()
        request.headers["x-key"] = self.key
        response = yield request
        if response.status_code == 401:
            raise KeyError(self.key)


def spec(path: str, **options: str) -> CustomAuth:
    given = {name: SecretStr(value) for name, value in options.items()}
    return CustomAuth(kind="python", path=path, options=given)


def test_what_is_no_auth_is_not_called(tmp_path: Path) -> None:
    file = tmp_path / "ran"
    with pytest.raises(ConfigError, match=r"is not a subclass of httpx\.Auth"):
        spec("subprocess:Popen", args=f"touch {file}", bufsize="1").make(AuthContext())
    assert not file.exists()


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("at once", ConfigError),
        ("refused", AuthError),
        ("away", ApiUnavailable),
        ("no route", ApiUnavailable),
        ("403", AuthError),
        ("503", ApiUnavailable),
        ("401", AuthError),
    ],
)
def test_its_errors_are_the_engine_s_own_and_say_no_secret(
    how: str, kind: type[HeadraceError]
) -> None:
    async def run() -> None:
        auth = spec("tests.auth.test_custom:Careless", key=KEY, how=how).make(AuthContext())
        flow = auth.async_auth_flow(httpx.Request("GET", "https://api.test"))
        request = await anext(flow)
        assert request.headers["x-key"] == KEY
        await flow.asend(httpx.Response(401))

    with pytest.raises(kind, match=r"`auth\.path`") as caught:
        asyncio.run(run())
    assert KEY not in str(caught.value)


def test_it_signs_as_ever() -> None:
    async def run() -> None:
        auth = spec("tests.auth.test_custom:Careless", key=KEY, how="well").make(AuthContext())
        transport = httpx.MockTransport(
            lambda request: httpx.Response(200, text=request.headers["x-key"])
        )
        async with httpx.AsyncClient(transport=transport, auth=auth) as client:
            assert (await client.get("https://api.test")).text == KEY

    asyncio.run(run())
