"""What all checks look at: a policy's sources with each rule taken apart once, and which entrypoints reach it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from gateway.core.policy import bundle, syntax
from gateway.core.policy.bundle import Manifest
from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.syntax import Call, Chain, Module, Path, Place, Ref, Rule
from gateway.core.types import Document, Json

ENTRYPOINTS: Mapping[Entrypoint, Path] = {
    entrypoint: ("data", *entrypoint.value.split("/")) for entrypoint in Entrypoint
}


@dataclass(frozen=True, slots=True)
class Schemas:
    """The JSON Schemas of what policy is given; None where it is not known and nothing is compared with it."""

    input: Document | None = field(default=None, repr=False)
    settings: Document | None = field(default=None, repr=False)
    """Of `data.gateway.settings`."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One line of a query: `Expr`, `NotExpr`, `SomeVars`, `SomeIn` or `Every`, and the `with`s behind it."""

    kind: str
    node: Document = field(repr=False)
    mods: tuple[Document, ...] = field(default=(), repr=False)

    @property
    def expression(self) -> Document:
        """The expression of an `Expr` or `NotExpr`; empty for the others."""
        inner = self.node.get("expr")
        return inner if isinstance(inner, dict) else {}

    @property
    def place(self) -> Place:
        """Where its expression begins."""
        return syntax.place(self.expression or {self.kind: self.node})


@dataclass(frozen=True, eq=False)
class Scope:
    """A rule taken apart: what it calls, refers to and says, in the order of the source."""

    module: Module
    rule: Rule
    nodes: Mapping[str, tuple[Document, ...]] = field(repr=False)
    """Every node by its kind."""
    calls: tuple[Call, ...] = field(repr=False)
    refs: tuple[Ref, ...] = field(repr=False)
    queries: tuple[tuple[Statement, ...], ...] = field(repr=False)

    @property
    def file(self) -> str:
        """The source it stands in."""
        return self.module.file

    @property
    def path(self) -> Path:
        """Its path from `data`."""
        return ("data", *self.rule.path)

    @cached_property
    def is_test(self) -> bool:
        """Whether it only tests: such a rule decides nothing."""
        return self.file.endswith(bundle.TEST)

    @cached_property
    def assigned(self) -> Mapping[str, Json]:
        """The expression behind each name that `:=` declares once and nothing else declares."""
        times: dict[str, int] = {}
        for local in self.rule.declared:
            times[local.name] = times.get(local.name, 0) + 1
        found: dict[str, Json] = {}
        for node in self.nodes.get("AssignExpr", ()):
            name = syntax.member(syntax.member(node["lhs"], "Var"), "value")
            if node["op"] == "ColEq" and isinstance(name, str) and times.get(name) == 1:
                found[name] = node["rhs"]
        return found

    @cached_property
    def elements(self) -> Mapping[str, Json]:
        """The collection behind each name that one `some … in` and nothing else declares as its value."""
        names = [local.name for local in self.rule.declared]
        found: dict[str, Json] = {}
        for node in self.nodes.get("SomeIn", ()):
            name = syntax.member(syntax.member(node["value"], "Var"), "value")
            if isinstance(name, str) and names.count(name) == 1:
                found[name] = node["collection"]
        return found

    def trace(self, node: Json, depth: int = 8) -> Chain | None:
        """The reference that a node is, from `input` or `data`, through imports and local names; None when it is none.

        A local name that stands for nothing of these begins its own chain: `("?x", …)`.
        """
        found = syntax.chain(node)
        if found is None or found[0] is None:
            return None
        root, rest = found[0], found[1:]
        if root in self.rule.names:
            if depth and root in self.assigned:
                before = self.trace(self.assigned[root], depth - 1)
                return (*before, *rest) if before is not None else (f"?{root}", *rest)
            if depth and root in self.elements:
                before = self.trace(self.elements[root], depth - 1)
                return (*before, None, *rest) if before is not None else (f"?{root}", *rest)
            return (f"?{root}", *rest)
        target = self.module.resolve(Ref((root,), False, syntax.place(node)), frozenset())
        return (*target.path, *rest) if target is not None else None

    def expressions(self) -> Iterator[Statement]:
        """Every statement of every query in it, comprehensions included."""
        return (statement for query in self.queries for statement in query)


class Policy:
    """All that is looked at together. Paths of rules begin with `data`."""

    def __init__(self, modules: tuple[Module, ...], data: Document, manifest: Manifest, schemas: Schemas) -> None:
        self.modules = modules
        self.data = data
        self.manifest = manifest
        self.schemas = schemas
        self.scopes = tuple(_scope(module, rule) for module in modules for rule in module.rules)

    @cached_property
    def deciding(self) -> tuple[Scope, ...]:
        """The scopes that are there when a decision is made."""
        return tuple(scope for scope in self.scopes if not scope.is_test)

    @cached_property
    def tests(self) -> tuple[Scope, ...]:
        """The scopes of test sources."""
        return tuple(scope for scope in self.scopes if scope.is_test)

    @cached_property
    def paths(self) -> frozenset[Path]:
        """The path of every rule and function."""
        return frozenset(scope.path for scope in self.scopes)

    @cached_property
    def deciding_paths(self) -> frozenset[Path]:
        """The path of every rule and function that is there when a decision is made."""
        return frozenset(self.deciding_at)

    @cached_property
    def deciding_at(self) -> Mapping[Path, tuple[Scope, ...]]:
        """The definitions of each rule and function that is there when a decision is made."""
        found: dict[Path, list[Scope]] = {}
        for scope in self.deciding:
            found.setdefault(scope.path, []).append(scope)
        return {path: tuple(scopes) for path, scopes in found.items()}

    @cached_property
    def own(self) -> Mapping[Path, frozenset[str]]:
        """The names of the rules of each package."""
        found: dict[Path, set[str]] = {}
        for scope in self.scopes:
            found.setdefault(scope.module.package, set()).add(scope.rule.path[len(scope.module.package)])
        return {package: frozenset(names) for package, names in found.items()}

    @cached_property
    def functions(self) -> Mapping[Path, tuple[Scope, ...]]:
        """The definitions of each function."""
        found: dict[Path, tuple[Scope, ...]] = {}
        for scope in self.scopes:
            if scope.rule.arity is not None:
                found[scope.path] = (*found.get(scope.path, ()), scope)
        return found

    @cached_property
    def uses(self) -> Mapping[Path, frozenset[Path]]:
        """What each rule needs; a reference to a package needs all of its rules."""
        return self._used(whole=True)

    @cached_property
    def names(self) -> Mapping[Path, frozenset[Path]]:
        """What each rule needs by name, references to packages left out."""
        return self._used(whole=False)

    def _used(self, *, whole: bool) -> Mapping[Path, frozenset[Path]]:
        below: dict[Path, set[Path]] = {}
        for path in self.paths:
            for length in range(1, len(path) + 1):
                below.setdefault(path[:length], set()).add(path)
        found: dict[Path, set[Path]] = {path: set() for path in self.paths}
        for scope in self.scopes:
            for target in _targets(scope):
                if target in self.packages and not whole:
                    continue
                found[scope.path] |= below.get(target, set())
                found[scope.path] |= {target[:length] for length in range(1, len(target)) if target[:length] in found}
        return {path: frozenset(used) for path, used in found.items()}

    @cached_property
    def packages(self) -> frozenset[Path]:
        """The path of every package, and of what is above one."""
        paths = (("data", *module.package) for module in self.modules)
        return frozenset(path[:length] for path in paths for length in range(1, len(path) + 1))

    @cached_property
    def reach(self) -> Mapping[Path, frozenset[Entrypoint]]:
        """The entrypoints that each rule may be evaluated for."""
        found: dict[Path, set[Entrypoint]] = {}
        for entrypoint, start in ENTRYPOINTS.items():
            waiting = [start] if start in self.paths else []
            seen = set(waiting)
            while waiting:
                at = waiting.pop()
                found.setdefault(at, set()).add(entrypoint)
                fresh = self.uses[at] - seen
                seen |= fresh
                waiting.extend(fresh)
        return {path: frozenset(by) for path, by in found.items()}


def _scope(module: Module, rule: Rule) -> Scope:
    nodes: dict[str, list[Document]] = {}
    refs = []
    for kind, inner in syntax.walk(rule.node):
        nodes.setdefault(kind, []).append(inner)
        if kind in ("Var", "RefDot", "RefBrack"):
            ref = syntax.reference({kind: inner})
            if ref is not None:
                refs.append(ref)
    calls = tuple(call for call in map(syntax.call, nodes.get("Call", ())) if call is not None)
    kept = {kind: tuple(found) for kind, found in nodes.items() if kind != "span"}
    return Scope(module, rule, kept, calls, tuple(refs), tuple(_queries(kept.get("query", ()))))


def _queries(nodes: tuple[Document, ...]) -> Iterator[tuple[Statement, ...]]:
    for node in nodes:
        listed = node.get("stmts")
        yield tuple(_statement(item) for item in (listed if isinstance(listed, list) else []) if isinstance(item, dict))


def _statement(item: Document) -> Statement:
    literal, mods = item.get("literal"), item.get("with_mods")
    ((kind, node),) = literal.items() if isinstance(literal, dict) else [("", None)]
    given = tuple(mod for mod in mods if isinstance(mod, dict)) if isinstance(mods, list) else ()
    return Statement(kind, node if isinstance(node, dict) else {}, given)


def _targets(scope: Scope) -> Iterator[Path]:
    for ref in (*scope.refs, *(Ref(call.name, False, call.place) for call in scope.calls)):
        target = scope.module.resolve(ref, scope.rule.names)
        if target is not None and target.path[0] == "data":
            yield target.path
