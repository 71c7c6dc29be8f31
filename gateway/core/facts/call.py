"""What policy may know about a call beside the message itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from gateway.core.facts import sql
from gateway.core.protocol.jsonrpc import Message, Request
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


def of(message: Message, sql_arguments: Mapping[str, str], dialect: str) -> Document:
    """The facts of `message`: `{"size": {"arguments": bytes}, "sql": …}` for tool calls, else nothing.

    `sql_arguments`: tool name -> its argument that holds SQL; for other tools an argument with a usual name that begins
    like SQL counts. `sql` is what `facts.sql.facts` says, and absent only where there is none. Total.
    """
    if not isinstance(message, Request) or message.method != "tools/call":
        return {}
    arguments = message.params.get("arguments")
    given = arguments if isinstance(arguments, dict) else {}
    found: Document = {"size": {"arguments": _size(arguments)}}
    name = message.params.get("name")
    configured = sql_arguments.get(name) if isinstance(name, str) else None
    text = _text(given.get(configured)) if configured is not None else _usual(given)
    if configured is not None and text is None:
        found["sql"] = {"understood": False, "parse_error": "argument", "statements": [], "outputs": []}
    elif text is not None:
        found["sql"] = sql.facts(text, dialect)
    return found


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
