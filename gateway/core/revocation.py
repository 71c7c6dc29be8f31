"""A revocation: which tokens an operator has said do not count any more. Pure.

It names one token by its `jti`, or all tokens of a subject or of an issuer that were issued until some time; what is
issued later counts. People and tokens are named by their pseudonyms, so that the leaf that says it holds no names.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from gateway.core.types import Document


class Kind(Enum):
    """What a revocation is about."""

    TOKEN = "token"
    SUBJECT = "subject"
    ISSUER = "issuer"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revocation."""

    kind: Kind
    issuer: str
    of: str
    """The pseudonym of the token or subject; empty for an issuer."""
    before: str
    """RFC 3339: what was issued until then does not count. Without meaning for one token."""

    @property
    def before_s(self) -> float:
        """The same in seconds since 1970."""
        return datetime.fromisoformat(self.before).timestamp()

    def members(self) -> Document:
        """What its leaf says."""
        return {"kind": self.kind.value, "issuer": self.issuer, "of": self.of, "before": self.before}


def decode(members: Document) -> Revocation | None:
    """The revocation that a leaf's members say; None when they say none."""
    match members:
        case {"kind": str(kind), "issuer": str(issuer), "of": str(of), "before": str(before)}:
            try:
                found = Revocation(Kind(kind), issuer, of, before)
                found.before_s  # noqa: B018 - raises when it is no time
            except ValueError:
                return None
            return found
        case _:
            return None
