import os
import subprocess
import sys
import uuid

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle
from gateway.core.policy.bundle import Source
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.pdp.engine import Pdp, load, reraise

from .policies import ASKED, allowing, policy

AT = "2026-01-05T12:00:00.000000Z"


def decide(candidate, document=None, *, entrypoint=Entrypoint.CALL, **options):
    return Pdp(candidate, **options).decide(entrypoint, document or {}, at=AT)


def codes(decided):
    return [reason.code for reason in decided.decision.reasons]


def test_a_decision_comes_with_an_event_in_opas_words():
    candidate = allowing()

    decided = decide(candidate, {**ASKED, "b": 1, "a": {"d": 1, "c": 2}})

    event = orjson.loads(decided.event)
    assert decided.decision.effect is Effect.ALLOW
    assert decided.bundle == candidate.digest
    assert event["bundles"] == {"policy": {"revision": candidate.manifest.revision}}
    assert event["path"] == "gateway/call/decision"
    assert event["input"] == {**ASKED, "a": {"c": 2, "d": 1}, "b": 1, "time": AT}
    assert event["result"] == {"effect": "allow", "labels": {"number": 1}}
    assert event["timestamp"] == AT
    assert event["nd_builtin_cache"] == {}
    assert event["metrics"]["timer_rego_query_eval_ns"] > 0
    assert len(event["decision_id"]) == 36
    assert "error" not in event


def test_the_same_answer_from_another_bundle_is_another_decision_event():
    answers = [decide(allowing(1), ASKED), decide(allowing(2), ASKED), decide(allowing(1), ASKED)]

    assert [each.decision.labels["number"] for each in answers] == [1, 2, 1]
    assert len({orjson.loads(each.event)["decision_id"] for each in answers}) == 3


def test_every_decision_has_an_id_of_its_own_and_a_revision_may_be_any_text():
    manifest = orjson.dumps({"revision": '100 %x "%"', "roots": [""], "rego_version": 1})
    candidate = policy(files={".manifest": manifest})
    events = [
        orjson.loads(pdp.decide(Entrypoint.CALL, {}, at=AT).event) for pdp in (Pdp(candidate), Pdp(candidate)) * 3
    ]

    assert {event["bundles"]["policy"]["revision"] for event in events} == {'100 %x "%"'}
    assert len({event["decision_id"] for event in events}) == 6
    assert {uuid.UUID(event["decision_id"]).version for event in events} == {4}


def test_the_same_words_mean_another_decision_to_another_entrypoint():
    said = '{"effect": "allow", "visible": ["a"]}'
    files = {
        f"gateway/{name}/decision.rego": f"package gateway.{name}\ndecision := {said} if true\n".encode()
        for name in ("call", "catalogue")
    }
    pdp = Pdp(policy(files=files))

    assert pdp.decide(Entrypoint.CATALOGUE, {}, at=AT).decision.visible == {"a"}
    assert codes(pdp.decide(Entrypoint.CALL, {}, at=AT)) == ["policy_malformed"]


def test_a_decision_that_is_too_long_to_keep_is_read_every_time():
    reason = '{"code": "long", "message": sprintf("%d", [i + 1000])}'
    much = (
        f'decision := {{"effect": "deny", "reasons": [{reason} | some i in numbers.range(1, 60)], "labels": labels}}\n'
    )
    pdp = Pdp(policy(f'labels := {{"x": [i | some i in numbers.range(1, 9000)]}}\n{much.replace("deny", "allow")}'))

    first, again = (pdp.decide(Entrypoint.CALL, {"n": n}, at=AT).decision for n in range(2))
    assert first == again
    assert first is not again


def test_the_very_same_question_asked_twice_at_one_time_has_one_answer_and_two_events():
    counted = 'decision := {"effect": "allow", "labels": {"n": input.n, "time": input.time}}\n'
    pdp = Pdp(policy(counted))
    first, other, again, later = (
        pdp.decide(Entrypoint.CALL, {"n": n}, at=at) for n, at in ((1, AT), (2, AT), (1, AT), (2, "2027" + AT[4:]))
    )

    assert first.decision is again.decision
    assert [each.decision.labels["n"] for each in (again, other, later)] == [1, 2, 2]
    assert other.decision.labels["time"] != later.decision.labels["time"]
    ids = {orjson.loads(each.event)["decision_id"] for each in (first, again)}
    assert len(ids) == 2
    assert orjson.loads(first.event)["input"] == orjson.loads(again.event)["input"]


def test_input_and_result_are_in_canonical_order():
    event = decide(allowing(), {"b": 1, "a": 2}).event

    assert b'"input":{"a":2,"b":1,"time":"' in event


def test_the_time_is_part_of_what_is_asked():
    late = policy('decision := {"effect": "allow"} if input.time >= "2026-01-05T12"\n')

    assert Pdp(late).decide(Entrypoint.CALL, {}, at=AT).decision.effect is Effect.ALLOW
    assert Pdp(late).decide(Entrypoint.CALL, {}, at="2026-01-04T12:00:00Z").decision.effect is Effect.DENY


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("decision := to_number(input.text) if input.text\n", "policy_error"),
        ('decision := {"effect": "allow"} if {\n\tnosuch(1)\n}\n', "policy_error"),
        ('decision := {"effect": "allow"} if strings.count("x", "") == 0\n', "policy_error"),  # A Rust panic.
        ("decision := true if input.text\n", "policy_malformed"),
        ('decision := {"effect": "alow"} if input.text\n', "policy_malformed"),
        ('decision := "<undefined>" if input.text\n', "policy_undefined"),
        (
            'decision := {"effect": "allow"} if input.text\ndecision := {"effect": "deny"} if input.text == "z"\n',
            "policy_error",
        ),
    ],
)
def test_a_policy_that_raises_panics_or_talks_nonsense_denies(body, code):
    decided = decide(policy(body), {"text": "z"})

    assert decided.decision.effect is Effect.DENY
    assert codes(decided) == [code]
    assert orjson.loads(decided.event)["path"] == "gateway/call/decision"


def test_an_error_is_on_the_event_and_not_in_the_reason():
    decided = decide(policy("decision := to_number(input.text) if input.text\n"), {"text": "Jane Roe"})

    assert orjson.loads(decided.event)["error"]["code"] == "policy_error"
    assert "Roe" not in repr(decided)
    assert "Roe" not in repr(decided.decision)


def test_an_undefined_entrypoint_denies():
    sources = {"gateway/call.rego": b'package gateway.call\ndecision := {"effect": "allow"} if input.x\n'}

    decided = decide(bundle.read(bundle.build(sources)))

    assert codes(decided) == ["policy_undefined"]
    assert "result" not in orjson.loads(decided.event)


def test_an_entrypoint_that_is_missing_denies():

    decided = decide(bundle.read(bundle.build({"a.rego": b"package a\n"})))

    assert codes(decided) == ["policy_error"]


def test_after_a_panic_the_next_decision_is_right():
    pdp = Pdp(policy('decision := {"effect": "allow"} if strings.count("x", input.text) == 0\n'))

    assert codes(pdp.decide(Entrypoint.CALL, {"text": ""}, at=AT)) == ["policy_error"]
    assert pdp.decide(Entrypoint.CALL, {"text": "y"}, at=AT).decision.effect is Effect.ALLOW


def test_a_decision_slower_than_its_deadline_is_a_denial():
    decided = decide(allowing(), ASKED, deadline_s=0.0)

    event = orjson.loads(decided.event)
    assert codes(decided) == ["policy_slow"]
    assert decided.decision.effect is Effect.DENY
    assert event["error"]["code"] == "policy_slow"
    assert event["result"]["effect"] == "allow"


@pytest.mark.parametrize("value", ["\ud800", 2**64, -(2**63) - 1, {"deep": None}])
def test_what_policy_cannot_be_shown_denies(value):
    if isinstance(value, dict):
        for _ in range(300):
            value = {"deep": value}

    decided = decide(allowing(), {"value": value})

    assert codes(decided) == ["policy_input"]
    assert orjson.loads(decided.event)["input"] is None


def test_input_nested_deeper_than_the_engine_reads_denies():
    value = None
    for _ in range(200):
        value = [value]

    assert codes(decide(allowing(), {"value": value})) == ["policy_error"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4), st.sampled_from(Entrypoint))
def test_deciding_never_raises_and_its_event_is_json(document, entrypoint):
    decided = PDP.decide(entrypoint, document, at=AT)

    assert decided.decision.effect in Effect
    assert orjson.loads(decided.event)["path"] == entrypoint.value


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_the_same_input_has_the_same_answer_to_the_byte(document):
    event = orjson.loads(PDP.decide(Entrypoint.CALL, document, at=AT).event)
    assume(event["input"] is not None)

    asked = orjson.dumps(event["input"], option=orjson.OPT_SORT_KEYS)
    expected = orjson.dumps(event["result"], option=orjson.OPT_SORT_KEYS) if "result" in event else b""
    assert Pdp(ECHO).answer(Entrypoint.CALL, asked) == expected


ECHO = policy('decision := {"effect": "allow", "labels": {"said": input, "set": {3, 1, 2}}} if true\n')
PDP = Pdp(ECHO)


def test_an_answer_does_not_depend_on_the_hash_seed():
    program = (
        "from gateway.pdp.engine import Pdp; from gateway.pdp import loader; from gateway.core.policy import bundle;"
        "from gateway.core.policy.decision import Entrypoint as E;"
        "pdp = Pdp(bundle.read(loader.shipped()));"
        'print(pdp.answer(E.RESULT, b\'{"principal":{"groups":["visitors","guests"]}}\').decode())'
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }

    assert len(told) == 1
    assert b"no_role" in told.pop()


def test_backtraces_are_off_before_the_engine_is_there():
    assert os.environ["RUST_BACKTRACE"] == "0"
    assert os.environ["RUST_LIB_BACKTRACE"] == "0"


def test_a_source_that_does_not_parse_is_told_with_its_line():
    with pytest.raises(PolicyFault, match=r"a\.rego:2:"):
        load((Source("a.rego", "package a\nx := }\n"),), {})


def test_tests_are_not_loaded_to_decide():
    candidate = policy(files={"gateway/call_test.rego": b"package gateway.call_test\ntest_x := nosuch(1)\n"})

    assert decide(candidate).decision.effect is Effect.DENY


def test_being_told_to_stop_is_no_engine_error():
    for stop in (KeyboardInterrupt(), SystemExit(), GeneratorExit()):
        with pytest.raises(type(stop)):
            reraise(stop)
