"""Whether a token that is otherwise good was revoked. Pure; what a revocation says is in core/revocation.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.core.revocation import Kind, Revocation
from gateway.core.types import Principal
from gateway.identity.tokens import Verified


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

    def holds(self, verified: Verified, *, signed_by: str, skew_s: float) -> bool:
        """Whether this token is revoked. By how much the clock of its issuer may differ counts against it.

        A token of our own authority is about somebody of another issuer: what is revoked there is revoked here.
        """
        if not self._known:
            return False
        if verified.name and (Kind.TOKEN, signed_by, self.token(signed_by, verified.name)) in self._known:
            return True
        who = verified.principal
        named = (
            (Kind.SUBJECT, who.issuer, self.actor(who)),
            (Kind.ISSUER, who.issuer, ""),
            (Kind.ISSUER, signed_by, ""),
        )
        return any(self._is_before(verified, self._known.get(each), skew_s) for each in named)

    @staticmethod
    def _is_before(verified: Verified, time: float | None, skew_s: float) -> bool:
        # A token that does not say when it was issued may be from before; so may one of an issuer whose clock is ahead.
        return time is not None and (verified.issued is None or verified.issued <= time + skew_s)


def _latest(revocations: Iterable[Revocation]) -> dict[tuple[Kind, str, str], float]:
    """The last time that was named for each token, subject and issuer: a later revocation does not shorten another."""
    found: dict[tuple[Kind, str, str], float] = {}
    for each in revocations:
        key = each.kind, each.issuer, each.of
        found[key] = max(each.before_s, found.get(key, each.before_s))
    return found
