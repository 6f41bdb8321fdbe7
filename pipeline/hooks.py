"""The user's own functions, by import path: for all that YAML can't say.

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
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from pipeline.errors import ConfigError, ContractBroken, cut

PROJECT: Final = str(Path(__file__).resolve().parents[1])
"""The folder of definitions.py."""


def load_function(path: str, where: str) -> Callable[..., Any]:
    """A user's function by import path, from the project's folder or any place of Python's.

    :raises ConfigError: there is none, or its module fails.
    """
    module, _, name = path.partition(":")
    try:
        _make_project_importable()
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{where} {path!r} can't be imported: {error}. Check: 1. that "
            f"`{module.replace('.', '/')}.py` is in the folder of definitions.py, or installed; 2. "
            f"that it has `{name}`"
        ) from None
    except (Exception, SystemExit) as error:  # a script that ends is no module
        raise ConfigError(
            f"{where} {path!r} can't be imported: its module fails with {type(error).__name__}: "
            f"{cut(str(error), 200)}"
        ) from None
    if not callable(function):
        raise ConfigError(f"{where} {path!r} is not a function")
    return function  # type: ignore[no-any-return]


def _make_project_importable() -> None:
    """Dagster's commands differ in whether the project's folder is where Python looks.

    The folder comes last, so that no package of its name is hidden by it.
    """
    if PROJECT not in map(os.path.abspath, sys.path):
        sys.path.append(PROJECT)


def transformed(
    table: pa.Table,
    function: Callable[[pa.Table], Any],
    path: str,
    required: Collection[str] = (),
) -> pa.Table:
    """The rows as the user's function makes them, with the columns and types that they had.

    :param required: columns that must have a value in every row that it makes.
    :raises ContractBroken: the function fails, gives other columns, or leaves out a value.
    """
    try:
        result = function(table)
    except Exception as error:
        raise ContractBroken(f"transform {path} failed: {type(error).__name__}: {error}") from error
    if not isinstance(result, pa.Table):
        raise ContractBroken(f"transform {path}: expected a pyarrow.Table, got {type(result)}")
    try:
        typed = result.select(table.column_names).cast(table.schema)
    except (KeyError, pa.ArrowException, ValueError) as error:
        raise ContractBroken(
            f"transform {path}: expected the columns {', '.join(table.column_names)} with their "
            f"types, got others ({error}): declare computed columns in 'columns'"
        ) from None
    for name in typed.column_names:
        if name in required and typed[name].null_count:
            at = typed[name].combine_chunks().is_null().index(True).as_py()
            raise ContractBroken(
                f"transform {path}: expected a value of {name} in every row, since it is in the "
                f"key or declared nullable: false; row {at} of those that came back has none"
            )
    return typed
