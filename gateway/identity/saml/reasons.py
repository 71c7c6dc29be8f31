"""Why a SAML assertion signs nobody in: a closed set of words, each with the one sentence that the person is given.

The sentences are constants: nothing of an assertion can stand in them.
"""

from __future__ import annotations

from enum import Enum

from gateway.core.errors import Unauthenticated


class Reason(Enum):
    """The word for evidence and metrics."""

    OVERSIZE = "saml_oversize"
    MALFORMED = "saml_malformed"
    FORBIDDEN_XML = "saml_forbidden_xml"
    DUPLICATE_ID = "saml_duplicate_id"
    NOT_ONE_ASSERTION = "saml_not_one_assertion"
    UNSIGNED = "saml_unsigned"
    MISPLACED_SIGNATURE = "saml_misplaced_signature"
    ALG_REFUSED = "saml_alg_refused"
    BAD_SIGNATURE = "saml_bad_signature"
    ENCRYPTED = "saml_encrypted"
    DECLINED = "saml_declined"
    UNKNOWN_ISSUER = "saml_unknown_issuer"
    WRONG_ISSUER = "saml_wrong_issuer"
    WRONG_DESTINATION = "saml_wrong_destination"
    WRONG_RECIPIENT = "saml_wrong_recipient"
    WRONG_AUDIENCE = "saml_wrong_audience"
    WRONG_REQUEST = "saml_wrong_request"
    UNEXPECTED_REQUEST = "saml_unexpected_request"
    EXPIRED = "saml_expired"
    NOT_YET_VALID = "saml_not_yet_valid"
    TOO_LONG = "saml_too_long"
    UNKNOWN_CONDITION = "saml_unknown_condition"
    NOT_AUTHENTICATED = "saml_not_authenticated"
    NO_SUBJECT = "saml_no_subject"
    NO_LASTING_SUBJECT = "saml_no_lasting_subject"
    BAD_GROUPS = "saml_bad_groups"
    REPLAYED = "saml_replayed"


_ADMINISTRATOR = "tell the administrator of your identity provider"
_SENTENCES = {
    Reason.OVERSIZE: "the identity provider's answer is larger than this gateway reads; ask for fewer groups in it",
    Reason.MALFORMED: f"the identity provider's answer is not a well-formed SAML response; {_ADMINISTRATOR}",
    Reason.FORBIDDEN_XML: (
        "the answer holds a document type, a comment, a processing instruction or another encoding than UTF-8, which "
        f"readers read differently; {_ADMINISTRATOR}"
    ),
    Reason.DUPLICATE_ID: f"two parts of the answer have one ID, so a signature could mean either; {_ADMINISTRATOR}",
    Reason.NOT_ONE_ASSERTION: f"the answer does not hold exactly one assertion where it belongs; {_ADMINISTRATOR}",
    Reason.UNSIGNED: f"nothing in the answer is signed; {_ADMINISTRATOR}: the assertion or the response must be",
    Reason.MISPLACED_SIGNATURE: f"a signature in the answer does not cover what it stands in; {_ADMINISTRATOR}",
    Reason.ALG_REFUSED: (
        f"the answer is signed in a way that is not accepted; {_ADMINISTRATOR}: RSA or ECDSA with SHA-256 or better"
    ),
    Reason.BAD_SIGNATURE: f"the signature of the answer is not valid for the keys in the metadata; {_ADMINISTRATOR}",
    Reason.ENCRYPTED: f"the assertion is encrypted, which this gateway does not support; {_ADMINISTRATOR}",
    Reason.DECLINED: "the identity provider did not let you in; ask its administrator to assign phigate to you",
    Reason.UNKNOWN_ISSUER: "the answer is from an identity provider that this gateway does not trust",
    Reason.WRONG_ISSUER: "another identity provider answered than the one that was asked; begin again",
    Reason.WRONG_DESTINATION: f"the answer was made for another address than this one; {_ADMINISTRATOR}",
    Reason.WRONG_RECIPIENT: f"the assertion was made for another recipient than this one; {_ADMINISTRATOR}",
    Reason.WRONG_AUDIENCE: f"the assertion is for another application than this gateway; {_ADMINISTRATOR}",
    Reason.WRONG_REQUEST: "the answer does not belong to a login that was begun here; begin again on the sign-in page",
    Reason.UNEXPECTED_REQUEST: "the assertion answers a login request, and this grant takes only one that answers none",
    Reason.EXPIRED: "the answer has expired; begin again",
    Reason.NOT_YET_VALID: "the answer is not valid yet; check the clocks of the identity provider and the gateway",
    Reason.TOO_LONG: f"the assertion may be used for longer than a day, or does not say how long; {_ADMINISTRATOR}",
    Reason.UNKNOWN_CONDITION: f"the assertion has a condition that this gateway does not know; {_ADMINISTRATOR}",
    Reason.NOT_AUTHENTICATED: f"the assertion does not say that you authenticated; {_ADMINISTRATOR}",
    Reason.NO_SUBJECT: f"the assertion names nobody, so nobody could be held to account; {_ADMINISTRATOR}",
    Reason.NO_LASTING_SUBJECT: (
        f"the assertion names you differently each time; {_ADMINISTRATOR}: a persistent NameID, or subject_attribute"
    ),
    Reason.BAD_GROUPS: f"the groups in the assertion are too many, or not plain texts; {_ADMINISTRATOR}",
    Reason.REPLAYED: "this answer was used before; begin again",
}


def refused(reason: Reason) -> Unauthenticated:
    """The fault to raise for a reason."""
    return Unauthenticated(_SENTENCES[reason], reason=reason.value)
