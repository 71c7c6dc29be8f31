"""Style, as far as it is worth a warning."""

from tests.core.policy.lint.policies import found, review


def test_names_with_capitals_are_told_and_those_with_a_leading_underscore_are_not():
    assert found("isStaff := 1") == {"snake-case"}
    assert found("_is_staff := 1") == set()


def test_a_source_in_another_directory_than_its_package_is_told():
    text = "package gateway.budgets\n\nx := 1\n"

    assert {finding.rule for finding in review(text, path="gateway/limits/limits.rego")} >= {"package-directory"}
    assert not review(text, path="policies/gateway/budgets/other.rego")
    assert not review("package gateway.budgets_test\n", path="gateway/budgets/budgets_test.rego")


def test_a_long_line_is_told_at_its_120th_character_and_only_where_it_decides():
    text = f'package gateway.budgets\n\nx := "{"é" * 200}"\n'

    assert [(one.rule, one.place.column) for one in review(text, path="gateway/budgets/budgets.rego")] == [
        ("line-length", 121)
    ]
    assert not review(text.replace("budgets", "budgets_test"), path="gateway/budgets/budgets_test.rego")


def test_a_long_source_and_a_long_rule_are_told():
    text = "package gateway.budgets\n" + "\n# x\n" * 300 + "\nx if {\n" + "\tinput.message.name\n" * 50 + "}\n"

    assert {one.rule for one in review(text, path="gateway/budgets/budgets.rego")} == {"file-length", "rule-length"}
