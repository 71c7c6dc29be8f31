"""The short way through the library, on which most messages are decided, ends where the long way does."""

from functools import lru_cache
from itertools import islice

import orjson
import pytest

from gateway.core.policy import generate, samples
from gateway.core.policy.bundle import Source
from gateway.core.policy.decision import Entrypoint
from gateway.pdp.engine import Pdp, load
from gateway.pdp.schemas import schema

from .test_guards import LIBRARY, SETTINGS, SWITCHED, example

SOURCES = tuple(source for source in LIBRARY.sources if not source.is_test)
# What the entrypoints answer when their short ways are left out: every guard asked for its verdict.
LONG_WAY = Source(
    "long_way.rego",
    "package long_way\n\n"
    "call := object.union(data.gateway.call.ruling, data.gateway.call.labelled(data.gateway.settings))\n\n"
    "result := data.gateway.result.ruling\n",
)
ALL_ON = {name: each for guard in SWITCHED for name, each in example(guard)["guards"].items()}
MIXES = 40
BASES = 2
"""Samples of an entrypoint, each answered differently, around which inputs are made: it is they that take the time."""
STEP = 4
"""Of what is made, each so many-th is asked."""
DOCUMENTS = [document for _, document in samples.samples()]


@lru_cache
def inputs(entrypoint, definition):
    """Every sample of the entrypoint, and what the schema allows around some of them."""
    found = [document for asked, document in samples.samples() if asked is entrypoint]
    pdp = Pdp(LIBRARY)
    bases = {pdp.answer(entrypoint, orjson.dumps(document)): document for document in found}
    known = generate.vocabulary(LIBRARY.data, (), DOCUMENTS)
    for number, base in enumerate(islice(bases.values(), BASES)):
        near = generate.inputs(schema("input"), definition, known, base=base, seed=f"{number}", mixes=MIXES)
        found += islice(near, 0, None, STEP)
    return found


def answer(engine, rule, document):
    """None where the rule is undefined or cannot be evaluated, which is the entrypoint's default."""
    engine.set_input_json(orjson.dumps(document).decode())
    try:
        found = orjson.loads(engine.eval_rule_as_json(rule))
    except RuntimeError:
        return None
    return None if found == "<undefined>" else found


@pytest.mark.parametrize("guards", [{}, ALL_ON], ids=["as shipped", "all guards on"])
@pytest.mark.parametrize(
    ("entrypoint", "definition"), [(Entrypoint.CALL, "call"), (Entrypoint.RESULT, "result_input")], ids=str
)
def test_what_the_short_way_allows_every_guard_allows(entrypoint, definition, guards):
    data = {"gateway": {**LIBRARY.data["gateway"], "settings": {**SETTINGS, "guards": guards}}}
    engine = load((*SOURCES, LONG_WAY), data)
    name = entrypoint.name.lower()
    allowed = 0
    for document in inputs(entrypoint, definition):
        long = answer(engine, f"data.long_way.{name}", document)
        short = answer(engine, f"data.gateway.{name}.decision", document)
        if long is None:
            assert short is None or short["effect"] == "deny"
        else:
            assert short == long, document
            allowed += long["effect"] == "allow"
    assert allowed > 3
