"""What makes a policy decide wrongly without anybody noticing, found before it may decide.

Each rule closes a hole that was found in the engine or in the language (docs/policies.md, "The engine"). A finding
says where, why, and what to write instead. Tests are held to fewer rules: they decide nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from gateway.core.policy import bundle, syntax
from gateway.core.policy.builtins import DETERMINISTIC, NONDETERMINISTIC, PANICKING
from gateway.core.policy.bundle import Manifest, Source
from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.syntax import Module, Path, Place, Ref, Rule
from gateway.core.types import Document, Json

NESTING_MAX = 10
"""regorus needs about four times longer for each further level of a literal: depth 16 takes two seconds, 18 eight."""

ENTRYPOINTS: Mapping[Entrypoint, Path] = {
    entrypoint: ("data", *entrypoint.value.split("/")) for entrypoint in Entrypoint
}
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*|[\[({]|[\])}]|\n')


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a policy."""

    rule: str
    file: str
    place: Place
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}:{self.place.line}:{self.place.column}: {self.reason} [{self.rule}] Fix: {self.fix}"


@dataclass(frozen=True, slots=True)
class Policy:
    """All that is looked at together. Paths of rules begin with `data`."""

    modules: tuple[Module, ...]
    data: Document
    manifest: Manifest

    @property
    def rules(self) -> Iterator[tuple[Module, Rule]]:
        return ((module, rule) for module in self.modules for rule in module.rules)

    @property
    def paths(self) -> frozenset[Path]:
        """The path of every rule and function."""
        return frozenset(_rooted(rule) for _, rule in self.rules)


def unparsed(sources: tuple[Source, ...]) -> list[Finding]:
    """What must be known before a parser sees the sources: nesting that it would need minutes or for ever for."""
    found = []
    for source in sources:
        place = _too_deep(source.text)
        if place is not None:
            reason = f"Brackets are nested deeper than {NESTING_MAX}, which takes the engine exponentially long."
            fix = "give inner parts names of their own, or put the literal into data.json."
            found.append(Finding("deep-literal", source.path, place, reason, fix))
    return found


def check(tree: list[Json], data: Document, manifest: Manifest) -> list[Finding]:
    """Every finding in a parsed policy, in order of file and line. `tree` is regorus's `get_ast_as_json`."""
    policy = Policy(syntax.modules(tree), data, manifest)
    found = [finding for rule in _RULES for finding in rule(policy)]
    return sorted(found, key=lambda finding: (finding.file, finding.place.line, finding.place.column, finding.rule))


def _walk_as_value(policy: Policy) -> Iterator[Finding]:
    for module, rule in policy.rules:
        for call in syntax.calls(rule.node):
            if call.name == ("walk",) and len(call.arguments) == 1:
                reason = "`walk(x)` used as a value yields nothing in this engine, so the rule never holds."
                yield Finding("walk-as-value", module.file, call.place, reason, "write `walk(x, [path, value])`.")


def _functions(policy: Policy) -> Iterator[Finding]:
    known = {_rooted(rule): rule.arity for _, rule in policy.rules if rule.arity is not None}
    deciding = {_rooted(rule) for _, rule in _deciding(policy)}
    for module, rule in policy.rules:
        for call in syntax.calls(rule.node):
            name = ".".join(call.name)
            target = module.resolve(Ref(call.name, False, call.place), rule.names)
            visible = target is not None and (_is_test(module) or target.path in deciding)
            arity = known.get(target.path) if target is not None and visible else None
            if arity is not None:
                if len(call.arguments) not in (arity, arity + 1):
                    reason = f"`{name}` takes {arity} argument(s) and is given {len(call.arguments)}."
                    yield Finding("arity", module.file, call.place, reason, "give it what its definition names.")
            elif name in NONDETERMINISTIC:
                reason = f"`{name}` answers differently each time, so the decision could never be checked again."
                fix = "use what the input says, such as `input.time`."
                yield Finding("nondeterministic", module.file, call.place, reason, fix)
            elif name in PANICKING:
                reason = f"`{name}` panics in this engine on some inputs, and says on stderr what it was given."
                fix = "use another: `count(indexof_n(…))`, `object.keys` and sets, `time.parse_rfc3339_ns`."
                yield Finding("panics", module.file, call.place, reason, fix)
            elif name not in DETERMINISTIC:
                reason = f"There is no function `{name}`; the engine fails only when a decision gets here."
                fix = "correct the name, or define it; docs/policies.md lists what OPA has and this engine lacks."
                yield Finding("unknown-function", module.file, call.place, reason, fix)


def _recursion(policy: Policy) -> Iterator[Finding]:
    edges = {path: frozenset[Path]() for path in policy.paths}
    for module, rule in policy.rules:
        edges[_rooted(rule)] |= frozenset(_uses(policy, module, rule))
    looping = _on_a_cycle(edges)
    told: set[Path] = set()
    for module, rule in policy.rules:
        path = _rooted(rule)
        if path in looping and path not in told:
            told.add(path)
            reason = f"`{'.'.join(path)}` depends on itself; as a function that crashes the process."
            fix = "break the circle; `walk` goes into nested values."
            yield Finding("recursion", module.file, rule.place, reason, fix)


def _entrypoints(policy: Policy) -> Iterator[Finding]:
    for entrypoint, path in ENTRYPOINTS.items():
        rules = [(module, rule) for module, rule in _deciding(policy) if _rooted(rule) == path]
        defaults = [(module, rule) for module, rule in rules if rule.default]
        if not rules:
            reason = f"The entrypoint {entrypoint.value} is missing, so everything it is asked is denied."
            fix = f'write `package {".".join(path[1:-1])}` with `default decision := {{"effect": "deny", …}}`.'
            yield Finding("missing-entrypoint", bundle.MANIFEST, Place(1, 1), reason, fix)
        elif len(defaults) != 1:
            module, rule = defaults[-1] if defaults else rules[0]
            reason = f"The entrypoint {entrypoint.value} has {len(defaults)} defaults, not the one it needs."
            fix = 'write one `default decision := {"effect": "deny", …}`.'
            yield Finding("missing-default", module.file, rule.place, reason, fix)
        elif not _denies(defaults[0][1]):
            module, rule = defaults[0]
            reason = f"The default of {entrypoint.value} is not a plain denial."
            yield Finding("open-default", module.file, rule.place, reason, 'begin it with `{"effect": "deny"`.')


def _overlap(policy: Policy) -> Iterator[Finding]:
    held = {("data", *leaf) for leaf in bundle.leaves(policy.data)}
    for module, rule in policy.rules:
        path = _rooted(rule)
        if any(leaf[: len(path)] == path or path[: len(leaf)] == leaf for leaf in held):
            reason = f"Base data at `{'.'.join(path)}` would silently replace this rule."
            yield Finding("data-over-rule", module.file, rule.place, reason, "rename the rule, or move the data.")


def _roots(policy: Policy) -> Iterator[Finding]:
    for module in policy.modules:
        if not policy.manifest.owns("/".join(module.package)):
            reason = f"The package {'.'.join(module.package)} lies outside the roots {list(policy.manifest.roots)}."
            yield Finding("outside-roots", module.file, Place(1, 1), reason, "add its root to .manifest, or rename it.")


def _kinds(policy: Policy) -> Iterator[Finding]:
    first: dict[Path, int | None] = {}
    for module, rule in policy.rules:
        kind = first.setdefault(_rooted(rule), rule.arity)
        if kind != rule.arity:
            reason = f"`{rule.path[-1]}` is defined with different numbers of arguments, or as function and rule."
            yield Finding("conflict", module.file, rule.place, reason, "give one of them another name.")


def _test_packages(policy: Policy) -> Iterator[Finding]:
    for module in policy.modules:
        if _is_test(module) and not module.package[-1].endswith("_test"):
            reason = f"A {bundle.TEST} source is not loaded to decide, and this one belongs to a package that does."
            fix = f"write `package {'.'.join(module.package)}_test`."
            yield Finding("test-package", module.file, Place(1, 1), reason, fix)


def _references(policy: Policy) -> Iterator[Finding]:
    paths = frozenset(_rooted(rule) for _, rule in _deciding(policy))
    for module, rule in _deciding(policy):
        for ref in syntax.refs(rule.node):
            target = module.resolve(ref, rule.names)
            if target is None or target.path[0] != "data" or ref.path[0] not in ("data", *module.imports):
                continue
            name = ".".join(target.path)
            if any(target.path[: len(path)] == path for path in paths) or _in_data(policy.data, target.path[1:]):
                continue
            if any(path[: len(target.path)] == target.path for path in paths):
                reason = f"`{name}` is a whole package: every rule of it is evaluated, and an error in one fails this."
                yield Finding("whole-package", module.file, ref.place, reason, "name the one rule that is meant.")
            else:
                reason = f"Nothing is at `{name}`: it is undefined, and what is not undefined then holds."
                fix = "correct the name, or add it to data.json."
                yield Finding("unknown-reference", module.file, ref.place, reason, fix)


def _negations(policy: Policy) -> Iterator[Finding]:
    for module, rule in _deciding(policy):
        for kind, node in syntax.walk(rule.node):
            if kind != "NotExpr":
                continue
            expression = node["expr"]
            inner = next(iter(expression)) if isinstance(expression, dict) else ""
            reads = (module.resolve(ref, rule.names) for ref in syntax.refs(expression))
            if inner not in ("Var", "RefDot", "RefBrack") and any(ref and ref.path[0] == "input" for ref in reads):
                reason = "When this input is missing, `not` of a comparison or call holds here and is undefined in OPA."
                fix = "bind the value first (`x := input.…`), or negate a rule that has a default."
                yield Finding("not-undefined", module.file, syntax.place(expression), reason, fix)


def _slashed(policy: Policy) -> Iterator[Finding]:
    for module, rule in policy.rules:
        for call in syntax.calls(rule.node):
            if call.name in (("json", "remove"), ("json", "filter")) and _begins_with_slash([*call.arguments[1:]]):
                reason = f"`{'.'.join(call.name)}` finds nothing at a path that begins with a slash in this engine."
                yield Finding("leading-slash", module.file, call.place, reason, 'write `"a/b"`, not `"/a/b"`.')


_RULES: tuple[Callable[[Policy], Iterator[Finding]], ...] = (
    _walk_as_value,
    _functions,
    _recursion,
    _entrypoints,
    _overlap,
    _roots,
    _kinds,
    _test_packages,
    _references,
    _negations,
    _slashed,
)


def _deciding(policy: Policy) -> Iterator[tuple[Module, Rule]]:
    return ((module, rule) for module, rule in policy.rules if not _is_test(module))


def _is_test(module: Module) -> bool:
    return module.file.endswith(bundle.TEST)


def _rooted(rule: Rule) -> Path:
    return ("data", *rule.path)


def _uses(policy: Policy, module: Module, rule: Rule) -> Iterator[Path]:
    """The rules that `rule` needs; a reference to a package needs all of its rules."""
    named = [Ref(call.name, False, call.place) for call in syntax.calls(rule.node)]
    for ref in (*syntax.refs(rule.node), *named):
        target = module.resolve(ref, rule.names)
        if target is not None and target.path[0] == "data":
            for path in policy.paths:
                shorter = min(len(path), len(target.path))
                if path[:shorter] == target.path[:shorter]:
                    yield path


def _on_a_cycle(edges: Mapping[Path, frozenset[Path]]) -> frozenset[Path]:
    """The nodes from which some way leads back to themselves."""

    def returns(start: Path) -> bool:
        seen: set[Path] = set()
        waiting = list(edges[start])
        while waiting:
            at = waiting.pop()
            if at == start:
                return True
            if at not in seen:
                seen.add(at)
                waiting.extend(edges[at])
        return False

    return frozenset(path for path in edges if returns(path))


def _denies(rule: Rule) -> bool:
    fields = syntax.member(syntax.member(syntax.member(rule.node["head"], "value"), "Object"), "fields")
    for item in fields if isinstance(fields, list) else []:
        key, value = (item[1], item[2]) if isinstance(item, list) and len(item) == 3 else (None, None)
        if syntax.literal(key) == "effect":
            return syntax.literal(value) == "deny"
    return False


def _begins_with_slash(node: Json) -> bool:
    return any(kind == "String" and str(inner["value"]).startswith("/") for kind, inner in syntax.walk(node))


def _in_data(data: Document, path: Path) -> bool:
    at: Json = data
    for segment in path:
        if not isinstance(at, dict) or segment not in at:
            return False
        at = at[segment]
    return True


def _too_deep(text: str) -> Place | None:
    depth, line, start = 0, 1, 0
    for token in _TOKEN.finditer(text):
        match token.group()[0]:
            case "\n":
                line, start = line + 1, token.end()
            case "[" | "(" | "{":
                depth += 1
                if depth > NESTING_MAX:
                    return Place(line, token.start() - start + 1)
            case "]" | ")" | "}":
                depth -= 1
            case "`":
                line += token.group().count("\n")
    return None
