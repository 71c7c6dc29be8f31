"""References into the input and the settings, compared with the schemas that describe them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import jsonschema_rs

from gateway.core.policy import syntax
from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.lint.finding import Fault, Faults, advice, check
from gateway.core.policy.lint.policy import Policy, Scope
from gateway.core.policy.syntax import Chain, Path, Place
from gateway.core.types import Document, Json

ANY = frozenset(("array", "boolean", "null", "number", "object", "string"))
SETTINGS = ("data", "gateway", "settings")
_GUARDS = (*SETTINGS, "guards")
_SETTINGS_FILE = "gateway/settings/data.json"
_STEPS_MAX = 64  # Of `$ref` to `$ref`: a schema that refers to itself only.


@check(
    "unknown-input",
    why="A field that the gateway never sends is undefined: a rule on it never holds, and its negation always does.",
    fix="correct it; policies/schema/input.json describes every field.",
    bad='default staff := false\n\nstaff if "staff" in input.principal.group',
    good='default staff := false\n\nstaff if "staff" in input.principal.groups',
    opa=False,
)
def unknown_input(policy: Policy) -> Faults:
    """A field that the schema has for none of the entrypoints which reach the rule, or that a test's `with` gives."""
    if policy.schemas.input is None:
        return
    for scope in policy.scopes:
        told: set[Place] = set()
        for chain, place in _given(scope) if scope.is_test else _chains(scope):
            if chain[0] == "input" and place not in told and not types(policy, scope, chain):
                told.add(place)
                known = next(end for end in range(len(chain), 0, -1) if types(policy, scope, chain[:end]))
                asked = ", ".join(sorted(one.value for one in reached(policy, scope)))
                reason = f"`{_text(chain[:known])}` has no `{chain[known]}` in what {asked} is asked."
                yield Fault(scope.file, place, reason)


@advice(
    "settings-schema",
    why="A setting that is misspelt or of another type does nothing, or refuses everything.",
    fix="correct it; policies/schema/settings.json describes every setting.",
    bad="",
    good="x := data.gateway.settings.roles",
)
def settings_schema(policy: Policy) -> Faults:
    """The bundle's `data.gateway.settings`, where they do not fit the schema. Guards of one's own are in none."""
    gateway = policy.data.get("gateway")
    settings = gateway.get("settings") if isinstance(gateway, dict) else None
    if policy.schemas.settings is None or settings is None:
        return
    for error in jsonschema_rs.validator_for(policy.schemas.settings).iter_errors(_described(policy, settings)):
        where = "/".join(map(str, error.instance_path)) or "the settings"
        yield Fault(_SETTINGS_FILE, Place(1, 1), f"{where}: {error.message}")


CHECKS = (unknown_input, settings_schema)


def _described(policy: Policy, settings: Json) -> Json:
    """The settings without those of guards that the schema does not know and the bundle has rules for."""
    guards = settings.get("guards") if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or not isinstance(guards, dict):
        return settings
    own = {name for name in guards if ("data", "gateway", name, "verdict") in policy.deciding_paths}
    kept = {name: held for name, held in guards.items() if name not in own or is_setting(policy, (*_GUARDS, name))}
    return {**settings, "guards": kept}


def types(policy: Policy, scope: Scope, chain: Chain) -> frozenset[str]:
    """The JSON types that may be at `chain`, which begins with `input`, where the rule is evaluated.

    Empty when nothing can be there. Everything when there is no schema, or it does not say.
    """
    if policy.schemas.input is None:
        return ANY
    return frozenset(word for part in _parts(policy.schemas.input, policy, scope, chain) for word in _types(part))


def readable(policy: Policy, scope: Scope, chain: Chain, format_: str) -> bool:
    """Whether the schema says that the gateway writes what is at `chain`, in a `format` of JSON Schema."""
    if policy.schemas.input is None:
        return False
    parts = _parts(policy.schemas.input, policy, scope, chain)
    return bool(parts) and all(part.get("format") == format_ for part in parts)


def is_setting(policy: Policy, path: Path) -> bool:
    """Whether the settings' schema has something at `path`, which begins with `data`, be it set or not."""
    if policy.schemas.settings is None or len(path) <= len(SETTINGS) or path[: len(SETTINGS)] != SETTINGS:
        return False
    found = list(_leaves(policy.schemas.settings, policy.schemas.settings))
    for segment in path[len(SETTINGS) :]:
        found = [inner for part in found for inner in _step(policy.schemas.settings, part, segment)]
    return bool(found)


def reached(policy: Policy, scope: Scope) -> frozenset[Entrypoint]:
    """The entrypoints that may evaluate the rule; all, for one that none does."""
    return policy.reach.get(scope.path) or frozenset(Entrypoint)


def _parts(schema: Document, policy: Policy, scope: Scope, chain: Chain) -> list[Document]:
    """What the schema has for `chain`, in each way that it may be there."""
    found = [part for entrypoint in reached(policy, scope) for part in _roots(schema, entrypoint)]
    for segment in chain[1:]:
        found = [inner for part in found for inner in _step(schema, part, segment)]
        found = list({id(part): part for part in found}.values())
    return found


def _chains(scope: Scope) -> Iterator[tuple[Chain, Place]]:
    for kind in ("RefDot", "RefBrack"):
        for node in scope.nodes.get(kind, ()):
            chain = scope.trace({kind: node})
            if chain is not None:
                yield chain, syntax.place({kind: node})


def _given(scope: Scope) -> Iterator[tuple[Chain, Place]]:
    """What of the input is replaced by `with`."""
    for statement in scope.expressions():
        for mod in statement.mods:
            chain = scope.trace(mod.get("refr"))
            if chain is not None:
                yield chain, syntax.place(mod.get("refr"))


def _roots(schema: Document, entrypoint: Entrypoint) -> Iterator[Document]:
    """The part of the schema for an entrypoint, which its `phase` tells; all of it when no part says."""
    word = entrypoint.value.split("/")[1]
    parts = list(_leaves(schema, schema))
    phases = [(part, _phase(part)) for part in parts]
    yield from ([part for part, phase in phases if phase == word] or [part for part, phase in phases if phase is None])


def _phase(part: Document) -> Json:
    return syntax.member(syntax.member(syntax.member(part, "properties"), "phase"), "const")


def _leaves(schema: Document, part: Json) -> Iterator[Document]:
    """The alternatives that a schema stands for, with `$ref` and its combinations resolved; `{}` allows anything."""
    waiting: list[tuple[Json, int]] = [(part, 0)]
    while waiting:
        at, steps = waiting.pop()
        if at is True or (isinstance(at, dict) and steps > _STEPS_MAX):
            yield {}
        elif isinstance(at, dict):
            inner: list[Json] = [_pointer(schema, at["$ref"])] if "$ref" in at else []
            for word in ("oneOf", "anyOf", "allOf"):
                listed = at.get(word)
                inner.extend(listed if isinstance(listed, list) else [])
            waiting.extend((one, steps + 1) for one in inner)
            if not inner or "properties" in at:
                yield at


def _pointer(schema: Document, ref: Json) -> Json:
    at: Json = schema
    for segment in str(ref).removeprefix("#").split("/")[1:]:
        at = syntax.member(at, segment)
    return at if at is not None else True


def _step(schema: Document, part: Document, segment: str | None) -> Iterator[Document]:
    """What may be one segment below a part; None is any index."""
    allowed = _types(part)
    if "object" in allowed:
        properties = part.get("properties")
        named = properties if isinstance(properties, dict) else {}
        if segment is None:
            for inner in named.values():
                yield from _leaves(schema, inner)
        if segment in named:
            yield from _leaves(schema, named[segment])
        else:
            yield from _leaves(schema, part.get("additionalProperties", True))
    if "array" in allowed and segment is None:
        yield from _leaves(schema, part.get("items", True))


def _types(part: Document) -> Iterable[str]:
    declared = part.get("type")
    if isinstance(declared, str):
        words: Iterable[str] = (declared,)
    elif isinstance(declared, list):
        words = map(str, declared)
    elif "const" in part or "enum" in part:
        listed = part.get("enum")
        words = {_word(value) for value in (listed if isinstance(listed, list) else [part.get("const")])}
    else:
        return ANY
    return {"number" if word == "integer" else word for word in words}


def _word(value: Json) -> str:
    match value:
        case bool():
            return "boolean"
        case str():
            return "string"
        case int() | float():
            return "number"
        case None:
            return "null"
        case list():
            return "array"
        case _:
            return "object"


def _text(chain: Chain) -> str:
    return ".".join("[…]" if segment is None else segment for segment in chain).replace(".[", "[")
