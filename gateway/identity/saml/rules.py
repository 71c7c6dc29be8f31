"""What a signed assertion must say, and who it is about. Pure: settings and the time are arguments.

The rules of the web browser SSO profile (SAML profiles §4.1.4.3) for a login, and of RFC 7522 §3 for the assertion
grant, which differ in who the recipient is and in whether a request of ours is answered. Texts are compared character
by character. Everything is read from the one assertion, from where the schema has it; nothing elsewhere is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from xml.etree.ElementTree import Element

from gateway.core.errors import Unauthenticated
from gateway.core.types import Principal
from gateway.identity import groups, settings
from gateway.identity.saml.document import SAML, SAMLP
from gateway.identity.saml.reasons import Reason, refused
from gateway.identity.saml.settings import IdpConfig

MAX_LIFETIME_S = 24 * 3600
"""How long an assertion may be good: less than the ids of used ones are remembered (`store.mail.NOTED_S`)."""
MAX_TEXT = 1024

_SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
_PERSISTENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
_ENTITY = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
_KNOWN_CONDITIONS = frozenset({"AudienceRestriction", "OneTimeUse", "ProxyRestriction"})
_LINK = "http://schemas.microsoft.com/claims/groups.link"
"""What Entra ID sends instead of more than 150 groups."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Expected:
    """What an assertion must be made for."""

    audience: str
    """Our entity id."""
    recipient: str
    """The address that it is sent to: of our assertion consumer service, or of our token endpoint."""
    answers: Callable[[str | None], Reason | None]
    """What is wrong with answering the request of this id; None: with answering none."""
    skew_s: float
    now: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A principal, and until when (seconds since 1970) the assertion lets them in."""

    principal: Principal
    id: str
    """Of the assertion, by which it is used once."""
    issued: float
    """The earliest that it can have been made, seconds since 1970: its provider's clock may be ahead of ours."""
    until: float
    """When the assertion itself ends."""
    session_until: float | None
    """When the identity provider wants the login to end."""
    request: str | None
    """The id of the request that it answers."""


def check_status(response: Element) -> None:
    """Whether the identity provider let the person in at all (SAML core §3.2.2.1): if not, it sends no assertion."""
    code = response.find(f"{{{SAMLP}}}Status/{{{SAMLP}}}StatusCode")
    if code is not None and code.get("Value") != _SUCCESS:
        raise refused(Reason.DECLINED)


def check_response(response: Element, idp: IdpConfig, expected: Expected) -> None:
    """What stands around an assertion (SAML core §3.2.2, bindings §3.5.5.2)."""
    if response.get("Version") != "2.0" or response.find(f"{{{SAMLP}}}Status/{{{SAMLP}}}StatusCode") is None:
        raise refused(Reason.MALFORMED)
    if response.get("Destination") != expected.recipient:
        raise refused(Reason.WRONG_DESTINATION)
    if response.find(f"{{{SAML}}}Issuer") is not None and issuer_of(response) != idp.entity_id:
        raise refused(Reason.WRONG_ISSUER)
    wrong = expected.answers(response.get("InResponseTo"))
    if wrong is not None:
        raise refused(wrong)


def verify(assertion: Element, idp: IdpConfig, expected: Expected) -> Verified:
    """Check everything about an assertion whose signature was checked."""
    ident = assertion.get("ID")
    issued = _time(assertion, "IssueInstant")
    if assertion.get("Version") != "2.0" or not ident or issued is None:
        raise refused(Reason.MALFORMED)
    _check_period(issued, None, expected)
    if issuer_of(assertion) != idp.entity_id:
        raise refused(Reason.WRONG_ISSUER)
    subject = _one(assertion, "Subject", Reason.NO_SUBJECT)
    request, until = _confirmed(subject, expected)
    until = min(until, _conditions(assertion, expected))
    if until - expected.skew_s > expected.now + MAX_LIFETIME_S:
        raise refused(Reason.TOO_LONG)
    statements = _all(assertion, "AuthnStatement")
    if not statements:
        raise refused(Reason.NOT_AUTHENTICATED)
    ends = [_time(each, "SessionNotOnOrAfter") for each in statements]
    session_until = min((end for end in ends if end is not None), default=None)
    if session_until is not None and expected.now >= session_until + expected.skew_s:
        raise refused(Reason.EXPIRED)
    principal = Principal(
        issuer=idp.principal_issuer,
        subject=_subject(assertion, subject, idp, expected.audience),
        groups=_groups(assertion, idp),
        acr=_context(statements[0]),
    )
    return Verified(principal, ident, issued - expected.skew_s, until, session_until, request)


def issuer_of(element: Element) -> str:
    """Who a response or assertion says that it is from; not believed yet."""
    issuer = _one(element, "Issuer", Reason.MALFORMED)
    if issuer.get("Format", _ENTITY) != _ENTITY:
        raise refused(Reason.WRONG_ISSUER)
    return _text(issuer, Reason.MALFORMED)


def _confirmed(subject: Element, expected: Expected) -> tuple[str | None, float]:
    """The request that a bearer confirmation answers, and until when it holds; the first reason, if none holds."""
    faults: list[Unauthenticated] = []
    for confirmation in _all(subject, "SubjectConfirmation"):
        if confirmation.get("Method") != _BEARER:
            continue
        try:
            return _bearer(_one(confirmation, "SubjectConfirmationData", Reason.WRONG_RECIPIENT), expected)
        except Unauthenticated as fault:  # Another confirmation may do; if none does, the first fault is raised below.
            faults.append(fault)
    raise faults[0] if faults else refused(Reason.NOT_AUTHENTICATED)


def _bearer(data: Element, expected: Expected) -> tuple[str | None, float]:
    """SAML profiles §4.1.4.2, RFC 7522 §3 item 5."""
    if data.get("Recipient") != expected.recipient:
        raise refused(Reason.WRONG_RECIPIENT)
    until = _time(data, "NotOnOrAfter")
    if until is None:
        raise refused(Reason.TOO_LONG)
    _check_period(_time(data, "NotBefore"), until, expected)
    wrong = expected.answers(data.get("InResponseTo"))
    if wrong is not None:
        raise refused(wrong)
    return data.get("InResponseTo"), until + expected.skew_s


def _conditions(assertion: Element, expected: Expected) -> float:
    """Until when the conditions hold (SAML core §2.5.1): for us, now, and none that we do not understand."""
    conditions = _one(assertion, "Conditions", Reason.WRONG_AUDIENCE)
    if not {each.tag.rpartition("}")[2] for each in conditions} <= _KNOWN_CONDITIONS:
        raise refused(Reason.UNKNOWN_CONDITION)
    restrictions = _all(conditions, "AudienceRestriction")
    for restriction in restrictions:
        if expected.audience not in [each.text for each in _all(restriction, "Audience")]:
            raise refused(Reason.WRONG_AUDIENCE)
    if not restrictions:
        raise refused(Reason.WRONG_AUDIENCE)
    until = _time(conditions, "NotOnOrAfter")
    _check_period(_time(conditions, "NotBefore"), until, expected)
    return float("inf") if until is None else until + expected.skew_s


def _check_period(begin: float | None, end: float | None, expected: Expected) -> None:
    if begin is not None and expected.now + expected.skew_s < begin:
        raise refused(Reason.NOT_YET_VALID)
    if end is not None and expected.now >= end + expected.skew_s:
        raise refused(Reason.EXPIRED)


def _subject(assertion: Element, subject: Element, idp: IdpConfig, audience: str) -> str:
    """The name by which a person is held to account."""
    if idp.subject_attribute is not None:
        named = list(_values(assertion, idp.subject_attribute, Reason.NO_SUBJECT))
        if len(named) != 1:
            raise refused(Reason.NO_SUBJECT)
        return named[0]
    name = _one(subject, "NameID", Reason.NO_SUBJECT)
    if name.get("Format") == _TRANSIENT:
        raise refused(Reason.NO_LASTING_SUBJECT)
    # A persistent name means one person only within its qualifiers (SAML core §8.3.7): ours, or nobody we know.
    qualifiers = name.get("NameQualifier", idp.entity_id), name.get("SPNameQualifier", audience)
    if name.get("Format") == _PERSISTENT and qualifiers != (idp.entity_id, audience):
        raise refused(Reason.NO_LASTING_SUBJECT)
    return _text(name, Reason.NO_SUBJECT)


def _groups(assertion: Element, idp: IdpConfig) -> tuple[str, ...]:
    """The groups; those that cannot all be read are no groups at all, so nobody comes in with a part of them."""
    if idp.groups_attribute is None:
        return ()
    if any(each.get("Name") == _LINK for each in _attributes(assertion)):
        raise refused(Reason.BAD_GROUPS)
    found = list(dict.fromkeys(_values(assertion, idp.groups_attribute, Reason.BAD_GROUPS)))
    too_long = any(len(each) > groups.MAX_GROUP_CHARACTERS for each in found)
    if len(found) > settings.MAX_GROUPS or too_long:
        raise refused(Reason.BAD_GROUPS)
    return tuple(found)


def _values(assertion: Element, name: str, reason: Reason) -> Iterator[str]:
    """The values of an attribute by its Name: friendly names are for people, and anybody may choose them."""
    for attribute in _attributes(assertion):
        if attribute.get("Name") == name:
            for value in attribute:
                if value.tag != f"{{{SAML}}}AttributeValue":
                    raise refused(reason)
                yield _text(value, reason)


def _attributes(assertion: Element) -> Iterator[Element]:
    for statement in _all(assertion, "AttributeStatement"):
        yield from _all(statement, "Attribute")


def _context(statement: Element) -> str:
    found = statement.find(f"{{{SAML}}}AuthnContext/{{{SAML}}}AuthnContextClassRef")
    return (found.text or "") if found is not None and len(found) == 0 else ""


def _time(element: Element, name: str) -> float | None:
    """An instant in UTC, as SAML writes it (core §1.3.3), in seconds since 1970."""
    value = element.get(name)
    if value is None:
        return None
    if _TIME.fullmatch(value) is None:
        raise refused(Reason.MALFORMED)
    try:
        return datetime.fromisoformat(value[:19] + "+00:00").timestamp()
    except ValueError:
        raise refused(Reason.MALFORMED) from None


def _text(element: Element, reason: Reason) -> str:
    """The text of an element that holds nothing else: what is inside another element is not a part of it."""
    text = element.text or ""
    if len(element) or not text.strip() or len(text) > MAX_TEXT or not text.isprintable():
        raise refused(reason)
    return text


def _one(element: Element, name: str, reason: Reason) -> Element:
    found = _all(element, name)
    if len(found) != 1:
        raise refused(reason)
    return found[0]


def _all(element: Element, name: str) -> list[Element]:
    return element.findall(f"{{{SAML}}}{name}")
