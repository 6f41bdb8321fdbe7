"""Errors about bodies whose rows stand elsewhere, or in another form: each knows the remedy.

The sentence says what was found and what was expected, then what to check. Where the form of what
is there is known, the first check is the line of YAML that reads it.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from pipeline.decode.error_words import reason_for_no_rows
from pipeline.decode.exact_json import shorten
from pipeline.errors import ContractBroken, numbered

_ERRORS: Final = ("error", "errors")
ERROR_WORDS: Final = (
    "message", "error", "errors", "detail", "title", "error_description", "reason",
)  # fmt: skip
_FEW: Final = 20


class RowsMisfit(Exception):
    """The rows are not where, or not in the form in which, they should be.

    :param problem: what was found; ``{at}`` in it is the place of the rows.
    :param checks: what to check; ``{below}`` in it is the path of a member there, without its name.
    :param expected: what was expected; None: ``problem`` says it.
    """

    def __init__(self, problem: str, checks: Sequence[str], *, expected: str | None = None) -> None:
        super().__init__(problem)
        self.problem, self.checks, self.expected = problem, list(checks), expected

    def sentence(self, label: str, body: object, where: str) -> ContractBroken:
        """The error for a user. :param where: the path to the rows, as the YAML says it."""
        at, below = (f"`{where}`", f"{where}.") if where else ("the body", "")
        place = f" at `{where}`" if where else ""
        problem = self.problem.replace("{at}", at)
        if self.expected is not None:
            problem = f"expected {self.expected}{place}, but {problem}"
        words = [w for w in ERROR_WORDS if w in body] if isinstance(body, dict) else []
        reason = None if words else reason_for_no_rows(body, where.split("."))
        if words and isinstance(body, dict):
            problem += f"; the API says: {shorten(body[words[0]], 200)}"
        elif reason is not None:
            problem += f"; the API says: {shorten(reason.value, 200)}"
        general = [
            "the request",
            f"`rows`, the path to the rows, in the YAML of {label.split('/')[0]}",
        ]
        own = [check.replace("{below}", below) for check in self.checks]
        checks = [*general, *own] if words or reason else [*own, *general]
        word = next((word for word in _ERRORS if word in words), reason.name if reason else None)
        if word is not None:
            checks.append(f"errors_at: {word}, if only an error has it")
        return ContractBroken(f"{label}: {problem}. Check: {numbered(checks)}")


def missing_step(value: object, path: Sequence[str], depth: int, *, may_lack: bool) -> RowsMisfit:
    """The path leads on, and the value has no such member, or is no object.

    :param may_lack: the member may be absent because there are no rows.
    """
    step, above = path[depth], ".".join(path[:depth])
    if isinstance(value, dict):
        members = ", ".join(f"`{name}`" for name in list(value)[:_FEW]) or "no members"
        description = f"there is no `{step}` among {members}"
    else:
        description = f"`{above}` is {shorten(value)}" if above else f"the body is {shorten(value)}"
    checks = [*_other_steps(value, path, depth)]
    if may_lack:
        checks.append("rows_may_lack: true, if the API leaves the member out where it has no rows")
    rows = ".".join(path)
    return RowsMisfit(f"expected a list of rows at `{rows}`, but {description}", checks)


def _other_steps(value: object, path: Sequence[str], depth: int) -> Iterator[str]:
    """Paths that lead on from there."""
    step, above, rest = path[depth], [*path[:depth]], [*path[depth:]]
    inside = [*value.values()] if isinstance(value, dict) else value
    if not isinstance(inside, list) or not inside:
        return
    if all(isinstance(item, dict) and step in item for item in inside):
        yield f"`rows: {'.'.join([*above, '*', *rest])}`, for the `{step}` of each"
        if isinstance(value, list):
            yield f"`rows: {'.'.join([*above, '0', *rest])}`, for that of the first"


def wrong_form(value: object, *, expected: str = "a list of rows") -> RowsMisfit:
    """The error of a path that leads to another form than it should."""
    return RowsMisfit("{at} is " + shorten(value), [*_forms_that_fit(value)], expected=expected)


def _forms_that_fit(value: object) -> Iterator[str]:
    """The YAML that reads what is there."""
    if isinstance(value, list):
        if all(isinstance(item, dict) for item in value):
            yield "`as: list` (or none) for a list of objects"
        elif value:
            yield from _forms_of_items(value[0])
        return
    if not isinstance(value, dict) or not value:
        return
    for name, member in value.items():
        if isinstance(member, list) and member and all(isinstance(item, dict) for item in member):
            yield f"`rows: {{below}}{name}`, a list of {len(member):,} objects"
    members = [*value.values()]
    if all(isinstance(member, dict) for member in members):
        names = ", ".join(f"`{name}`" for name in list(value)[:3])
        yield (
            f"`as: map`, as the values of that object are objects, keyed by {names} (a row a "
            "member; `key_column` names the column that gets the key)"
        )
    elif all(isinstance(m, list) and not any(isinstance(i, dict) for i in m) for m in members):
        yield "`as: columns`, as the members of that object are arrays of values side by side"
    yield (
        "`as: object`, if it is one row in place of a list; `as: object_or_list`, if one row alone "
        "comes without the list around it"
    )


def wrong_row(rows: Sequence[object], number: int) -> RowsMisfit:
    """A row of a list is no object."""
    row = rows[number]
    return RowsMisfit(
        f"row {number} is {shorten(row)}, expected an object", [*_forms_of_items(row)]
    )


def _forms_of_items(item: object) -> Iterator[str]:
    if item is None:
        yield "`rows_may_lack: true`, if a null stands for no row"
    elif isinstance(item, list):
        if item and all(isinstance(inner, dict) for inner in item):
            yield "`rows: {below}*`, as the items are lists of objects"
        else:
            yield (
                "`as: values`, as the items are arrays of values (the path of a column is the "
                'number of a place, e.g. `path: "0"`), or `as: columns` with `names_at`, the path '
                "to their names"
            )
    elif isinstance(item, str | int | float):
        yield "`as: scalars`, as the items are single values"
