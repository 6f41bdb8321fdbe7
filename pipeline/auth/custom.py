"""An auth of the user's own: a class by its import path."""

import importlib
from typing import Literal

import httpx
from pydantic import Field, SecretStr

from pipeline.auth.base import AUTH, Auth, AuthContext
from pipeline.errors import ConfigError


@AUTH.register("python")
class CustomAuth(Auth):
    """A class of the user's own, a subclass of ``httpx.Auth``, by import path.

    The class gets the options by name. What it fetches and must not be shown it has in ``secrets``,
    a set of texts, or in ``token``.
    """

    kind: Literal["python"]
    path: str = Field(pattern=r"^[\w.]+:\w+$", description="module:Class")
    options: dict[str, SecretStr] = {}

    def make(self, context: AuthContext) -> httpx.Auth:
        module, _, name = self.path.partition(":")
        options = {key: value.get_secret_value() for key, value in self.options.items()}
        try:
            made = getattr(importlib.import_module(module), name)(**options)
        except (ImportError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"`auth.path` {self.path!r} can't be used ({type(error).__name__}). Expected an "
                "importable subclass of httpx.Auth that takes the options by name."
            ) from None
        if not isinstance(made, httpx.Auth):
            raise ConfigError(f"`auth.path` {self.path!r} is not a subclass of httpx.Auth")
        return made
