"""The session builds each request with its headers and cookies, and follows the signer's flow."""

import asyncio
from collections.abc import Generator

import httpx

from pipeline.http.session import HttpSession

API = "http://api.test/rows"


class _Renewing(httpx.Auth):
    """Fetches a token when the API refuses the first one."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = "Bearer 1"
        response = yield request
        if response.status_code == 401:
            token = yield httpx.Request("POST", "http://api.test/token")
            request.headers["Authorization"] = f"Bearer {token.headers['x-token']}"
            yield request


def _answer(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/token":
        return httpx.Response(200, headers={"X-Token": "2"})
    if request.headers["authorization"] == "Bearer 1":
        return httpx.Response(401)
    return httpx.Response(302, headers={"Location": "::no url::", "Set-Cookie": "shard=7"})


def test_a_request_has_the_headers_cookies_and_signature_of_the_session() -> None:
    sent: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        sent.append(httpx.Request(request.method, request.url, headers=request.headers))
        return _answer(request)

    async def run() -> httpx.Response:
        async with HttpSession(
            httpx.MockTransport(respond),
            _Renewing(),
            {"user-agent": "ours", "X-Key": "a"},
            cookies=True,
        ) as session:
            first = session.build_request("POST", API, {"ACCEPT": "application/json"}, b"x")
            await session.send(first)
            return await session.send(session.build_request("GET", API, {"x-key": "b"}, None))

    response = asyncio.run(run())
    assert response.status_code == 302, "no redirect is followed, nor read"
    paths = [(request.method, request.url.path) for request in sent]
    assert paths[:3] == [("POST", "/rows"), ("POST", "/token"), ("POST", "/rows")]
    first, last = sent[2].headers, sent[-1].headers
    assert [v for k, v in first.multi_items() if k in ("accept", "user-agent", "x-key")] == [
        "application/json", "ours", "a",
    ]  # fmt: skip
    assert (first["host"], first["content-length"]) == ("api.test", "1")
    assert "gzip" in first["accept-encoding"]
    assert first["authorization"] == "Bearer 2"
    assert "cookie" not in first
    assert (last["cookie"], last.get_list("x-key")) == ("shard=7", ["b"])
