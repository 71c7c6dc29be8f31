"""Data files: what is read, what is refused, and the text that signatures hash."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import PolicyFault
from gateway.core.policy import structured


def refusal(content, path="data.json"):
    with pytest.raises(PolicyFault) as caught:
        structured.decode(content, path)
    assert caught.value.detail.startswith(path)
    return caught.value.detail


def text(content, path="data.json"):
    return structured.canonical_text(content, path).decode()


def test_white_space_and_order_do_not_count_and_digits_do():
    assert text(b'{ "b": 1.0,\n "a": [1e2, 1E+2, -0.0, 18446744073709551615] }') == (
        '{"a":[1e2,1E+2,-0.0,18446744073709551615],"b":1.0}'
    )


def test_members_are_sorted_by_their_bytes_and_not_by_utf16():
    assert text('{"\U0001f600": 1, "\uffee": 2}'.encode()) == '{"\uffee":2,"\U0001f600":1}'


def test_strings_are_written_as_go_writes_them():
    assert text(rb'{"a": "\u2028\u2029<&>\u00e9\u0007\u0008\u000c\/"}') == ('{"a":"\\u2028\\u2029<&>é\\u0007\\b\\f/"}')


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(), st.lists, max_leaves=8))
def test_what_is_hashed_has_the_value_that_is_read(value):
    content = json.dumps({"x": value}).encode()
    try:
        read = structured.decode(content, "data.json")
    except PolicyFault:  # A lone surrogate.
        return
    assert json.loads(structured.canonical_text(content, "data.json")) == read


def test_yaml_is_hashed_by_the_value_that_opa_makes_of_it():
    source = b'k: 1.0\nj: 1e2\nf: 0.1\nbig: 1e21\nsm: 1e-7\nu: "\\u2028\xc3\xa9"\nm: 18446744073709551615\n'
    assert text(source, "data.yaml") == (
        '{"big":1e+21,"f":0.1,"j":100,"k":1,"m":18446744073709551615,"sm":1e-7,"u":"\\u2028é"}'
    )


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"", None),
        (b"a: 'no'\nb: \"010\"\nc: |\n  x\n", {"a": "no", "b": "010", "c": "x\n"}),
        (b"[1, -2, 0.5, -0.5, 2.0, true, false, null, two]", [1, -2, 0.5, -0.5, 2, True, False, None, "two"]),
        (b"a: 2026-01-05\nb: [10:1a, v1.2, 10.0.0.0/8]", {"a": "2026-01-05", "b": ["10:1a", "v1.2", "10.0.0.0/8"]}),
    ],
)
def test_yaml_says_what_json_could(content, value):
    assert structured.decode(content, "data.yaml") == value


@pytest.mark.parametrize(
    "word",
    "y n yes No ON off True NULL ~ 010 0o7 0x1F 0b1 1_000 1:30 .5 1. +1 -0 -0.0 .inf -.INF .nan 1e400 =".split(),
)
def test_a_word_that_readers_of_yaml_disagree_on_is_refused_with_its_line(word):
    assert refusal(f"a: 1\nb: {word}\n".encode(), "x/data.yaml").startswith("x/data.yaml:2: readers of YAML disagree")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: &x [1]\nb: *x", "anchors and aliases"),
        (b"a: *x", "anchors and aliases"),
        (b"a: !!python/object:os.system x", "the tag"),
        (b"a: !x 1", "the tag"),
        (b"a: 1\na: 2", "there twice"),
        (b"1: a", "no string"),
        (b"[a]: b", "no string"),
        (b"a: 1\n---\nb: 2", "second document"),
        (b"a: [1", "not YAML"),
        (b"\x00", "not YAML"),
        (b"a: \xff", "not UTF-8"),
        (b"[" * 2000, "nested deeper"),
        (b"a: " + b"x" * structured.YAML_MAX, "Convert it to data.json"),
        (b"a: 18446744073709551616", "64 bits"),
    ],
)
def test_yaml_that_is_no_plain_data_is_refused(content, told):
    assert told in refusal(content, "data.yaml")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not JSON"),
        (b"{", ":1: not JSON"),
        (b'{\n"a": NaN}', ":2: not JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b'{"a": "\xff"}', "not JSON"),
        (b'{"a": "\\ud800"}', "not JSON"),
        (b'{"a": {"b": 1, "b": 2}}', "'b' is there twice"),
        (b'{"a": 18446744073709551616}', "64 bits"),
        (b'{"a": -9223372036854775809}', "64 bits"),
        (b'{"a": ' + b"9" * 300 + b"}", "64 bits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "infinity"),
        (b"[" * 200 + b"]" * 200, "nested deeper"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, ""),
    ],
)
def test_json_that_two_readers_could_take_for_two_values_is_refused(content, told):
    assert told in refusal(content)


@given(st.binary(max_size=200) | st.text(max_size=60).map(str.encode))
def test_bytes_of_any_kind_end_in_a_value_or_a_policy_fault(content):
    for path in ("data.json", "data.yaml"):
        try:
            structured.canonical_text(content, path)
        except PolicyFault:
            continue


def test_attack_finding_the_member_that_is_there_twice_takes_no_long_search():
    names = [f"a{number}" for number in range(60_000)]
    content = ("{" + ",".join(f'"{name}":1' for name in [*names, names[-1]]) + "}").encode()

    assert "'a59999' is there twice" in refusal(content)
