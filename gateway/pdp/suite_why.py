"""Why a `test_` rule failed: which expression did not hold and with what values, and which parameters it lacks.

Both ask a policy that was written for the purpose: the engine tells neither. What cannot be told is left out; whether
the test failed was decided before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from gateway.core.errors import PolicyFault
from gateway.core.policy import explain, syntax
from gateway.core.policy.bundle import Source
from gateway.core.policy.explain import Probed, Stop
from gateway.core.policy.outcome import Halt
from gateway.core.policy.syntax import member
from gateway.core.types import Document, Json
from gateway.pdp.engine import Rego, load, reraise

_PARAMETERS = "phigate_parameters"
_QUOTES = (b'"', b"`")


@dataclass(slots=True)
class Why:
    """Tells of rules in the policy that `tree` (regorus's syntax tree) and `data` are."""

    tree: list[Json] = field(repr=False)
    data: Document = field(repr=False)
    _probed: dict[bool, tuple[Probed, Rego] | None] = field(default_factory=dict, repr=False)
    """The policy with probes that tell values, and with some that do not; None where it cannot be loaded."""

    def halts(self, package: str, name: str) -> tuple[Halt, ...]:
        """Where the rule `package.name` stopped, from the outside in.

        Of a rule with several definitions, that of the one which came furthest.
        """
        path = (*package.split(".")[1:], name)
        for values in (True, False):
            found = self._instrumented(values)
            printed = None if found is None else _ask(found[1].clone(), f"{package}.{name}")[1]
            if found is None or printed is None:  # Looking at a value early can fail where the rule would not have.
                continue
            stories, _ = explain.read(found[0], printed, [path])
            trials = (trial for story in stories if story.path == path for _, each in story.parts for trial in each)
            stops = [trial.stop for trial in trials if trial.stop is not None]
            return tuple(_halts(max(stops, key=lambda stop: stop.step.place.line))) if stops else ()
        return ()

    def _instrumented(self, values: bool) -> tuple[Probed, Rego] | None:
        if values not in self._probed:
            probed = explain.instrument(self.tree, values=values, mocks=values)
            engine = _loaded(probed.sources, self.data)
            self._probed[values] = None if engine is None else (probed, engine)
        return self._probed[values]

    def parameters(self, package: str, name: str) -> list[tuple[str, ...]]:
        """The parameters that `test_x[note]` goes through, passing or not.

        They are what its first expressions give to the names in its brackets, as few of them as bind these.
        """
        path = tuple(package.split(".")[1:])
        found: list[tuple[str, ...]] = []
        for item in self.tree:
            module = item if isinstance(item, dict) else {}
            read = syntax.modules([module])[0]
            text = str(member(module["source"], "contents")).encode()
            for rule in read.rules:
                if read.package == path and rule.path[: len(path) + 1] == (*path, name) and rule.node["index"]:
                    found += self._bound(package, module, _spans(rule.node, text))
        return found

    def _bound(self, package: str, module: Document, spans: tuple[list[str], list[str]]) -> Iterator[tuple[str, ...]]:
        index, statements = spans
        for count in range(1, len(statements) + 1):
            body = "\n\t".join(statements[:count])
            rule = f"\n{_PARAMETERS} contains [{', '.join(index)}] if {{\n\t{body}\n}}\n"
            sources = tuple(_source(item, rule if item is module else "") for item in self.tree)
            engine = _loaded(sources, self.data)
            answer = None if engine is None else _ask(engine, f"{package}.{_PARAMETERS}")[0]
            if answer is not None:
                listed: Json = orjson.loads(answer)
                for names in listed if isinstance(listed, list) else []:
                    yield tuple(_text(name) for name in names) if isinstance(names, list) else ()
                return


def _spans(node: Document, text: bytes) -> tuple[list[str], list[str]]:
    """What a rule has in its brackets, and its expressions, as the source has them."""
    bodies, index = node["bodies"], node["index"]
    body = bodies[0] if isinstance(bodies, list) and bodies else None
    statements = member(member(body, "query"), "stmts")
    cut = [_cut(text, each) for each in (index if isinstance(index, list) else [])]
    return cut[::-1], [_cut(text, each) for each in (statements if isinstance(statements, list) else [])]


def _source(item: Json, more: str) -> Source:
    source = member(item, "source")
    return Source(str(member(source, "file")), str(member(source, "contents")) + more)


def _cut(text: bytes, node: Json) -> str:
    """What a node covers in its source, with the quotes that regorus leaves off where it begins or ends with text."""
    at = node
    while isinstance(at, dict) and "span" not in at:
        at = next(iter(at.values()))
    start, end = member(member(at, "span"), "start"), member(member(at, "span"), "end")
    assert isinstance(start, int)
    assert isinstance(end, int)
    start -= text[max(0, start - 1) : start] in _QUOTES
    return text[start : end + (text[end : end + 1] in _QUOTES)].decode()


def _text(name: Json) -> str:
    """A parameter as the key that it is in the rule's answer."""
    return name if isinstance(name, str) else orjson.dumps(name).decode()


def _loaded(sources: tuple[Source, ...], data: Document) -> Rego | None:
    """An engine that gathers prints; None when it does not take the sources."""
    try:
        engine = load(sources, data)
    except PolicyFault:
        return None
    engine.set_gather_prints(True)
    return engine


def _ask(engine: Rego, rule: str) -> tuple[str | None, list[str] | None]:
    """The rule's answer and what was printed; None for both when it cannot be evaluated."""
    try:
        engine.set_input_json("{}")
        return engine.eval_rule_as_json(rule), engine.take_prints()
    except BaseException as raised:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
        reraise(raised)
        return None, None


def _halts(stop: Stop | None) -> Iterator[Halt]:
    while stop is not None:
        yield Halt(stop.step.place.line, stop.step.text, stop.values)
        stop = stop.inner
