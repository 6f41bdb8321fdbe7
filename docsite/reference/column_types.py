"""`docs/reference/types.md`: the types of columns, from the docstring of their module."""

import re

from docsite.reference.markdown import code, table
from pipeline.decode import types

_CODE_SPAN = re.compile(r"``")


def page() -> str:
    """The page."""
    lines = [
        "# Column types",
        "",
        "A type in `columns` of an endpoint, the JSON values that it reads, and the type of the",
        "Parquet column. A value that does not fit is refused with the row and the remedy, or",
        "converted and counted (`converted_cells` in the metadata). Rows are not dropped for it.",
        "",
        *table(
            ("type", "reads", "lands as"),
            [(code(name), reads, code(lands)) for name, reads, lands in rows()],
        ),
        "",
        "How to write columns: [Columns](../how-to/columns.md).",
    ]
    return "\n".join(lines) + "\n"


def rows() -> list[tuple[str, str, str]]:
    """The type, what it reads, and as what it lands: the table in the module's docstring.

    :raises ValueError: the docstring has no such table.
    """
    lines = (types.__doc__ or "").splitlines()
    head = next((line for line in lines if re.match(r"\s+text\s+JSON value\s+lands as$", line)), "")
    if not head:
        raise ValueError("The docstring of pipeline.decode.types has no table of types.")
    second, third = head.index("JSON value"), head.index("lands as")
    found: list[tuple[str, str, str]] = []
    for line in lines[lines.index(head) + 1 :]:
        if not line.strip():
            break
        one, two, three = _cells(line, second, third)
        if one:
            found.append((one, two, three))
        else:
            name, reads, lands = found[-1]
            found[-1] = (name, f"{reads} {two}".strip(), f"{lands} {three}".strip())
    return [(name, _CODE_SPAN.sub("`", reads), lands) for name, reads, lands in found]


def _cells(line: str, second: int, third: int) -> tuple[str, str, str]:
    """The three cells; a name that is longer than its column is ended by two spaces."""
    name = line[:second].strip()
    if name and line[second - 1 : second].strip():
        name, rest = re.split(r"\s{2,}", line.strip(), maxsplit=1)
        parts = re.split(r"\s{2,}", rest, maxsplit=1)
        return name, parts[0], parts[1] if len(parts) > 1 else ""
    return name, line[second:third].strip(), line[third:].strip()
