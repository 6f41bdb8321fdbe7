"""Text to tokens. What a token means is the parser's business."""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from emulator.query import QueryError

TokenKind: TypeAlias = Literal["string", "number", "name", "op", "end"]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:\\.|[^"\\])*")
      | (?P<number>-?\d+(?:\.\d+)?(?![\w.]))
      | (?P<name>[A-Za-z_]\w*(?:/[A-Za-z_]+)?(?:\.(?:\w+|\*))*)
      | (?P<op>>=|<=|!=|!~|[=~><&|()\[\]{}!*;,])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is the source, except for strings: there the quotes and escapes are gone."""

    kind: TokenKind
    text: str


def tokenize(source: str) -> list[Token]:
    """All tokens and one of kind "end"."""
    found: list[Token] = []
    position = 0
    end = len(source.rstrip())
    while position < end:
        match = _TOKEN.match(source, position)
        if match is None:
            excerpt = source[position:end].strip()[:20]
            raise QueryError("Syntax Error", f"Unexpected input at `{excerpt}`")
        position = match.end()
        if (text := match["string"]) is not None:
            found.append(Token("string", _ESCAPE.sub(r"\1", text[1:-1])))
        elif (text := match["number"]) is not None:
            found.append(Token("number", text))
        elif (text := match["name"]) is not None:
            found.append(Token("name", text))
        else:
            found.append(Token("op", match["op"]))
    found.append(Token("end", "end of query"))
    return found
