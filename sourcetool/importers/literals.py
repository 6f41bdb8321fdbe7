"""What a document has as it is: a literal that is a credential becomes a setting.

The one place that decides it, for parameters, headers, bodies and paths of all documents. A value
of fewer than four characters is no credential: Basic auth wants one of its two parts as ``x``.
"""

import re
from typing import Any
from urllib.parse import unquote

import orjson

from pipeline.config.request import PLACEHOLDER
from sourcetool.credentials import SHORTEST, is_secret, looks_secret
from sourcetool.importers.settings import SettingNames

_FILLED = re.compile(rf"\$\{{\w|{PLACEHOLDER.pattern}")
_WORD = re.compile(r"[A-Za-z0-9_\-+/=~:.]{20,}")
_FLAGS = ("true", "false", "none", "null")


def is_filled(text: str) -> bool:
    """Whether a text has settings or placeholders in it."""
    return _FILLED.search(text) is not None


def literal(name: str, value: str, settings: SettingNames) -> str:
    """A value as the YAML has it: a setting if it is a credential.

    :param name: of the parameter, header or member that has it. What has placeholders or settings
        in it is no literal.
    """
    plain = not is_filled(value) and len(value) >= SHORTEST and value.lower() not in _FLAGS
    return settings.literal(name, value) if plain and is_secret(name, value) else value


def without_secrets(value: Any, settings: SettingNames, name: str = "") -> Any:
    """A body, or a part of it, with settings in place of credentials."""
    if isinstance(value, dict):
        return {k: without_secrets(item, settings, str(k)) for k, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(item, settings, name) for item in value]
    if isinstance(value, str):
        return literal(name, value, settings)
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = literal(name, str(value), settings)
        return value if text == str(value) else text
    return value


def text_without_secrets(text: str, settings: SettingNames) -> str:
    """A text with settings in place of what looks like credentials; JSON is read as such."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _WORD.sub(
            lambda word: (
                settings.literal("body_key", word[0]) if looks_secret(word[0]) else word[0]
            ),
            text,
        )
    changed = without_secrets(body, settings)
    return text if changed == body else orjson.dumps(changed).decode()


def path_without_secrets(path: str, settings: SettingNames) -> str:
    """A path with settings in place of segments that look like credentials."""
    return "/".join(
        settings.literal("path_key", unquote(part)) if looks_secret(unquote(part)) else part
        for part in path.split("/")
    )
