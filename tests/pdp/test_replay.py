import orjson
import pytest

from gateway.core.policy.decision import Effect, Entrypoint
from gateway.pdp import replay
from gateway.pdp.engine import Pdp

from .policies import allowing, policy

AT = "2026-01-05T12:00:00.000000Z"
LISTING = policy('decision := {"effect": "allow", "labels": {"a": [1, {"b": input.x}]}} if input.x\n')


def event(bundle, document=None, **options):
    return Pdp(bundle, **options).decide(Entrypoint.CALL, document or {"x": 1}, at=AT).event


def test_what_was_decided_is_decided_again_to_the_byte():
    recorded = replay.parse(event(LISTING))

    assert replay.difference(Pdp(LISTING), recorded) is None
    assert replay.decided(recorded).effect is Effect.ALLOW


@pytest.mark.parametrize(
    ("body", "document"),
    [
        ("decision := to_number(input.x) if input.x\n", {"x": "z"}),
        ("decision := true if input.x\n", {"x": "z"}),
        ('decision := {"effect": "allow"} if true\n', {"x": "\ud800"}),
    ],
)
def test_a_failure_is_a_failure_again(body, document):
    bundle = policy(body)

    assert replay.difference(Pdp(bundle), replay.parse(event(bundle, document))) is None


def test_a_decision_that_was_too_slow_is_denied_in_the_record_and_answered_the_same():
    recorded = replay.parse(event(LISTING, deadline_s=0.0))

    assert replay.difference(Pdp(LISTING), recorded) is None
    assert replay.decided(recorded).effect is Effect.DENY


def test_an_edited_answer_is_found_and_told_by_its_place():
    recorded = replay.parse(event(LISTING))
    recorded["result"]["labels"]["a"][1]["b"] = "Jane Roe"

    assert replay.difference(Pdp(LISTING), recorded) == "the answer differs: at $.labels.a[1].b"


def test_an_added_or_missing_member_is_found():
    recorded = replay.parse(event(LISTING))
    del recorded["result"]["labels"]

    assert replay.difference(Pdp(LISTING), recorded) == "the answer differs: at $.labels, which only one of them has"


def test_an_edited_question_is_found():
    recorded = replay.parse(event(LISTING))
    recorded["input"]["x"] = 2

    assert "the answer differs" in replay.difference(Pdp(LISTING), recorded)


def test_an_answer_that_was_taken_out_or_put_in_is_found():
    recorded = replay.parse(event(LISTING))
    del recorded["result"]
    failed = replay.parse(event(policy("decision := to_number(input.x) if input.x\n"), {"x": "z"}))
    failed["result"] = {"effect": "allow"}

    assert "there is none on record" in replay.difference(Pdp(LISTING), recorded)
    assert "gives no answer now" in replay.difference(
        Pdp(policy("decision := to_number(input.x) if input.x\n")), failed
    )


def test_another_bundle_is_no_proof():
    assert "was decided by revision" in replay.difference(Pdp(allowing()), replay.parse(event(LISTING)))


def test_an_event_without_an_entrypoint_is_told():
    assert "no entrypoint" in replay.difference(Pdp(LISTING), {"path": "x/y"})


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null"])
def test_what_is_no_event_is_none(data):
    assert replay.parse(data) is None


def test_a_leaf_that_says_something_else_than_its_decision_is_found():
    recorded = replay.parse(event(LISTING))

    assert replay.disagreement(recorded, "allow") is None
    assert replay.disagreement(recorded, None) is None
    assert replay.disagreement(recorded, "deny") == "the leaf says deny, its decision allow"
    assert replay.disagreement(recorded, "Jane Roe") == "the leaf says something else, its decision allow"


def test_an_event_is_read_however_its_members_are_ordered():
    recorded = orjson.loads(event(LISTING))

    assert replay.difference(Pdp(LISTING), dict(reversed(recorded.items()))) is None
