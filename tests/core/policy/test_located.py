import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import PolicyFault
from gateway.core.policy import located

NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]))
JSONS = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)


def refused(content, path="x_cases.yaml"):
    with pytest.raises(PolicyFault) as caught:
        located.parse(path, content)
    return caught.value.detail


@given(JSONS, st.sampled_from([None, 2, "\t"]))
def test_json_is_read_as_what_it_is(value, indent):
    assert located.parse("x.json", json.dumps(value, indent=indent).encode()).json == value


@given(JSONS)
def test_json_in_a_yaml_file_is_the_same(value):
    assert located.parse("x.yaml", json.dumps(value, ensure_ascii=False).encode()).json == value


@given(st.binary(max_size=200), st.sampled_from(["x.yaml", "x.json"]))
def test_any_bytes_are_a_value_or_a_fault_with_the_files_name(content, path):
    try:
        told = located.parse(path, content).line
    except PolicyFault as fault:
        told = fault.detail

    assert isinstance(told, int) or told.startswith(f"{path}:")


@pytest.mark.parametrize("path", ["x.yaml", "x.json"])
def test_every_value_and_key_knows_its_line(path):
    node = located.parse(path, b'{\n "a": [\n  1,\n  "two\\nlines"\n ],\n "b": {"c":\n  null}}')

    assert node.line == 1
    assert node.keys == {"a": 2, "b": 6}
    assert [item.line for item in node.content["a"].content] == [3, 4]
    assert node.content["b"].content["c"].line == 7


@pytest.mark.parametrize("word", ["no", "on", "yes", "2026-01-05", "1:30", "0x10", "010", "1_000", ".inf", "NaN", "+1"])
def test_a_word_that_json_would_not_have_is_text(word):
    assert located.parse("x.yaml", f"a: {word}\n".encode()).json == {"a": word}


def test_plain_words_mean_what_json_says():
    node = located.parse("x.yaml", b"a: [1, -2.5, 1e3, true, false, null, ~, \"1\", 'true']\nb:\n")

    assert node.json == {"a": [1, -2.5, 1000.0, True, False, None, None, "1", "true"], "b": None}


def test_an_alias_bomb_is_refused_at_its_first_anchor():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]

    assert refused("\n".join(lines).encode()) == (
        "x_cases.yaml:1: anchors and aliases are not read. Write the value out."
    )


def test_a_tag_that_would_construct_an_object_is_refused():
    assert "x_cases.yaml:2: tags are not read" in refused(b'a: 1\nb: !!python/object/apply:os.system ["true"]\n')


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b"- "])
def test_a_document_that_is_nested_without_end_is_refused(opening):
    assert "deeper than 64" in refused(opening * 50_000)


def test_depth_in_json_is_bounded_too():
    assert "deeper than 64" in refused(b"[" * 100 + b"]" * 100, "x.json")


def test_a_file_of_too_many_values_is_refused():
    assert "more than 100000 values" in refused(b"[" + b"1," * 100_001 + b"1]")


def test_a_huge_file_is_refused_unread():
    assert "larger than" in refused(b"#" * (2**20 + 1))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: 1\nb: \xff\n", "x_cases.yaml:2: not UTF-8 text."),
        (b"a: 1\na: 2\n", "x_cases.yaml:2: the key 'a' is there twice."),
        (b"a: 1\n1: 2\n", "x_cases.yaml:2: a key is text. Put it in quotes."),
        (b"? [a]\n: 2\n", "x_cases.yaml:1: a key is text. Put it in quotes."),
        (b"a: [1\nb: 2\n", "x_cases.yaml:2: not YAML: "),
        (b"a: 1\n\tb: 2\n", "x_cases.yaml:2: not YAML: "),
        (b"a: 1\nb: \x01\n", "not YAML: "),
        (b"", "x_cases.yaml:1: one document is wanted, and there are none."),
        (b"a: 1\n---\na: 2\n", "x_cases.yaml:1: one document is wanted, and there are 2."),
        (b"a: 1\nb: 1e999\n", "x_cases.yaml:2: the number 1e999 is larger"),
    ],
)
def test_what_is_not_one_plain_document_is_refused_with_its_line(content, told):
    assert told in refused(content)


def test_broken_json_is_refused_with_its_line():
    assert refused(b'{"a": 1,\n"b": }', "x.json").startswith("x.json:2: not JSON: ")
    assert refused(b'{"a": 1,\n"a": 2}', "x.json") == "x.json:2: the key 'a' is there twice."


def test_a_byte_order_mark_is_no_part_of_the_document():
    assert located.parse("x.yaml", b"\xef\xbb\xbfa: 1").json == {"a": 1}
