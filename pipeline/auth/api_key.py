"""A key in a header, or in the query of an API that reads it nowhere else."""

from collections.abc import Generator
from typing import Literal

import httpx
from pydantic import Field, SecretStr, model_validator

from pipeline.auth.base import AUTH, Auth, AuthContext, for_header
from pipeline.messages import query_of, without_param
from pipeline.model import header_name


@AUTH.register("api_key")
class ApiKeyAuth(Auth):
    """A key in a header or a query parameter. Without a key (empty), nothing is sent."""

    kind: Literal["api_key"]
    place: Literal["header", "query"] = Field("header", description="where the key goes")
    name: str = Field(description="of the header or the parameter")
    key: SecretStr | None = Field(None, description="the key, a setting")
    prefix: str = Field("", description="put before the key, e.g. 'Token '")

    @model_validator(mode="after")
    def _name_fits(self) -> "ApiKeyAuth":
        if self.place == "header":
            header_name(self.name)
        elif not self.name:
            raise ValueError("`auth.name` is empty: expected the name of the query's parameter")
        return self

    def make(self, context: AuthContext) -> httpx.Auth:
        key = self.key.get_secret_value() if self.key else ""
        if self.place == "query":
            return QueryKeySigner(self.name, key)
        return HeaderSigner(self.name, for_header(self.prefix + key, "auth.key") if key else "")

    @property
    def url_parameter(self) -> str | None:
        return self.name if self.place == "query" else None


class HeaderSigner(httpx.Auth):
    """Signs each request with the same header; none if its value is empty."""

    def __init__(self, name: str, value: str) -> None:
        self._name = name
        self._value = value

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._value:
            request.headers[self._name] = self._value
        yield request


class QueryKeySigner(httpx.Auth):
    """A key that is put into the query just before sending."""

    def __init__(self, name: str, key: str) -> None:
        self._name = name
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._key:
            others = without_param(request.url.query.decode("ascii"), self._name)
            query = "&".join(filter(None, [others, query_of([(self._name, self._key)])]))
            request.url = request.url.copy_with(query=query.encode("ascii"))
        yield request
