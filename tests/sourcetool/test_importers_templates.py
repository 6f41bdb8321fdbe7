"""The Jinja of manifests, read into values."""

from typing import Any

import pytest

from sourcetool.importers.templates import read_template
from sourcetool.importers.values import (
    Choice,
    Formatted,
    Joined,
    Literal,
    Member,
    Now,
    Setting,
    Unknown,
    Value,
    only_settings,
    reads,
)

SAME: list[tuple[Any, Value]] = [
    ("plain", Literal("plain")),
    (7, Literal(7)),
    ("{{ config['key'] }}", Setting(("key",))),
    ("{{ config.a['b'] }}", Setting(("a", "b"))),
    ("{{ config.get('a', {}).get('b') }}", Setting(("a", "b"))),
    ("{{ config.get('size', 5) }}", Setting(("size",), 5)),
    ("{{ config['size'] or 5 }}", Setting(("size",), 5)),
    ("{{ config.size if config.size else 5 }}", Setting(("size",), 5)),
    ("{{ config['size'] | default(5) | int }}", Setting(("size",), 5)),
    ("  {{ response.next }}  ", Member("response", ("next",))),
    ("{{ response.get('a', {}).get('b') }}", Member("response", ("a", "b"))),
    ("{{ (record.get('owner') or {}).get('id') }}", Member("record", ("owner", "id"))),
    ("{{ headers['link']['next']['url'] }}", Member("headers", ("link", "next", "url"))),
    ("{{ stream_partition.team }}", Member("slice", ("team",))),
    ("{{ stream_slice['team'] }}", Member("slice", ("team",))),
    ("{{ parameters['path'] }}", Literal("orders")),
    ("{{ parameters.inner }}/x", Joined((Setting(("key",)), Literal("/x")))),
    ("Token {{ config.key }}", Joined((Literal("Token "), Setting(("key",))))),
    ("{{ 'a' ~ config.key }}", Joined((Literal("a"), Setting(("key",))))),
    ("{{ now_utc().strftime('%Y') }}", Formatted(Now(), "%Y")),
    (
        "{{ format_datetime(stream_interval.start_time, '%s') }}",
        Formatted(Member("interval", ("start_time",)), "%s"),
    ),
    ("{% if parameters.path == 'orders' %}a{% else %}b{% endif %}", Literal("a")),
    ("{{ ','.join(['a', 'b']) }}", Literal("a,b")),
    (
        "{{ 'x' if config.test else 'y' }}",
        Choice(Setting(("test",)), Literal("x"), Literal("y")),
    ),
]


@pytest.mark.parametrize(("text", "value"), SAME, ids=lambda given: str(given)[:40])
def test_read(text: Any, value: Value) -> None:
    parameters = {"path": "orders", "inner": "{{ config['key'] }}"}
    assert read_template(text, parameters) == value


def test_what_is_not_known_says_so_and_is_not_run() -> None:
    value = read_template("{% for x in record.items %}{{ x }}{% endfor %}")
    assert isinstance(value, Unknown)
    assert "for" in value.why
    assert isinstance(read_template("{{ broken"), Unknown)


def test_what_a_value_depends_on() -> None:
    assert only_settings(read_template("{{ 'a' if config.x == 'y' else config.z.split('/')[0] }}"))
    assert reads(read_template("{{ response.a + record.b }}")) == {"response", "record"}
    assert not only_settings(read_template("{{ config.a or stream_slice.b }}"))


def test_an_offset_with_a_colon_is_one_value() -> None:
    value = read_template("'{{ stream_slice.at[:-2] + ':' + stream_slice.at[-2:] }}'")
    assert isinstance(value, Joined)
    assert [type(part).__name__ for part in value.values] == ["Literal", "Applied", "Literal"]
