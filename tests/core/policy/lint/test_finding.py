"""What a finding says, and what a comment may silence."""

import orjson

from gateway.core.policy import lint
from gateway.core.policy.bundle import Manifest, Source
from gateway.core.policy.lint import Severity, in_characters
from gateway.core.policy.syntax import Place
from gateway.pdp.engine import load
from tests.core.policy.lint.policies import PATH, found, review


def test_a_finding_is_one_line_with_place_rule_reason_and_fix():
    finding = review("package gateway.budgets\n\nx := y if { y = 1 }\n", path="gateway/budgets/budgets.rego")[0]

    assert str(finding) == (
        "gateway/budgets/budgets.rego:3:13: `=` may bind or compare. [prefer-assign] "
        "Fix: write `:=` to bind and `==` to compare."
    )
    assert finding.docs == "docs/lint.md#prefer-assign"


def test_columns_count_characters_also_behind_wide_ones():
    text = 'package gateway.budgets\n\nx if "é漢😀" == walk(input)\n'
    places = {one.rule: one.place for one in review(text, path="gateway/budgets/budgets.rego")}

    assert places["walk-as-value"] == Place(3, 15)


def test_the_engine_counts_four_columns_for_a_tab():
    assert in_characters(Place(1, 10), ["\t\twalk"]) == Place(1, 4)


def test_a_place_beyond_the_source_stays_as_it_is():
    assert in_characters(Place(9, 9), ["é"]) == Place(9, 9)
    assert in_characters(Place(1, 9), ["é"]) == Place(1, 8)


def test_a_column_is_never_0():
    (finding,) = review("package gateway.call\n\nx := data.a.\ny\n")

    assert (finding.rule, finding.place) == ("unparsable", Place(4, 1))


def test_a_comment_silences_a_warning_in_its_line_and_the_next():
    assert found('# phigate ignore: yoda\nx if "a" == input.message.name') == set()
    assert found('x if "a" == input.message.name # phigate ignore: use-in, yoda') == set()
    assert found('# phigate ignore: use-in\nx if "a" == input.message.name') == {"yoda"}
    assert found('# phigate ignore: yoda\n\nx if "a" == input.message.name') == {"yoda"}


def test_admission_is_given_the_errors_alone():
    sources = (Source(PATH, 'package gateway.call\n\nx if "a" == walk(input)\n'),)
    tree = orjson.loads(load(sources, {}).get_ast_as_json())

    assert {one.severity for one in lint.check(tree, {}, Manifest())} == {Severity.ERROR}
    assert {one.severity for one in lint.review(tree, {}, Manifest())} == set(Severity)


def test_no_comment_silences_an_error():
    assert found("# phigate ignore: walk-as-value\nx if walk(input)") == {"walk-as-value"}
