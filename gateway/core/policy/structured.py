"""JSON and YAML as a bundle may hold them: read strictly, and the text that a bundle's signature hashes.

OPA hashes `data.json`, `data.yaml` and `.manifest` by their value, so that white space does not count: members sorted
by their bytes, and each number with the digits it was written with. Where two readers could take a text for two values
(a member that is there twice, YAML's `no` or `010`), it is refused: what was signed is what decides. OPA 1.20.2
v1/bundle/hash.go and v1/util/json.go are what this agrees with; tests/vectors/opa has the proof.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson
import yaml

from gateway.core.errors import PolicyFault
from gateway.core.evidence import canonical
from gateway.core.types import Json

YAML_MAX = 2**20
"""YAML is read by hand, a thousand times slower than JSON."""
NESTING_MAX = 64
"""Of objects and arrays; the engine reads 128 levels."""

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_DISPUTED = re.compile(
    r"[~=]|<<|y|n|yes|no|on|off|null|true|false|[-+]?\.(?:inf|nan)"
    r"|[-+]?(?:0x[0-9a-f_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*(?::[0-9_]+)+(?:\.[0-9_]*)?)"
    r"|(?=[-+.]*[0-9])[-+]?[0-9_]*\.?[0-9_]*(?:e[-+]?[0-9_]+)?",
    re.ASCII | re.IGNORECASE,
)
"""Plain scalars that YAML 1.1 and 1.2, or two readers of either, take for different values."""


class Digits(str):
    """A number as it is written."""

    __slots__ = ()


def decode(content: bytes, path: str) -> Json:
    """The value of the JSON or (by the name of `path`) YAML text. Raises PolicyFault with file and line."""
    if path.endswith((".yaml", ".yml")):
        return _decode_yaml(content, path)
    try:
        value: Json = orjson.loads(content)
    except orjson.JSONDecodeError as fault:
        raise PolicyFault(f"{path}:{fault.lineno}: not JSON: {fault.msg}") from None
    _bounded(_literal(content, path), path)
    return value


def canonical_text(content: bytes, path: str) -> bytes:
    """What OPA hashes of a structured file. Raises PolicyFault as `decode` does."""
    value = decode(content, path)
    return _text(value if path.endswith(".yaml") else _literal(content, path)).encode()


def _literal(content: bytes, path: str) -> Any:
    """JSON that orjson has accepted, its numbers as they are written. Refuses a member that is there twice."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
            raise PolicyFault(f"{path}: the member {twice[:80]!r} is there twice in one object. Keep one of them.")
        return found

    try:
        return json.loads(content, parse_int=Digits, parse_float=Digits, object_pairs_hook=members)
    except RecursionError:
        raise PolicyFault(f"{path}: nested deeper than {NESTING_MAX}.") from None


def _bounded(value: Any, path: str) -> None:
    """Refuse what the engine would not hold as it is written: great depth, and whole numbers beyond 64 bits."""
    waiting: list[tuple[int, Any]] = [(0, [value])]
    while waiting:
        depth, at = waiting.pop()
        if depth > NESTING_MAX:
            raise PolicyFault(f"{path}: nested deeper than {NESTING_MAX}.")
        for inner in at.values() if type(at) is dict else at:
            kind = type(inner)
            if kind is dict or kind is list:
                waiting.append((depth + 1, inner))
            elif kind is Digits and _INTEGER.fullmatch(inner):
                _whole(inner, path)


def _whole(digits: str, path: str) -> int:
    number = int(digits) if len(digits) < 30 else 2**64
    if not -(2**63) <= number < 2**64:
        raise PolicyFault(f"{path}: {digits[:40]} has more than 64 bits and would be rounded. Write it as a string.")
    return number


def _text(value: Any) -> str:
    """OPA's canonical text of a value that `_literal` or `_decode_yaml` gave."""
    if isinstance(value, dict):
        members = (f"{_string(name)}:{_text(value[name])}" for name in sorted(value, key=str.encode))
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_text(item) for item in value) + "]"
    if isinstance(value, Digits):
        return str(value)
    return _string(value) if isinstance(value, str) else canonical.encode(value).decode()


def _string(text: str) -> str:
    """As Go's encoder writes it: these two separators are no part of a JavaScript string."""
    return orjson.dumps(text).decode().replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _decode_yaml(content: bytes, path: str) -> Json:
    """One YAML document of what JSON has as well; whatever readers of YAML disagree on is refused."""
    if len(content) > YAML_MAX:
        raise PolicyFault(f"{path} is larger than the {YAML_MAX} bytes that YAML may have. Convert it to data.json.")
    try:
        events = yaml.parse(content.decode(), Loader=yaml.CSafeLoader)
        return _Reader(path, events).document()
    except UnicodeDecodeError:
        raise PolicyFault(f"{path} is not UTF-8 text.") from None
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else 1
        raise PolicyFault(f"{path}:{line}: not YAML: {fault.problem}") from None
    except yaml.YAMLError:
        raise PolicyFault(f"{path}: not YAML: it holds a character that YAML may not.") from None


class _Reader:
    """Builds the value of one document from the parser's events."""

    def __init__(self, path: str, events: Iterator[yaml.Event]) -> None:
        self._path = path
        self._events = events

    def document(self) -> Json:
        value: Json = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._fault(event, "a second document begins here. Keep one")
                value = self._value(next(self._events), 0)
        return value

    def _value(self, event: yaml.Event, depth: int) -> Json:
        if depth > NESTING_MAX:
            raise self._fault(event, f"nested deeper than {NESTING_MAX}")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self._fault(event, "anchors and aliases are not read. Write the value out")
        if getattr(event, "tag", None) is not None:
            raise self._fault(event, f"the tag {event.tag!r} is not read. Remove it")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(item, depth + 1) for item in self._until(yaml.SequenceEndEvent)]
        return self._mapping(depth)

    def _mapping(self, depth: int) -> dict[str, Json]:
        members: dict[str, Json] = {}
        for event in self._until(yaml.MappingEndEvent):
            name = self._value(event, depth + 1)
            if not isinstance(name, str):
                raise self._fault(event, "the name of a member is no string. Put it in quotes")
            if name in members:
                raise self._fault(event, f"the member {name[:80]!r} is there twice. Keep one of them")
            members[name] = self._value(next(self._events), depth + 1)
        return members

    def _until(self, end: type[yaml.Event]) -> Iterator[yaml.Event]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield event

    def _scalar(self, event: yaml.ScalarEvent) -> Json:
        text: str = event.value
        if event.style:  # In quotes, or a block.
            return text
        if not text:
            return None
        if text in ("null", "true", "false"):
            return {"null": None, "true": True, "false": False}[text]
        if _INTEGER.fullmatch(text) and text != "-0":
            return _whole(text, self._path)
        if _NUMBER.fullmatch(text) and math.isfinite(number := float(text)) and (number or text[0] != "-"):
            # A whole number becomes one, as in OPA, whose YAML reader keeps no digits.
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
        if _DISPUTED.fullmatch(text):
            raise self._fault(
                event, f"readers of YAML disagree on {text[:40]!r}. Put it in quotes, or write it as JSON"
            )
        return text

    def _fault(self, event: yaml.Event, what: str) -> PolicyFault:
        return PolicyFault(f"{self._path}:{event.start_mark.line + 1}: {what}.")
