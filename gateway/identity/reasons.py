"""Why there is no principal: a closed set of words, each with the one sentence that the client and evidence are given.

The sentences are constants: nothing of a token can stand in them. They hold only the characters that RFC 6750 §3 allows
in `error_description`.
"""

from __future__ import annotations

import re
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
    NOT_AT_JWT = "not_at_jwt"
    PROOF_REQUIRED = "proof_required"
    WRONG_CERTIFICATE = "wrong_certificate"
    BAD_CERTIFICATE = "bad_certificate"
    CERTIFICATE_EXPIRED = "certificate_expired"
    UNTRUSTED_CERTIFICATE = "untrusted_certificate"
    UNKNOWN_ISSUER = "unknown_issuer"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    WRONG_AUDIENCE = "wrong_audience"
    OTHER_AUDIENCE = "other_audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    TOO_LONG_LIVED = "too_long_lived"
    REVOKED = "revoked"
    NO_SUBJECT = "no_subject"
    GROUPS_UNREADABLE = "groups_unreadable"
    GROUPS_ELSEWHERE = "groups_elsewhere"
    INSUFFICIENT_SCOPE = "insufficient_scope"


_TELLABLE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
"""What RFC 6750 §3 lets `error_description` hold, less spaces."""
_SENTENCES = {
    Reason.MISSING: "no bearer token was sent; get one from an authorization server that resource_metadata names",
    Reason.IN_URL: "a token in the URL is refused, because URLs are logged; send it in the Authorization header",
    Reason.MALFORMED: "the Authorization header does not hold one well-formed JWT; send 'Bearer' and the access token",
    Reason.OVERSIZE: "the token is larger than this gateway accepts; ask the issuer for fewer claims",
    Reason.ALG_REFUSED: "the token is signed with an algorithm that is not accepted for this issuer and key",
    Reason.CRIT_REFUSED: "the token has a critical header that this gateway does not know (RFC 7515 section 4.1.11)",
    Reason.WRONG_TYPE: "the token is not an access token; send the access token, not the ID or refresh token",
    Reason.NOT_AT_JWT: "the header of the token does not say at+jwt, which this issuer's access tokens must (RFC 9068)",
    Reason.PROOF_REQUIRED: "the token is bound to a key that this request does not prove; ask for a bearer token",
    Reason.WRONG_CERTIFICATE: "the token is bound to another client certificate than this connection has (RFC 8705)",
    Reason.BAD_CERTIFICATE: "the client certificate cannot be used; send one whose extended key usage has clientAuth",
    Reason.CERTIFICATE_EXPIRED: "the client certificate is not valid now; send a new one",
    Reason.UNTRUSTED_CERTIFICATE: "the client certificate is from an authority that this gateway does not trust",
    Reason.UNKNOWN_ISSUER: "the token is from an issuer that this gateway does not trust; see authorization_servers",
    Reason.UNKNOWN_KEY: "the token is signed with a key that its issuer does not publish; get a new one",
    Reason.BAD_SIGNATURE: "the signature of the token is not valid; get a new one",
    Reason.WRONG_AUDIENCE: "the token is for another resource; ask for one with this resource (RFC 8707)",
    Reason.OTHER_AUDIENCE: "the token is for other resources too, any of which could use it here; "
    "ask for one with this resource alone (RFC 8707)",
    Reason.EXPIRED: "the token has expired; get a new one",
    Reason.NOT_YET_VALID: "the token is not valid yet; check the clocks of the issuer and the gateway",
    Reason.TOO_LONG_LIVED: "the token lives for longer than this gateway accepts; have the issuer shorten its lifetime",
    Reason.REVOKED: "the token was revoked here; get a new one, and if that is refused too, ask an administrator",
    Reason.NO_SUBJECT: "the token names no subject, so nobody could be held to account for the call",
    Reason.GROUPS_UNREADABLE: "the groups in the token are too many or not plainly texts, so policy cannot be told; "
    "have the issuer send fewer of them, as texts",
    Reason.GROUPS_ELSEWHERE: "the token says only where its groups can be asked for, because they are too many; "
    "have the issuer send the groups assigned to this application, or let the gateway look them up",
    Reason.INSUFFICIENT_SCOPE: "the token lacks a scope that is required here; ask for one with all that scope names",
}


def refused(reason: Reason, audience: str = "") -> Unauthenticated:
    """The fault to raise for a reason; `audience`: which of ours the token should have been for."""
    wanted = f": {audience}" if _TELLABLE.fullmatch(audience) else ""
    return Unauthenticated(_SENTENCES[reason] + wanted, reason=reason.value)
