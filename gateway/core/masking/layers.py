"""Texts inside texts: JSON written into a string, and other readings of a string (base64, URL, hex, HTML, spacing).

JSON is opened, masked inside and written back in its own style. Any other reading is only looked at: a hit there masks
the whole string it was read from. Depth and expansion are bounded; what goes beyond the bound is unreadable.
"""

from __future__ import annotations

import base64
import html
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote

import orjson

from gateway.core import written
from gateway.core.types import Document, Json

DEPTH = 5
"""How many layers are opened: JSON in JSON, base64 of URL-encoding and so on."""
EXPANSION = 10
"""How many times larger than itself a string may become when unpacked."""
LARGEST = 8 << 20
"""Bytes; a decoded layer beyond this is not looked at, hence unreadable."""

_LONG_INTEGER = re.compile(r"\d{17}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{15,}={0,2}")
"""15 characters are the shortest that an SSN or a phone number takes."""
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){7,}")
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})")
_MARKUP = re.compile(r"<[^<>]{0,80}>|[`~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_STARS = re.compile(r"(?<!\*)(\*{1,3})([0-9A-Za-z](?:[^*\"',\n]{0,40}[0-9A-Za-z])?)\1(?!\*)")
"""Emphasis in pairs: what `partial` has written has stars of its own."""
_SPACED = re.compile(r"(?:(?<=^\S)|(?<=\s\S)) (?=\S(?:\s|$))")
_GZIP = b"\x1f\x8b"


OPENERS = frozenset('{[" \t\r\n\ufeff')
"""Characters that JSON, or the white space before it, begins with."""


class Unreadable(Exception):
    """A layer that goes beyond the bounds, so nobody can say what it holds."""


@dataclass(frozen=True, slots=True)
class Style:
    """How JSON was written into a string: on one line or indented. It is written back alike, in our spacing."""

    indented: bool


COMPACT = Style(indented=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """JSON found in a string. `style` is for `close`."""

    value: Json = field(repr=False)
    style: Style


def open_json(text: str) -> Opened | None:
    """The object, array or JSON-in-a-string that `text` is, or None where it is none.

    None too where a member is repeated: readers disagree on which one counts, so it is read as plain text, all of it.
    """
    first = text[:1] if text[:1] in '{["' else text.lstrip(" \t\r\n\ufeff")[:1]
    if not first or first not in '{["':
        return None
    try:
        value: Json = orjson.loads(text)
        if _is_as_written(value, text):
            return Opened(value, COMPACT)
    except ValueError:
        if not _LONG_INTEGER.search(text):
            return None
        value = None
    if value is None or not (isinstance(value, str) or written.holds_all(value, len(written.MEMBER.findall(text)))):
        try:
            value = json.loads(text, object_pairs_hook=_unrepeated)
        except (_Repeated, ValueError, RecursionError):
            return None
    if isinstance(value, str) and open_json(value) is None:
        return None  # A quoted string is a layer only where it quotes JSON again (JSON in JSON in JSON).
    return Opened(value, Style("\n" in text and not isinstance(value, str)))


def _is_as_written(value: Json, text: str) -> bool:
    """Whether `text` is what we would write, so that nothing in it was repeated or rounded when `value` was read."""
    return not isinstance(value, str) and '": ' not in text and compact(value) == text


def compact(value: Json) -> str:
    """`value` as most write it, or nothing where orjson writes it not at all: nested too deeply, for one."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return ""


def close_json(value: Json, style: Style) -> str:
    """`value` as text in the given style."""
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 if style.indented else 0).decode()
    except TypeError:  # Integers beyond 64 bits or lone surrogates, which only the standard library writes.
        return json.dumps(value, indent=2 if style.indented else None)


class _Repeated(Exception):
    pass


def _unrepeated(pairs: list[tuple[str, Json]]) -> Document:
    read = dict(pairs)
    if len(read) < len(pairs):
        raise _Repeated
    return read


@lru_cache(maxsize=128)
def signs(gates: frozenset[str]) -> re.Pattern[str]:
    """What a text has at least one of, if it can be read in another way that these gates stand for."""
    return re.compile("|".join([_SIGNS[gate] for gate in sorted(gates)]), re.DOTALL)


_SIGNS = {
    "percent": "%",
    "entity": "&",
    "escape": r"\\",
    "markup": "[<`~_*]",
    "spaced": " ",
    "base64": ".{15}",
}


def readings(text: str, gates: frozenset[str]) -> Iterator[str]:
    """Other texts that `text` can be read as, innermost last. `gates` are those of patterns.GATES that it opens.

    Raises Unreadable beyond the bounds.
    """
    yield from _readings(text, gates, DEPTH, max(len(text) * EXPANSION, 4096))


def _readings(text: str, gates: frozenset[str], depth: int, budget: int) -> Iterator[str]:
    for read in _once(text, gates, budget):
        if read == text or len(read) < 4:
            continue
        if depth == 0 or len(read) > min(budget, LARGEST):
            raise Unreadable
        yield read
        yield from _readings(read, _gates(read), depth - 1, budget)


def _gates(text: str) -> frozenset[str]:
    # Of a decoded layer, which is rare: look at everything that its characters allow.
    return frozenset(
        name
        for name, sign in (("percent", "%"), ("entity", "&"), ("escape", "\\"), ("base64", ""), ("markup", "<"))
        if sign in text
    )


def _once(text: str, gates: frozenset[str], budget: int) -> Iterator[str]:
    if "percent" in gates and "%" in text:
        yield unquote(text, errors="replace")
    if "entity" in gates and "&" in text:
        yield html.unescape(text)
    if "escape" in gates and "\\" in text:
        yield _ESCAPE.sub(lambda found: chr(int(found.group(1) or found.group(2), 16)), text)
    if "markup" in gates:
        yield without_markup(text)
    if "spaced" in gates:
        yield _SPACED.sub("", text)
    if "base64" in gates:
        yield from _packed(text, budget)


def without_markup(text: str) -> str:
    """`text` without HTML tags and Markdown emphasis."""
    return _STARS.sub(r"\2", _MARKUP.sub("", text))


def _packed(text: str, budget: int) -> Iterator[str]:
    if len(text) < 15:
        return
    for found in _BASE64.finditer(text):
        word = found.group()
        data = _unbase64(word)
        if data is not None:
            yield from _as_text(data, budget)
        digits = word if _HEX.fullmatch(word) else ""
        if digits:
            yield from _as_text(bytes.fromhex(digits), budget)


def _unbase64(word: str) -> bytes | None:
    plain = word.rstrip("=").replace("-", "+").replace("_", "/")
    if len(plain) % 4 == 1:
        return None
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:  # binascii.Error, or characters that are not ASCII.
        return None


def _as_text(data: bytes, budget: int) -> Iterator[str]:
    if data.startswith(_GZIP):
        data = _gunzip(data, budget)
    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
        if encoding != "utf-8" and data.count(0) * 3 < len(data):
            continue
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if _is_text(text):
            yield text
            return


def _gunzip(data: bytes, budget: int) -> bytes:
    unpacking = zlib.decompressobj(wbits=31)
    try:
        plain = unpacking.decompress(data, max_length=min(budget, LARGEST))
    except zlib.error:
        return b""
    if unpacking.unconsumed_tail:
        raise Unreadable
    return plain


def _is_text(text: str) -> bool:
    """Whether decoded characters are writing rather than chance: nearly all printable."""
    odd = sum(1 for char in text if not (char.isprintable() or char in "\t\r\n"))
    return odd * 20 <= len(text)


def blob_text(data: str) -> Iterator[str]:
    """The text that a base64 blob holds, if it holds text. Raises Unreadable beyond the bounds."""
    decoded = _unbase64(data.strip())
    if decoded is not None and len(decoded) <= LARGEST:
        yield from _as_text(decoded, max(len(data) * EXPANSION, 4096))
