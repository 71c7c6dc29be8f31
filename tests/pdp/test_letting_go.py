"""An engine can be freed by the thread that made it alone: whatever is done with one, none is left for the collector,
which runs on whichever thread has just made enough rubbish."""

from __future__ import annotations

import gc
from functools import partial

import orjson
import pytest
import trio

from gateway.core.errors import EvidenceFault, PolicyFault
from gateway.core.policy import bundle
from gateway.core.policy.bundle import Manifest, Source
from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.lint import Schemas
from gateway.pdp import admission, ask, bench, diff, explain, loader, replay, review, suite, suite_worker
from gateway.pdp.engine import Pdp, load
from gateway.pdp.schemas import schema
from tests.fakes.engines import engines_left

from .policies import ASKED, allowing, policy

AT = "2026-01-05T12:00:00Z"
TESTED = b"""package gateway.call_test

test_fails if data.gateway.call.decision.effect == "deny" with input as {"text": "y"}

test_raises if to_number("x") == 1

test_panics if strings.count("x", "") == 0

test_notes[note] if {
	some note, number in {"one": 1, "two": 2}
	number < 2
}
"""
PANICS = 'decision := {"effect": "allow"} if strings.count("x", input.text) == 0\n'
BROKEN = "x := }\n"
UNCOUNTABLE = {
    "data.json": orjson.dumps({"gateway": {"settings": {"guards": {"budgets": {"treatment": {"soon": {}}}}}}})
}


def test_an_engine_that_is_left_for_the_collector_is_found_here():
    def work():
        circle = [Pdp(allowing())]
        circle.append(circle)

    assert len(engines_left(work)) == 1


def test_who_closed_a_pdp_has_freed_its_engine_whoever_still_holds_it():
    def work():
        with Pdp(allowing()) as pdp:
            assert pdp.decide(Entrypoint.CALL, ASKED, at=AT).bundle == allowing().digest
        circle = [pdp]
        circle.append(circle)

    assert engines_left(work) == []


def refused(work, *arguments):
    """`work` raises, and whoever catches the fault keeps it, in a circle of the fault and the frames it went through.

    For what the gateway's own processes do. What is for a child, which ends, is only caught.
    """
    try:
        work(*arguments)
    except (PolicyFault, EvidenceFault) as fault:
        held = fault
    assert held.__traceback__ is not None


def decides():
    for candidate in (allowing(), policy(PANICS), policy('decision := "x"\n'), policy("decision := to_number({})\n")):
        pdp = Pdp(candidate)
        for document in ({"text": ""}, {"text": "y"}, ASKED, {"value": 2**64}):
            event = replay.parse(pdp.decide(Entrypoint.CALL, document, at=AT).event)
            replay.difference(pdp, event)
            question = diff.asked(event)
            if question is not None:
                diff.changes(pdp, event, question)


def is_not_loaded():
    refused(Pdp, policy(BROKEN))
    refused(Pdp, policy(files=UNCOUNTABLE))
    refused(load, (Source("a.rego", "package a\n" + BROKEN),), {})


def is_admitted_or_not():
    for candidate in (
        bundle.read(loader.shipped()),
        policy("x if {\n\tsome w in walk(input)\n\tw\n}\n"),
        policy(files={"gateway/call_test.rego": TESTED}),
        policy(PANICS),
        policy("decision := 1 if input.text\n"),
        policy("decision := 1\ndecision := 2\n"),
    ):
        admission.faults_of(candidate, decision_s=10.0)
    refused(partial(admission.faults_of, decision_s=10.0), policy(files=UNCOUNTABLE))


def is_tested():
    tested = policy(PANICS, files={"gateway/call_test.rego": TESTED})
    assert [each.word for each in suite.run(tested)] == ["FAIL", "ERROR", "ERROR", "FAIL"]
    plan = {"sources": [[each.path, each.text] for each in tested.sources], "data": {}, "cases": {}, "only": ""}
    more = {"covering": True, "count": 1, "number": 0, "shares": 1, "first": 0}
    assert len([*suite_worker.work(orjson.dumps({**plan, **more}))]) > 5
    with pytest.raises(PolicyFault):
        suite.run(policy(BROKEN))


def asked_of(query, **more):
    sources = [["p.rego", "package p\na if { input.x == 1; b == 1 }\nb := 1 / input.zero\n"]]
    given = {"sources": sources, "data": {}, "query": query, "input": None, "metrics": True, "explain": True, **more}
    return ask.answer(orjson.dumps(given))


def is_asked_and_explained():
    assert asked_of("data.p.a", input='{"x": 2, "zero": 0}')
    assert asked_of("not data.p.a", input='{"x": 2, "zero": 0}')
    for query, text in (("data.p.b", '{"zero": 0}'), ("data.p.", "{}"), ("data.p.a", "[" * 200 + "]" * 200)):
        with pytest.raises(PolicyFault):
            asked_of(query, input=text)
    with pytest.raises(PolicyFault, match="otherwise"):
        explain.explain((Source("p.rego", "package p\na := 1\n"),), {}, "data.p.a", "{}", [{}], [("p", "a")])


def is_measured():
    task = {"count": 3, "seconds": 5.0, "data": {}, "sources": [["p.rego", "package p\na := b\nb := input.x\n"]]}
    try:
        assert len([*bench.answer(orjson.dumps({**task, "tasks": [["data.p.a", ['{"x": 1}']]]}))]) == 1
        with pytest.raises(PolicyFault):
            [*bench.answer(orjson.dumps({**task, "tasks": [["data.p.nono", ["{}"]]]}))]
    finally:
        gc.disable()  # As it was: it is for a child of its own, which leaves it so.


def is_reviewed():
    schemas = Schemas(input=schema("input"), settings=schema("settings"))
    for text in ("package a\nx := 1\n", "package a\n" + BROKEN, "package a\nx if y\n", "package a\nx if { z == 1 }\n"):
        review.findings((Source("a.rego", text),), {}, Manifest(), schemas)


def is_in_force_and_replaced():
    """Activated, replaced, refused by admission, by what is on record, and by itself; and let go of at the end."""

    class Offered:
        label, remote = "offered", False

        def __init__(self, *found):
            self.found = [*found]

        async def look(self):
            found = self.found.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        def forget(self):
            """It gives another each time."""

    refusing = {allowing(3).digest: PolicyFault("not admitted")}
    failing = {allowing(4).digest: EvidenceFault("not on record")}

    def admit(offered):
        if offered.digest in refusing:
            raise refusing[offered.digest]

    async def put_on_record(activated):
        if activated.digest in failing:
            raise failing[activated.digest]

    async def run():
        offered = Offered(allowing(1), allowing(2), allowing(3), allowing(4), policy(BROKEN), PolicyFault("unread"))
        active = loader.ActivePolicy(offered, on_activate=put_on_record, admit=admit)
        await active.start()
        held = [active]
        held.append(held)  # Whoever holds it is in a circle, as a gateway's parts are.
        assert await active.reload()
        while offered.found:
            assert not await active.reload()
            assert active.current.decide(Entrypoint.CALL, ASKED, at=AT).bundle == allowing(2).digest
        active.close()

    trio.run(run)
    assert all(each.__traceback__ is not None for each in (*refusing.values(), *failing.values()))


def does_not_start():
    async def fail(activated):
        raise EvidenceFault("not on record")

    class Offered:
        label, remote = "offered", False

        async def look(self):
            return allowing()

    active = loader.ActivePolicy(Offered(), on_activate=fail, admit=lambda _: None)
    refused(trio.run, active.start)
    active.close()


WORKS = (
    decides,
    is_not_loaded,
    is_admitted_or_not,
    is_tested,
    is_asked_and_explained,
    is_measured,
    is_reviewed,
    is_in_force_and_replaced,
    does_not_start,
)


@pytest.mark.parametrize("work", WORKS, ids=[each.__name__ for each in WORKS])
def test_no_engine_is_left_for_the_collector_once_a_policy(work):
    assert engines_left(work) == []
