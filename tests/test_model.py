"""The base of the models: a copy is worth what its own fields say."""

from functools import cached_property

from pipeline.model import Model


class Doubled(Model):
    number: int

    @cached_property
    def twice(self) -> int:
        return 2 * self.number


def test_a_copy_with_other_fields_keeps_nothing_that_was_worked_out_before() -> None:
    one = Doubled(number=1)
    assert one.twice == 2
    assert one.model_copy(update={"number": 5}).twice == 10
    assert one == Doubled(number=1)
