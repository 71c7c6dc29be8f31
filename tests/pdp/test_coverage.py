import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pdp import coverage, suite
from gateway.pdp.suite import Suite

from .policies import policy

RULES = """
decision := {"effect": "allow"} if {
	input.a == 1
	input.b == 2
	input.c == 3
}
"""
TEST = b"""package gateway.call_test

test_a if data.gateway.call.decision.effect == "deny" with input as {"a": 1}

test_b if data.gateway.call.decision.effect == "deny" with input as {"a": 1, "b": 2}

unused if input.x
"""
CASES = b"entrypoint: call\ncases: [{note: x, input: {a: 1, b: 2, c: 3}, want: {effect: allow}}]"
FILE = "gateway/call/decision.rego"


def covered(only, *, files=None):
    bundle = policy(RULES, files={"gateway/call_test.rego": TEST})
    tests = Suite(bundle.sources, bundle.data, tuple(suite.read_cases(files or {})), only=only, covering=True)
    for test in tests.tests:
        tests.run(test)
    return {file.file: file for file in coverage.of(tests.lines()).files}


def test_lines_that_no_test_comes_to_are_missed():
    found = covered("test_a")

    assert found[FILE].covered == (2, 5, 6)
    assert found[FILE].missed == (4, 7)


def test_a_line_that_any_test_or_case_comes_to_is_covered():
    assert covered("test_")[FILE].percent > covered("test_a")[FILE].percent
    assert covered("", files={"a_cases.yaml": CASES})[FILE].missed == ()


def test_what_a_test_came_to_before_another_panicked_counts():
    bundle = policy(RULES, files={"gateway/call_test.rego": TEST + b'\ntest_c if strings.count("x", "") == 1\n'})
    tests = Suite(bundle.sources, bundle.data, covering=True)

    words = [tests.run(test).word for test in tests.tests]

    assert words == ["PASS", "PASS", "ERROR"]
    assert tests.lines()[FILE][0] == {2, 5, 6, 7}


def test_files_of_tests_are_not_counted():
    assert not [file for file in covered("") if file.endswith("_test.rego")]


def test_the_document_has_opas_shape():
    lines = {"a.rego": ({1, 2, 3, 7}, {1, 2, 3, 5, 6, 7}), "b.rego": (set(), set()), "c_test.rego": ({1}, {1})}

    assert coverage.of(lines).document == {
        "files": {
            "a.rego": {
                "covered": [{"start": {"row": 1}, "end": {"row": 3}}, {"start": {"row": 7}, "end": {"row": 7}}],
                "not_covered": [{"start": {"row": 5}, "end": {"row": 6}}],
                "covered_lines": 4,
                "not_covered_lines": 2,
                "coverage": pytest.approx(66.66666),
            }
        },
        "covered_lines": 4,
        "not_covered_lines": 2,
        "coverage": pytest.approx(66.66666),
    }


def test_nothing_to_cover_is_wholly_covered():
    assert coverage.of({}).percent == 100


@given(st.sets(st.integers(1, 60)), st.sets(st.integers(1, 60)))
def test_ranges_say_each_line_once(reached, more):
    (file, *_) = [*coverage.of({"a.rego": (reached, reached | more)}).files, None]
    if file is None:
        assert not reached | more
        return
    document = file.document
    rows = [
        row
        for part in ("covered", "not_covered")
        for each in document[part]
        for row in range(each["start"]["row"], each["end"]["row"] + 1)
    ]
    assert sorted(rows) == sorted(reached | more)
