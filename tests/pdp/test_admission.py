import json
import os
import re

import pytest
import trio

from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle, samples
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.pdp import admission, loader
from gateway.pdp.admission import Limits

from . import unlinted
from .policies import ASKED, allowing, policy

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


def test_a_decision_that_costs_too_much_for_the_largest_input_only_is_refused():
    slow = (
        'decision := {"effect": "deny", "labels": {"n": n}} if {\n\tsome g in input.principal.groups\n\tg == "zz"\n}\n'
    )
    pairs = "n := count([1 | some a in input.principal.groups; some b in input.principal.groups; a == b])\n"
    costly = f'{pairs}decision := {{"effect": "deny", "labels": {{"n": n}}}} if n > 100000\n'

    admission.admit(policy(f"n := 1\n{slow}"))
    assert "is the most" in refusal(policy(costly))


def test_a_rule_that_cannot_bear_what_the_schema_allows_is_refused_and_told_on_what_input():
    told = refusal(policy('decision := {"effect": "deny"} if count(input.message.arguments) > 9\n'))

    assert "gateway/call/decision fails on an input like the samples, with input.message." in told
    assert "input.message.arguments = null" in told


def test_a_policy_that_allows_nobody_in_particular_is_refused():
    told = refusal(policy('decision := {"effect": "allow"} if input.message.method\n'))

    assert "gateway/call/decision allows an input without its `principal`" in told


def test_a_policy_that_allows_nothing_in_particular_is_refused():
    told = refusal(policy('decision := {"effect": "allow"} if input.principal.sub\n'))

    assert "gateway/call/decision allows an input without its `message`" in told


HUGE = {"n": 4_000_000_000, "many": 9_000, "width": "%999999999d", "net": "10.0.0.0/4", "empty": "", "none": []}
"""What no lint can see the harm of: numbers and texts in data."""

GROWING = "\n".join(
    ["x0 := data.gateway.limits.width", *(f"x{n + 1} := concat(x{n}, [x{n}, x{n}])" for n in range(30))]
)
REPLACING = "\n".join(['y0 := "aaaa"', *(f'y{n + 1} := replace(y{n}, "a", y{n})' for n in range(8))])

BOMBS = {
    "a number of four billion bits": "x := bits.lsh(1, data.gateway.limits.n)",
    "an endless comprehension": (
        "n := numbers.range(1, data.gateway.limits.many)\nx := count([1 | some a in n; some b in n; some c in n])"
    ),
    "four billion numbers": "x := numbers.range(1, data.gateway.limits.n)",
    "a text of a billion characters": "x := sprintf(data.gateway.limits.width, [1])",
    "a text that trebles and trebles": f"{GROWING}\nx := x30",
    "a text that is squared and squared": f"{REPLACING}\nx := y8",
    "every address of a network": "x := count(net.cidr_expand(data.gateway.limits.net))",
    "a panic": 'x := strings.count("x", data.gateway.limits.empty)',
    "another panic": "x := object.subset(data.gateway.limits.none, data.gateway.limits.none)",
    "a function that calls itself": "f(n) := f(n + 1)\nx := f(1)",
    "functions that call each other": "f(n) := g(n)\ng(n) := f(n)\nx := f(1)",
    "a literal that is nested too deep": f"x := {'[' * 40}{']' * 40}",
    "an object that is nested too deep": f"x := {'{1: ' * 30}1{'}' * 30}",
    "a rule that depends on itself": "x := y\ny := x",
    "walk as a value": "x := [v | some v in walk(input)]",
    "an unknown function": "x := nosuch(input.message.name)",
    "the clock": "x := time.now_ns()",
    "a request to somewhere": 'x := http.send({"method": "get", "url": "http://127.0.0.1/"})',
}
WHYS = r"was stopped|more memory|fails on a sample|[(]SIG|\[[a-z-]+\]"


def bomb(body):
    condition = "x == input.message.name\n\tinput.principal.sub"
    files = {"gateway/limits/data.json": json.dumps(HUGE).encode()}
    return policy(f'{body}\ndecision := {{"effect": "allow"}} if {{\n\t{condition}\n}}\n', files=files)


LINTED = (
    "a rule that depends on itself",
    "walk as a value",
    "an unknown function",
    "the clock",
    "a request to somewhere",
)
"""Harmless to run, wrong in what they decide."""


@pytest.mark.parametrize("kind", LINTED)
def test_what_would_decide_wrongly_is_refused_by_the_lint(kind):
    assert re.search(r"decision.rego:3:[0-9]+: .* \[[a-z-]+\]", refusal(bomb(BOMBS[kind])))


@pytest.mark.parametrize("kind", [kind for kind in BOMBS if kind not in LINTED])
def test_a_bomb_that_no_lint_has_seen_ends_its_own_process_only(kind, monkeypatch):
    # The child's function that does not ask the lint stands in `unlinted.py`; everything else is admission's.
    monkeypatch.setattr(admission, "tried", unlinted.tried)

    told = refusal(bomb(BOMBS[kind]), Limits(wall_s=1.0, memory=1 << 29))

    assert re.search(WHYS, told), told


def test_a_bomb_is_stopped_by_the_cpu_time_it_takes_and_a_good_bundle_on_a_busy_machine_is_not(monkeypatch):
    assert Limits().wall_s >= 10 * Limits().cpu_s, "a tenth of a CPU is enough"
    monkeypatch.setattr(admission, "tried", unlinted.tried)

    told = refusal(bomb(BOMBS["an endless comprehension"]), Limits(cpu_s=1.0))

    assert "used up the CPU time that it may have" in told


def test_data_over_a_rule_is_refused():
    files = {"gateway/call/data.json": b'{"decision": {"effect": "allow"}}'}

    assert "gateway/call" in refusal(policy(files=files))


def test_a_literal_that_would_take_for_ever_to_parse_is_refused_at_once():
    assert "[deep-literal]" in refusal(policy("x := " + "[" * 40 + "]" * 40 + "\n"), Limits(wall_s=5.0))


def test_the_child_sees_nothing_of_our_environment(monkeypatch):
    monkeypatch.setenv("PHIGATE_SECRET", "s3cret")
    seen = policy('decision := {"effect": "allow"} if opa.runtime().env.PHIGATE_SECRET\n')

    assert "s3cret" not in refusal(seen)


QUICK = (
    "a function that calls itself",
    "a literal that is nested too deep",
    "a panic",
    "a text that trebles and trebles",
)


async def test_while_bombs_are_offered_the_policy_in_force_keeps_deciding(tmp_path):
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(allowing().archive)

    async def put_on_record(activated):
        assert activated.digest == allowing().digest

    active = loader.ActivePolicy(loader.Local(path), on_activate=put_on_record)
    try:
        await active.start()
        for number, kind in enumerate(QUICK):
            path.write_bytes(bomb(BOMBS[kind]).archive)
            os.utime(path, ns=(number, number))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(active.reload)
                decided = active.current.decide(Entrypoint.CALL, ASKED, at=samples.TIME)
            assert re.search(WHYS, active.fault), kind
            assert decided.decision.effect is Effect.ALLOW
            assert active.current.decide(Entrypoint.CALL, ASKED, at=samples.TIME).bundle == allowing().digest
    finally:
        active.close()
