"""The classes of PHI: the 18 identifiers of 45 CFR 164.514(b)(2)(i), in the words that policy uses.

Two of them have narrower classes of their own, which an operator treats differently. A rule for the wider class
takes the narrower ones too: `GEO` takes `ZIP`; `DATE` takes `BIRTH_DATE` and `AGE`. `PHI` is the root and takes all.
"""

from __future__ import annotations

from enum import StrEnum


class Phi(StrEnum):
    """One class of PHI; the letter is the paragraph of 164.514(b)(2)(i)."""

    PHI = "PHI"
    """Any of the following."""
    NAME = "NAME"  # (A)
    GEO = "GEO"  # (B)
    ZIP = "ZIP"  # (B)
    DATE = "DATE"  # (C)
    BIRTH_DATE = "BIRTH_DATE"  # (C): a birth year can give away an age over 89
    AGE = "AGE"  # (C): only ages over 89 are detected, others are no identifiers
    PHONE = "PHONE"  # (D)
    FAX = "FAX"  # (E)
    EMAIL = "EMAIL"  # (F)
    SSN = "SSN"  # (G)
    MRN = "MRN"  # (H), and every id by which a table knows its patient
    HEALTH_PLAN = "HEALTH_PLAN"  # (I)
    ACCOUNT = "ACCOUNT"  # (J)
    LICENSE = "LICENSE"  # (K)
    VEHICLE = "VEHICLE"  # (L)
    DEVICE = "DEVICE"  # (M)
    URL = "URL"  # (N)
    IP = "IP"  # (O)
    BIOMETRIC = "BIOMETRIC"  # (P)
    PHOTO = "PHOTO"  # (Q)
    UNIQUE_ID = "UNIQUE_ID"  # (R)
    BLOB = "BLOB"
    """Content that cannot be looked into: images, audio, binary resources, data nested or packed beyond the limits."""

    __hash__ = str.__hash__  # Enum's own is a Python function, and these are keys of every lookup.

    @property
    def wider(self) -> tuple[Phi, ...]:
        """This class and those that take it, narrowest first."""
        return _WIDER[self]


_PARENT = {Phi.ZIP: Phi.GEO, Phi.BIRTH_DATE: Phi.DATE, Phi.AGE: Phi.DATE}


def _wider(phi: Phi) -> tuple[Phi, ...]:
    parent = _PARENT.get(phi)
    middle = () if parent is None else (parent,)
    return (phi,) if phi is Phi.PHI else (phi, *middle, Phi.PHI)


_WIDER = {phi: _wider(phi) for phi in Phi}
NARROWER = {phi: tuple(other for other in Phi if phi in _WIDER[other] and other is not phi) for phi in Phi}
"""The classes that a rule for a class takes beside it."""
