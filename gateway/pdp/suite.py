"""Runs a policy's own tests: the rules whose names begin with `test_`, as `opa test` does.

A test passes when it is `true`, and only then. `todo_test_` rules are skipped and say so.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import orjson

from gateway.core.policy import syntax
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.syntax import Place
from gateway.core.types import Document
from gateway.pdp.engine import Rego, load, reraise


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one test. `fault` is the engine's error, when it raised one."""

    package: str
    name: str
    file: str
    place: Place
    passed: bool
    skipped: bool = False
    fault: str = ""
    output: str = ""
    """What the test printed."""
    duration_ns: int = 0

    @property
    def word(self) -> str:
        if self.skipped:
            return "SKIPPED"
        return "PASS" if self.passed else "ERROR" if self.fault else "FAIL"

    @property
    def document(self) -> Document:
        """As `opa test --format json` prints it."""
        document: Document = {
            "location": {"file": self.file, "row": self.place.line, "col": self.place.column},
            "package": self.package,
            "name": self.name,
            "duration": self.duration_ns,
        }
        if self.skipped:
            document["skip"] = True
        elif self.fault:
            document["error"] = {"message": self.fault}
        elif not self.passed:
            document["fail"] = True
        if self.output:
            document["output"] = self.output
        return document


def run(bundle: Bundle, *, only: str = "") -> list[Outcome]:
    """Run every test of `bundle` whose `package.name` the pattern `only` is found in, in order of file and line.

    Raises PolicyFault when the sources do not parse, and `re.error` when `only` is no pattern.
    """
    engine = load(bundle.sources, bundle.data)
    engine.set_gather_prints(True)
    wanted = re.compile(only)
    outcomes = []
    for module in syntax.modules(orjson.loads(engine.get_ast_as_json())):
        places = {rule.path: rule.place for rule in reversed(module.rules) if rule.arity is None}
        for path, place in sorted(places.items(), key=lambda item: item[1].line):
            package, name = "data." + ".".join(path[:-1]), path[-1]
            if name.startswith(("test_", "todo_test_")) and wanted.search(f"{package}.{name}"):
                outcomes.append(_outcome(engine.clone(), package, name, module.file, place))
    return outcomes


def _outcome(engine: Rego, package: str, name: str, file: str, place: Place) -> Outcome:
    if name.startswith("todo_"):
        return Outcome(package, name, file, place, passed=False, skipped=True)
    fault = ""
    answer = ""
    engine.set_input_json("{}")
    began = time.perf_counter_ns()
    try:
        answer = engine.eval_rule_as_json(f"{package}.{name}")
    except BaseException as raised:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
        fault = reraise(raised)
    took = time.perf_counter_ns() - began
    output = "".join(f"{line}\n" for line in engine.take_prints())
    return Outcome(package, name, file, place, answer == "true", fault=fault, output=output, duration_ns=took)
