"""A person's login through their browser: what OIDC (`code_flow.py`) and SAML (`saml/`) have in common.

Both begin by sending the browser away with something that only this browser brings back, and end with a principal.
Why a login ends without one is a closed set of words, each with the one sentence that the person is given; the
sentences are constants: nothing that anybody sent can stand in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from gateway.core.errors import Unauthenticated
from gateway.core.types import Document, Principal


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that has begun: where the browser goes, and what is kept in that browser alone, sealed, until it ends."""

    url: str
    kept: Document = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A login that succeeded, and until when (seconds since 1970)."""

    principal: Principal
    until: float
    since: float
    """The earliest that the provider can have vouched for it: what was revoked since then, this is too."""


class Reason(Enum):
    """The word for evidence and metrics."""

    UNBEGUN = "login_unbegun"
    DECLINED = "login_declined"
    WRONG_ISSUER = "login_wrong_issuer"
    CODE_REFUSED = "login_code_refused"
    NO_ID_TOKEN = "login_no_id_token"
    WRONG_CLIENT = "login_wrong_client"
    WRONG_NONCE = "login_wrong_nonce"
    WRONG_HASH = "login_wrong_hash"
    NOT_A_PERSON = "login_not_a_person"


_SENTENCES = {
    Reason.UNBEGUN: "this browser did not begin this login here within the last ten minutes; begin again",
    Reason.DECLINED: "the identity provider did not let you in; ask its administrator to assign phigate to you",
    Reason.WRONG_ISSUER: "another identity provider answered than the one that was asked; begin again",
    Reason.CODE_REFUSED: "the identity provider did not take back the code it gave you; begin again",
    Reason.NO_ID_TOKEN: "the identity provider did not say who you are; its administrator must allow the scope openid",
    Reason.WRONG_CLIENT: "the identity provider's answer is for another application than this gateway; begin again",
    Reason.WRONG_NONCE: "the identity provider's answer belongs to another login; begin again",
    Reason.WRONG_HASH: "the tokens in the identity provider's answer do not belong together; begin again",
    Reason.NOT_A_PERSON: "only a person may sign in, and the identity provider says that a program acts here",
}


def refused(reason: Reason) -> Unauthenticated:
    """The fault to raise for a reason."""
    return Unauthenticated(_SENTENCES[reason], reason=reason.value)
