"""An auth of the user's own: a class by its import path."""

import importlib
from collections.abc import AsyncGenerator, Awaitable, Iterator
from typing import Literal

import httpx
from pydantic import Field, SecretStr

from pipeline.auth.base import AUTH, Auth, AuthContext, Secrets, signer_secrets
from pipeline.auth.token_pause import TokenPause, throttled
from pipeline.errors import ApiUnavailable, AuthError, ConfigError, HeadraceError, TokenThrottled


@AUTH.register("python")
class CustomAuth(Auth):
    """A class of the user's own, a subclass of ``httpx.Auth``, by import path.

    The class gets the options by name. What it fetches and must not be shown it has in ``secrets``,
    a set of texts, or in ``token``. To import its module runs code: a YAML that names one is code.
    """

    kind: Literal["python"]
    path: str = Field(pattern=r"^[\w.]+:\w+$", description="module:Class")
    options: dict[str, SecretStr] = Field({}, description="arguments of the class, by name")

    def make(self, context: AuthContext) -> httpx.Auth:
        options = {key: value.get_secret_value() for key, value in self.options.items()}
        signer = self._class()
        try:
            return GuardedAuth(signer(**options), self.path, self, TokenPause(context))
        except Exception as error:
            reason = Secrets(self).redacted(str(error), withheld="its message repeats a secret")
            raise ConfigError(
                f"`auth.path` {self.path!r} can't be used ({type(error).__name__}: {reason}). "
                "Expected a subclass of httpx.Auth that takes the options by name."
            ) from None

    def _class(self) -> type[httpx.Auth]:
        """The class, looked at before it is called: anything that can be imported could be named.

        :raises ConfigError: there is none, or it is no auth.
        """
        module, _, name = self.path.partition(":")
        try:
            signer = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"`auth.path` {self.path!r} can't be used ({type(error).__name__}). Expected an "
                "importable subclass of httpx.Auth."
            ) from None
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"`auth.path` {self.path!r} can't be used: its module fails with "
                f"{type(error).__name__}. Expected an importable subclass of httpx.Auth."
            ) from None
        if not (isinstance(signer, type) and issubclass(signer, httpx.Auth)):
            raise ConfigError(f"`auth.path` {self.path!r} is not a subclass of httpx.Auth")
        return signer


class GuardedAuth(httpx.Auth):
    """A user's auth, whose errors leave as the engine's own, without secrets."""

    def __init__(self, inner: httpx.Auth, path: str, spec: Auth, pause: TokenPause) -> None:
        """:param pause: of the server that it sends requests of its own to."""
        self.inner = inner
        self._pause = pause
        self._path = path
        self._known = Secrets(spec, inner)

    @property
    def secrets(self) -> Iterator[str]:
        return signer_secrets(self.inner)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        await self._pause.wait()
        flow = self.inner.async_auth_flow(request)
        try:
            try:
                to_send = await self._guarded(anext(flow))
                while True:
                    to_send = await self._guarded(flow.asend((yield to_send)))
            except StopAsyncIteration:
                return
        finally:
            await flow.aclose()

    async def _guarded(self, step: Awaitable[httpx.Request]) -> httpx.Request:
        try:
            to_send = await step
        except (HeadraceError, StopAsyncIteration):
            raise
        except Exception as error:
            text = f"`auth.path` {self._path!r} failed ({type(error).__name__}: {error})"
            withheld = f"`auth.path` {self._path!r} failed ({type(error).__name__})"
            redacted = self._known.redacted(text, withheld=withheld)
            if isinstance(error, httpx.HTTPStatusError) and throttled(error.response):
                self._pause.begin(error.response.headers)
                raise TokenThrottled(redacted) from None
            if _is_away(error):
                self._pause.begin()
                raise ApiUnavailable(redacted) from None
            raise AuthError(redacted) from None
        self._pause.end()
        return to_send


def _is_away(error: Exception) -> bool:
    """Whether an error of a request that the auth sends itself may pass by."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, OSError | httpx.TransportError)
