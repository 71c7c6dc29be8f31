"""Why a policy answered as it did: which definitions of a rule held, and at which expression the others stopped.

The engine has no trace. So its sources are written again with a `print` before each expression (`instrument`), which
tells that everything before it held and what the names in it stand for; what was printed is read back (`read`). The
prints change no answer, and whoever runs them checks that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from gateway.core.policy import syntax
from gateway.core.policy.bundle import Source
from gateway.core.policy.syntax import Module, Path, Place, Rule, member
from gateway.core.types import Document, Json

SHOWN = 3
"""How many sets of values are kept for an expression that was tried more than once."""

_PROBE = "phigate-probe"
_PRINTED = re.compile(rf":\d+: {_PROBE} (\d+) (\d+) (.*)", re.DOTALL)
_QUOTES = (b'"', b"`")
_REFS = frozenset({"Var", "RefDot", "RefBrack"})


_Passed = dict[tuple[int, int], list[tuple[int, list[Json]]]]
"""By body and position in it, each time that its probe was passed: when, and with which values."""


@dataclass(frozen=True, slots=True)
class Step:
    """One expression of a body. `names` are the references whose values its probe prints."""

    place: Place
    text: str
    names: tuple[str, ...] = ()
    uses: tuple[Path, ...] = ()
    """The rules that it refers to."""
    inner: Body | None = None
    """The body of an `every`."""


@dataclass(frozen=True, slots=True)
class Body:
    """A body: its expressions, all of which must hold. `number` is its own among all bodies."""

    number: int
    place: Place
    text: str
    """What the rule is when this body holds, as the source says it."""
    steps: tuple[Step, ...]
    uses: tuple[Path, ...] = ()
    """The rules that its value is made of."""

    @property
    def reaches(self) -> tuple[Path, ...]:
        """Every rule that it refers to, in the order of the source."""
        return tuple(dict.fromkeys((*(use for step in self.steps for use in step.uses), *self.uses)))


@dataclass(frozen=True, slots=True)
class Definition:
    """One rule of the source with its bodies: the first and those behind `else`; none, for a default."""

    file: str
    rule: Rule
    place: Place
    text: str
    bodies: tuple[Body, ...]


@dataclass(frozen=True, slots=True)
class Probed:
    """Sources that tell what they do, and what their probes stand for."""

    sources: tuple[Source, ...] = field(repr=False)
    definitions: tuple[Definition, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a body did not hold: the expression, and what its names stood for, at most `SHOWN` times."""

    step: Step
    values: tuple[Document, ...] = field(repr=False)
    inner: Stop | None = None
    """Where the body of an `every` stopped."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of a body: how often it was begun, how often all of it held, and where it stopped else."""

    body: Body
    begun: int
    held: int
    stop: Stop | None


@dataclass(frozen=True, slots=True)
class Story:
    """A rule, by its path: its definitions, and what became of each of their bodies."""

    path: Path
    function: bool
    parts: tuple[tuple[Definition, tuple[Trial, ...]], ...]

    @property
    def begun(self) -> bool:
        """Whether the engine came to this rule at all."""
        return any(trial.begun for _, trials in self.parts for trial in trials)


def instrument(tree: list[Json], *, values: bool = True, mocks: bool = False) -> Probed:
    """The sources of regorus's `get_ast_as_json`, with a probe before each expression.

    Without `values` a probe only tells that it was passed: for policies in which looking at a value early fails. With
    `mocks` also the values in an expression that has a `with` are told, which evaluates what it mocks once more.
    """
    modules = syntax.modules(tree)
    paths = sorted({rule.path for module in modules for rule in module.rules})
    sources: list[Source] = []
    definitions: list[Definition] = []
    number = 0
    for module, item in zip(modules, (item for item in tree if isinstance(item, dict)), strict=True):
        text = str(member(item["source"], "contents")).encode()
        writer = _Writer(module, text, paths, (values, mocks), number)
        rules = member(item["ast"], "rules")
        for rule, node in zip(module.rules, rules if isinstance(rules, list) else [], strict=True):
            definitions.append(writer.definition(rule, node))
        number = writer.number
        sources.append(Source(module.file, writer.written().decode()))
    return Probed(tuple(sources), tuple(definitions))


def read(probed: Probed, prints: Iterable[str], roots: Sequence[Path]) -> tuple[tuple[Story, ...], tuple[str, ...]]:
    """The stories of the rules at `roots` and of all that they refer to, and what the policy itself printed."""
    passed: _Passed = {}
    own: list[str] = []
    for moment, line in enumerate(prints):
        found = _PRINTED.search(line)
        if found is None:
            own.append(line)
        else:
            values: Json = orjson.loads(found[3])
            passed.setdefault((int(found[1]), int(found[2])), []).append(
                (moment, values if isinstance(values, list) else [])
            )
    by_path: dict[Path, list[Definition]] = {}
    for definition in probed.definitions:
        by_path.setdefault(definition.rule.path, []).append(definition)
    return tuple(_story(path, by_path[path], passed) for path in _reached(roots, by_path)), tuple(own)


def matching(ref: Path, paths: Iterable[Path]) -> Iterator[Path]:
    """The rules that a reference means: those it begins with, and those that it is the beginning of.

    Paths are those of rules: from the package on, without `data`.
    """
    for path in paths:
        size = min(len(ref), len(path))
        if ref[:size] == path[:size]:
            yield path


def _reached(roots: Sequence[Path], by_path: Mapping[Path, list[Definition]]) -> list[Path]:
    found: dict[Path, None] = {}
    waiting = [path for root in roots for path in matching(root, by_path)]
    while waiting:
        path = waiting.pop(0)
        if path not in found:
            found[path] = None
            waiting.extend(use for each in by_path[path] for body in each.bodies for use in body.reaches)
    return list(found)


def _story(path: Path, definitions: list[Definition], passed: _Passed) -> Story:
    parts = tuple((each, tuple(_trial(body, passed) for body in each.bodies)) for each in definitions)
    return Story(path, definitions[0].rule.arity is not None, parts)


def _trial(body: Body, passed: _Passed) -> Trial:
    begun, held = len(passed.get((body.number, 0), ())), len(passed.get((body.number, len(body.steps)), ()))
    return Trial(body, begun, held, None if held or not begun else _stop(body, passed))


def _stop(body: Body, passed: _Passed) -> Stop | None:
    """The last expression that the engine came to, in a body that it did not come to the end of."""
    reached = [index for index in range(len(body.steps)) if (body.number, index) in passed]
    if not reached:
        return None
    step = body.steps[reached[-1]]
    kept: dict[bytes, Document] = {}
    for _, row in passed[body.number, reached[-1]]:
        told = _told(step, row)
        kept.setdefault(orjson.dumps(told), told)
    inner = None if step.inner is None else _broken(step.inner, passed)
    return Stop(step, tuple(kept.values())[:SHOWN], inner)


def _broken(body: Body, passed: _Passed) -> Stop | None:
    """Where the body of an `every` stopped: it ends with the first item that does not hold, so that is the last."""
    moments = [
        (passed[body.number, index][-1], index)
        for index in range(len(body.steps) + 1)
        if (body.number, index) in passed
    ]
    if not moments:
        return None
    (_, row), index = max(moments, key=lambda moment: moment[0][0])
    if index == len(body.steps):
        return None
    step = body.steps[index]
    return Stop(step, (_told(step, row),), None if step.inner is None else _broken(step.inner, passed))


def _told(step: Step, row: list[Json]) -> Document:
    """The values of one probe by name: `[]` for a reference that is undefined, else its value alone in an array."""
    return dict(zip(step.names, row, strict=True))


class _Writer:
    """One source on its way to being instrumented."""

    def __init__(self, module: Module, text: bytes, paths: list[Path], tells: tuple[bool, bool], number: int) -> None:
        self.number = number
        self._module = module
        self._text = text
        self._paths = paths
        self._own = {path[len(module.package)] for path in paths if path[: len(module.package)] == module.package}
        self._values, self._mocks = tells
        self._insertions: list[tuple[int, int, str]] = []

    def written(self) -> bytes:
        """The source with its probes."""
        parts: list[bytes] = []
        at = 0
        for offset, _, text in sorted(self._insertions):
            parts += [self._text[at:offset], text.encode()]
            at = offset
        return b"".join((*parts, self._text[at:]))

    def definition(self, rule: Rule, node: Json) -> Definition:
        """Read one rule and note the probes of its bodies."""
        assert isinstance(node, dict)
        ((_, inside),) = node.items()
        if rule.default:
            return Definition(self._module.file, rule, self._place(inside), self._cut(inside), ())
        head = member(inside, "head")
        ((_, shape),) = head.items() if isinstance(head, dict) else (("", None),)
        arguments = member(shape, "args") if rule.arity is not None else []
        bound = frozenset(ref.path[0] for ref in syntax.refs(arguments))
        listed = member(inside, "bodies")
        # A fact has no body: its probe stands behind the head.
        bodies = [self._body(rule, body, shape, bound) for body in (listed if isinstance(listed, list) else [])]
        found = tuple(bodies) or (self._fact(rule, inside, shape, self._cut(shape)),)
        return Definition(self._module.file, rule, self._place(inside), self._cut(shape), found)

    def _uses(self, rule: Rule, node: Json) -> tuple[Path, ...]:
        named = [*syntax.refs(node), *(syntax.Ref(call.name, False, call.place) for call in syntax.calls(node))]
        found: dict[Path, None] = {}
        for ref in named:
            resolved = self._module.resolve(ref, rule.names)
            if resolved is not None and resolved.path[0] == "data":
                found.update(
                    dict.fromkeys(path for path in matching(resolved.path[1:], self._paths) if path != rule.path)
                )
        return tuple(found)

    def _body(self, rule: Rule, body: Json, shape: Json, bound: frozenset[str]) -> Body:
        query, text = member(body, "query"), self._cut(shape)
        if member(body, "is_else"):
            shape = member(body, "assign")
            text = f"else {self._cut(shape)}" if shape is not None else "else"
        if not member(query, "stmts"):
            return self._fact(rule, body, shape, text)
        return self._query(rule, query, text, bound, self._head_uses(rule, shape))

    def _head_uses(self, rule: Rule, shape: Json) -> tuple[Path, ...]:
        if not isinstance(shape, dict):
            return ()
        return self._uses(rule, {name: part for name, part in shape.items() if name != "refr"})

    def _fact(self, rule: Rule, node: Json, shape: Json, text: str) -> Body:
        """A definition without a body gets one, of nothing but its probe."""
        number = self._next()
        _, end = self._span(node)
        self._insert(end, f" if {{ {self._print(number, 0, ())} }}")
        return Body(number, self._place(node), text, (), self._head_uses(rule, shape))

    def _query(self, rule: Rule, query: Json, head: str, bound: frozenset[str], uses: tuple[Path, ...] = ()) -> Body:
        number = self._next()
        start, end = self._span(query)
        listed = member(query, "stmts")
        statements = listed if isinstance(listed, list) else []
        braced = self._text[start:end].startswith(b"{") and self._span(statements[0])[0] > start
        steps: list[Step] = []
        for index, statement in enumerate(statements):
            names = self._names(rule, statement, bound) if self._values else ()
            opening = "{ " if index == 0 and not braced else ""
            probe = self._print(number, index, names)
            if names and self._mocks:
                probe = " ".join((probe, *self._mods(statement)))
            self._insert(self._span(statement)[0], f"{opening}{probe}; ")
            inner = self._every(rule, statement, bound)
            text, used = self._cut(statement), self._uses(rule, statement)
            steps.append(Step(self._place(statement), text, names, used, inner))
            bound |= _binds(statement)
        closing = "" if braced else " }"
        self._insert(self._span(statements[-1])[1], f"; {self._print(number, len(statements), ())}{closing}")
        return Body(number, self._place(statements[0]), head, tuple(steps), uses)

    def _every(self, rule: Rule, statement: Json, bound: frozenset[str]) -> Body | None:
        every = member(member(statement, "literal"), "Every")
        if every is None:
            return None
        bound |= {self._cut(span) for span in (member(every, "key"), member(every, "value")) if span is not None}
        return self._query(rule, member(every, "query"), "every", bound)

    def _names(self, rule: Rule, statement: Json, bound: frozenset[str]) -> tuple[str, ...]:
        """The references in an expression whose value can be told before it is evaluated."""
        mods = member(statement, "with_mods")
        given = [member(mod, "as") for mod in mods] if isinstance(mods, list) else []
        if given and not (self._mocks and all(self._known(rule, ref.path[0], bound) for ref in syntax.refs(given))):
            return ()
        literal = member(statement, "literal")
        every = member(literal, "Every")
        found: dict[str, None] = {}
        for kind, node in syntax.walk(literal if every is None else member(every, "domain")):
            if kind in _REFS and all(self._known(rule, ref.path[0], bound) for ref in syntax.refs({kind: node})):
                found[self._cut(node)] = None
        return tuple(name for name in found if "\n" not in name)

    def _mods(self, statement: Json) -> list[str]:
        """What stands behind an expression: each `with … as …`."""
        mods = member(statement, "with_mods")
        return [self._cut(mod) for mod in (mods if isinstance(mods, list) else [])]

    def _known(self, rule: Rule, name: str, bound: frozenset[str]) -> bool:
        if name in rule.names or name in bound:
            return name in bound
        return name in ("input", "data") or name in self._module.imports or name in self._own

    def _print(self, number: int, index: int, names: Iterable[str]) -> str:
        told = ", ".join(f"[phigate_value | phigate_value := {name}]" for name in names)
        return f'print("{_PROBE}", {number}, {index}, json.marshal([{told}]))'

    def _insert(self, offset: int, text: str) -> None:
        self._insertions.append((offset, len(self._insertions), text))

    def _next(self) -> int:
        self.number += 1
        return self.number

    def _cut(self, node: Json) -> str:
        start, end = self._span(node)
        return self._text[start:end].decode()

    def _place(self, node: Json) -> Place:
        """Line and column in characters; regorus counts a tab as four."""
        before = self._text[: self._span(node)[0]].decode()
        return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))

    def _span(self, node: Json) -> tuple[int, int]:
        """As `_span`, with the quotes that regorus leaves off where a node begins or ends with text."""
        start, end = _span(node)
        start -= self._text[max(0, start - 1) : start] in _QUOTES
        return start, end + (self._text[end : end + 1] in _QUOTES)


def _binds(statement: Json) -> frozenset[str]:
    """The names that an expression gives a value to, for those behind it."""
    literal = member(statement, "literal")
    some = member(literal, "SomeIn")
    if some is not None:
        return frozenset(ref.path[0] for ref in syntax.refs([member(some, "key"), member(some, "value")]))
    assigned = member(member(member(literal, "Expr"), "expr"), "AssignExpr")
    return frozenset(ref.path[0] for ref in syntax.refs(member(assigned, "lhs")))


def _span(node: Json) -> tuple[int, int]:
    """Where a node begins and ends, in bytes of its source."""
    span = member(node, "span") if member(node, "span") is not None else node
    start, end = member(span, "start"), member(span, "end")
    if isinstance(start, int) and isinstance(end, int):
        return start, end
    return _span(next(iter(node.values()))) if isinstance(node, dict) and node else (0, 0)
