"""What keeps a source from being parsed at all."""

from gateway.core.policy import lint
from gateway.core.policy.bundle import Source
from gateway.core.policy.lint.text import TEXT_MAX
from gateway.pdp.child import End
from tests.core.policy.lint.policies import answer, end, found, review


def names(text):
    return [(finding.rule, finding.place.line, finding.place.column) for finding in lint.unparsed((Source("a", text),))]


def test_a_deep_literal_takes_the_parser_for_ever():
    assert end("x := " + "[" * 22 + "]" * 22, "x") is End.LATE
    assert names("x := " + "[" * 22 + "]" * 22) == [("deep-literal", 1, 18)]


def test_an_interpolated_string_is_named_before_the_engine_chokes_on_it():
    assert names('package a\n\nx := $"{input.a}"\n') == [("interpolation", 3, 6)]
    assert names("package a\n\nx := $`{input.a}`\n") == [("interpolation", 3, 6)]
    assert names('package a\n\nx := "$1 and $$"\n') == []


def test_places_behind_a_raw_string_of_several_lines_are_right():
    assert names("x := `a\nb` y := " + "[" * 13) == [("deep-literal", 2, 21)]


def test_more_rego_than_fits_into_memory_is_found_without_parsing():
    assert names("# " + "x" * TEXT_MAX) == [("too-large", 1, 1)]


def test_parentheses_and_calls_cost_nothing_and_the_engine_ends_at_32_itself():
    assert found("x := " + "f(" * 20 + "1" + ")" * 20 + "\n\nf(y) := y") == set()
    (finding,) = review("package gateway.call\n\nx := " + "(" * 500)

    assert (finding.rule, finding.place.line) == ("unparsable", 3)
    assert "nesting too deep (>32)" in finding.reason


def test_what_is_not_rego_is_told_with_its_place_and_in_one_line():
    finding = review("package gateway.call\n\nx := := 1\n")[0]

    assert str(finding).startswith("gateway/call/decision.rego:3:6: The engine cannot read this: ")
    assert "\n" not in str(finding)
    assert finding.rule == "unparsable"


def test_every_source_that_is_not_rego_is_told():
    assert len(review("package", others={"b.rego": "x"})) == 2


def test_what_the_engine_refuses_at_the_first_decision_is_told_before():
    body = "x if {\n\tnot y\n\ty := input.message.name\n}"

    assert "definition" in answer(body, "x")
    assert "engine-refuses" in found(body)
