"""Canonical JSON: the same bytes as an independent RFC 8785 writer, for every value that JSON has."""

import json
import math
import struct

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.evidence.canonical import encode

SAFE = 2**53 - 1
numbers = st.integers(-SAFE, SAFE) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=("Cs",)))
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values)
@example({"\U0001f600": 1, "\ufb33": 2})
@example([1e21, 1e-7, 1e16, 123456789012345680000.0, 5e-324, -0.0, 0.1, 100.0, 1.5e300])
def test_the_bytes_are_those_of_an_independent_writer(value):
    assert rfc8785.dumps(value) == encode(value)


@given(st.integers(0, 2**64 - 1))
def test_every_double_is_written_as_ecmascript_writes_it(bits):
    (value,) = struct.unpack(">d", bits.to_bytes(8, "big"))
    if math.isfinite(value):
        assert rfc8785.dumps(value) == encode(value)


@given(st.dictionaries(texts, values, max_size=6), st.randoms())
def test_the_order_in_which_keys_were_written_does_not_matter(document, random):
    names = list(document)
    random.shuffle(names)

    assert encode(document) == encode({name: document[name] for name in names})


def test_wide_integers_keep_every_digit():
    assert encode([2**53 + 1, -(10**40)]) == f"[{2**53 + 1},{-(10**40)}]".encode()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, {"a": math.nan}])
def test_numbers_that_json_does_not_have_are_refused(value):
    with pytest.raises(ValueError, match="NaN"):
        encode(value)


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, ["a\ud834b"], {"é\ud800": 1.5}])
def test_lone_surrogates_are_refused_without_quoting_the_text(value):
    with pytest.raises(ValueError, match="surrogate") as caught:
        encode(value)

    assert caught.value.__cause__ is None
    assert "ud8" not in str(caught.value)


@pytest.mark.parametrize("value", [b"bytes", {1: 2}, (1, 2), {1, 2}, {"a": object()}])
def test_what_is_not_json_is_refused(value):
    with pytest.raises(ValueError, match="not a"):
        encode(value)


def test_values_nested_deeper_than_the_fast_writer_goes_are_written_all_the_same():
    value = json.loads("[" * 300 + "]" * 300)

    assert encode(value) == b"[" * 300 + b"]" * 300
