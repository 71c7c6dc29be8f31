"""`Mcp-Param-*`: arguments of a tool that clients repeat as HTTP headers (MCP 2026-07-28, Custom Headers).

Policy and evidence know the body only, so a header is let through only if it repeats the body. With the tool's schema
at hand the rule is exact; without it a header must at least repeat some argument, so that none can carry anything new.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from gateway.core.protocol.jsonrpc import Message, Request
from gateway.core.protocol.versions import Headers, decode_header, encode_header, mismatch
from gateway.core.types import Json, Tool

_PREFIX = b"mcp-param-"


def passing(headers: Headers, message: Message, tool: Tool | None) -> tuple[tuple[str, str], ...]:
    """The `Mcp-Param-*` headers that may go upstream with `message`, as (name, value), names in lower case.

    `headers` are as ASGI has them; `tool` is the called one, None while it is not known.
    Raises ClientFault -32020 where a header and the arguments differ, or one of the two is missing.
    """
    if not isinstance(message, Request) or message.method != "tools/call":
        return ()
    arguments = message.params.get("arguments", {})
    sent = _sent(headers)
    annotated = _annotated(tool) if tool is not None else {}
    for name, path in annotated.items():
        wanted = _text(_at(arguments, path))
        if name in sent and not _equal(sent[name][1], wanted):
            raise mismatch(f"Mcp-Param-{name}", "another value than the arguments")
        if name not in sent and wanted is not None:
            raise mismatch(f"Mcp-Param-{name}", "no value")
    unknown = {name: plain for name, (_, plain) in sent.items() if name not in annotated}
    if unknown:
        scalars = set(_scalars(arguments))
        for name, plain in unknown.items():
            if plain not in scalars:
                raise mismatch(f"Mcp-Param-{name}", "a value that no argument has")
    return tuple((f"mcp-param-{name}", raw) for name, (raw, _) in sent.items())


def needed(message: Message, tool: Tool | None) -> tuple[tuple[str, str], ...]:
    """The `Mcp-Param-*` headers of a call whose client does not know of them: a legacy one, of a modern upstream."""
    if tool is None or not isinstance(message, Request):
        return ()
    arguments = message.params.get("arguments", {})
    values = ((name, _text(_at(arguments, path))) for name, path in _annotated(tool).items())
    return tuple((f"mcp-param-{name}", encode_header(value)) for name, value in values if value is not None)


def _sent(headers: Headers) -> dict[str, tuple[str, str]]:
    """The client's mirrored headers: name without prefix -> (value as sent, value decoded)."""
    sent: dict[str, tuple[str, str]] = {}
    for key, value in headers:
        if key.startswith(_PREFIX):
            name = key[len(_PREFIX) :].decode("latin-1")
            raw = value.decode("latin-1").strip(" \t")
            plain = decode_header(raw)
            if plain is None or name in sent:
                raise mismatch(f"Mcp-Param-{name}", "a value that cannot be read" if plain is None else "two values")
            sent[name] = raw, plain
    return sent


@lru_cache(1024)  # The same few tools are called all day.
def _annotated(tool: Tool) -> dict[str, tuple[str, ...]]:
    """The `x-mcp-header` names of a tool's inputSchema, in lower case, and where in the arguments their values are.

    Only what is reached through `properties` alone counts (Schema Extension).
    """
    found: dict[str, tuple[str, ...]] = {}
    waiting: list[tuple[tuple[str, ...], Json]] = [((), tool.definition.get("inputSchema"))]
    while waiting:
        path, node = waiting.pop()
        properties = node.get("properties") if isinstance(node, dict) else None
        if not isinstance(properties, dict):
            continue
        for key, part in properties.items():
            here = (*path, key)
            waiting.append((here, part))
            name = part.get("x-mcp-header") if isinstance(part, dict) else None
            if isinstance(name, str):
                found[name.lower()] = here
    return found


def _at(value: Json, path: tuple[str, ...]) -> Json:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Json) -> str | None:
    """An argument as a header has it; None for what is not mirrored (Value Encoding)."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | str():
            return str(value)
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return None


def _equal(sent: str, wanted: str | None) -> bool:
    if sent == wanted:
        return True
    # Integers are compared as numbers: 42.0 and 42 are equal (Server Validation).
    whole, _, fraction = sent.partition(".")
    return whole == wanted and bool(fraction) and not fraction.strip("0") and whole.lstrip("-").isdecimal()


def _scalars(value: Json) -> Iterator[str]:
    """Every string, integer and boolean in `value`, as headers have them."""
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
        elif (text := _text(node)) is not None:
            yield text
