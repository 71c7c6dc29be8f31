import pytest

from gateway.core.errors import PolicyFault
from gateway.pdp import coverage, suite_worker
from gateway.pdp.suite_worker import Plan

from .policies import policy

GOOD = "test_a if 1 == 1\n\n"
LAST = '\ntest_z if data.gateway.call.decision.effect == "deny"\n'
ENDLESS = "count([1 | r := numbers.range(1, 3000); some a in r; some b in r; some c in r; a + b == c + 9999]) == 0"
CASES = {"a_cases.yaml": "entrypoint: call\ncases: [{note: a case, want: {effect: deny}}]"}


def plan(tests, **options):
    bundle = policy(files={"gateway/call_test.rego": f"package gateway.call_test\n\n{tests}".encode()})
    return Plan(bundle.sources, bundle.data, **options)


def words(report):
    return [(each.name, each.word) for each in report.outcomes]


def test_tests_and_cases_are_run_in_a_child_in_order():
    report = suite_worker.run(plan(GOOD + LAST, cases=CASES, covering=True))

    assert words(report) == [("a case", "PASS"), ("test_a", "PASS"), ("test_z", "PASS")]
    assert coverage.of(report.lines).percent > 0
    assert not report.lines_lost


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (f"test_m if {ENDLESS}", "timed out after 0.5 s"),
        ("test_m if f(1) == 2\n\nf(x) := f(x)", "ended its process"),
        ('test_m if sprintf("%999999999d", [1]) == ""', ""),
    ],
    ids=["hangs", "overflows the stack", "takes all memory"],
)
def test_a_test_that_does_not_come_back_is_an_error_and_those_behind_it_are_run(rule, told):
    report = suite_worker.run(plan(f"{GOOD}{rule}\n{LAST}", timeout_s=0.5, covering=True))

    assert words(report) == [("test_a", "PASS"), ("test_m", "ERROR"), ("test_z", "PASS")]
    assert told in report.outcomes[1].fault
    assert report.lines_lost


def test_a_test_that_takes_longer_than_it_may_is_an_error_though_it_came_back():
    slow = "test_m if count([1 | some x in numbers.range(1, 300); some y in numbers.range(1, 300); x == y]) == 300\n"

    (found,) = suite_worker.run(plan(slow, timeout_s=0.001)).outcomes

    assert found.word == "ERROR"
    assert "timed out after 0.001 s" in found.fault


def test_each_test_is_run_as_often_as_is_asked():
    heard = []

    report = suite_worker.run(plan(GOOD + LAST, count=3), tell=lambda done, total: heard.append((done, total)))

    assert words(report) == [("test_a", "PASS"), ("test_z", "PASS")] * 3
    assert heard[-1] == (6, 6)


def test_children_share_the_tests_out_and_the_report_is_the_same():
    tests = "".join(f"test_{number} if {number % 3} == 0\n\n" for number in range(20))
    alone = suite_worker.run(plan(tests, parallel=1, covering=True))

    shared = suite_worker.run(plan(tests, parallel=3, covering=True))

    assert words(shared) == words(alone)
    assert shared.lines == alone.lines


def test_a_short_suite_is_given_to_one_child_and_a_long_one_to_more():
    assert suite_worker.shares(plan(GOOD), cores=8) == 1
    assert suite_worker.shares(plan(GOOD, count=2000), cores=8) == 5
    assert suite_worker.shares(plan(GOOD, count=20000), cores=8) == 8
    assert suite_worker.shares(plan(GOOD, parallel=0), cores=8) == 8
    assert suite_worker.shares(plan(GOOD, parallel=3), cores=8) == 3


def test_a_policy_that_does_not_parse_is_told():
    with pytest.raises(PolicyFault, match=r"call_test\.rego:4"):
        suite_worker.run(plan("test_a if {\n"))


def test_no_test_at_all_is_a_report_of_none():
    assert suite_worker.run(plan("", only="nothing")).outcomes == []


def test_whoever_only_asks_what_did_not_pass_is_told_a_line_each():
    wanting = {"a_cases.yaml": CASES["a_cases.yaml"].replace("effect: deny", "effect: allow, reasons: [x]")}
    tests = GOOD + "test_b if 1 == 2\n\ntodo_test_c if 1 == 2\n"

    assert suite_worker.faults(plan(tests, cases=wanting)) == [
        'a_cases.yaml:2: data.gateway.call: a case: FAIL: effect is "deny", wanted "allow"; '
        'reasons is (nothing), wanted "x"',
        "gateway/call_test.rego:5: data.gateway.call_test.test_b: FAIL",
    ]
    assert len(suite_worker.faults(plan(tests, cases=wanting, only=suite_worker.CASES))) == 1
