"""The way to an API: by a proxy or not, and whose certificates are trusted."""

import ipaddress
import os
import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

import certifi
import httpx

from pipeline.config.source import Source, TlsConfig
from pipeline.errors import ConfigError

PROXIES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_CHARSETS: Final = ("latin-1", "utf-8")  # aiohttp's for a password, and that of others
_BUNDLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class Proxies:
    """Which proxy a request goes by.

    :ivar named: the YAML's ``proxy``: None, ``env``, or a URL.
    :ivar env: the environment.
    """

    named: str | None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, source: Source, env: Mapping[str, str]) -> "Proxies":
        return cls(source.proxy.get_secret_value() if source.proxy else None, env)

    def url_for(self, url: httpx.URL) -> str | None:
        """The proxy of a request; None: the request goes straight to its host.

        :raises ConfigError: the environment's proxy is none that Headrace can use.
        """
        if self.named is None or self._passes_by(url):
            return None
        if self.named != "env":
            return self.named
        names = (f"{url.scheme.upper()}_PROXY", "ALL_PROXY")
        name, setting = next(((n, text) for n in names if (text := self._setting(n))), ("", ""))
        if not setting:
            return None
        proxy = setting if "://" in setting else f"http://{setting}"
        if not proxy.startswith(("http://", "https://")):
            raise ConfigError(
                f"{name} is a proxy of the kind `{proxy.partition('://')[0]}`. Expected http:// or "
                "https://, which `proxy: env` can use."
            )
        return proxy

    def unused(self) -> str | None:
        """The variable of a proxy that the environment has, and the YAML does not use."""
        if self.named is not None:
            return None
        return next((name for name in PROXIES if self._setting(name)), None)

    def secrets(self) -> Iterator[str]:
        """The passwords of the proxies, as they are written, as they are meant, and as the header
        has them (`Proxy-Authorization: Basic`)."""
        urls = (self.named or "", *(self._setting(name) for name in PROXIES))
        for url in urls:
            named, at, _ = url.rpartition("://")[2].rpartition("@")
            if not at:
                continue
            user, _, password = named.partition(":")
            yield from dict.fromkeys((password or user, unquote(password or user)))
            if password:
                both = f"{unquote(user)}:{unquote(password)}"
                yield from dict.fromkeys(_in_base64(both, charset) for charset in _CHARSETS)

    def _setting(self, name: str) -> str:
        return (self.env.get(name.lower()) or self.env.get(name) or "").strip()

    def _passes_by(self, url: httpx.URL) -> bool:
        """Whether NO_PROXY names the host: by itself, a domain of it, or a network."""
        host = url.raw_host.decode("ascii").strip("[]").lower()
        with_port = f"{host}:{url.port or {'http': 80, 'https': 443}.get(url.scheme)}"
        for item in self._setting("NO_PROXY").lower().replace(" ", ",").split(","):
            name = item.strip("[]").lstrip("*").lstrip(".")
            if item == "*" or (name and (name in (host, with_port) or host.endswith(f".{name}"))):
                return True
            if name and _is_in(host, name):
                return True
        return False


def tls_context(tls: TlsConfig, env: Mapping[str, str]) -> ssl.SSLContext:
    """The certificates that are trusted, and the one that is shown. Reads files: not in a loop.

    Trusted are those of certifi, or of ``SSL_CERT_FILE``, ``REQUESTS_CA_BUNDLE`` and the like in
    their place, and ``tls.ca`` beside them.

    :raises ConfigError: a file can't be read, or has no certificate.
    """
    name = next((name for name in _BUNDLES if env.get(name)), None)
    bundle = (env[name] if name else certifi.where(), name or "certifi")
    if not (tls.ca or tls.cert):
        return _shared(*bundle)
    context = _trusting(*bundle)
    if tls.ca:
        _trust(context, tls.ca, "`tls.ca`")
    if tls.cert:
        try:
            context.load_cert_chain(tls.cert, tls.key, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"`tls.cert` {tls.cert!r} can't be used ({error.strerror or error}). Expected a "
                "PEM file with the certificate, and the key in it or in `tls.key`."
            ) from None
    return context


def _trusting(path: str, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust(context, path, name)
    return context


_shared = lru_cache(maxsize=4)(_trusting)


def _trust(context: ssl.SSLContext, path: str, name: str) -> None:
    try:
        if os.path.isdir(path):
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{name}: {path!r} can't be used ({error.strerror or error}). Expected a PEM file with "
            "the certificates to trust."
        ) from None


def _in_base64(text: str, charset: str) -> str:
    return b64encode(text.encode(charset, "replace")).decode()


def _is_in(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
