"""The way to an API: its proxy, and its certificates."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from pipeline.model import Model


def _is_proxy(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if text != "env" and not fits:
        raise ValueError(
            "expected env, for the proxy that the environment names, or http://host:port"
        )
    return value


ProxyUrl = Annotated[SecretStr, AfterValidator(_is_proxy)]
"""A secret: it may have a password in it."""


class TlsConfig(Model):
    """Certificates, as PEM files."""

    ca: str | None = Field(None, description="certificates to trust, besides the usual ones")
    cert: str | None = Field(None, description="the certificate that is shown to the API")
    key: str | None = Field(None, description="its key, unless cert has it")

    @model_validator(mode="after")
    def _key_has_a_cert(self) -> "TlsConfig":
        if self.key and not self.cert:
            raise ValueError("`tls.key` belongs to a certificate: add `tls.cert`")
        return self
