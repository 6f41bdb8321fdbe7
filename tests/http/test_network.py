"""The way to an API: certificates, proxies, and what is said where there is no way."""

import asyncio
import ssl
import warnings
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.config import Source
from pipeline.errors import ConfigError, HeadraceError, Unreachable
from pipeline.http.connection_faults import standing_fault
from pipeline.http.network import PROXIES, Proxies
from pipeline.messages import HttpRequest, RequestCounts
from pipeline.redaction import contains_secret
from tests.support.wire import DROP, STALL, Seen, Wire, answer, client_of, read_json, serving
from tests.support.yaml_sources import quick, source_of

GOOD = answer([{"id": 1}])


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


Key = ec.EllipticCurvePrivateKey
Signed = tuple[Key, x509.Certificate]


def signed(
    file: Path, name: str = "localhost", by: Signed | None = None, days: tuple[int, int] = (-1, 1)
) -> Signed:
    """A certificate with its key, in a file; its own authority unless another one signs it.

    :param days: from when and until when it is valid, from today.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by[1].subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .sign(by[0] if by else key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return key, certificate


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost that nobody has signed, with its key."""
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    signed(file)
    return file


@asynccontextmanager
async def tls_server(
    pem: Path, *, client: bool = False, only: ssl.TLSVersion | None = None
) -> AsyncIterator[str]:
    """One good response a connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    if only:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = context.maximum_version = only
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # a later one refuses behind the handshake
        context.load_verify_locations(pem)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(GOOD)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


async def outcome_at(url: str, more: str = "") -> Any:
    return await outcome_of(quick(url, more=more))


async def outcome_of(source: Source) -> Any:
    try:
        async with client_of(source) as client:
            request = HttpRequest("GET", f"{source.base_url}/things")
            return await client.fetch(request, read_json, "api/things, page", RequestCounts())
    except HeadraceError as error:
        return error


def over_tls(
    pem: Path, more: str = "", *, client: bool = False, only: ssl.TLSVersion | None = None
) -> Any:
    async def run() -> Any:
        async with tls_server(pem, client=client, only=only) as url:
            return await outcome_at(url, more)

    return asyncio.run(run())


def test_a_certificate_that_is_not_trusted_is_said_at_once(pem: Path) -> None:
    error = over_tls(pem)
    assert isinstance(error, ConfigError)
    assert "is not trusted (self-signed certificate" in str(error)
    assert "1. `tls.ca` (or SSL_CERT_FILE, REQUESTS_CA_BUNDLE)" in str(error)


def test_it_is_trusted_by_the_yaml(pem: Path) -> None:
    assert over_tls(pem, f"tls: {{ca: {pem}}}") == [{"id": 1}]


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_it_is_trusted_by_the_environment(
    pem: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(pem))
    assert over_tls(pem) == [{"id": 1}]


@pytest.mark.parametrize(
    ("name", "days", "reason", "check"),
    [
        ("localhost", (-9, -1), "certificate has expired", "1. the clock of this machine"),
        ("localhost", (1, 9), "certificate is not yet valid", "1. the clock of this machine"),
        ("other.test", (-1, 1), "Hostname mismatch", "1. `base_url`: the certificate is of anoth"),
    ],
)
def test_a_certificate_that_tls_ca_does_not_mend_names_another_check(
    tmp_path: Path, name: str, days: tuple[int, int], reason: str, check: str
) -> None:
    authority = signed(tmp_path / "ca.pem", "authority")
    signed(tmp_path / "api.pem", name, by=authority, days=days)
    error = over_tls(tmp_path / "api.pem", f"tls: {{ca: {tmp_path}/ca.pem}}")
    assert isinstance(error, ConfigError)
    assert f"is not trusted ({reason}" in str(error)
    assert check in str(error)
    assert "`tls.ca`" not in str(error)


def test_tls_of_once_ends_with_what_the_api_may_want(pem: Path) -> None:
    """Debian's Python would speak it, and refuses it itself; others don't offer it."""
    error = over_tls(pem, f"tls: {{ca: {pem}}}", only=ssl.TLSVersion.TLSv1)
    if isinstance(error, ConfigError):
        assert "speaks outdated TLS" in str(error)
    else:
        assert isinstance(error, Unreachable)
        assert "ended the TLS handshake" in str(error)


def test_a_reason_of_tls_is_read_where_python_has_no_name_for_it() -> None:
    """Python 3.11.2 does not know the reasons of the OpenSSL that Debian has beside it."""
    error = httpx.ConnectError("", request=httpx.Request("GET", "https://api.example"))
    error.__cause__ = ssl.SSLError(1, "[SSL] legacy sigalg disallowed or unsupported (_ssl.c:992)")
    assert (standing_fault(error) or "").startswith(
        "api.example speaks outdated TLS (LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED)"
    )


def test_a_certificate_of_the_client_is_shown(pem: Path) -> None:
    assert over_tls(pem, f"tls: {{ca: {pem}, cert: {pem}}}", client=True) == [{"id": 1}]
    error = over_tls(pem, f"tls: {{ca: {pem}}}", client=True)
    assert isinstance(error, Unreachable)
    assert "`tls: {cert, key}`" in str(error)


def test_tls_where_there_is_none_is_said() -> None:
    async def run() -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(GOOD)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await outcome_at(f"https://localhost:{server.sockets[0].getsockname()[1]}")

    error = asyncio.run(run())
    assert isinstance(error, ConfigError)
    assert "does not speak TLS" in str(error)


@pytest.mark.parametrize("key", ["ca", "cert"])
def test_a_file_that_is_not_there_is_said(tmp_path: Path, key: str) -> None:
    error = asyncio.run(outcome_at("https://localhost:1", f"tls: {{{key}: {tmp_path}/none.pem}}"))
    assert isinstance(error, ConfigError)
    assert f"`tls.{key}`" in str(error)
    assert "No such file" in str(error)


def by_proxy(monkeypatch: pytest.MonkeyPatch, more: str, **env: str) -> tuple[Any, Wire]:
    """A request to a host that only a proxy knows."""

    async def run() -> tuple[Any, Wire]:
        def answering(number: int, seen: Seen) -> bytes:
            return GOOD if seen.target == "http://api.shop.test/things" else answer([], 400)

        async with serving(answering) as wire:
            for name, value in env.items():
                monkeypatch.setenv(name, value.format(url=wire.url))
            found = await outcome_at("http://api.shop.test", more.format(url=wire.url))
            return found, wire

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("more", "env"),
    [
        ("proxy: env", {"HTTP_PROXY": "{url}"}),
        ("proxy: env", {"all_proxy": "{url}"}),
        ("proxy: '{url}'", {}),
    ],
)
def test_a_proxy_is_used_where_the_yaml_says_so(
    monkeypatch: pytest.MonkeyPatch, more: str, env: dict[str, str]
) -> None:
    found, wire = by_proxy(monkeypatch, more, **env)
    assert found == [{"id": 1}]
    assert len(wire.seen) == 1


def test_a_proxy_gets_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> Wire:
        async with serving(lambda *_: GOOD) as wire:
            named = wire.url.replace("http://", "http://ada:hush-hush@")
            assert await outcome_at("http://api.shop.test", f"proxy: '{named}'") == [{"id": 1}]
            return wire

    assert asyncio.run(run()).seen[0].headers["proxy-authorization"].startswith("Basic ")


def test_a_proxy_that_is_needed_and_not_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found, wire = by_proxy(monkeypatch, "", HTTPS_PROXY="{url}")
    assert isinstance(found, Unreachable)
    assert "HTTPS_PROXY is set, and `proxy: env` uses it" in str(found)
    assert wire.seen == []


def test_a_proxy_without_a_server_is_named() -> None:
    found = asyncio.run(outcome_at("http://api.shop.test", "proxy: 'http://127.0.0.1:9'"))
    assert isinstance(found, Unreachable)
    assert "no connection to the proxy 127.0.0.1:9" in str(found)


def test_an_unknown_name_of_a_proxy_is_not_that_of_the_api() -> None:
    found = asyncio.run(outcome_at("http://api.shop.test", "proxy: 'http://proxy.invalid:3128'"))
    assert isinstance(found, Unreachable)
    assert "no connection to the proxy proxy.invalid:3128 (the name" in str(found)
    assert "Check: 1. the address of the proxy, `proxy`; " in str(found)


@pytest.mark.parametrize(
    ("status", "requests", "check"),
    [
        (407, 1, "1. whether `proxy` has a user and a password: http://user:password@host:port"),
        (403, 1, "1. whether the proxy allows this host"),
        (502, 4, "with status 502, after 4 attempts"),
    ],
)
def test_a_proxy_that_refuses_is_asked_again_only_if_that_may_help(
    status: int, requests: int, check: str
) -> None:
    """Status and number of requests: a proxy between two networks has its own bad days."""

    async def run() -> tuple[Any, Wire]:
        async with serving(lambda *_: answer([], status)) as wire:
            return await outcome_at("https://api.shop.test", f"proxy: '{wire.url}'"), wire

    found, wire = asyncio.run(run())
    assert isinstance(found, ConfigError if requests == 1 else Unreachable)
    assert "proxy refused the connection" in str(found)
    assert f"with status {status}" in str(found)
    assert check in str(found)
    assert len(wire.seen) == requests


def test_a_proxy_that_takes_the_connection_and_stays_silent_is_given_up() -> None:
    async def run() -> tuple[Any, Wire]:
        async with serving(lambda *_: STALL) as wire, asyncio.timeout(30):
            source = quick("https://api.shop.test", more=f"proxy: '{wire.url}'")
            short = source.timeouts.model_copy(update={"connect_s": 0.05})
            return await outcome_of(source.model_copy(update={"timeouts": short})), wire

    found, wire = asyncio.run(run())
    assert isinstance(found, Unreachable)
    assert "no connection to api.shop.test in time, after 2 attempts" in str(found)
    assert "whether the proxy, `proxy`, responds and allows the host" in str(found)
    assert [seen.method for seen in wire.seen] == ["CONNECT"] * 2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (DROP, "closed the connection without a response"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "breaks the rules of HTTP (Bad status line"),
        (STALL, "no response in time"),
    ],
)
def test_a_host_that_speaks_no_http_ends_without_dagsters_retries(
    given: bytes, sentence: str
) -> None:
    async def run() -> Any:
        async with serving(lambda *_: given) as wire:
            source = quick(wire.url)
            short = source.timeouts.model_copy(update={"read_s": 0.1})
            return await outcome_of(source.model_copy(update={"timeouts": short}))

    found = asyncio.run(run())
    assert isinstance(found, Unreachable)
    assert sentence in str(found)
    assert "has not responded once in this run. Check: 1. the address, `base_url`" in str(found)
    assert "whether it speaks TLS: https:// in place of http://" in str(found)
    assert ("whether it takes longer than `timeouts` allow" in str(found)) == (given == STALL)


def test_many_requests_to_no_api_end_alike_though_the_breaker_opens() -> None:
    """Else the run of a source with many endpoints would get Dagster's retries."""

    async def run() -> list[Any]:
        source = quick("http://127.0.0.1:9", more="breaker: {failures: 5}")
        async with client_of(source) as client:
            request = HttpRequest("GET", f"{source.base_url}/things")
            sent = RequestCounts()
            each = (client.fetch(request, read_json, f"api/e{n}, page", sent) for n in range(12))
            errors = await asyncio.gather(*each, return_exceptions=True)
            with pytest.raises(Unreachable, match="failed too often in a row") as caught:
                await client.fetch(request, read_json, "api/last, page", sent)
            return [*errors, caught.value]

    assert {type(error) for error in asyncio.run(run())} == {Unreachable}


@pytest.mark.parametrize(
    ("no_proxy", "url", "passes_by"),
    [
        ("*", "http://a.test", True),
        ("a.test", "http://a.test", True),
        (".test, other", "http://a.test:8080", True),
        ("*.test", "http://a.test", True),
        ("a.test:8080", "http://a.test:8080", True),
        ("a.test:8080", "http://a.test", False),
        ("10.0.0.0/8", "http://10.1.2.3", True),
        ("::1", "http://[::1]:80", True),
        ("est", "http://a.test", False),
        ("", "http://a.test", False),
    ],
)
def test_hosts_that_no_proxy_names_are_asked_without(
    no_proxy: str, url: str, passes_by: bool
) -> None:
    env = {"http_proxy": "proxy.test:3128", "no_proxy": no_proxy}
    expected = None if passes_by else "http://proxy.test:3128"
    assert Proxies("env", env).url_for(httpx.URL(url)) == expected


def test_a_proxy_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="socks5"):
        Proxies("env", {"ALL_PROXY": "socks5://h:1"}).url_for(httpx.URL("http://a.test"))


@pytest.mark.parametrize(
    "proxy",
    [
        Proxies("env", {"HTTPS_PROXY": "ada:hush%2Dhush@h:3128"}),
        Proxies("env", {"ALL_PROXY": "http://ada:hush%2Dhush@h:3128"}),
        Proxies("http://ada:hush%2Dhush@h:3128"),
    ],
)
def test_the_password_of_a_proxy_is_a_secret_however_it_is_written(proxy: Proxies) -> None:
    header = b64encode(b"ada:hush-hush").decode()
    for text in ("hush%2Dhush", "hush-hush", f"Proxy-Authorization: Basic {header}"):
        assert contains_secret(text, proxy.secrets()), text
    assert not contains_secret("ada", proxy.secrets())


@pytest.mark.parametrize("value", ["yes", "socks5://h:1", "http://", "http://h:x"])
def test_a_proxy_is_env_or_a_url(value: str) -> None:
    with pytest.raises(ConfigError, match="expected env, for the proxy that the environment names"):
        source_of(
            f"""
            source: api
            base_url: http://a.test
            start: 2026-11-01
            proxy: '{value}'
            endpoints: {{things: {{key: [id]}}}}
            """
        )
