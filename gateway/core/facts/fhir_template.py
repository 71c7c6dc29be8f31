"""How a tool makes a FHIR request of its arguments, in one line of configuration.

    search           = "GET {type}?{params?}&_count={limit?}"
    read             = "GET {type}/{id}/{operation?}"
    create           = "POST {type} {resource}"
    request          = "{method} {+url} {body?}"
    search_datastore = "GET {type}?{params} - {datastore_id}"

Method, target, body (`-` for none), and then arguments that are no part of the request. `{name}` is an argument,
`{name?}` one that may be missing, and `{+name}` the whole target (a URL, or what follows the server's). In a path an
argument is one segment; in a query without a name of its own, a query string or an object of parameters. A call with
an argument that its line does not have is not understood: it could be the one that matters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from gateway.core.facts import fhir
from gateway.core.facts.fhir import Asked, Pairs, Unclear
from gateway.core.types import Document, Json

_ARGUMENT = re.compile(r"\{([^{}?\s]{1,100})(\?)?\}")
_LITERAL = re.compile(r"[A-Za-z0-9_$.*-]{1,64}")
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a template: what is written there, or the argument that is."""

    literal: str = ""
    argument: str = ""
    optional: bool = False

    def of(self, arguments: Document) -> Json:
        """What stands there. Raises Unclear when a needed argument is missing."""
        value = arguments.get(self.argument) if self.argument else self.literal
        if _is_missing(value):
            if not self.optional:
                raise Unclear("argument")
            return None
        return value


@dataclass(frozen=True, slots=True)
class Template:
    """One tool's line, taken apart."""

    method: Slot
    url: Slot | None
    """The argument that is the whole target; then there are neither steps nor parameters."""
    steps: tuple[Slot, ...] = ()
    parameters: tuple[tuple[str, Slot], ...] = ()
    """Name and value; an empty name takes a whole query."""
    body: Slot | None = None
    others: tuple[Slot, ...] = ()

    def fill(self, arguments: Document, bases: tuple[str, ...]) -> Asked:
        """The request that the tool makes of `arguments`. Raises Unclear where that cannot be told."""
        known = {slot.argument for slot in self._slots()}
        if any(name not in known and not _is_missing(value) for name, value in arguments.items()):
            raise Unclear("argument")
        method = self.method.of(arguments)
        if not isinstance(method, str):
            raise Unclear("method")
        body = self.body.of(arguments) if self.body is not None else None
        if self.url is not None:
            url = self.url.of(arguments)
            if not isinstance(url, str):
                raise Unclear("argument")
            steps, pairs = fhir.located(url, bases)
        else:
            steps, pairs = self._steps(arguments), self._pairs(arguments)
        return Asked(method.upper(), steps, pairs, body)

    def _slots(self) -> tuple[Slot, ...]:
        single = tuple(slot for slot in (self.url, self.body) if slot is not None)
        return (self.method, *self.steps, *(slot for _, slot in self.parameters), *single, *self.others)

    def _steps(self, arguments: Document) -> tuple[str, ...]:
        said = [slot.of(arguments) for slot in self.steps]
        return tuple(fhir.plain(value) for value in said if value is not None)

    def _pairs(self, arguments: Document) -> Pairs:
        found: list[tuple[str, str]] = []
        for name, slot in self.parameters:
            value = slot.of(arguments)
            if value is None:
                continue
            if name:
                found.extend(fhir.pairs_of_object({name: value}))
            elif isinstance(value, str):
                found.extend(fhir.pairs_of_text(value.removeprefix("?")))
            elif isinstance(value, dict):
                found.extend(fhir.pairs_of_object(value))
            else:
                raise Unclear("argument")
        return tuple(found)


def parse(text: str) -> Template:
    """The template that a line is. Raises ValueError that says what is wrong with it."""
    words = text.split(" ")
    if len(words) < 2 or not all(words):
        raise ValueError("is no method and target, parted by one space")
    method = _slot(words[0], "a method")
    if method.literal and method.literal not in _METHODS:
        raise ValueError(f"begins with no method of {', '.join(sorted(_METHODS))}")
    body = _slot(words[2], "a body") if len(words) > 2 and words[2] != "-" else None
    if body is not None and body.literal:
        raise ValueError("has a body that is no argument")
    others = tuple(_slot(word, "an argument") for word in words[3:])
    target = words[1]
    if target.startswith("{+"):
        return Template(method, _slot(target.replace("+", "", 1), "a target"), body=body, others=others)
    path, _, query = _outside(target)
    steps = tuple(_slot(step, "a segment") for step in path.split("/")) if path else ()
    if any(before.optional and not after.optional for before, after in pairwise(steps)):
        raise ValueError("has a segment that may be missing before one that may not")
    return Template(method, None, steps, _parameters(query), body, others)


def _outside(target: str) -> tuple[str, str, str]:
    """Path and query: parted by the first question mark that is no argument's."""
    for at, char in enumerate(target):
        if char == "?" and target[at + 1 : at + 2] != "}":
            return target[:at], "?", target[at + 1 :]
    return target, "", ""


def _parameters(query: str) -> tuple[tuple[str, Slot], ...]:
    found = []
    for piece in query.split("&") if query else ():
        name, equals, value = piece.partition("=")
        found.append((name, _slot(value, "a value")) if equals else ("", _slot(piece, "a query")))
        if not equals and found[-1][1].literal:
            raise ValueError("has a query without `=` that is no argument")
    return tuple(found)


def _slot(text: str, what: str) -> Slot:
    match = _ARGUMENT.fullmatch(text)
    if match is not None:
        return Slot(argument=match[1], optional=match[2] is not None)
    if not _LITERAL.fullmatch(text):
        raise ValueError(f"has {what} that is neither plain text nor one {{argument}}")
    return Slot(literal=text)


def _is_missing(value: Json) -> bool:
    return value is None or value == "" or value == [] or value == {}
