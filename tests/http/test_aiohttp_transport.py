"""The transport under httpx, over sockets: what it must not do, and its errors by their names."""

import asyncio
import gzip
import ssl
from collections.abc import Awaitable, Callable, Iterable

import httpx
import pytest

from pipeline.http.transport import AiohttpTransport
from tests.support.wire import answer, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\r\nok"
Replies = Iterable[bytes | None]


async def against(
    replies: Replies, work: Callable[[httpx.AsyncClient, str], Awaitable[None]], read_s: float = 5.0
) -> list[bytes]:
    """Do ``work`` with a client of a server that gives these replies, one a request.

    None hangs up instead, a reply that is cut short hangs up after it. The heads that came.
    """
    heads: list[bytes] = []
    waiting = iter(replies)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                heads.append(head)
                reply = next(waiting, None)
                if reply is None:
                    break
                writer.write(reply)
                await writer.drain()
                if reply.endswith(b"cut"):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    transport = AiohttpTransport(4, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    timeout = httpx.Timeout(read_s, connect=2.0, pool=None)
    async with server, httpx.AsyncClient(transport=transport, timeout=timeout) as client:
        await work(client, url)
    return heads


def test_a_kept_connection_that_is_dead_is_an_error_and_nothing_is_sent_twice() -> None:
    async def work(client: httpx.AsyncClient, url: str) -> None:
        assert (await client.get(url)).text == "ok"
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(url)

    assert len(asyncio.run(against([OK, None, OK], work))) == 2


def test_no_cookie_of_the_transport_and_no_redirect() -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"

    async def work(client: httpx.AsyncClient, url: str) -> None:
        await client.get(url)
        client.cookies.clear()  # httpx's own
        assert (await client.get(url)).status_code == 302

    heads = asyncio.run(against([OK, moved], work))
    assert len(heads) == 2
    assert b"cookie" not in heads[1].lower()


def test_the_url_and_the_headers_are_those_that_were_given() -> None:
    async def work(client: httpx.AsyncClient, url: str) -> None:
        headers = [("X-Same", "1"), ("X-Same", "2"), ("User-Agent", "headrace")]
        await client.get(f"{url}/a%2Fb?q=%7Bx%7D&r=a%20b+c", headers=headers)

    (head,) = asyncio.run(against([OK], work))
    assert head.startswith(b"GET /a%2Fb?q=%7Bx%7D&r=a%20b+c HTTP/1.1\r\n")
    names = [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line]
    assert sorted({n for n in names if names.count(n) > 1}) == [b"x-same"]
    assert b"content-type" not in names
    assert head.count(b"headrace") == 1
    assert head.count(b"X-Same: ") == 2, "as they are written, for APIs that tell them apart"


def test_a_compressed_body_is_decompressed_once() -> None:
    body = gzip.compress(b"many words " * 1000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"

    async def work(client: httpx.AsyncClient, url: str) -> None:
        assert (await client.get(url)).content == b"many words " * 1000

    asyncio.run(against([head % len(body) + body], work))


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (None, httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut", httpx.RemoteProtocolError),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ncut",
            httpx.RemoteProtocolError,
        ),
        (b"this is not HTTP\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nslow", httpx.ReadTimeout),
        (b"", httpx.ReadTimeout),
    ],
)
def test_what_fails_is_an_error_of_httpx(reply: bytes | None, error: type[Exception]) -> None:
    async def work(client: httpx.AsyncClient, url: str) -> None:
        with pytest.raises(error) as found:
            await client.get(url)
        assert type(found.value) is error

    asyncio.run(against([reply], work, read_s=0.5))


def test_nobody_there() -> None:
    async def work(client: httpx.AsyncClient, _: str) -> None:
        with pytest.raises(httpx.ConnectError):
            await client.get("http://127.0.0.1:1/")
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get("ftp://127.0.0.1/")

    asyncio.run(against([], work))


@pytest.mark.parametrize("body", [b"", b"fields *;", b"many words " * 50_000])
def test_it_is_said_once_that_a_request_has_left(body: bytes) -> None:
    said: list[tuple[str, int]] = []

    async def test() -> None:
        async with serving(lambda _, __: answer()) as wire:

            async def trace(event: str, _: object) -> None:
                said.append((event, wire.open))

            transport = AiohttpTransport(4, httpx.create_ssl_context())
            async with httpx.AsyncClient(transport=transport) as client:
                method = "POST" if body else "GET"
                extensions = {"trace": trace}
                await client.request(method, wire.url, content=body, extensions=extensions)
                await client.request(method, wire.url, content=body)  # nobody asks
            assert [seen.body for seen in wire.seen] == [body, body]

    asyncio.run(test())
    assert [event for event, _ in said] == ["http11.send_request_headers.complete"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/v1", "http://a..b/v4"])
def test_a_url_that_has_no_host_is_an_error_of_httpx(url: str) -> None:
    async def work(client: httpx.AsyncClient, _: str) -> None:
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get(url)

    asyncio.run(against([], work))
