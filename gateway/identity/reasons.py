"""Why there is no principal: a closed set of words, each with the one sentence that the client and evidence are given.

The sentences are constants: nothing of a token can stand in them. They hold only the characters that RFC 6750 §3 allows
in `error_description`.
"""

from __future__ import annotations

from enum import Enum

from gateway.core.errors import Unauthenticated


class Reason(Enum):
    """The word for evidence and metrics."""

    MISSING = "missing"
    IN_URL = "in_url"
    MALFORMED = "malformed"
    OVERSIZE = "oversize"
    ALG_REFUSED = "alg_refused"
    CRIT_REFUSED = "crit_refused"
    WRONG_TYPE = "wrong_type"
    PROOF_REQUIRED = "proof_required"
    UNKNOWN_ISSUER = "unknown_issuer"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    WRONG_AUDIENCE = "wrong_audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    NO_SUBJECT = "no_subject"


_SENTENCES = {
    Reason.MISSING: "no bearer token was sent; get one from an authorization server that resource_metadata names",
    Reason.IN_URL: "a token in the URL is refused, because URLs are logged; send it in the Authorization header",
    Reason.MALFORMED: "the Authorization header does not hold one well-formed JWT; send 'Bearer' and the access token",
    Reason.OVERSIZE: "the token is larger than this gateway accepts; ask the issuer for fewer claims",
    Reason.ALG_REFUSED: "the token is signed with an algorithm that is not accepted for this issuer and key",
    Reason.CRIT_REFUSED: "the token has a critical header that this gateway does not know (RFC 7515 section 4.1.11)",
    Reason.WRONG_TYPE: "the token is not an access token; send the access token, not the ID or refresh token",
    Reason.PROOF_REQUIRED: "the token is bound to a key that a bearer request does not prove; ask for a bearer token",
    Reason.UNKNOWN_ISSUER: "the token is from an issuer that this gateway does not trust; see authorization_servers",
    Reason.UNKNOWN_KEY: "the token is signed with a key that its issuer does not publish; get a new one",
    Reason.BAD_SIGNATURE: "the signature of the token is not valid; get a new one",
    Reason.WRONG_AUDIENCE: "the token is for another resource; ask for one with this resource (RFC 8707)",
    Reason.EXPIRED: "the token has expired; get a new one",
    Reason.NOT_YET_VALID: "the token is not valid yet; check the clocks of the issuer and the gateway",
    Reason.NO_SUBJECT: "the token names no subject, so nobody could be held to account for the call",
}


def refused(reason: Reason) -> Unauthenticated:
    """The fault to raise for a reason."""
    return Unauthenticated(_SENTENCES[reason], reason=reason.value)
