"""Rego's syntax tree, as regorus prints it, read into what the lint asks about: rules, references and calls.

The tree comes as JSON with an object of one key for each node (`{"RefDot": {…}}`). Nothing here evaluates Rego.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.core.types import Document, Json

Path = tuple[str, ...]
Chain = tuple[str | None, ...]

_REFS = frozenset({"Var", "RefDot", "RefBrack"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a source: line and column, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference. `path` is its constant beginning; `dynamic` says that an index follows which is not constant."""

    path: Path
    dynamic: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function, by the name it has in the source."""

    name: Path
    arguments: tuple[Json, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Declared:
    """A local name, and the words that declare it: `argument`, `:=`, `some` or `every`."""

    name: str
    by: str
    place: Place


@dataclass(frozen=True, slots=True)
class Rule:
    """One definition. `path` is package and name, as far as the name is constant."""

    path: Path
    arity: int | None
    """How many arguments, for a function."""
    default: bool
    place: Place
    node: Document = field(repr=False)
    """`head`, `index` and `bodies`: what the rule is made of, without its name."""
    declared: tuple[Declared, ...] = ()
    """What is declared within: arguments, `:=`, `some` and `every`."""
    names: frozenset[str] = frozenset()
    """The names of what is declared within."""
    shape: str = ""
    """How regorus has the head: `Compr` for a value, `Set` for `contains`, `Func`; empty for a default."""
    bodies: int = 0
    """How many bodies it has; a rule without one always holds."""
    exact: bool = True
    """Whether the name is constant as a whole: `x.y`, not `x[y]`."""


@dataclass(frozen=True, slots=True)
class Module:
    """One parsed source."""

    file: str
    package: Path
    imports: dict[str, Ref]
    """What is imported, by the name it has here."""
    rules: tuple[Rule, ...]
    imported: tuple[tuple[str, Ref], ...] = ()
    """Every import in order, also where two have one name."""
    text: str = field(default="", repr=False)

    def resolve(self, ref: Ref, names: frozenset[str]) -> Ref | None:
        """`ref` from its root document (`data`, `input` or a name of this package); None for a local name."""
        first = ref.path[0]
        if first in names:
            return None
        if first in self.imports:
            imported = self.imports[first]
            return Ref((*imported.path, *ref.path[1:]), ref.dynamic, ref.place)
        if first in ("data", "input"):
            return ref
        return Ref(("data", *self.package, *ref.path), ref.dynamic, ref.place)


def modules(tree: list[Json]) -> tuple[Module, ...]:
    """The modules in regorus's `get_ast_as_json` document."""
    return tuple(_module(item) for item in tree if isinstance(item, dict))


def walk(node: Json, without: frozenset[str] = frozenset()) -> Iterator[tuple[str, Document]]:
    """Every node below `node` with its kind; what a `with` replaces is not below it, and a reference is one node.

    Nodes of the kinds `without` are left out, with what is below them.
    """
    waiting: list[Json] = [node]
    while waiting:
        at = waiting.pop()
        if isinstance(at, list):
            waiting.extend(at)
        elif isinstance(at, dict):
            for key, inner in at.items():
                if key in without:
                    continue
                if isinstance(inner, dict):
                    yield key, inner
                waiting.extend(_below(key, inner))


def _below(key: str, inner: Json) -> list[Json]:
    match key, inner:
        case "Call", dict():
            return [inner["params"]]
        case (("RefDot" | "RefBrack"), dict()):
            return indices({key: inner})
        case "with_mods", list():
            return [modifier["as"] for modifier in inner if isinstance(modifier, dict)]
        case "span", _:
            return []
        case _:
            return [inner]


def refs(node: Json) -> Iterator[Ref]:
    """Every reference below `node`; `input.a[x].b` is one, `x` another."""
    for kind, inner in walk(node):
        if kind in _REFS:
            ref = reference({kind: inner})
            if ref is not None:
                yield ref


def calls(node: Json) -> Iterator[Call]:
    """Every call below `node`."""
    for kind, inner in walk(node):
        found = call(inner) if kind == "Call" else None
        if found is not None:
            yield found


def call(node: Document) -> Call | None:
    """The call that the inside of a `Call` node is; None when what is called has no name."""
    named, arguments = reference(node["fcn"]), node["params"]
    if named is None or not isinstance(arguments, list):
        return None
    return Call(named.path, tuple(arguments), place(node["fcn"]))


def reference(node: Json) -> Ref | None:
    """The reference that a node is; None for an index into something computed on the spot."""
    backwards: list[str] = []
    dynamic = False
    at = node
    while isinstance(at, dict):
        if "Var" in at:
            root = at["Var"]
            path = (str(member(root, "value")), *reversed(backwards))
            return Ref(path, dynamic, place(node))
        chain = at.get("RefDot") or at.get("RefBrack")
        if not isinstance(chain, dict):
            return None
        segment = _segment(chain)
        if segment is None:
            backwards, dynamic = [], True  # Whatever comes behind an index that is not constant is not constant either.
        else:
            backwards.append(segment)
        at = chain["refr"]
    return None


def chain(node: Json) -> Chain | None:
    """The whole reference that a node is, with None for each index that is no text literal; None when it has no name.

    `input.a[0].b` is `("input", "a", None, "b")`, where `reference` stops at its constant beginning.
    """
    backwards: list[str | None] = []
    at = node
    while isinstance(at, dict):
        if "Var" in at:
            return (str(member(at["Var"], "value")), *reversed(backwards))
        link = at.get("RefDot") or at.get("RefBrack")
        if not isinstance(link, dict):
            return None
        backwards.append(_segment(link))
        at = link["refr"]
    return None


def place(node: Json) -> Place:
    """Where a node begins. A reference's own span is its last dot, so its root's is taken."""
    at = node
    while isinstance(at, dict) and "span" not in at:
        at = next(iter(at.values()))
        if isinstance(at, dict) and "refr" in at:
            at = at["refr"]
    span = member(at, "span")
    line, column = member(span, "line"), member(span, "col")
    return Place(line if isinstance(line, int) else 1, column if isinstance(column, int) else 1)


def _module(item: Document) -> Module:
    tree, source = item["ast"], item["source"]
    assert isinstance(tree, dict)
    package = reference(member(tree["package"], "refr"))
    assert package is not None
    contents = str(member(source, "contents"))
    text = contents.encode()
    listed = tree["rules"]
    imported = tuple(_imports(tree["imports"], text))
    return Module(
        file=str(member(source, "file")),
        package=package.path,
        imports=dict(imported),
        rules=tuple(_rule(package.path, rule, text) for rule in listed) if isinstance(listed, list) else (),
        imported=imported,
        text=contents,
    )


def _imports(listed: Json, text: bytes) -> Iterator[tuple[str, Ref]]:
    for item in listed if isinstance(listed, list) else []:
        ref = reference(member(item, "refr"))
        if ref is not None and ref.path[0] in ("data", "input"):
            yield _cut(text, member(item, "as")) or ref.path[-1], ref


def _rule(package: Path, rule: Json, text: bytes) -> Rule:
    assert isinstance(rule, dict)
    ((kind, body),) = rule.items()
    assert isinstance(body, dict)
    head: Json = body if kind == "Default" else body["head"]
    shape = ""
    if kind == "Spec" and isinstance(head, dict):
        ((shape, head),) = head.items()
    name = reference(member(head, "refr"))
    arguments = member(head, "args")
    # Without the rule's own name, which is no use of it; an index in the name is.
    node: Document = {
        "head": {key: value for key, value in head.items() if key != "refr"} if isinstance(head, dict) else {},
        "index": indices(member(head, "refr")),
        "bodies": body.get("bodies", []),
    }
    declared = tuple(_declared(node, arguments if shape == "Func" or kind == "Default" else [], text))
    function = shape == "Func" or (kind == "Default" and bool(arguments))
    return Rule(
        path=(*package, *(name.path if name is not None else ())),
        arity=len(arguments) if function and isinstance(arguments, list) else None,
        default=kind == "Default",
        place=place(body),
        node=node,
        declared=declared,
        names=frozenset(local.name for local in declared),
        shape=shape,
        bodies=len(bodies) if isinstance(bodies := body.get("bodies"), list) else 0,
        exact=name is None or not name.dynamic,
    )


def _declared(body: Document, arguments: Json, text: bytes) -> Iterator[Declared]:
    yield from _variables(arguments, "argument")
    for kind, inner in walk(body):
        match kind:
            case "AssignExpr" if inner["op"] == "ColEq":
                yield from _variables(inner["lhs"], ":=")
            case "SomeIn":
                yield from _variables([inner["key"], inner["value"]], "some")
            case "Every":
                yield from _spanned([inner["key"], inner["value"]], text, "every")
            case "SomeVars":
                yield from _spanned(inner["vars"], text, "some")


def _spanned(spans: Json, text: bytes, by: str) -> Iterator[Declared]:
    for span in spans if isinstance(spans, list) else []:
        if span:
            yield Declared(_cut(text, span), by, place({"span": span}))


def _variables(pattern: Json, by: str) -> Iterator[Declared]:
    for kind, inner in walk(pattern):
        if kind == "Var":
            yield Declared(str(inner["value"]), by, place({kind: inner}))


def indices(node: Json) -> list[Json]:
    """The expressions within the brackets of a reference, and its root when that is no name."""
    found: list[Json] = []
    at = node
    while isinstance(at, dict):
        chain = at.get("RefDot") or at.get("RefBrack")
        if not isinstance(chain, dict):
            return found if "Var" in at else [*found, at]
        if "index" in chain:
            found.append(chain["index"])
        at = chain["refr"]
    return found


def _segment(chain: Document) -> str | None:
    dotted = chain.get("field")
    if isinstance(dotted, list):
        return str(dotted[1])
    return literal(chain.get("index"))


def literal(node: Json) -> str | None:
    """The text of a string literal."""
    text = member(member(node, "String"), "value")
    return text if isinstance(text, str) else None


def member(value: Json, key: str) -> Json:
    """A node's member, or None where it has none."""
    return value.get(key) if isinstance(value, dict) else None


def _cut(text: bytes, span: Json) -> str:
    """The name that a span covers: regorus gives declared names by their place in the source alone."""
    start, end = member(span, "start"), member(span, "end")
    return text[start:end].decode() if isinstance(start, int) and isinstance(end, int) else ""
