"""The application: the API, the token endpoint and the control API put together."""

import time
from concurrent.futures import ThreadPoolExecutor

from starlette.applications import Starlette
from starlette.routing import Mount, Route

from emulator.answers import Answers
from emulator.api import Api
from emulator.auth import Tokens
from emulator.control import Control
from emulator.settings import EmulatorSettings
from emulator.store import Store
from emulator.token_endpoint import TokenEndpoint


def create_app(
    store: Store, settings: EmulatorSettings, client_id: str, client_secret: str
) -> Starlette:
    """The ASGI application."""
    data_thread = ThreadPoolExecutor(1, thread_name_prefix="data")
    tokens = Tokens(client_id, client_secret, settings, time.monotonic)
    api = Api(settings, Answers(store, settings), tokens, data_thread)
    control = Control(settings, store, tokens, api, data_thread)
    return Starlette(
        routes=[
            Route("/v4/{path:path}", api),
            Route("/oauth2/token", TokenEndpoint(tokens, api.faults)),
            Mount("/_control", routes=control.routes()),
        ]
    )
