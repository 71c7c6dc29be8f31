"""Whether a value that stands in a PHI field is one: a year is no date, 42 is no age over 89, `true` is no name."""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.core.masking.names import Named
from gateway.core.masking.operators import OLDEST
from gateway.core.masking.phi import Phi

_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"\d{1,3}")
_URL_SIGN = re.compile(r"[.:/]")
_YEAR = re.compile(r"(?:1[89]|20)\d\d")
_IDENTIFIER = re.compile(r"[a-z0-9_./:-]+")
_PUBLIC = re.compile(
    r"(?:https?://(?:[a-z]+\.)*(?:hl7\.org|loinc\.org|snomed\.info|unitsofmeasure\.org|w3\.org|json-schema\.org)(?:/[\w./#-]*)?"
    r"|https?://(?:www|rxnav|id)\.(?:nlm\.nih\.gov|ama-assn\.org)(?:/[\w./#-]*)?)"
)
"""Names of public vocabularies, which are URLs in form only; with a query they might carry anything."""


def number(phi: Phi, value: int | float, one: Named) -> Phi | None:
    """The class that a number is of, given that its field's name says `phi`; None when it is of none."""
    match phi:
        case Phi.DATE:
            # Milliseconds, seconds or YYYYMMDD; what is smaller is a count, an offset or a year.
            return phi if abs(value) >= 10_000_000 or one.name in ("day", "month") else None
        case Phi.AGE:
            return phi if value > OLDEST else None
        case Phi.NAME:
            return None if isinstance(value, float) else Phi.MRN
        case Phi.EMAIL | Phi.URL | Phi.PHOTO:
            return None
    return phi


Judge = Callable[[str, Named], Phi | None]


def _date(value: str, _: Named) -> Phi | None:
    return Phi.DATE if _DIGIT.search(value) is not None and not _YEAR.fullmatch(value.strip()) else None


def _age(value: str, _: Named) -> Phi | None:
    found = _NUMBER.search(value)
    return Phi.AGE if found is None or int(found.group()) > OLDEST else None


def _numbered(phi: Phi) -> Judge:
    def judge(value: str, _: Named) -> Phi | None:
        if phi is Phi.PHONE and "@" in value:
            return Phi.EMAIL
        return phi if _DIGIT.search(value) is not None else None

    return judge


def _url(value: str, _: Named) -> Phi | None:
    return None if is_public(value) or not _URL_SIGN.search(value) else Phi.URL


def _name(value: str, one: Named) -> Phi | None:
    if not one.deep and " " not in value.strip() and _DIGIT.search(value) is not None:
        return Phi.MRN  # A `patient` column holds a name or a key.
    if not value.isalpha() and not any(char.isalpha() for char in value):
        return None
    return None if one.weak and _IDENTIFIER.fullmatch(value) else Phi.NAME


def is_public(url: str) -> bool:
    """Whether a URL names a public vocabulary (LOINC, SNOMED CT, HL7…) and nothing else."""
    return _PUBLIC.fullmatch(url) is not None


JUDGES: dict[Phi, Judge] = {
    Phi.NAME: _name,
    Phi.DATE: _date,
    Phi.AGE: _age,
    Phi.PHONE: _numbered(Phi.PHONE),
    Phi.FAX: _numbered(Phi.FAX),
    Phi.ZIP: _numbered(Phi.ZIP),
    Phi.URL: _url,
}
"""The class that a text is of, given that its field's name says the key, or None; whatever text else is of the class
that the name says, unless it is empty."""
