"""Canonical JSON (RFC 8785): one value, one sequence of bytes.

What the log hashes and what an approval is bound to must not depend on the order in which somebody wrote the keys.
Values without floats and with ASCII keys, which is every leaf, take orjson's sorted writer; the rest is written here.
"""

from __future__ import annotations

import math

import orjson

from gateway.core.types import Json

_PLAIN = frozenset({str, int, bool, type(None)})
"""Types that orjson writes as we do. It refuses integers beyond 64 bits, which leaves them to us."""


def encode(value: Json) -> bytes:
    """`value` as canonical JSON bytes.

    RFC 8785 leaves integers beyond ±(2^53 - 1) to I-JSON; they are written in full here, so that two different integers
    never become the same bytes. Raises ValueError for what JSON cannot say: NaN, infinities, lone surrogates, and
    values of other types.
    """
    return encode_plain(value) if plain(value) else _encode(value)


def encode_plain(value: Json) -> bytes:
    """The same for a value that the caller knows to be `plain`."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # A lone surrogate, or nesting deeper than orjson's limit: told apart there.
        return _encode(value)


def plain(value: object) -> bool:
    """Whether orjson's sorted output is already canonical: no float, and keys that sort alike as bytes."""
    kind = type(value)
    if kind is dict:
        members: dict[object, object] = value  # type: ignore[assignment]  # `kind is dict` does not narrow `object`.
        for key, member in members.items():
            if type(key) is not str or not key.isascii() or (type(member) not in _PLAIN and not plain(member)):
                return False
        return True
    if kind is list:
        items: list[object] = value  # type: ignore[assignment]  # as above
        return all(type(item) in _PLAIN or plain(item) for item in items)
    return kind in _PLAIN


def _encode(value: Json) -> bytes:
    parts: list[str] = []
    try:
        _write(value, parts)
        return "".join(parts).encode()
    except UnicodeEncodeError:
        # The original error carries the whole text, which may hold PHI.
        raise ValueError("a string holds a lone surrogate, which has no UTF-8 form") from None


def _write(value: object, out: list[str]) -> None:
    match value:
        case None | bool():
            out.append({None: "null", True: "true", False: "false"}[value])
        case str():
            out.append(_string(value))
        case int():
            out.append(int.__repr__(value))
        case float():
            out.append(_number(value))
        case list():
            out.append("[")
            for position, member in enumerate(value):
                if position:
                    out.append(",")
                _write(member, out)
            out.append("]")
        case dict():
            _write_members(value, out)
        case _:
            raise ValueError(f"{type(value).__name__} is not a JSON value")


def _write_members(members: dict[object, object], out: list[str]) -> None:
    names = [name for name in members if isinstance(name, str)]
    if len(names) != len(members):
        raise ValueError("a member name is not a string")
    out.append("{")
    # RFC 8785 §3.2.3: names sort by UTF-16 code units, which differs from code points above the BMP.
    for position, name in enumerate(sorted(names, key=lambda text: text.encode("utf-16-be"))):
        out.append("," if position else "")
        out.append(_string(name))
        out.append(":")
        _write(members[name], out)
    out.append("}")


def _string(text: str) -> str:
    try:
        return orjson.dumps(text).decode()
    except TypeError:
        raise ValueError("a string holds a lone surrogate, which has no UTF-8 form") from None


def _number(value: float) -> str:
    """A double as ECMAScript writes it (ECMA-262 §6.1.6.1.20, which RFC 8785 §3.2.2.3 adopts)."""
    if not math.isfinite(value):
        raise ValueError("JSON has no NaN and no infinity")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    # `digits` has no leading zero; the value is 0.digits x 10^point.
    digits = (whole + fraction).lstrip("0")
    point = int(exponent or 0) + len(whole) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"
