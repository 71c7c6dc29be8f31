"""Text as patterns read it: folded to ASCII, one byte for each character, with the way back to the original.

Full-width, Arabic-Indic and mathematical digits become ASCII digits; Unicode dashes `-`; odd spaces a space; zero-
width, combining and variation characters vanish; lookalike letters of other scripts become the Latin letter they
imitate. Whatever has no ASCII reading becomes a byte that belongs to no word. ASCII text is its own folding and costs
nothing.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate

OPAQUE = "\x1a"
"""Stands for a character without an ASCII reading; ends words, matches no pattern."""
_FOREIGN = re.compile(r"[^\x01-\x7f]+")  # One class, no backtracking; also NUL, which separates texts in a scan.
_LOOKALIKES = dict(
    zip(
        "АВЕЅІЈКМНОРСТХаеіјорсухѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧο",
        "ABESIJKMHOPCTXaeijopcyxsABEZHIKMNOPTYXo",
        strict=True,
    )
)
_PLAIN = {
    "ı": "i",
    "ł": "l",
    "Ł": "L",
    "ø": "o",
    "Ø": "O",
    "đ": "d",
    "Đ": "D",
    "ð": "d",
    "Ð": "D",
    "ß": "ss",
    "ẞ": "SS",
}
_PLAIN |= {"æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "þ": "th", "Þ": "Th", "ħ": "h", "Ħ": "H"}
"""Latin letters that Unicode does not take apart."""
_ROUND = frozenset("ОоΟο")
"""Cyrillic and Greek O: a zero where they stand among digits."""
_JOINING = "\u2028\u2029\u0085"


@dataclass(frozen=True, slots=True)
class Folded:
    """A text's folding. `data` is ASCII; `original(start, end)` gives the span of the text it was read from."""

    data: bytes = field(repr=False)
    _starts: list[int] | None = field(default=None, repr=False)
    _origins: list[int] | None = field(default=None, repr=False)
    _length: int = 0

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The characters that `data[start:end]` was read from, with all vanishing characters that follow them."""
        if self._starts is None:
            return start, end
        begin, last = self._origin(start), self._origin(end - 1) + 1
        following = self._origin(end) if end < len(self.data) else self._length
        return begin, max(last, following)

    def _origin(self, at: int) -> int:
        assert self._starts is not None
        assert self._origins is not None
        piece = bisect_right(self._starts, at) - 1
        origin = self._origins[piece]
        # An ASCII run counts on; a folded character is one origin however many bytes it became.
        return origin + (at - self._starts[piece]) if origin >= 0 else -origin - 1


def fold(text: str) -> Folded:
    """The folding of `text`; total, also for lone surrogates."""
    if text.isascii() and "\0" not in text:
        return Folded(text.encode())
    return _fold_foreign(text)


class Joined:
    """Texts folded into one buffer, with NUL between them, so that what looks at all of them looks once."""

    __slots__ = ("_folded", "_starts", "data", "plain", "texts")

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        joined = "\0".join(texts)
        self.plain = joined.isascii() and joined.count("\0") == max(0, len(texts) - 1)
        """Whether every text is its own folding."""
        self._folded = [] if self.plain else [fold(text) for text in texts]
        self.data = joined.encode() if self.plain else b"\0".join([one.data for one in self._folded])
        self._starts: list[int] = []

    @property
    def starts(self) -> list[int]:
        """Where the folding of each text begins."""
        if not self._starts:
            sizes = map(len, self.texts) if self.plain else [len(one.data) for one in self._folded]
            self._starts = list(accumulate([size + 1 for size in sizes], initial=0))[:-1]
        return self._starts

    def original(self, number: int, start: int, end: int) -> tuple[int, int]:
        """The characters of a text that these bytes of its folding were read from."""
        return (start, end) if self.plain else self._folded[number].original(start, end)


def _fold_foreign(text: str) -> Folded:
    pieces: list[str] = []
    starts: list[int] = []
    origins: list[int] = []  # >= 0: an ASCII run from there; -1-n: the one character at n.
    size = at = 0
    for run in _FOREIGN.finditer(text):
        if run.start() > at:
            pieces.append(text[at : run.start()])
            starts.append(size)
            origins.append(at)
            size += run.start() - at
        for index in range(run.start(), run.end()):
            seen = _read(text, index)
            if seen:
                pieces.append(seen)
                starts.append(size)
                origins.append(-1 - index)
                size += len(seen)
        at = run.end()
    if at < len(text):
        pieces.append(text[at:])
        starts.append(size)
        origins.append(at)
    if not starts:
        starts, origins = [0], [-1]
    return Folded("".join(pieces).encode(), starts, origins, len(text))


def _read(text: str, index: int) -> str:
    char = text[index]
    if char in _ROUND and (text[index - 1 : index].isdigit() or text[index + 1 : index + 2].isdigit()):
        return "0"
    return _read_char(char)


@lru_cache(maxsize=4096)
def _read_char(char: str) -> str:
    if char in _LOOKALIKES or char in _PLAIN:
        return _LOOKALIKES.get(char) or _PLAIN[char]
    category = unicodedata.category(char)
    code = ord(char)
    if 0xE0020 <= code <= 0xE007E:  # Tag characters spell ASCII invisibly.
        return chr(code - 0xE0000)
    if category in ("Mn", "Me", "Cf") and char not in _JOINING:
        return ""
    if category == "Pd" or char in "−⁃﹣－":
        return "-"
    if category.startswith("Z") or char in _JOINING:
        return " "
    if category == "Nd":
        return str(unicodedata.decimal(char))
    plain = unicodedata.normalize("NFKD", char)
    read = "".join(c for c in plain if c.isascii() and c != "\0")
    return read or OPAQUE
