"""Counting tells whether orjson has read all that was written, and never says so where it has not."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import written

texts = st.text(st.sampled_from('ab"\\ {}1'), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-1e18, 1e18) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


def holds_all(text: str) -> bool:
    found = len(written.MEMBER.findall(text))
    assert len(written.MEMBER_BYTES.findall(text.encode())) == found
    return written.holds_all(orjson.loads(text), found)


@given(values, st.sampled_from([None, 1]))
def test_what_is_written_once_is_held_where_no_string_has_a_colon(value: object, indent: int | None) -> None:
    assert holds_all(json.dumps(value, indent=indent))


@given(st.sampled_from(['":', '" :', '\\":', ':"', '"a":1']))
def test_a_string_that_looks_like_a_member_takes_another_look_or_none(odd: str) -> None:
    value = {odd: [odd], "a": odd}
    assert holds_all(json.dumps(value)) == (written.MEMBER.findall(json.dumps(value)) == ['":', '":'])


@pytest.mark.parametrize("text", ["{}", "[]", "1", '"a"', '{"a":1,"b":[{"a" : 2}]}', '[1.5, 1e9, {"a":{"a":"a: b"}}]'])
def test_plain_json_is_held(text: str) -> None:
    assert holds_all(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '[{"b":[{"a":1,"\\u0061":1}]}]',
        '{"a" : 1, "a"\n: 2, "x": "\\u0022\\u003a"}',
        '{"a":1,"a":{"b":2}}',
        "18446744073709551616",
        '{"a":[-9223372036854775809]}',
    ],
)
def test_what_was_dropped_or_rounded_takes_another_look(text: str) -> None:
    assert not holds_all(text)
