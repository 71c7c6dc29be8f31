"""YAML and JSON read into values that know their line, so that whoever wrote them is told where a fault is.

Of YAML only what JSON has as well: no anchors, aliases or tags (a few lines of aliases can stand for gigabytes), one
document, text keys, each once. A plain word is what it is in YAML 1.2's JSON schema: `no` and `2026-01-05` are text.
The only file that imports PyYAML, and only its parser: nothing is ever constructed from what a document names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson
import yaml

from gateway.core.errors import PolicyFault
from gateway.core.types import Json

SIZE_MAX = 2**20
DEPTH_MAX = 64
NODES_MAX = 100_000

_Scalar = None | bool | int | float | str
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser where the wheel has it: ten times faster.
_WORDS: dict[str, _Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,19})", re.ASCII)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+')


@dataclass(frozen=True, slots=True)
class Node:
    """A value and the line it begins on, counted from 1. `content` is a scalar, or nodes by key or by position."""

    line: int
    content: _Scalar | dict[str, Node] | list[Node] = field(repr=False)
    keys: dict[str, int] = field(default_factory=dict, repr=False)
    """The line of each key of an object."""

    @property
    def json(self) -> Json:
        """The value alone."""
        if isinstance(self.content, dict):
            return {key: node.json for key, node in self.content.items()}
        if isinstance(self.content, list):
            return [node.json for node in self.content]
        return self.content


@dataclass(frozen=True, slots=True)
class _Event:
    """`[`, `{`, `end` or `value`; the parser's own events in one shape, whether they come from YAML or JSON."""

    kind: str
    line: int
    value: _Scalar = None


def parse(path: str, content: bytes) -> Node:
    """The document in `content`: JSON when `path` ends in `.json`, YAML otherwise.

    Raises PolicyFault, as `path:line: what is wrong`, for whatever is not one well-formed document within the bounds.
    """
    if len(content) > SIZE_MAX:
        raise PolicyFault(f"{path}: larger than {SIZE_MAX} bytes. Split it into several files.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise PolicyFault(f"{path}:{line}: not UTF-8 text.") from None
    events = _json_events(path, text.encode()) if path.endswith(".json") else _yaml_events(path, text)
    return _build(path, events)


def _build(path: str, events: Iterator[_Event]) -> Node:
    """The one node that the events describe; iterative, so that no document can exhaust the stack."""
    root = Node(1, [])
    open_: list[Node] = [root]
    key: list[tuple[str, int] | None] = [None]
    count = 0
    for event in events:
        holder = open_[-1]
        count += 1
        if count > NODES_MAX or len(open_) > DEPTH_MAX:
            raise PolicyFault(f"{path}:{event.line}: more than {NODES_MAX} values, or deeper than {DEPTH_MAX} levels.")
        if event.kind == "end":
            open_.pop()
            key.pop()
            continue
        if isinstance(holder.content, dict) and key[-1] is None:
            key[-1] = _key(path, event, holder.content)
            continue
        node = Node(event.line, {"[": [], "{": {}, "value": event.value}[event.kind])
        if isinstance(holder.content, dict) and key[-1] is not None:
            name, line = key[-1]
            holder.content[name], holder.keys[name] = node, line
            key[-1] = None
        elif isinstance(holder.content, list):
            holder.content.append(node)
        if event.kind != "value":
            open_.append(node)
            key.append(None)
    documents = root.content if isinstance(root.content, list) else []
    if len(documents) != 1:
        raise PolicyFault(f"{path}:1: one document is wanted, and there are {len(documents) or 'none'}.")
    return documents[0]


def _key(path: str, event: _Event, held: dict[str, Node]) -> tuple[str, int]:
    if event.kind != "value" or not isinstance(event.value, str):
        raise PolicyFault(f"{path}:{event.line}: a key is text. Put it in quotes.")
    if event.value in held:
        raise PolicyFault(f"{path}:{event.line}: the key {event.value!r} is there twice.")
    return event.value, event.line


def _yaml_events(path: str, text: str) -> Iterator[_Event]:
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            line = event.start_mark.line + 1
            if getattr(event, "anchor", None) is not None:
                raise PolicyFault(f"{path}:{line}: anchors and aliases are not read. Write the value out.")
            if getattr(event, "tag", None) is not None:
                raise PolicyFault(f"{path}:{line}: tags are not read: {event.tag}.")
            match event:
                case yaml.ScalarEvent():
                    plain = event.style in (None, "")
                    yield _Event("value", line, _plain(path, line, event.value) if plain else event.value)
                case yaml.SequenceStartEvent():
                    yield _Event("[", line)
                case yaml.MappingStartEvent():
                    yield _Event("{", line)
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    yield _Event("end", line)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        raise PolicyFault(f"{path}:{mark.line + 1 if mark else 1}: not YAML: {fault.problem}.") from None
    except yaml.YAMLError as fault:  # A character that YAML does not allow: no mark, a position.
        at = getattr(fault, "position", 0)
        line = text.count("\n", 0, at if isinstance(at, int) else 0) + 1
        raise PolicyFault(f"{path}:{line}: not YAML: a control character.") from None


def _plain(path: str, line: int, word: str) -> _Scalar:
    """What a word without quotes means (YAML 1.2 §10.2, numbers as JSON writes them)."""
    if word in _WORDS:
        return _WORDS[word]
    if _INTEGER.fullmatch(word) and -(2**63) <= int(word) < 2**64:
        return int(word)
    if not _NUMBER.fullmatch(word):
        return word
    number = float(word)
    if not math.isfinite(number):
        raise PolicyFault(f"{path}:{line}: the number {word[:40]} is larger than any that JSON readers take.")
    return number


def _json_events(path: str, content: bytes) -> Iterator[_Event]:
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError as fault:
        raise PolicyFault(f"{path}:{fault.lineno}: not JSON: {fault.msg}.") from None
    line, at = 1, 0
    for token in _TOKEN.finditer(content):
        line += content.count(b"\n", at, token.start())
        at = token.start()
        match token.group():
            case b"[" | b"{" as opening:
                yield _Event(opening.decode(), line)
            case b"]" | b"}":
                yield _Event("end", line)
            case b"," | b":":
                pass
            case scalar:
                yield _Event("value", line, orjson.loads(scalar))
