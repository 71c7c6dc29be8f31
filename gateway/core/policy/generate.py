"""Inputs made from the input schema: every branch, every optional member, every boundary, and mixes of them all.

Samples (`samples.py`) are what somebody thought of; these are what the schema allows. What policy compares with is
not in the schema, so the words and numbers of its own settings and sources are offered where they fit, and at each
place what the samples hold there. Nothing is random: the same arguments make the same inputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from gateway.core.types import Document, Json

Place = tuple[str, ...]
"""Where in an input: member names, `*` for the items of an array."""

SIZES: Mapping[str, int] = {
    "groups": 512,  # identity.settings.MAX_GROUPS
    "chain": 8,  # identity.tokens.MAX_CHAIN
    "paths": 100,  # masking.profile.PATHS_MOST
    "outputs": 200,  # facts.lineage.MOST
    "statements": 20,
    "columns": 50,
    "items": 500,
    "reasons": 64,  # decision.REASONS_MAX
}
"""How many items an array of this name can have: as the gateway bounds it, or as much as a client is likely to try."""
SIZE = 10
"""Of any other array."""
WORDS_MOST = 400
NESTING_MAX = 16
"""Of members and references in the schema; what is deeper has no end."""

_TEXTS: tuple[Json, ...] = ("", "x", "é\u2028\U0001f600", "y" * 300)
_TIMES: tuple[Json, ...] = (
    "2026-01-05T12:00:00.000000Z",
    "2026-01-10T03:04:05.678901Z",  # A Saturday.
    "2028-02-29T23:59:59.999999Z",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
)
_NUMBERS: tuple[Json, ...] = (0, 1, -1, 2**31, 2**53)
_ANYTHING: tuple[Json, ...] = ({}, None, True, 0, "text", [], ["a", {"b": None}], {"readOnlyHint": True})
_SAID = frozenset({"description", "title", "$schema", "$comment", "examples", "deprecated"})
_READ = frozenset(
    "$ref $defs type properties required additionalProperties items minItems maxItems enum const oneOf anyOf "
    "minimum maximum minLength maxLength format".split()
)


class Size(Enum):
    """How much of what may be absent or repeated is there."""

    SOME = "some"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What is offered beside boundary values: to every text and number, and at the places where it was seen."""

    words: tuple[str, ...] = field(repr=False)
    numbers: tuple[int, ...]
    seen: Mapping[Place, tuple[Json, ...]] = field(repr=False)


def vocabulary(data: Json, literals: Iterable[str], examples: Iterable[Document]) -> Vocabulary:
    """The words and numbers of a bundle's `data` and sources (`literals`), and what `examples` hold where."""
    words: dict[str, None] = {}
    numbers: dict[int, None] = {}
    for place, value in _leaves(data):
        words |= dict.fromkeys(place)
        if isinstance(value, str):
            words[value] = None
        elif isinstance(value, int) and not isinstance(value, bool):
            numbers |= dict.fromkeys((value - 1, value, value + 1))
    words |= dict.fromkeys(literals)
    seen: dict[Place, dict[str, Json]] = {}
    for example in examples:
        for place, value in _nodes(example):
            values = seen.setdefault(place, {})
            if len(values) < SIZE:
                values.setdefault(repr(value), value)
    most = {place: tuple(values.values()) for place, values in seen.items()}
    return Vocabulary(tuple(words)[:WORDS_MOST], tuple(numbers)[:WORDS_MOST], most)


def inputs(
    schema: Document, name: str, known: Vocabulary, *, base: Document, seed: str, mixes: int
) -> Iterator[Document]:
    """Inputs that the definition `name` of `schema` allows, all near `base`, which is one and comes first.

    Each differs from it in one thing, until there was one for each alternative of each member; then come `mixes` that
    differ in several. Raises ValueError when the schema uses what this does not know: an input that it may not allow
    proves nothing.
    """
    made = _Maker(schema, known, _Dice(seed))
    node: Document = {"$ref": f"#/$defs/{name}"}
    for document in made.alternatives(node, (), base):
        yield _document(document)
    for _ in range(mixes):
        yield _document(made.mix(node, (), Size.SOME, base))


def largest(
    schema: Document, name: str, known: Vocabulary, *, base: Document, seed: str, count: int
) -> Iterator[Document]:
    """`count` inputs like `base` in which everything is there and every array as long as it can be.

    Raises as `inputs` does.
    """
    made = _Maker(schema, known, _Dice(seed))
    for _ in range(count):
        yield _document(made.mix({"$ref": f"#/$defs/{name}"}, (), Size.FULL, base))


class _Dice:
    """Numbers that look random and depend on the seed alone: SHA-256 in counter mode."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._count = 0
        self._left = b""

    def below(self, most: int) -> int:
        """A number from 0 to `most` - 1; the last of many are a little rarer, which matters to nobody here."""
        if len(self._left) < 4:
            self._count += 1
            self._left = hashlib.sha256(b"%d:%s" % (self._count, self._seed)).digest()
        taken, self._left = self._left[:4], self._left[4:]
        return int.from_bytes(taken, "big") % most

    def one(self, of: list[Json]) -> Json:
        return of[self.below(len(of))]


class _Maker:
    """Makes what one schema allows. The first alternative of a node is the usual one."""

    def __init__(self, schema: Document, known: Vocabulary, dice: _Dice) -> None:
        self._definitions = _document(schema.get("$defs", {}))
        self._known = known
        self._dice = dice
        self._scalars: dict[tuple[str, Place], list[Json]] = {}

    def alternatives(self, node: Json, place: Place, base: Json = None) -> list[Json]:
        """One value for each way that the node can be, and for each way that each node below it can; `base` first.

        A `base` that the node does not allow is none.
        """
        found: list[Json] = []
        for kind, plain in self._kinds(node, len(place)):
            start = base if _meant(base, kind, plain) else None
            match kind:
                case "object" if plain.get("properties"):
                    values = self._objects(plain, place, start)
                case "array":
                    values = self._arrays(plain, place, start)
                case _:
                    values = self._scalar(kind, plain, place)
            found = [start, *values, *found] if start is not None else [*found, *values]
        return found

    def mix(self, node: Json, place: Place, size: Size, base: Json = None) -> Json:
        """One value with much below it chosen anew, and the rest as in `base`."""
        kinds = self._kinds(node, len(place))
        meant = [each for each in kinds if _meant(base, *each)]
        kind, plain = (meant or kinds)[self._dice.below(len(meant or kinds))]
        start = base if meant else None
        if start is not None and place and size is Size.SOME and self._dice.below(4):
            return start
        match kind:
            case "object" if plain.get("properties"):
                return self._mixed_object(plain, place, size, start)
            case "array":
                return self._mixed_array(plain, place, size, start)
            case _:
                return start if start is not None and self._dice.below(4) else self._mixed_scalar(kind, plain, place)

    def _kinds(self, node: Json, depth: int) -> list[tuple[str, Document]]:
        """The types that the node may have, each with the schema that has nothing but this type."""
        plain = _document(node)
        unknown = plain.keys() - _READ - _SAID
        if unknown or depth > NESTING_MAX:
            raise ValueError(f"inputs cannot be made from a schema with {', '.join(sorted(unknown)) or 'endless $ref'}")
        if "$ref" in plain:
            return self._kinds(self._definitions[str(plain["$ref"]).removeprefix("#/$defs/")], depth + 1)
        branches = plain.get("oneOf", plain.get("anyOf"))
        if isinstance(branches, list):
            return [kind for branch in branches for kind in self._kinds(branch, depth + 1)]
        if "const" in plain or "enum" in plain:
            return [("chosen", plain)]
        types = plain.get("type", "any")
        string = "time" if plain.get("format") == "date-time" else "string"
        kinds = map(str, types if isinstance(types, list) else [types])
        return [(string if kind == "string" else kind, plain) for kind in kinds]

    def _scalar(self, kind: str, plain: Document, place: Place) -> list[Json]:
        """The values of a node without named members: what was seen here, then the boundaries."""
        if kind == "chosen":
            return _chosen(plain)
        key = (kind, place)
        if key not in self._scalars:
            values = [*self._known.seen.get(place, ()), *_boundaries(kind, plain, self._known)]
            inner = plain.get("additionalProperties")
            if kind == "object" and isinstance(inner, dict):
                named: list[Json] = [{"x": value} for value in self.alternatives(inner, (*place, "x"))]
                values = [*self._known.seen.get(place, ()), {}, *named]
            self._scalars[key] = [value for value in values if _fits(value, kind, plain)]
            if not self._scalars[key]:
                raise ValueError(f"no value is known for {'.'.join(place)}, a {kind}")
        return self._scalars[key]

    def _mixed_scalar(self, kind: str, plain: Document, place: Place) -> Json:
        """One of the values: a usual one half of the time, and for a text any word a quarter of it."""
        values = self._scalar(kind, plain, place)
        cast = self._dice.below(4)
        if cast == 0 and kind == "string" and self._known.words:
            word = self._known.words[self._dice.below(len(self._known.words))]
            return word if _fits(word, kind, plain) else values[0]
        usual = len(self._known.seen.get(place, ())) if cast >= 2 and kind != "chosen" else 0
        return self._dice.one(values[: usual or None])

    def _objects(self, plain: Document, place: Place, start: Json) -> list[Json]:
        members, required = _document(plain["properties"]), _names(plain)
        given = start if isinstance(start, dict) else None
        choices = {
            name: self.alternatives(member, (*place, name), (given or {}).get(name)) for name, member in members.items()
        }
        whole: Document = {name: values[0] for name, values in choices.items()} if given is None else given
        found: list[Json] = [] if given is whole else [whole]
        if any(name not in required for name in whole):
            found.append({name: value for name, value in whole.items() if name in required})
        for name, values in choices.items():
            if name in whole and name not in required:
                found.append({key: value for key, value in whole.items() if key != name})
            found += [{**whole, name: value} for value in values[name in whole :]]
        return found

    def _arrays(self, plain: Document, place: Place, start: Json) -> list[Json]:
        first = start[0] if isinstance(start, list) and start else None
        items = self.alternatives(plain.get("items", {}), (*place, "*"), first)
        least, most = self._counts(plain, place)
        found: list[Json] = [[item] * max(least, 1) for item in items]
        found.append([items[0]] * most)
        if least <= len(items[:2]) <= most:
            found.append(items[:2])
        if least == 0:
            found.insert(1, [])
        return found

    def _mixed_object(self, plain: Document, place: Place, size: Size, start: Json) -> Json:
        required = _names(plain)
        given = start if isinstance(start, dict) else {}
        made: Document = {}
        for name, member in _document(plain["properties"]).items():
            if size is Size.FULL or name in required or self._dice.below(2):
                made[name] = self.mix(member, (*place, name), size, given.get(name))
        return made

    def _mixed_array(self, plain: Document, place: Place, size: Size, start: Json) -> Json:
        inner = plain.get("items", {})
        least, most = self._counts(plain, place)
        given = start if isinstance(start, list) else []
        plainly = _document(inner).get("type") == "string" and _document(inner).keys() <= {"type", *_SAID}
        if plainly and (size is Size.FULL or self._dice.below(4) == 0):
            every = dict.fromkeys((*map(str, (*given, *self._known.seen.get((*place, "*"), ()))), *self._known.words))
            words: list[Json] = [*every, *(f"word-{number}" for number in range(most))]
            return words[:most]
        count = most if size is Size.FULL else least + self._dice.below(min(most - least, 3) + 1)
        return [self.mix(inner, (*place, "*"), size, given[0] if given else None) for _ in range(count)]

    def _counts(self, plain: Document, place: Place) -> tuple[int, int]:
        """How few and how many items an array may have."""
        least, most = plain.get("minItems", 0), plain.get("maxItems", SIZES.get(place[-1] if place else "", SIZE))
        return (least, most) if isinstance(least, int) and isinstance(most, int) else (0, SIZE)


def _meant(value: Json, kind: str, plain: Document) -> bool:
    """Whether a value, which some branch allows, is of this one: by its type, its members and its fixed words."""
    if kind == "chosen":
        return value in _chosen(plain)
    if not _fits(value, kind, plain):
        return False
    if not isinstance(value, dict) or not plain.get("properties"):
        return True
    members = _document(plain["properties"])
    fixed = {name: member for name, member in members.items() if isinstance(member, dict) and "const" in member}
    return (
        all(name in value for name in _names(plain))
        and (value.keys() <= members.keys() or plain.get("additionalProperties") is not False)
        and all(value.get(name) == member["const"] for name, member in fixed.items())
    )


def _names(plain: Document) -> list[Json]:
    required = plain.get("required", [])
    return required if isinstance(required, list) else []


def _chosen(plain: Document) -> list[Json]:
    values = plain.get("enum", [plain.get("const")])
    return values if isinstance(values, list) else [values]


def _boundaries(kind: str, plain: Document, known: Vocabulary) -> list[Json]:
    match kind:
        case "string":
            return [*_TEXTS]
        case "time":
            return [*_TIMES]
        case "integer" | "number":
            ends = [plain[key] for key in ("minimum", "maximum") if key in plain]
            return [*_NUMBERS, *ends, *known.numbers[:SIZE]]
        case "boolean":
            return [True, False]
        case "null":
            return [None]
        case "object":
            return [{}] if plain.get("additionalProperties") is False else [{}, {"x": [None, {"y": 1}]}]
        case _:
            return [*_ANYTHING]


_PYTHON: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "time": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}


def _fits(value: Json, kind: str, plain: Document) -> bool:
    """Whether a value is of the type and within the node's bounds."""
    if kind == "any":
        return True
    if kind == "null":
        return value is None
    if not isinstance(value, _PYTHON[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    if isinstance(value, str):
        return _within(len(value), plain.get("minLength"), plain.get("maxLength"))
    if isinstance(value, int | float):
        return _within(value, plain.get("minimum"), plain.get("maximum"))
    return True


def _within(value: float, least: Json, most: Json) -> bool:
    return not (isinstance(least, int) and value < least) and not (isinstance(most, int) and value > most)


def _document(value: Json) -> Document:
    if not isinstance(value, dict):
        raise ValueError("inputs cannot be made from a schema in which an object is missing")
    return value


def _leaves(value: Json, place: Place = ()) -> Iterator[tuple[Place, Json]]:
    """Every value that holds no other, with the names above it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*place, key))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, place)
    else:
        yield place, value


def _nodes(value: Json, place: Place = ()) -> Iterator[tuple[Place, Json]]:
    """The values in an input with their places; of an array the first few items."""
    if isinstance(value, list):
        for inner in value[:SIZE]:
            yield from _nodes(inner, (*place, "*"))
        return
    yield place, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _nodes(inner, (*place, key))
