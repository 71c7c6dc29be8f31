"""Known values: what a rule took out of one place is also taken out wherever else the message says it.

Free text names the patient whom a structured field has just named; on Synthea notes this finds four times the names
that rules find. Whole words only, in any case; the parts of a name only where they are capitalised. Codes, units,
booleans, short numbers and our own masks are never known values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gateway.core.masking import fold
from gateway.core.masking.operators import is_masked
from gateway.core.masking.phi import Phi
from gateway.core.policy.decision import Operator

_WORD = re.compile(rb"[A-Za-z0-9]+")  # One class, so linear even in this engine, and faster than re2's iterator.
_LETTER = re.compile(r"[A-Za-z]")
_NOT_WORD = re.compile(r"[^A-Za-z0-9]+")
_MOST = 20_000
"""Distinct known values in one message; far more than any screenful, and a bound on memory."""
_MOST_FOREIGN = 500
"""Of those in other scripts, which are looked for one by one."""
_LONGEST = 128
_ORDINARY = frozenset(
    "the and for not with from yes none null true false unknown patient patients doctor nurse hospital clinic medical "
    "center name male female other test street avenue road drive lane city home work official usual active "
    "inactive final mrs miss prof self spouse north south east west new saint united states america".split()
)
_WORDY = frozenset({Phi.NAME, Phi.GEO, Phi.EMAIL, Phi.URL, Phi.PHI})
_DIGITS = b"0123456789"
_ALNUM = _DIGITS + b"abcdefghijklmnopqrstuvwxyz"
_WORDS = bytes([char if char in _ALNUM else 32 for char in bytes(range(256)).lower()])
"""To lower case, and what is in no word to a space."""
_NOT_DIGITS = bytes(set(range(256)) - set(_DIGITS))
_NOT_NUMBERS = _NOT_DIGITS.replace(b"\0", b"")
_SKIPPED = frozenset({Phi.DATE, Phi.BIRTH_DATE, Phi.AGE, Phi.BLOB, Phi.PHOTO})
"""Dates are found by their patterns wherever they are; a blob is nowhere else."""


class Value(NamedTuple):
    """A value that a rule takes out of one place."""

    text: str
    phi: Phi
    operator: Operator

    def __repr__(self) -> str:
        return f"Value({self.phi.value})"


class Known(NamedTuple):
    """A value to be taken out wherever it is said, as what and how."""

    folded: bytes
    phi: Phi
    operator: Operator
    capital: bool
    """Taken only where it is written with a capital: a part of a name may be an ordinary word."""

    def __repr__(self) -> str:
        return f"Known({self.phi.value})"


class Found(NamedTuple):
    """Where a known value is said in a text."""

    start: int
    end: int
    known: Known


def words(data: bytes) -> list[bytes]:
    """The words of folded text, in lower case."""
    return data.translate(_WORDS).split()


class KnownValues:
    """The known values of one message, by their first word."""

    def __init__(self) -> None:
        self._said: set[bytes] = set()
        self._by_word: dict[bytes, list[Known]] = {}
        self._seen: set[bytes] = set()
        self._foreign: dict[str, Known] = {}

    @staticmethod
    def of(values: list[Value], said: set[bytes], key: bytes) -> KnownValues:
        """Those of `values` that may be said elsewhere: a value whose first word is not in `said` is nowhere else.

        `said`: words that the rest of the message has, and the whole names of its members. `key`: of our tokens, which
        are no values.
        """
        known = KnownValues()
        if _none_said(values, said):
            return known
        known._said = said
        for value, phi, operator in values:
            if not is_masked(value, key):
                known._add(value, phi, operator)
        return known

    def __bool__(self) -> bool:
        return bool(self._by_word or self._foreign)

    def _add(self, value: str, phi: Phi, operator: Operator) -> None:
        if phi in _SKIPPED or len(value) > _LONGEST or len(self._seen) >= _MOST or "*" in value or value[:1] == "[":
            return
        plain = value.strip()
        if not plain.isascii():
            value, plain = plain, fold.fold(plain).data.decode("ascii")
            if fold.OPAQUE in plain:
                if len(value) >= 2 and len(self._foreign) < _MOST_FOREIGN:
                    self._foreign.setdefault(value, Known(b"", phi, operator, capital=False))
                return
        lowered = plain.lower().encode()
        first = _WORD.match(lowered)
        if first is not None and (first.group() in self._said or lowered in self._said) and _counts(plain, phi):
            self._put(lowered, first.group(), phi, operator, capital=False)
        if phi not in _WORDY and not plain.isalnum():
            digits = lowered.translate(None, _NOT_DIGITS)
            if len(digits) >= 7 and digits in self._said and _counts(plain, phi):
                self._put(digits, digits, phi, operator, capital=False)
        if phi is Phi.NAME and not plain.isalpha():
            for part in _NOT_WORD.split(plain):
                word = part.lower()
                if len(part) >= 3 and part[0].isupper() and word.encode() in self._said and word not in _ORDINARY:
                    self._put(word.encode(), word.encode(), phi, operator, capital=True)

    def _put(self, lowered: bytes, first: bytes, phi: Phi, operator: Operator, *, capital: bool) -> None:
        if lowered not in self._seen:
            self._seen.add(lowered)
            entries = self._by_word.setdefault(first, [])
            entries.append(Known(lowered, phi, operator, capital))
            if len(entries) > 1:
                entries.sort(key=lambda known: -len(known.folded))  # The longest first: it covers more.

    def find(self, data: bytes) -> Iterator[tuple[int, Found]]:
        """Every place where a known value is said in folded texts with NUL between them: the number of the text, and
        the span in its folded bytes."""
        if not self._by_word:
            return
        for number, each in enumerate(data.split(b"\0")):
            if self._by_word.keys().isdisjoint(words(each)):
                continue
            lowered = each.lower()
            for match in _WORD.finditer(lowered):
                candidates = self._by_word.get(match[0])
                known = self._said_at(each, lowered, match.start(), candidates) if candidates else None
                if known is not None:
                    yield number, Found(match.start(), match.start() + len(known.folded), known)

    @staticmethod
    def _said_at(data: bytes, lowered: bytes, at: int, candidates: Iterable[Known]) -> Known | None:
        for known in candidates:
            end = at + len(known.folded)
            whole = lowered.startswith(known.folded, at) and not lowered[end : end + 1].isalnum()
            if whole and (not known.capital or data[at : at + 1].isupper()):
                return known
        return None

    def find_foreign(self, text: str) -> Iterator[Found]:
        """Where a known value of a script without an ASCII reading is said, letter by letter."""
        for value, known in self._foreign.items():
            at = text.find(value)
            while at >= 0:
                yield Found(at, at + len(value), known)
                at = text.find(value, at + len(value))

    def is_known(self, value: str) -> Known | None:
        """The known value that `value` is as a whole, if it is one; for numbers and object keys."""
        lowered = value.lower().encode() if value.isascii() else fold.fold(value).data.lower()
        if lowered not in self._seen:
            return None
        first = _WORD.match(lowered)
        for known in self._by_word.get(first.group(), ()) if first else ():
            if known.folded == lowered:
                return known
        return None


def _none_said(values: list[Value], said: set[bytes]) -> bool:
    """Whether it is plain that none of the values is said elsewhere: not a word of them, nor their digits without what
    is between them, nor one as a whole. One look at all of them, as that is how it is in most messages."""
    texts = "\0".join([text.strip() for text, phi, _ in values if phi not in _SKIPPED])
    if not texts.isascii():
        return False
    data = texts.lower().encode()
    return (
        said.isdisjoint(words(data))
        and said.isdisjoint(data.translate(None, _NOT_NUMBERS).split(b"\0"))
        and said.isdisjoint(data.split(b"\0"))
    )


def _counts(plain: str, phi: Phi) -> bool:
    """Whether a whole value is distinctive enough: three characters, no ordinary word, five digits if only digits."""
    if len(plain) < 3 or plain.lower() in _ORDINARY:
        return False
    if plain.isalpha():
        return phi in (Phi.NAME, Phi.GEO) or not plain.islower()
    digits = sum(map(str.isdigit, plain))
    if not _LETTER.search(plain):
        return digits >= 5
    # A lone lower-case word is only a value where it names somebody: `ann`, but not the unit or code beside it.
    return phi in (Phi.NAME, Phi.GEO) or digits > 0 or not plain.islower()
