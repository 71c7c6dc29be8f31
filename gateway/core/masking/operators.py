"""What is done to a selected value. Every operator is idempotent: done twice it is as if done once.

`candidates` gives the masked value and, after it, what may stand there instead when a JSON Schema forbids it: null,
then an empty value of the same type for numbers and booleans. Text never gets an invented value: a date, an enum or a
pattern that neither the mask nor null satisfies is a MaskFault.

HMAC tokens are consistent, so they are minimum-necessary masking, not Safe Harbor de-identification (164.514(c)).
"""

from __future__ import annotations

import base64
import hmac
import re

from gateway.core.errors import MaskFault
from gateway.core.masking.phi import Phi
from gateway.core.policy.decision import Operator
from gateway.core.types import Document, Json

REDACT = Operator("redact")
"""What is left where rules disagree, or nobody can say what else would do."""
KEEP = 4
"""Characters that `partial` leaves at the end when the rule does not say."""
KEEP_MAX = 8
_OPTIONS = {
    "redact": frozenset({"label"}),
    "partial": frozenset({"keep"}),
    "null": frozenset[str](),
    "token": frozenset[str](),
    "generalise": frozenset({"as_of"}),
    "keep": frozenset[str](),
}
_AS_OF = re.compile(r"\d{4}(-|$)")
_LABEL = re.compile(r"[A-Z][A-Z0-9_]{0,31}")
_TOKEN = re.compile(r"tok_([a-z_]{2,16})_([a-z2-7]{24})([a-z2-7]{8})")
_YEAR = re.compile(r"(?<!\d)(1[89]\d\d|20\d\d)(?!\d)")
_ISO_DATE = re.compile(r"(1[89]\d\d|20\d\d)-\d\d-\d\d")
_LEADING_YEAR = re.compile(r"(1[89]\d\d|20\d\d)(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_SHORT_YEAR = re.compile(r"(?<!\d)\d{1,2}[-/]\d{1,2}[-/]\d{2}(?!\d)")
_NOT_DIGITS = re.compile(r"\D+")
_NUMBERS = frozenset(
    {Phi.SSN, Phi.PHONE, Phi.FAX, Phi.MRN, Phi.ACCOUNT, Phi.HEALTH_PLAN, Phi.LICENSE, Phi.DEVICE, Phi.VEHICLE}
)
"""Classes whose values are the same however they are punctuated."""
_AGE = re.compile(
    r"\s*(?:aged?[\s:=]*)?(\d{1,3})(?:\.\d{1,2})?[\s+-]*"
    r"(?:years?|yrs?|y|yo|y/o|y\.o\.?|months?|mos?|weeks?|wks?|w|days?|d)?[\s-]*(?:old|of[\s-]+age)?\s*",
    re.IGNORECASE,
)
"""A number as people write ages, and nothing beside it."""
OLDEST = 89
"""164.514(b)(2)(i)(C): years; what is over it is one category, 90 or older."""

RESTRICTED_ZIP3 = frozenset("036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893".split())
"""Areas of 20,000 people or fewer: HHS de-identification guidance, 2000 Census, 17 areas. Data, not law: it ages."""


def check(operator: Operator) -> None:
    """Raises MaskFault unless the operator and all its options are known and well formed."""
    allowed = _OPTIONS.get(operator.name)
    if allowed is None:
        raise MaskFault(f"A mask rule names no operator of ours; there are {', '.join(sorted(_OPTIONS))}.")
    if not operator.options.keys() <= allowed:
        raise MaskFault(f"The mask operator {operator.name} is given an option that it does not have.")
    label, keep = operator.options.get("label", "X"), operator.options.get("keep", KEEP)
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        raise MaskFault("The option `label` of redact is 1 to 32 of A-Z, 0-9 and _.")
    if not isinstance(keep, int) or isinstance(keep, bool) or not 0 <= keep <= KEEP_MAX:
        raise MaskFault(f"The option `keep` of partial is a whole number from 0 to {KEEP_MAX}.")
    if "as_of" in operator.options and as_of_year(operator.options) is None:
        raise MaskFault("The option `as_of` of generalise is an RFC 3339 time or a year; give it input.time.")


def as_of_year(options: Document) -> int | None:
    """The year that ages are reckoned in, or None when the rule does not say."""
    value = options.get("as_of")
    if isinstance(value, int) and not isinstance(value, bool) and 1900 <= value <= 2999:
        return value
    if isinstance(value, str) and _AS_OF.match(value):
        return int(value[:4])
    return None


def label(operator: Operator, phi: Phi) -> str:
    """`[SSN]`, or what the rule wants written instead."""
    word = operator.options.get("label") if operator.options else None
    return f"[{word}]" if isinstance(word, str) else _LABEL_OF[phi]


def is_masked(text: str, key: bytes) -> bool:
    """Whether `text` as a whole is a label of ours or a token made with this key, and not merely looks like one."""
    if text[:1] == "[":
        return text in _LABELS
    found = None if text[:4] != "tok_" else _TOKEN.fullmatch(text)
    return found is not None and hmac.compare_digest(found[3], _seal(key, found[1], found[2]))


_LABEL_OF = {phi: "[REDACTED]" if phi is Phi.PHI else f"[{phi.value}]" for phi in Phi}
_LABELS = frozenset({f"[{phi.value}]" for phi in Phi} | {"[REDACTED]"})


def mask_text(operator: Operator, phi: Phi, text: str, key: bytes) -> str:
    """What stands in running text instead of `text`."""
    name = operator.name
    if name == "keep" or is_masked(text, key):
        return text
    if name == "redact":
        return label(operator, phi)
    if name == "generalise":
        return _generalise(phi, text, operator)
    if name == "token":
        return _token(phi, text, key)
    if name == "partial":
        return _partial(text, operator.options)
    return label(operator, phi)


def candidates(operator: Operator, phi: Phi, value: Json, key: bytes) -> list[Json]:
    """What may stand instead of a whole value, best first; the first is used unless a schema forbids it."""
    if value is None:
        return [None]
    if phi is Phi.BLOB or (phi is Phi.PHOTO and isinstance(value, str) and len(value) > 256):
        return ["", None]  # Empty base64: the content block stays one. Nobody has looked into it, so none is kept.
    if operator.name == "keep":
        return [value]
    if isinstance(value, str):
        if operator.name == "null":
            return [value if is_masked(value, key) else None]
        return [mask_text(operator, phi, value, key), None]
    if isinstance(value, bool):
        return [None, False]
    if isinstance(value, int | float):
        return _number(operator, phi, value, key)
    return [None, [] if isinstance(value, list) else {}]


def _number(operator: Operator, phi: Phi, value: int | float, key: bytes) -> list[Json]:
    empty: list[Json] = [None, 0]
    match operator.name:
        case "token":
            return [_token(phi, f"{value}", key), *empty]
        case "generalise" if phi is Phi.AGE:
            return [90 if value > OLDEST else value, *empty]
        case "generalise" if phi is Phi.ZIP and isinstance(value, int):
            return [zip3(f"{value:05d}"), *empty]
        case "generalise" if phi in (Phi.DATE, Phi.BIRTH_DATE) and isinstance(value, int):
            year = _generalise(phi, str(value), operator)
            return [int(year), *empty] if year.isdigit() else empty
    return empty


def _partial(text: str, options: Document) -> str:
    """Letters and digits but the last few become `*`; at most half of them stay, and punctuation stays in place."""
    keep = options.get("keep", KEEP)
    assert isinstance(keep, int)
    places = [index for index, char in enumerate(text) if char.isalnum() or char == "*"]
    hidden = set(places[: len(places) - min(keep, len(places) // 2)])
    return "".join("*" if index in hidden else char for index, char in enumerate(text))


def _token(phi: Phi, text: str, key: bytes) -> str:
    plain = re.sub(r"[^0-9a-z]", "", text.lower()) if phi in _NUMBERS else " ".join(text.casefold().split())
    kind = phi.value.lower()
    body = _letters(_mac(key, f"{kind}\0{plain}".encode("utf-8", "surrogatepass")), 24)
    return f"tok_{kind}_{body}{_seal(key, kind, body)}"


def _seal(key: bytes, kind: str, body: str) -> str:
    """Lets a token be told from a forgery, so that an upstream cannot dress PHI up as one."""
    return _letters(_mac(key, f"seal\0{kind}\0{body}".encode()), 8)


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _letters(data: bytes, size: int) -> str:
    return base64.b32encode(data).decode().lower()[:size]


def _generalise(phi: Phi, text: str, operator: Operator) -> str:
    match phi:
        case Phi.DATE:
            return _year_of(text) or label(operator, phi)
        case Phi.BIRTH_DATE:
            return _birth_year(text, operator)
        case Phi.AGE:
            age = _AGE.fullmatch(text)
            if age is None:
                return label(operator, phi)  # Whatever stands in the place of an age, a ZIP code say, is none.
            return text if int(age[1]) <= OLDEST else "90+"
        case Phi.ZIP:
            return zip3(text)
    return label(operator, phi)


def _birth_year(text: str, operator: Operator) -> str:
    """The year of birth, unless it gives away an age over 89 or nobody said what year it is now."""
    if text == "90+":
        return text
    year, now = _year_of(text), as_of_year(operator.options)
    if year is None or now is None:
        return label(operator, Phi.BIRTH_DATE)
    return year if now - int(year) <= OLDEST else "90+"


def _year_of(text: str) -> str | None:
    """The one year that is written out in a date; None where it is missing, short or ambiguous."""
    usual = _ISO_DATE.fullmatch(text)
    if usual is not None:
        return usual[1]
    years = set(_YEAR.findall(text)) | set(_LEADING_YEAR.findall(text))
    return years.pop() if len(years) == 1 and not _SHORT_YEAR.search(text) else None


def zip3(text: str) -> str:
    """The first three digits of a ZIP code, or 000 where they stand for too few people."""
    digits = _NOT_DIGITS.sub("", text)
    if len(digits) == 4:
        digits = f"0{digits}"  # A spreadsheet took the leading zero for a number's.
    if len(digits) < 3 or digits[:3] in RESTRICTED_ZIP3:
        return "000"
    return digits[:3]
