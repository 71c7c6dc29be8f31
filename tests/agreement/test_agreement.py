"""Real OPA and our engine agree on all that the shipped policies are asked: byte for byte of canonical JSON.

Where the two languages differ at all is listed, with the reason, in docs/opa-differences.md: what is listed there
must differ in just that way, and nothing else may.
"""

import re
from itertools import islice
from pathlib import Path

import orjson
import pytest

from gateway.core.errors import PolicyFault
from gateway.core.policy import cases, generate, samples
from gateway.core.policy.bundle import Source
from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.lint.registry import CHECKS
from gateway.pdp import loader, suite
from gateway.pdp.engine import Pdp, load, reraise
from gateway.pdp.schemas import schema

from .asking import CANONICAL, Questions

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "policies"
PAGE = ROOT / "docs" / "opa-differences.md"
MIXES = 40
BASES = 3
"""Samples of an entrypoint, each answered differently, around which inputs are made."""
DEFINITIONS = {each: "result_input" if each is Entrypoint.RESULT else each.name.lower() for each in Entrypoint}


@pytest.fixture(scope="module")
def library():
    return loader.read(POLICIES)


def deciding(bundle):
    return tuple(source for source in bundle.sources if not source.is_test)


def value(engine, path, text):
    """What regorus has at `path`: canonical JSON, or why there is nothing."""
    try:
        engine.set_input_json(text)
        answer = engine.eval_query_as_json(f"data.{path}")
    except BaseException as raised:
        return "", f"error: {reraise(raised)}"
    found = orjson.loads(answer).get("result")
    return (
        (orjson.dumps(found[0]["expressions"][0]["value"], option=CANONICAL).decode(), "")
        if found
        else ("", "undefined")
    )


def made(library, pdp):
    """Inputs of every entrypoint: the samples, what the schema allows around them, and the largest."""
    inputs = list(samples.samples())
    yield from inputs
    known = generate.vocabulary(library.data, (), [document for _, document in inputs])
    for entrypoint in Entrypoint:
        bases = {}
        for asked, document in sorted(inputs, key=lambda each: len(orjson.dumps(each[1]))):
            if asked is entrypoint:
                bases.setdefault(pdp.answer(entrypoint, orjson.dumps(document)), document)
        name = DEFINITIONS[entrypoint]
        for number, base in enumerate(islice(bases.values(), BASES)):
            arguments = (schema("input"), name, known)
            near = generate.inputs(*arguments, base=base, seed=f"agreement {number}", mixes=MIXES)
            yield from ((entrypoint, document) for document in near)
            large = generate.largest(*arguments, base=base, seed=f"agreement {number}", count=1)
            yield from ((entrypoint, document) for document in large)


def test_every_generated_input_and_sample_is_decided_alike(library):
    pdp = Pdp(library)
    questions = Questions()
    policy = questions.policy(deciding(library), library.data)
    ours = []
    for entrypoint, text in dict.fromkeys((e, orjson.dumps(document)) for e, document in made(library, pdp)):
        questions.ask(policy, entrypoint.value.replace("/", "."), text.decode())
        ours.append(pdp.answer(entrypoint, text).decode())
    theirs = [answer for answer, _ in questions.answers()]

    assert len(ours) > 2_000
    assert len(set(ours)) > 30
    different = [
        (asked[1:], our, their) for asked, our, their in zip(questions.asked, ours, theirs, strict=True) if our != their
    ]
    assert different[:3] == []


def test_every_test_of_the_library_comes_out_alike(library):
    engine = load(library.sources, library.data)
    tests = [test for test in suite.Suite(library.sources, library.data).tests if test.case is None]
    ours = {
        (test.package, test.name): value(engine, f"{test.package.removeprefix('data.')}.{test.name}", "{}")
        for test in tests
    }
    questions = Questions()
    policy = questions.policy(library.sources, library.data)
    # OPA compiles everything for each path that it is asked for, so it is asked for whole packages.
    packages = list(dict.fromkeys(package for package, _ in ours))
    for package in packages:
        questions.ask(policy, package.removeprefix("data."), "{}")
    documents = {package: orjson.loads(text) for package, (text, _) in zip(packages, questions.answers(), strict=True)}
    theirs = {
        (package, name): (orjson.dumps(documents[package][name], option=CANONICAL).decode(), "")
        if name in documents[package]
        else ("", "undefined")
        for package, name in ours
    }

    assert len(ours) > 100
    assert theirs == ours


def test_every_case_of_the_library_is_decided_alike(library):
    questions = Questions()
    loaded = {}
    ours, notes = [], []
    for case in suite.read_cases({str(path): path.read_bytes() for path in POLICIES.rglob("*_cases.*")}):
        key = orjson.dumps(case.data, option=CANONICAL)
        if key not in loaded:
            data = cases.merged(library.data, case.data)
            loaded[key] = questions.policy(deciding(library), data), load(deciding(library), data)
        policy, engine = loaded[key]
        path, text = case.entrypoint.value.replace("/", "."), orjson.dumps(case.input).decode()
        questions.ask(policy, path, text)
        ours.append(value(engine, path, text))
        notes.append(f"{case.file}:{case.line}: {case.note}")

    assert dict(zip(notes, questions.answers(), strict=True)) == dict(zip(notes, ours, strict=True))


def listed():
    """The rows of the page's table: what is written, what regorus makes of it, and what OPA does."""
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    return [tuple(cell.replace("\\|", "|") for cell in row) for row in rows]


def told(answer):
    value, why = answer
    return value if not why else "error" if why.startswith("error") else why


def probe(rego):
    """A policy whose `x` is what a row says: an expression, or rules of which one is `x`."""
    rules = rego.replace("; ", "\n") if re.search(r"\bx\b( contains| if| :=|\()", rego) else f"x := {rego}"
    return (Source("probe.rego", f"package probe\n{rules}\n"),)


def ruled(sources):
    try:
        return value(load(sources, {}), "probe.x", '{"name": "a"}')
    except PolicyFault:
        return "", "refused"


def test_what_the_page_lists_differs_in_just_that_way():
    rows = listed()
    questions = Questions()
    ours = []
    for rego, *_ in rows:
        sources = probe(rego)
        questions.ask(questions.policy(sources, {}), "probe.x", '{"name": "a"}')
        ours.append(told(ruled(sources)))
    theirs = [told(answer) for answer in questions.answers()]

    regos = [row[0] for row in rows]
    assert list(zip(regos, ours, theirs, strict=True)) == [row[:3] for row in rows]
    assert all(our != their for our, their in zip(ours, theirs, strict=True))
    assert len(rows) > 10


def test_what_the_page_says_of_the_lint_is_so():
    named = set(re.findall(r"Lint: `([a-z-]+)`|lint `([a-z-]+)`", PAGE.read_text()))

    assert {one or other for one, other in named} <= {check.name for check in CHECKS}
