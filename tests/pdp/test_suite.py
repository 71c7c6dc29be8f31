from gateway.pdp import suite

from .policies import policy

TESTS = b"""package gateway.call_test

test_passes if 1 == 1

test_fails if 1 == 2

test_is_not_true := "yes"

test_raises if to_number("x") == 1

todo_test_later if 1 == 2

test_prints if print("hello")

helper if 1 == 2
"""


def outcomes(**options):
    return suite.run(policy(files={"gateway/call_test.rego": TESTS}), **options)


def test_a_test_passes_when_it_is_true_and_only_then():
    assert {outcome.name: outcome.word for outcome in outcomes()} == {
        "test_passes": "PASS",
        "test_fails": "FAIL",
        "test_is_not_true": "FAIL",
        "test_raises": "ERROR",
        "todo_test_later": "SKIPPED",
        "test_prints": "PASS",
    }


def test_outcomes_have_the_shape_that_opa_prints():
    documents = {outcome.name: outcome.document for outcome in outcomes()}

    assert documents["test_fails"]["location"] == {"file": "gateway/call_test.rego", "row": 5, "col": 1}
    assert documents["test_fails"]["package"] == "data.gateway.call_test"
    assert documents["test_fails"]["fail"] is True
    assert "to_number" in documents["test_raises"]["error"]["message"]
    assert documents["todo_test_later"]["skip"] is True
    assert "hello" in documents["test_prints"]["output"]
    assert documents["test_passes"].keys() == {"location", "package", "name", "duration"}


def test_a_pattern_chooses_by_package_and_name():
    assert [outcome.name for outcome in outcomes(only="call_test.test_pas")] == ["test_passes"]
    assert outcomes(only="nowhere") == []
