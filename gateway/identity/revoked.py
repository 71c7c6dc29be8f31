"""Which tokens an operator has revoked before they expired. Pure.

A revocation names one token by its `jti`, or all tokens of a subject or of an issuer that were issued until some time;
what is issued later counts. People are named by their pseudonyms, as in evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from gateway.core.types import Principal
from gateway.identity.tokens import Verified


class Kind(Enum):
    """What a revocation is about."""

    TOKEN = "token"
    SUBJECT = "subject"
    ISSUER = "issuer"


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revocation that is in force."""

    kind: Kind
    issuer: str
    of: str
    """The pseudonym of the token or subject; empty for an issuer."""
    before: float
    """Seconds since 1970; without meaning for one token."""


def _nobody(_: Principal) -> str:
    return ""


def _nothing(_issuer: str, _name: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Revoked:
    """Everything that is revoked, ready to be asked."""

    revocations: tuple[Revocation, ...] = ()
    actor: Callable[[Principal], str] = _nobody
    """The pseudonym of a principal."""
    token: Callable[[str, str], str] = _nothing
    """The pseudonym of a token: of its issuer and `jti`."""
    _known: dict[tuple[Kind, str, str], float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", _latest(self.revocations))

    def holds(self, verified: Verified, *, skew_s: float) -> bool:
        """Whether this token is revoked. By how much the issuer's clock may differ counts against the token."""
        if not self._known:
            return False
        issuer = verified.principal.issuer
        if verified.name and (Kind.TOKEN, issuer, self.token(issuer, verified.name)) in self._known:
            return True
        of_subject = self._known.get((Kind.SUBJECT, issuer, self.actor(verified.principal)))
        of_issuer = self._known.get((Kind.ISSUER, issuer, ""))
        # A token that does not say when it was issued may be from before.
        return any(
            before is not None and (verified.issued is None or verified.issued <= before + skew_s)
            for before in (of_subject, of_issuer)
        )


def _latest(revocations: Iterable[Revocation]) -> dict[tuple[Kind, str, str], float]:
    """The last time that was named for each token, subject and issuer: a later revocation does not shorten another."""
    found: dict[tuple[Kind, str, str], float] = {}
    for each in revocations:
        key = each.kind, each.issuer, each.of
        found[key] = max(each.before, found.get(key, each.before))
    return found
