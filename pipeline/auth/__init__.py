"""Credentials: one file a kind of auth, each the model of its YAML and the signer of requests.

``base``: the base of a kind, the registry ``AUTH``, the ``Secrets`` of a source, and the origin
that they may go to. The kinds:
``none``, ``api_key``, ``basic``, ``bearer``, ``oauth2`` (client credentials, refresh token),
``login`` and ``custom`` (a class of the user's own). ``token_auth``: a token that is fetched, and
renewed; ``token_pause``: how long its endpoint is left alone after a failure; ``token_file``: a
refresh token that is good once, kept from run to run. Secrets go into headers and bodies, never
into URLs, but for an API that reads its key from the query only: the key is put in just before
sending.
"""

from pipeline.auth import api_key, basic, bearer, custom, login, none, oauth2
from pipeline.auth.base import AUTH, Auth, AuthContext, Secrets

NO_AUTH: Auth = none.NoAuth()
"""The auth of a source that says nothing of it."""

__all__ = [
    "AUTH", "NO_AUTH", "Auth", "AuthContext", "Secrets",
    "api_key", "basic", "bearer", "custom", "login", "none", "oauth2",
]  # fmt: skip
