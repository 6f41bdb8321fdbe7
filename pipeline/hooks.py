"""What YAML can't say: the user's own functions, by import path.

=============  ==========================================  ======================================
key            signature                                   meaning
=============  ==========================================  ======================================
``transform``  ``(pyarrow.Table) -> pyarrow.Table``        rows of a page, changed, more or fewer;
                                                           the columns stay (declare computed ones)
``paging``     ``(PageRequest, PageInfo) -> …``           the page after this one (a
                                                           ``PageRequest``), or None at the end
``auth``       a subclass of ``httpx.Auth``                takes ``options`` as keyword arguments
=============  ==========================================  ======================================

What the function of ``paging`` may return is checked in ``pipeline.pagination.custom``.
"""

import importlib
from collections.abc import Callable, Collection
from typing import Any

import pyarrow as pa

from pipeline.errors import ConfigError, ContractBroken


def load_function(path: str, where: str) -> Callable[..., Any]:
    """A user's function by import path. :raises ConfigError: there is none."""
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where} {path!r} can't be imported: {error}") from None
    if not callable(found):
        raise ConfigError(f"{where} {path!r} is not a function")
    return found  # type: ignore[no-any-return]


def transformed(
    table: pa.Table,
    function: Callable[[pa.Table], Any],
    path: str,
    needed: Collection[str] = (),
) -> pa.Table:
    """The rows as the user's function makes them, with the columns and types that they had.

    :param needed: columns that must have a value in every row that it makes.
    :raises ContractBroken: the function fails, gives other columns, or leaves out a value.
    """
    try:
        found = function(table)
    except Exception as error:
        raise ContractBroken(f"transform {path} failed: {type(error).__name__}: {error}") from error
    if not isinstance(found, pa.Table):
        raise ContractBroken(f"transform {path}: expected a pyarrow.Table, got {type(found)}")
    try:
        made = found.select(table.column_names).cast(table.schema)
    except (KeyError, pa.ArrowException, ValueError) as error:
        raise ContractBroken(
            f"transform {path}: expected the columns {', '.join(table.column_names)} with their "
            f"types, got others ({error}): declare computed columns in 'columns'"
        ) from None
    for name in made.column_names:
        if name in needed and made[name].null_count:
            at = made[name].combine_chunks().is_null().index(True).as_py()
            raise ContractBroken(
                f"transform {path}: expected a value of {name} in every row, since it is in the "
                f"key or declared nullable: false; row {at} of those that came back has none"
            )
    return made
