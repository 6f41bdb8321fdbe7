"""The member of a page that says whether another page follows it."""

from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline.decode.coerce import says_no
from pipeline.decode.exact_json import shorten
from pipeline.errors import ContractBroken
from pipeline.model import DottedPath, Model


class MoreFlag(Model):
    """``more: has_more`` in short; ``more: "!is_last"`` where true means that no page follows.

    ``{at: state, value: partial}`` names the value that means that a page follows, and
    ``{at: next, ended: -1}`` the one that means that none does.
    """

    at: DottedPath = Field(description="where the page says whether there is a next one")
    value: bool | int | str = Field(
        True, description="the value that means that there is a next one; false: `!` in short"
    )
    ended: bool | int | str | None = Field(
        None, description="in place of `value`: the value that means that there is none"
    )

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        if self.ended is not None and "value" in self.model_fields_set:
            raise ValueError("`value` and `ended` both say when a page follows: keep one of them")
        return self

    def follows(self, member: Any) -> bool | None:
        """Whether a page follows; None if the page does not say.

        :raises ContractBroken: a list or an object stands there, which equals no value.

        >>> MoreFlag(at="has_more").follows(False)
        False
        >>> MoreFlag(at="is_last", value=False).follows("true")
        False
        >>> MoreFlag(at="state", value="partial").follows("partial")
        True
        >>> MoreFlag(at="next", ended=-1).follows(-1)
        False
        """
        if member is None:
            return None
        if self.ended is not None:
            return str(member) != str(self.ended)
        if isinstance(member, list | dict) and self.value is not True:
            raise ContractBroken(
                f"expected a single value at `{self.at}` (`paging.more`), which says whether a "
                f"page follows, got {shorten(member)}. Check the path, which may lead further in"
            )
        if isinstance(self.value, bool):
            says_yes = bool(member) and not says_no(member)
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
    "that there is none, or {at: state, value: partial}, or {at: next, ended: -1}"
)
