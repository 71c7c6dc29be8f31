"""What policy may know about a call beside the message itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from gateway.core.facts import fhir, sql
from gateway.core.facts.fhir_template import Template
from gateway.core.masking import profile
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import Document, Json

_USUAL = ("sql", "query", "statement", "sql_query", "sqlQuery")
"""Arguments that hold SQL in the database servers we know."""
# Words that also begin plain language count only with what follows them in SQL: `query` may be a search for people.
_STARTS = re.compile(
    r"(?:\s|--[^\n]*(?:\n|$)|/\*(?:[^*]|\*(?!/))*\*/|[(;])*"
    r"(?:(?:select|insert|update|delete|merge|replace|create|drop|alter|truncate|grant|revoke|pragma|attach|detach|exec"
    r"|execute|explain|vacuum|reindex)\b|with\s+(?:recursive\s+)?[^\s(]+\s*(?:\(|as\b)|call\s+[\w.]+\s*\(|do\s+\$"
    r"|copy\s+\S+\s*(?:\(|from\b|to\b)|values\s*\(|(?:begin|commit|rollback)\s*(?:;|$))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """How the messages to one upstream are read."""

    sql: Mapping[str, str] = field(default_factory=dict)
    """Tool name -> its argument that holds SQL; empty where none of them does, whatever it looks like."""
    dialect: str = ""
    fhir: Mapping[str, Template] = field(default_factory=dict)
    """Tool name -> how it makes a FHIR request of its arguments."""
    fhir_bases: tuple[str, ...] = ()
    """What the URLs of the upstream's FHIR server begin with. Where there are any, every resource is read from it."""
    survey: bool = False
    """Whether policy is told what PHI the client sends."""


def of(message: Message, reading: Reading) -> Document:
    """The facts of `message`: `{"size": {"arguments": bytes}, "sql": …, "fhir": …, "arguments": …}`. Total.

    `size` is of tool calls only. `sql` is what `facts.sql.facts` says of the configured argument, or else of arguments
    with a usual name that begin like SQL; `fhir` what `facts.fhir.facts` says of configured tools and of resources;
    `arguments` the PHI that the message carries, `{"classes": {class: count}, "paths": […]}`, where it is wanted.
    """
    found: Document = {"arguments": _sent(message)} if reading.survey else {}
    if not isinstance(message, Request):
        return found
    if message.method == "tools/call":
        found |= _of_tool(message.params, reading)
    elif message.method in _OF_RESOURCES and reading.fhir_bases:
        found["fhir"] = _of_resource(message.params.get("uri"), reading.fhir_bases)
    return found


_OF_RESOURCES = frozenset({"resources/read", "resources/subscribe", "resources/unsubscribe"})


def _of_tool(params: Document, reading: Reading) -> Document:
    arguments = params.get("arguments")
    given = arguments if isinstance(arguments, dict) else {}
    found: Document = {"size": {"arguments": _size(arguments)}}
    name = params.get("name")
    configured = reading.sql.get(name) if isinstance(name, str) else None
    text = _usual(given) if configured is None else _text(given.get(configured)) if configured else None
    if configured and text is None:
        found["sql"] = {"understood": False, "parse_error": "argument", "statements": [], "outputs": []}
    elif text is not None:
        found["sql"] = sql.facts(text, reading.dialect)
    template = reading.fhir.get(name) if isinstance(name, str) else None
    if template is not None:
        found["fhir"] = _of_template(template, given, reading.fhir_bases)
    return found


def _of_template(template: Template, given: Document, bases: tuple[str, ...]) -> Document:
    try:
        asked = template.fill(given, bases)
    except fhir.Unclear as unclear:
        return fhir.not_understood(str(unclear))
    return fhir.facts(asked, bases)


def _of_resource(uri: Json, bases: tuple[str, ...]) -> Document:
    if not isinstance(uri, str) or not uri.startswith(bases):
        return fhir.not_understood("elsewhere")
    try:
        steps, pairs = fhir.located(uri, bases)
    except fhir.Unclear as unclear:
        return fhir.not_understood(str(unclear))
    return fhir.facts(fhir.Asked("GET", steps, pairs), bases)


def _sent(message: Message) -> Document:
    """The PHI in everything that goes to the upstream with `message`, its `_meta` too."""
    match message:
        case Request(params=held) | Notification(params=held):
            # A tool's or prompt's own name says nothing of a patient, and as a bare `name` it would be taken for one.
            value: Json = {key: member for key, member in held.items() if key not in ("name", "ref")}
        case Success(result=held):
            value = held
        case Failure(message=text, data=data):
            value = {"message": text, "data": data}
    seen = profile.inspect(value).document
    return {"classes": seen["classes"], "paths": seen["paths"]}


def _text(value: Json) -> str | None:
    """SQL from a string, or from a list of strings that run one after the other."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return ";\n".join(str(item) for item in value)
    return None


def _usual(arguments: Document) -> str | None:
    texts = [text for name in _USUAL if (text := _text(arguments.get(name))) is not None and _STARTS.match(text)]
    return ";\n".join(texts) if texts else None


def _size(arguments: Json) -> int:
    try:
        return len(orjson.dumps(arguments))
    except TypeError:  # Lone surrogates or integers beyond 64 bits.
        return len(repr(arguments))
