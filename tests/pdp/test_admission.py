import pytest

from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle
from gateway.pdp import admission, loader
from gateway.pdp.admission import Limits

from .policies import allowing, policy

LIMITS = Limits()


def refusal(candidate, limits=LIMITS):
    with pytest.raises(PolicyFault) as caught:
        admission.admit(candidate, limits)
    return caught.value.detail


def test_the_shipped_bundle_is_admitted():
    admission.admit(bundle.read(loader.shipped()))


def test_a_plain_bundle_is_admitted():
    admission.admit(allowing())


def test_a_finding_of_the_lint_refuses_with_file_and_line():
    told = refusal(policy("x if {\n\tsome w in walk(input)\n\tw\n}\n"))

    assert "gateway/call/decision.rego:4:" in told
    assert "walk-as-value" in told


def test_a_source_that_does_not_parse_refuses():
    assert "gateway/call/decision.rego:3:" in refusal(policy("x := }\n"))


def test_a_bundle_that_recurses_is_refused_and_not_run():
    assert "[recursion]" in refusal(policy('f(x) := f(x)\ndecision := {"effect": "allow"} if f(1)\n'))


def test_a_test_that_fails_refuses_with_its_name_and_line():
    failing = policy(files={"gateway/call_test.rego": b"package gateway.call_test\n\ntest_no if 1 == 2\n"})

    assert "gateway/call_test.rego:3: the test test_no FAIL" in refusal(failing)


def test_a_test_that_raises_refuses():
    raising = policy(files={"gateway/call_test.rego": b'package gateway.call_test\ntest_no if to_number("x")\n'})

    assert "ERROR" in refusal(raising)


def test_a_test_that_is_yet_to_be_written_does_not_refuse():
    admission.admit(policy(files={"gateway/call_test.rego": b"package gateway.call_test\ntodo_test_no if 1 == 2\n"}))


def test_a_decision_that_is_none_is_found_by_the_samples():
    assert "not a decision" in refusal(policy('decision := {"effect": "alow"} if input.message.name == "run_sql"\n'))


def test_a_mask_that_cannot_be_carried_out_is_found_by_the_samples():
    rule = '{"select": {"class": "SNN"}, "operator": {"name": "redact"}}'
    files = {
        "gateway/result/decision.rego": (
            'package gateway.result\ndefault decision := {"effect": "deny"}\n'
            f'decision := {{"effect": "allow", "mask": [{rule}]}} if input.principal\n'
        ).encode()
    }

    assert "mask that cannot be carried out" in refusal(policy(files=files))


def test_a_decision_that_fails_on_a_sample_is_refused():
    assert "fails on a sample input" in refusal(
        policy('decision := {"effect": "allow"} if to_number(input.message.name) > 1\n')
    )


def test_a_decision_that_costs_too_much_is_refused():
    slow = 'decision := {"effect": "allow"} if count([1 | some x in numbers.range(1, 3000); some y in [1, 2, 3]]) > 0\n'

    assert "is the most" in refusal(policy(slow), Limits(decision_s=0.0001))


def test_a_bundle_that_hangs_is_killed():
    hanging = policy(
        files={"gateway/call_test.rego": b"package gateway.call_test\ntest_x if bits.lsh(1, 4000000000) > 0\n"}
    )

    assert "was stopped" in refusal(hanging, Limits(wall_s=1.0, memory=1 << 34))


def test_a_bundle_that_computes_for_ever_runs_out_of_cpu_time():
    body = (
        b"package gateway.call_test\nn := numbers.range(1, 9999)\ntest_x if count([1 | some x in n; some y in n]) > 0\n"
    )

    assert "CPU time" in refusal(policy(files={"gateway/call_test.rego": body}), Limits(wall_s=20.0, cpu_s=1))


def test_a_bundle_that_takes_all_memory_is_refused():
    body = b'package gateway.call_test\ntest_x if sprintf("%999999999d", [1]) != ""\n'

    assert "memory" in refusal(policy(files={"gateway/call_test.rego": body}), Limits(memory=1 << 30))


def test_a_literal_that_would_take_for_ever_to_parse_is_refused_at_once():
    assert "[deep-literal]" in refusal(policy("x := " + "[" * 40 + "]" * 40 + "\n"), Limits(wall_s=5.0))


def test_the_child_sees_nothing_of_our_environment(monkeypatch):
    monkeypatch.setenv("PHIGATE_SECRET", "s3cret")
    seen = policy('decision := {"effect": "allow"} if opa.runtime().env.PHIGATE_SECRET\n')

    assert "s3cret" not in refusal(seen)
