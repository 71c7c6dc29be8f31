"""Values that differ from OPA's: each with what the engine makes of it. OPA's answer stands in the comment."""

import pytest

from tests.core.policy.lint.policies import answer, found

ARABIC = "\u0661\u0662"


@pytest.mark.parametrize(
    ("template", "given", "wrong"),
    [
        ("%t", "true", ""),  # %!t(bool=true)
        ("%-5s|", '"a"', "5s|"),  # a    |
        ("%5s|", '"a"', "a|"),  # "    a|"
        ("%o", "5", "0O5"),  # 5
        ("%e", "1.5", "1.5e0"),  # 1.500000e+00
        ("%05.2f", "1.5", "number specified for format verb ."),  # 01.50
        ("%+d", "1", "number specified for format verb +."),  # +1
        ("%s %s", '"a"', "no argument specified"),  # a %!s(MISSING)
        ("%s", '"a", "b"', "extra arguments"),  # a%!(EXTRA string=b)
        ("%T", "1", "number specified for format verb T."),  # int64
    ],
)
def test_sprintf_prints_something_else_or_fails(template, given, wrong):
    body = f'x := sprintf("{template}", [{given}])'

    assert answer(body, "x") == wrong or wrong in answer(body, "x")
    assert found(body) == {"sprintf"}


@pytest.mark.parametrize("template", ["%s", "%v", "%d", "%q", "%x", "%5d", "%05d", "%.2f", "100%% of %v"])
def test_sprintf_as_both_print_it_is_fine(template):
    assert found(f'x := sprintf("{template}", [1])') == set()


def test_two_integers_beyond_64_bits_are_one():
    # OPA answers each as it is written.
    assert answer("x := 18446744073709551617", "x") == answer("x := 18446744073709551616", "x")
    assert found("x := 18446744073709551617") == {"big-number"}
    assert found("x := [18446744073709551615, -9223372036854775807]") == set()


def test_fractions_do_not_add_up():
    body = "x if input.share + 0.2 == 0.3"  # true

    assert answer(body, "x", document={"share": 0.1}) == "<undefined>"
    assert "float-equality" in found(body)


def test_sets_and_objects_are_ordered_otherwise():
    body = 'x if {"a": 1} < {1}'  # true

    assert answer(body, "x") == "<undefined>"
    assert "compare-composite" in found(body)


def test_nothing_in_the_input_is_a_set():
    document = {"principal": {"groups": ["staff"]}}

    assert answer('x if input.principal.groups == {"staff"}', "x", document=document) == "<undefined>"
    assert found('x if input.principal.groups == {"staff"}') == {"input-set"}
    for op in ("|", "&", "-"):
        body = f'x := input.principal.groups {op} {{"staff"}}'
        assert "expects set argument" in answer(body, "x", document=document)
        assert "input-set" in found(body)


@pytest.mark.parametrize(("pattern", "text"), [(r"^\\d+$", ARABIC), (r"^\\w$", "é"), (r"^a\\sb$", "a\u2003b")])
def test_perl_classes_take_more_than_ascii(pattern, text):
    body = f'x if regex.match("{pattern}", input.a)'  # undefined

    assert answer(body, "x", document={"a": text}) is True
    assert "unicode-class" in found(body)


def test_a_class_in_a_replacement_or_behind_an_escaped_backslash_is_none():
    assert "unicode-class" not in found(r"x := regex.replace(input.a, `a`, `\d`)")
    assert "unicode-class" not in found(r"x if regex.match(`\\d`, input.a)")


def test_upper_makes_one_name_of_two():
    body = 'x if upper(input.a) == "MASS"'  # undefined

    assert answer(body, "x", document={"a": "maß"}) is True
    assert "upper" in found(body)


def test_json_marshal_gives_another_text():
    body = 'x := json.marshal({"a": input.a})'  # {"a":"\\u003cb\\u003e"}

    assert answer(body, "x", document={"a": "<b>"}) == '{"a":"<b>"}'
    assert found(body) == {"json-text"}


def test_a_broken_escape_is_kept():
    body = "x := urlquery.decode(input.a)"  # undefined

    assert answer(body, "x", document={"a": "%zz"}) == "%zz"
    assert "urlquery" in found(body)
