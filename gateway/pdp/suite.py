"""Runs a policy's own tests: the rules whose names begin with `test_`, as `opa test` does, and the cases beside them.

A `test_` rule passes when it is `true`, and only then; one with parameters (`test_x[note]`) when each of them is. A
case passes when the decision is the one it wants. `todo_test_` rules and `todo` cases are skipped and say so.

This runs policy code in this process, which it can end: `suite_worker` runs the same in a child.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import orjson

from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.core.policy import cases, decision, syntax
from gateway.core.policy.bundle import Bundle, Source
from gateway.core.policy.cases import Case
from gateway.core.policy.outcome import PREFIXES, Outcome, title
from gateway.core.policy.syntax import Module, Place
from gateway.core.types import Document, Json
from gateway.pdp import coverage
from gateway.pdp.coverage import Lines
from gateway.pdp.engine import Rego, load, reraise
from gateway.pdp.suite_why import Why

_PRINTED = re.compile(r"\A[^\n]*?:[0-9]+: ")
"""Before what a policy prints, regorus puts where; OPA does not."""
_UNDEFINED = '"<undefined>"'


@dataclass(frozen=True, slots=True)
class Test:
    """One test: a rule, or a case."""

    package: str
    name: str
    file: str
    place: Place
    case: Case | None = None
    parameters: bool = False
    """Whether the rule is one with parameters: `test_x[note]`."""

    @property
    def todo(self) -> bool:
        return self.case.todo if self.case is not None else self.name.startswith("todo_")

    def outcome(self, **members: object) -> Outcome:
        """The outcome of this test with these members of it."""
        return replace(Outcome(self.package, self.name, self.file, self.place, passed=False), **members)  # type: ignore[arg-type]


def run(bundle: Bundle, *, only: str = "", files: Mapping[str, bytes] | None = None) -> list[Outcome]:
    """Run every test of `bundle`, and the cases in `files`, in whose titles the pattern `only` is found.

    In order of file and line. Raises PolicyFault when the sources or cases do not parse, and `re.error` when `only` is
    no pattern.
    """
    suite = Suite(bundle.sources, bundle.data, tuple(read_cases(files or {})), only=only)
    return [suite.run(test) for test in suite.tests]


def read_cases(files: Mapping[str, bytes]) -> Iterator[Case]:
    """The cases in those of `files` that hold any. Raises PolicyFault with the faults of all files."""
    faults: list[str] = []
    for path, content in sorted(files.items()):
        if cases.is_cases(path):
            try:
                yield from cases.parse(path, content)
            except PolicyFault as fault:
                faults.append(fault.detail)
    if faults:
        raise PolicyFault("\n".join(faults))


@dataclass(slots=True)
class Suite:
    """The tests of a policy, and the engines that they run on."""

    sources: tuple[Source, ...]
    data: Document = field(repr=False)
    cases: tuple[Case, ...] = ()
    only: str = ""
    covering: bool = False
    """Whether `lines` is wanted: it makes evaluation half as slow again."""
    tests: tuple[Test, ...] = field(init=False)
    _why: Why = field(init=False, repr=False)
    _modules: tuple[Module, ...] = field(init=False, repr=False)
    _fresh: dict[bytes | None, Rego] = field(init=False, repr=False, default_factory=dict)
    """An engine as it was loaded: by the data that cases put over the policy's own; None for the one with the tests."""
    _engines: dict[bytes | None, Rego] = field(init=False, repr=False, default_factory=dict)
    _lines: Lines = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        tree = orjson.loads(self._engine(None, self.sources, self.data).get_ast_as_json())
        self._modules = syntax.modules(tree)
        self._why = Why(tree, self.data)
        wanted = re.compile(self.only)
        found = [*self._rules(), *(_test(case) for case in self.cases)]
        self.tests = tuple(
            sorted(
                (test for test in found if wanted.search(title(test.package, test.name))),
                key=lambda test: (test.file, test.place.line),
            )
        )

    def run(self, test: Test) -> Outcome:
        """Run one test."""
        if test.todo:
            return test.outcome(skipped=True)
        return self._rule(test) if test.case is None else self._case(test, test.case)

    def why(self, test: Test, failed: Outcome) -> Outcome:
        """`failed`, the outcome of `test`, with what can be told of where the rule failed."""
        if test.case is not None or failed.word != "FAIL":
            return failed
        halts = self._why.halts(test.package, test.name)
        return replace(failed, halts=halts)

    def lines(self) -> Lines:
        """Which lines the tests have come to so far, when `covering`."""
        for engine in self._engines.values():
            self._collect(engine)
        return self._lines

    def _rules(self) -> Iterator[Test]:
        for module in self._modules:
            found: dict[str, Test] = {}
            package = "data." + ".".join(module.package)
            for rule in module.rules:
                name, *more = rule.path[len(module.package) :] or ("",)
                if name.startswith(PREFIXES) and rule.arity is None and not rule.default:
                    parameters = bool(more or rule.node["index"])
                    found.setdefault(name, Test(package, name, module.file, rule.place, parameters=parameters))
            yield from found.values()

    def _rule(self, test: Test) -> Outcome:
        # As a query: regorus takes no rule path that ends within `test_x["a"][b]`.
        answer, outcome = self._ask(None, test, {}, lambda engine: engine.eval_query_as_json(_query(test)))
        if outcome.fault:
            return outcome
        value = _value(orjson.loads(answer))
        if not test.parameters:
            return replace(outcome, passed=value is True)
        names = self._why.parameters(test.package, test.name)
        parts = tuple(sorted({**dict.fromkeys(names, False), **dict(_parts(value, ()))}.items()))
        return replace(outcome, parts=parts, passed=bool(parts) and all(passed for _, passed in parts))

    def _case(self, test: Test, case: Case) -> Outcome:
        key = orjson.dumps(case.data, option=orjson.OPT_SORT_KEYS)
        if key not in self._engines:
            try:
                self._refuse_rules(case.data)
                data = cases.merged(self.data, case.data)
                assert isinstance(data, dict)
                self._engine(key, tuple(source for source in self.sources if not source.is_test), data)
            except PolicyFault as fault:
                return test.outcome(fault=fault.detail)
        rule = "data." + case.entrypoint.value.replace("/", ".")
        answer, outcome = self._ask(key, test, case.input, lambda engine: engine.eval_rule_as_json(rule))
        if outcome.fault:
            return outcome
        if answer == _UNDEFINED:
            decided, value = decision.deny("policy_undefined", "The policy gave no answer."), None
        else:
            value = orjson.loads(answer)
            decided = decision.decode(case.entrypoint, value)
        found = cases.differences(case.want, decided, value)
        reasons = tuple(f"{reason.code}: {reason.message}" for reason in decided.reasons) if found else ()
        return replace(outcome, passed=not found, differences=found, reasons=reasons)

    def _refuse_rules(self, data: Document) -> None:
        """A value in the data beside a rule of the same path would take its place, and the rule would not be tested."""
        for leaf in bundles.leaves(data):
            for module in self._modules:
                for rule in module.rules:
                    size = min(len(leaf), len(rule.path))
                    if leaf[:size] == rule.path[:size]:
                        at = f"{module.file}:{rule.place.line}"
                        raise PolicyFault(f"`data`: {'/'.join(leaf)} is a rule ({at}); a case can replace data only.")

    def _ask(
        self, key: bytes | None, test: Test, document: Document, ask: Callable[[Rego], str]
    ) -> tuple[str, Outcome]:
        engine = self._engines[key]
        fault = answer = ""
        began = time.perf_counter_ns()
        try:
            engine.set_input_json(orjson.dumps(document).decode())
            began = time.perf_counter_ns()
            answer = ask(engine)
        except BaseException as raised:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
            fault = reraise(raised)
        took = time.perf_counter_ns() - began
        output = "".join(f"{_PRINTED.sub('', line)}\n" for line in engine.take_prints())
        if fault:  # After a panic an engine takes every rule that was under way for one that depends on itself.
            self._collect(engine)
            self._engines[key] = self._fresh[key].clone()
        return answer, test.outcome(fault=fault, output=output, duration_ns=took)

    def _engine(self, key: bytes | None, sources: Iterable[Source], data: Document) -> Rego:
        engine = load(tuple(sources), data)
        engine.set_gather_prints(True)
        if self.covering:
            coverage.enable(engine)
        self._fresh[key], self._engines[key] = engine, engine.clone()
        return engine

    def _collect(self, engine: Rego) -> None:
        if self.covering:
            coverage.collect(engine, self._lines)


def _test(case: Case) -> Test:
    package = "data." + case.entrypoint.value.replace("/", ".").removesuffix(".decision")
    return Test(package, case.note, case.file, Place(case.line, 1), case)


def _query(test: Test) -> str:
    """The test's rule as a query."""
    segments = (*test.package.split("."), test.name)
    return segments[0] + "".join(
        f".{one}" if one.isidentifier() else f"[{orjson.dumps(one).decode()}]" for one in segments[1:]
    )


def _value(answer: Json) -> Json:
    """The value in a query's answer; None when it is undefined."""
    results = syntax.member(answer, "result")
    expressions = syntax.member(results[0], "expressions") if isinstance(results, list) and results else None
    return syntax.member(expressions[0], "value") if isinstance(expressions, list) and expressions else None


def _parts(value: Json, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The parameters of a rule's answer, each by its names, and whether it is true there."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _parts(inner, (*names, name))
    elif names:
        yield names, value is True
