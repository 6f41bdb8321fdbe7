"""The member of a page that says whether another page follows. Pure."""

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from pipeline.model import DottedPath, Model

_NO: Final = (False, 0, "false", "False", "0", "no", "")


class MoreFlag(Model):
    """``more: has_more`` in short; ``more: "!is_last"`` where true means that no page follows.

    ``{at: state, value: partial}`` names the value that means that a page follows.
    """

    at: DottedPath = Field(description="where the page says whether there is a next one")
    value: bool | int | str = Field(
        True, description="the value that means that there is a next one; false: `!` in short"
    )

    def follows(self, member: Any) -> bool | None:
        """Whether a page follows; None if the page does not say.

        >>> MoreFlag(at="has_more").follows(False)
        False
        >>> MoreFlag(at="is_last", value=False).follows("true")
        False
        >>> MoreFlag(at="state", value="partial").follows("partial")
        True
        """
        if member is None:
            return None
        if isinstance(self.value, bool):
            says_yes = member not in _NO
            return says_yes is self.value
        return str(member) == str(self.value)


def _flag(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    negated = value.startswith("!")
    return {"at": value.removeprefix("!"), "value": not negated}


More = Annotated[MoreFlag | None, BeforeValidator(_flag, json_schema_input_type=str | MoreFlag)]
MORE: Final = (
    "where the page says whether there is a next one: `has_more`, or `!is_last` where true means "
    "that there is none, or {at: state, value: partial}"
)
