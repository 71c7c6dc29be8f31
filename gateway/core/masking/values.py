"""Whether a value that stands in a PHI field is one: a year is no date, 42 is no age over 89, `true` is no name."""

from __future__ import annotations

import re

from gateway.core.masking.names import Named
from gateway.core.masking.operators import OLDEST
from gateway.core.masking.phi import Phi
from gateway.core.types import Json

_DIGIT = re.compile(r"\d")
_YEAR = re.compile(r"(?:1[89]|20)\d\d")
_IDENTIFIER = re.compile(r"[a-z0-9_./:-]+")
_PUBLIC = re.compile(
    r"(?:https?://(?:[a-z]+\.)*(?:hl7\.org|loinc\.org|snomed\.info|unitsofmeasure\.org|w3\.org|json-schema\.org)(?:/[\w./#-]*)?"
    r"|https?://(?:www|rxnav|id)\.(?:nlm\.nih\.gov|ama-assn\.org)(?:/[\w./#-]*)?)"
)
"""Names of public vocabularies, which are URLs in form only; with a query they might carry anything."""


def belongs(phi: Phi | None, value: Json, one: Named) -> Phi | None:
    """The class that `value` is of, given that its field's name says `phi`; None when it is of none."""
    if phi is None or value is None or value == "" or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _text(phi, value, one)
    if not isinstance(value, int | float):
        return phi
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


def _text(phi: Phi, value: str, one: Named) -> Phi | None:
    digits = _DIGIT.search(value) is not None
    match phi:
        case Phi.NAME:
            return _name(value, digits, one)
        case Phi.DATE:
            return phi if digits and not _YEAR.fullmatch(value.strip()) else None
        case Phi.AGE:
            found = re.search(r"\d{1,3}", value)
            return phi if found is None or int(found.group()) > OLDEST else None
        case Phi.PHONE if "@" in value:
            return Phi.EMAIL
        case Phi.PHONE | Phi.FAX | Phi.ZIP:
            return phi if digits else None
        case Phi.URL:
            return None if is_public(value) or not re.search(r"[.:/]", value) else phi
    return phi


def _name(value: str, digits: bool, one: Named) -> Phi | None:
    if digits and " " not in value.strip() and not one.deep:
        return Phi.MRN  # A `patient` column holds a name or a key.
    if not value.isalpha() and not any(char.isalpha() for char in value):
        return None
    return None if one.weak and _IDENTIFIER.fullmatch(value) else Phi.NAME


def is_public(url: str) -> bool:
    """Whether a URL names a public vocabulary (LOINC, SNOMED CT, HL7…) and nothing else."""
    return _PUBLIC.fullmatch(url) is not None
