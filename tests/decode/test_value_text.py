"""A value as a person writes it: no Python in a preview."""

from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest

from pipeline.decode.value_text import value_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("é", "é"),
        (True, "true"),
        (1.5, "1.5"),
        (Decimal("7.10"), "7.10"),
        (datetime(2026, 11, 1, 12, tzinfo=UTC), "2026-11-01T12:00:00Z"),
        (date(2026, 11, 1), "2026-11-01"),
        (time(9, 30), "09:30:00"),
        (b"\x00\xff", "00ff"),
        ([{"sku": "é", "price": Decimal("7.10"), "none": None}],
         '[{"sku": "é", "price": "7.10", "none": null}]'),
    ],
)  # fmt: skip
def test_a_value_is_written_without_python(value: object, text: str) -> None:
    assert value_text(value) == text
