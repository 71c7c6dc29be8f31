"""Logins with SAML against a real identity provider: what lets a person in, and every attack that must not."""

from __future__ import annotations

import base64
import gzip
import re
import time
import zlib
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from gateway.core.errors import IdentityUnavailable, Unauthenticated
from gateway.core.types import Principal
from gateway.identity.groups import MAX_GROUPS
from gateway.identity.saml.document import MAX_BYTES, SAML
from tests import saml_idp
from tests.identity.saml.parts import CONSUMER, TOKEN_URL, US, Once, idp, provider
from tests.saml_idp import (
    ENTITY,
    GROUPS,
    SHA1,
    SHA512,
    assertion,
    encoded,
    instant,
    needs_xmlsec1,
    pair,
    public,
    response,
    signed,
)

pytestmark = needs_xmlsec1

PASSWORD = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"
KIND = "urn:oasis:names:tc:SAML:2.0:protocol:Response"


@pytest.fixture(scope="module")
def real():
    with saml_idp.running() as running:
        yield running


@pytest.fixture
def metadata(real, tmp_path):
    file = tmp_path / "idp.xml"
    file.write_bytes(real.metadata())
    return file


@pytest.fixture
def service(metadata):
    return provider(idp(metadata))


async def request_of(service, way="work"):
    """The id of the request of a login that has begun."""
    return (await service.ways[way].begin()).kept["request"]


async def answered(service, real, way="work", **options):
    """What the browser posts to us at the end of a login at the real identity provider."""
    return real.browsed((await service.ways[way].begin()).url, **options)


async def refusal(service, answer):
    """The word for why an answer lets nobody in. Its sentence holds nothing of the answer."""
    with pytest.raises(Unauthenticated) as raised:
        await service.answer(answer)
    assert "alice" not in raised.value.detail
    return raised.value.reason


def xml(answer):
    return base64.b64decode(answer).decode()


# What lets a person in.

SIGNED = [
    ("the assertion", {}),
    ("the response", {"signAssertion": False, "signResponse": True}),
    ("both", {"signResponse": True}),
]


@pytest.mark.parametrize("options", [each[1] for each in SIGNED], ids=[each[0] for each in SIGNED])
async def test_a_person_signs_in_with_their_groups_whatever_is_signed(service, real, options):
    started = await service.ways["work"].begin()
    found = await service.answer(real.browsed(started.url, **options))

    assert (found.way, found.request) == ("work", started.kept["request"])
    assert found.signed_in.principal == Principal(ENTITY, "alice", ("privacy", "clinicians"), acr=PASSWORD)
    assert abs(found.signed_in.until - time.time() - 3600) < 60


async def test_any_replica_takes_the_answer_to_a_request_of_another(metadata, real):
    first, second = provider(idp(metadata)), provider(idp(metadata))

    assert (await second.answer(await answered(first, real))).signed_in.principal.subject == "alice"


async def test_the_identity_provider_checks_that_the_request_is_ours(service, real):
    url = (await service.ways["work"].begin()).url
    asked = parse_qs(urlsplit(url).query)
    deflated = zlib.decompress(base64.b64decode(asked["SAMLRequest"][0]), -15).decode()

    assert asked["SigAlg"] == ["http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"]
    assert f'AssertionConsumerServiceURL="{CONSUMER}"' in deflated
    assert f">{US}<" in deflated
    async with httpx2.AsyncClient() as http:
        forged = re.sub("Signature=[^&]*", "Signature=AAAA", url)
        assert (await http.get(forged)).status_code == 400


async def test_our_metadata_says_where_we_are_and_what_we_sign_with(service):
    told = (await service.metadata()).decode()

    assert f'entityID="{US}"' in told
    assert f'Location="{CONSUMER}"' in told
    assert 'AuthnRequestsSigned="true"' in told
    assert "".join(pair("gateway").certificate.split("\n")[1:-2]) in told


async def test_a_person_who_is_not_let_in_is_told_so(service, real):
    url = (await service.ways["work"].begin()).url

    assert await refusal(service, real.browsed(f"{url}&decline=1")) == "saml_declined"


async def test_a_subject_may_be_an_attribute_and_belong_to_a_configured_issuer(metadata, real):
    mail = "urn:oid:0.9.2342.19200300.100.1.3"
    service = provider(idp(metadata, subject_attribute=mail, principal_issuer="https://id.example"))
    found = await service.answer(await answered(service, real))

    assert (found.signed_in.principal.issuer, found.signed_in.principal.subject) == (
        "https://id.example",
        "alice@clinic.example",
    )


async def test_a_new_key_is_believed_as_soon_as_the_metadata_has_it(service, real, metadata, monkeypatch):
    monkeypatch.setattr("gateway.identity.saml.metadata.RETRY_S", 0.0)
    await service.answer(await answered(service, real))
    rotated = {"key": pair("new").key, "cert": pair("new").certificate}
    assert await refusal(service, await answered(service, real, **rotated)) == "saml_bad_signature"
    lines = {name: "".join(pair(name).certificate.split("\n")[1:-2]) for name in ("idp", "new")}
    metadata.write_text(metadata.read_text().replace(lines["idp"], lines["new"]))

    assert (await service.answer(await answered(service, real, **rotated))).signed_in.principal.subject == "alice"
    assert await refusal(service, await answered(service, real)) == "saml_bad_signature"


# Attacks with what a real identity provider says.


async def test_replay_an_answer_lets_somebody_in_once_whichever_replica_it_reaches(metadata, real):
    once = Once()
    first, second = provider(idp(metadata), once=once), provider(idp(metadata), once=once)
    answer = await answered(first, real)
    await first.answer(answer)

    assert await refusal(second, answer) == "saml_replayed"
    assert await refusal(first, answer) == "saml_replayed"


REAL = [
    ("wrong audience", {"audience": "https://other.example"}, "saml_wrong_audience"),
    ("wrong recipient", {"recipient": "https://other.example/acs"}, "saml_wrong_recipient"),
    ("an assertion for the token endpoint", {"recipient": TOKEN_URL}, "saml_wrong_recipient"),
    ("wrong destination", {"destination": "https://other.example/acs"}, "saml_wrong_destination"),
    ("wrong InResponseTo", {"inResponseTo": "_another"}, "saml_wrong_request"),
    ("unsigned", {"signAssertion": False}, "saml_unsigned"),
    ("SHA-1 signature", {"signatureAlgorithm": "rsa-sha1"}, "saml_alg_refused"),
    ("SHA-1 digest", {"digestAlgorithm": "sha1"}, "saml_alg_refused"),
    ("issuer mismatch", {"issuer": "urn:example:another"}, "saml_unknown_issuer"),
    ("wrong key", {"key": pair("evil").key}, "saml_bad_signature"),
    (
        "wrong key with its own certificate",
        {"key": pair("evil").key, "cert": pair("evil").certificate},
        "saml_bad_signature",
    ),
    (
        "encrypted",
        {"encryptionCert": pair("gateway").certificate, "encryptionPublicKey": public("gateway")},
        "saml_encrypted",
    ),
    ("transient NameID", {"format": "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"}, "saml_no_lasting_subject"),
    ("missing NameID value", {"user": {"name": " "}}, "saml_no_subject"),
    (
        "too many groups",
        {"user": {"groups": [str(number) for number in range(MAX_GROUPS + 1)]}},
        "saml_bad_groups",
    ),
    ("good for too long", {"lifetimeInSeconds": 90_000}, "saml_too_long"),
]


@pytest.mark.parametrize(("options", "reason"), [each[1:] for each in REAL], ids=[each[0] for each in REAL])
async def test_an_answer_that_is_not_right_lets_nobody_in(service, real, options, reason):
    assert await refusal(service, await answered(service, real, **options)) == reason


async def test_missing_in_response_to_an_answer_that_nobody_asked_for_lets_nobody_in(service, real):
    unasked = real.browsed(f"{real.url}/sso", audience=US, recipient=CONSUMER, destination=CONSUMER)

    assert await refusal(service, unasked) == "saml_wrong_request"


async def test_a_request_id_that_another_gateway_sealed_is_not_ours(metadata, real):
    service, other = provider(idp(metadata)), provider(idp(metadata), seal=b"o" * 32)

    assert await refusal(service, await answered(other, real)) == "saml_wrong_request"


CLOCKS = [
    ("expired", 331, "saml_expired"),
    ("not yet valid", -31, "saml_not_yet_valid"),
    ("just within the clock skew, late", 320, None),
    ("just within the clock skew, early", -25, None),
]


@pytest.mark.parametrize(("seconds", "reason"), [each[1:] for each in CLOCKS], ids=[each[0] for each in CLOCKS])
async def test_clock_attacks_and_skew(metadata, real, seconds, reason):
    offset = {"s": 0.0}
    service = provider(idp(metadata), offset=offset)
    answer = await answered(service, real)
    offset["s"] = seconds
    if reason is None:
        assert (await service.answer(answer)).signed_in.principal.subject == "alice"
    else:
        assert await refusal(service, answer) == reason


async def test_a_login_that_took_longer_than_ten_minutes_has_expired(metadata, real):
    offset = {"s": 0.0}
    service = provider(idp(metadata), offset=offset)
    answer = await answered(service, real, lifetimeInSeconds=3000)
    offset["s"] = 601

    assert await refusal(service, answer) == "saml_expired"


async def test_an_assertion_from_another_identity_provider_of_ours_does_not_answer_this_ones_request(
    metadata, real, tmp_path
):
    with saml_idp.running(issuer="urn:example:contractors", own="contractors") as contractors:
        file = tmp_path / "contractors.xml"
        file.write_bytes(contractors.metadata())
        service = provider(
            idp(metadata), idp(file, name="contractors", entity_id="urn:example:contractors", principal_issuer="urn:c")
        )
        elsewhere = (await service.ways["work"].begin()).url.replace(real.url, contractors.url)
        # It answers the other's request with a good assertion of its own.
        assert await refusal(service, contractors.browsed(elsewhere)) == "saml_wrong_request"
        # It claims to be the other.
        impersonating = contractors.browsed(elsewhere, issuer=ENTITY)
        assert await refusal(service, impersonating) == "saml_bad_signature"
        # Its own people are its own: the same name is somebody else.
        own = await service.answer(await answered(service, contractors, way="contractors"))
        assert (own.signed_in.principal.issuer, own.signed_in.principal.subject) == ("urn:c", "alice")


# Attacks on the signature.


async def test_tampering_any_changed_value_breaks_the_signature(service, real):
    answer = xml(await answered(service, real))

    assert await refusal(service, encoded(answer.replace(">alice<", ">admin<"))) == "saml_bad_signature"
    assert await refusal(service, encoded(answer.replace(">privacy<", ">admins<"))) == "saml_bad_signature"


async def test_signature_stripped(service, real):
    stripped = re.sub(r"<Signature .*?</Signature>", "", xml(await answered(service, real)), flags=re.DOTALL)

    assert await refusal(service, encoded(stripped)) == "saml_unsigned"


async def test_signature_stripped_from_the_assertion_while_the_response_keeps_one_of_nothing(service, real):
    answer = xml(await answered(service, real))
    signature = re.search(r"<Signature .*?</Signature>", answer, re.DOTALL)[0]
    moved = answer.replace(signature, "").replace(
        "</saml:Issuer><samlp:Status>", f"</saml:Issuer>{signature}<samlp:Status>"
    )

    assert await refusal(service, encoded(moved)) == "saml_misplaced_signature"


async def test_hmac_with_the_public_certificate_as_the_secret(service, real):
    answer = xml(await answered(service, real))
    symmetric = answer.replace("xmldsig-more#rsa-sha256", "xmldsig-more#hmac-sha256")

    assert await refusal(service, encoded(symmetric)) == "saml_alg_refused"


TRANSFORMS = [
    ("xslt", "http://www.w3.org/TR/1999/REC-xslt-19991116"),
    ("xpath", "http://www.w3.org/TR/1999/REC-xpath-19991116"),
    ("with comments", "http://www.w3.org/2001/10/xml-exc-c14n#WithComments"),
]


@pytest.mark.parametrize("algorithm", [each[1] for each in TRANSFORMS], ids=[each[0] for each in TRANSFORMS])
async def test_a_transform_that_could_run_or_hide_something_is_refused(service, real, algorithm):
    answer = xml(await answered(service, real))
    transformed = answer.replace(
        '<Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>', f'<Transform Algorithm="{algorithm}"/>'
    )

    assert transformed != answer
    assert await refusal(service, encoded(transformed)) == "saml_alg_refused"


def evil(original):
    """The assertion that an attacker wants to be read: unsigned, about somebody else, with an ID of its own."""
    bare = re.sub(r"<Signature .*?</Signature>", "", original, flags=re.DOTALL)
    return re.sub(r' ID="[^"]*"', ' ID="_evil"', bare, count=1).replace(">alice<", ">admin<")


def wrapped(answer, variant):
    """The eight signature wrapping attacks of Somorovsky et al. (as SAML Raider numbers them)."""
    original = re.search(r"<saml:Assertion .*?</saml:Assertion>", answer, re.DOTALL)[0]
    signature = re.search(r"<Signature .*?</Signature>", answer, re.DOTALL)[0]
    unsigned = original.replace(signature, "")
    bad = evil(original)
    inside = lambda inner, into: into.replace("</Signature>", f"{inner}</Signature>")  # noqa: E731
    around = {
        # 1, 2: a forged response; the original response as an object of, or before, its own signature.
        "XSW1": lambda: _forged_response(answer, within=True),
        "XSW2": lambda: _forged_response(answer, within=False),
        # 3: the forged assertion before the original one. 4: around it.
        "XSW3": lambda: answer.replace(original, bad + original),
        "XSW4": lambda: answer.replace(original, bad.replace("</saml:Assertion>", f"{original}</saml:Assertion>")),
        # 5: the forged one carries the signature, the original is appended. 6: the original inside that signature.
        "XSW5": lambda: answer.replace(original, _with(bad, signature) + unsigned),
        "XSW6": lambda: answer.replace(original, _with(bad, inside(unsigned, signature))),
        # 7: the forged one in extensions. 8: the original in an object of the signature of the forged one.
        "XSW7": lambda: answer.replace(original, f"<samlp:Extensions>{bad}</samlp:Extensions>{original}"),
        "XSW8": lambda: answer.replace(original, _with(bad, inside(f"<Object>{unsigned}</Object>", signature))),
    }
    return around[variant]()


def _with(made, signature):
    return made.replace("</saml:Issuer>", f"</saml:Issuer>{signature}", 1)


def _forged_response(answer, *, within):
    """Both need a signed response: its signature is kept, and it is moved."""
    signature = re.search(r"<Signature .*?</Signature>", answer, re.DOTALL)[0]
    whole = answer.replace(signature, "", 1)
    held = signature.replace("</Signature>", f"<Object>{whole}</Object></Signature>") if within else whole + signature
    forged = re.sub(r' ID="[^"]*"', ' ID="_evil-response"', whole, count=1).replace(">alice<", ">admin<")
    forged = re.sub(r'(<saml:Assertion [^>]*) ID="[^"]*"', r'\1 ID="_evil"', forged)
    return forged.replace("</saml:Issuer>", f"</saml:Issuer>{held}", 1)


XSW = [f"XSW{number}" for number in range(1, 9)]


@pytest.mark.parametrize("variant", XSW)
async def test_signature_wrapping(service, real, variant):
    options = {"signAssertion": False, "signResponse": True} if variant in ("XSW1", "XSW2") else {}
    answer = xml(await answered(service, real, **options))
    forged = wrapped(answer, variant)

    assert forged != answer
    assert ">admin<" in forged
    assert await refusal(service, encoded(forged)) in ("saml_not_one_assertion", "saml_misplaced_signature")


async def test_signature_wrapping_by_a_second_response_inside_a_status_detail(service, real):
    answer = xml(await answered(service, real))
    inner = answer.replace(">alice<", ">admin<").replace(' ID="_', ' ID="_x')
    forged = answer.replace("</samlp:Status>", f"<samlp:StatusDetail>{inner}</samlp:StatusDetail></samlp:Status>")

    assert await refusal(service, encoded(forged)) == "saml_not_one_assertion"


async def test_duplicated_ids_a_signature_could_mean_either_element(service, real):
    answer = xml(await answered(service, real))
    name = re.search(r'<saml:Assertion [^>]*ID="([^"]*)"', answer)[1]
    twice = answer.replace("<samlp:Status>", f'<samlp:Extensions><x ID="{name}"/></samlp:Extensions><samlp:Status>')
    other = answer.replace("<samlp:Status>", f'<samlp:Extensions><x xml:id="{name}"/></samlp:Extensions><samlp:Status>')

    assert await refusal(service, encoded(twice)) == "saml_duplicate_id"
    assert await refusal(service, encoded(other)) == "saml_duplicate_id"


# Attacks on the XML.


@pytest.mark.parametrize("hidden", ["<!-- -->", "<?x ?>"], ids=["comment", "processing instruction"])
@pytest.mark.parametrize("value", ["alice", "privacy"], ids=["in the NameID", "in an attribute"])
async def test_comment_injection(service, real, value, hidden):
    """CVE-2017-11427 and its kin: exclusive canonicalisation leaves comments out, so the signature would hold."""
    answer = xml(await answered(service, real))
    injected = answer.replace(f">{value}<", f">{value[:2]}{hidden}{value[2:]}<")

    assert injected != answer
    assert await refusal(service, encoded(injected)) == "saml_forbidden_xml"


BOMBS = [
    ("XXE", '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
    ("XXE over http", '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/evil.dtd">'),
    (
        "billion laughs",
        '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>',
    ),
    ("an ID by a document type", "<!DOCTYPE a [<!ATTLIST x Id ID #IMPLIED>]>"),
]


@pytest.mark.parametrize("doctype", [each[1] for each in BOMBS], ids=[each[0] for each in BOMBS])
async def test_document_types_and_entities_are_refused_before_anything_is_expanded(service, real, doctype):
    answer = xml(await answered(service, real))

    assert await refusal(service, encoded(doctype + answer)) == "saml_forbidden_xml"


async def test_another_encoding_than_utf_8_which_readers_could_take_differently(service, real):
    answer = xml(await answered(service, real))
    utf_7 = '<?xml version="1.0" encoding="UTF-7"?>' + answer

    assert await refusal(service, encoded(utf_7)) == "saml_forbidden_xml"
    assert await refusal(service, base64.b64encode(answer.encode("utf-16")).decode()) == "saml_forbidden_xml"


async def test_a_usual_declaration_is_no_trouble(service, real):
    answer = '<?xml version="1.0" encoding="UTF-8"?>\n' + xml(await answered(service, real))

    assert (await service.answer(encoded(answer))).signed_in.principal.subject == "alice"


SIZES = [
    ("oversize", lambda: encoded("<x>" + "y" * MAX_BYTES + "</x>"), "saml_oversize"),
    ("oversize before it is decoded", lambda: "A" * (2 * MAX_BYTES + 1), "saml_oversize"),
    ("too deep", lambda: encoded("<x>" * 40 + "</x>" * 40), "saml_oversize"),
    ("too many elements", lambda: encoded("<x>" + "<y/>" * 5000 + "</x>"), "saml_oversize"),
    ("deflate bomb", lambda: base64.b64encode(zlib.compress(b"<x>" * 10_000_000)[2:-4]).decode(), "saml_forbidden_xml"),
    ("gzip bomb", lambda: base64.b64encode(gzip.compress(b"<x>" * 1_000_000)).decode(), "saml_forbidden_xml"),
    ("not base64", lambda: "<samlp:Response/>", "saml_malformed"),
    ("not XML", lambda: encoded("hello"), "saml_malformed"),
    ("empty", lambda: "", "saml_malformed"),
    ("another document", lambda: encoded("<x/>"), "saml_malformed"),
    ("an undeclared prefix", lambda: encoded("<samlp:Response/>"), "saml_malformed"),
    (
        "no assertion",
        lambda: encoded(response("", destination=CONSUMER, request="_1").replace("RESPONSE", "")),
        "saml_not_one_assertion",
    ),
]


@pytest.mark.parametrize(("make", "reason"), [each[1:] for each in SIZES], ids=[each[0] for each in SIZES])
async def test_what_is_no_bounded_saml_response_is_refused_at_once(service, make, reason):
    assert await refusal(service, make()) == reason


# Assertions that the identity provider signed, and that are wrong all the same.


@pytest.fixture
def make(service, tmp_path):
    """An answer with a hand-made assertion that the provider's key signed."""

    async def made(*, algorithms=saml_idp.SHA256, edit=lambda text: text, **changes):
        usual = {"recipient": CONSUMER, "audience": US, "request": await request_of(service)}
        parts = {**usual, **changes}
        inner = signed(edit(assertion(time.time(), **parts)), tmp_path, algorithms=algorithms)
        return encoded(response(inner, destination=CONSUMER, request=usual["request"]).replace("RESPONSE", ""))

    return made


async def test_what_is_made_by_hand_is_otherwise_right(service, make):
    assert (await service.answer(await make())).signed_in.principal.groups == ("privacy",)


LINK = "http://schemas.microsoft.com/claims/groups.link"
VALUE = "<saml:AttributeValue>{}</saml:AttributeValue>"
WRONG = [
    ("missing NameID", {"name_id": ""}, "saml_no_subject"),
    (
        "two NameIDs",
        {"name_id": "<saml:NameID>alice</saml:NameID>" * 2},
        "saml_no_subject",
    ),
    ("NameID with an element in it", {"name_id": "<saml:NameID>al<b/>ice</saml:NameID>"}, "saml_bad_signature"),
    ("NameID with a control character", {"name_id": "<saml:NameID>al&#9;ice</saml:NameID>"}, "saml_no_subject"),
    (
        "a name qualified for another application",
        {
            "name_id": '<saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent" '
            'SPNameQualifier="https://other.example">alice</saml:NameID>'
        },
        "saml_no_lasting_subject",
    ),
    ("wrong issuer in the assertion", {"issuer": "urn:example:another"}, "saml_unknown_issuer"),
    ("expired confirmation", {"confirmed_until": f'NotOnOrAfter="{instant(0)}"'}, "saml_expired"),
    ("confirmation without an end", {"confirmed_until": ""}, "saml_too_long"),
    ("expired conditions", {"end": instant(0)}, "saml_expired"),
    ("not yet valid", {"begin": "2100-01-01T00:00:00Z"}, "saml_not_yet_valid"),
    ("session is over", {"session": f' SessionNotOnOrAfter="{instant(0)}"'}, "saml_expired"),
    ("a time that is none", {"begin": "2026-02-30T00:00:00Z"}, "saml_bad_signature"),
    ("a time without a zone", {"begin": "2026-01-01T00:00:00"}, "saml_malformed"),
    ("wrong InResponseTo in the confirmation", {"request": "_another"}, "saml_wrong_request"),
    (
        "a second audience restriction that leaves us out",
        {
            "conditions": "<saml:AudienceRestriction><saml:Audience>https://other.example</saml:Audience>"
            "</saml:AudienceRestriction>"
        },
        "saml_wrong_audience",
    ),
    (
        "group smuggling: an element in a group",
        {"groups": VALUE.format("inte<b>admins</b>rns")},
        "saml_bad_signature",
    ),
    ("group smuggling: a line break in a group", {"groups": VALUE.format("interns&#10;admins")}, "saml_bad_groups"),
    ("group smuggling: an empty group", {"groups": VALUE.format("")}, "saml_bad_groups"),
    ("group smuggling: an endless group", {"groups": VALUE.format("x" * 300)}, "saml_bad_groups"),
    (
        "groups are elsewhere",
        {"attributes": f'<saml:Attribute Name="{LINK}">{VALUE.format("https://graph.example")}</saml:Attribute>'},
        "saml_bad_groups",
    ),
]


@pytest.mark.parametrize(("changes", "reason"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
async def test_a_signed_assertion_that_is_wrong_lets_nobody_in(service, make, changes, reason):
    assert await refusal(service, await make(**changes)) == reason


async def test_group_smuggling_a_friendly_name_or_another_attribute_gives_no_groups(service, make):
    smuggled = f'<saml:Attribute Name="nick" FriendlyName="{GROUPS}">{VALUE.format("admins")}</saml:Attribute>'
    found = await service.answer(await make(attributes=smuggled))

    assert found.signed_in.principal.groups == ("privacy",)


async def test_several_attributes_of_one_name_are_one_list_as_keycloak_sends_them(service, make):
    second = f'<saml:Attribute Name="{GROUPS}">{VALUE.format("auditors")}</saml:Attribute>'
    found = await service.answer(await make(attributes=second))

    assert found.signed_in.principal.groups == ("privacy", "auditors")


async def test_unsigned_attributes_beside_a_signed_assertion_are_not_read(service, make):
    answer = xml(await make())
    extra = f'<saml:Attribute xmlns:saml="{SAML}" Name="{GROUPS}">{VALUE.format("admins")}</saml:Attribute>'
    forged = answer.replace("<samlp:Status>", f"<samlp:Extensions>{extra}</samlp:Extensions><samlp:Status>")
    found = await service.answer(encoded(forged))

    assert found.signed_in.principal.groups == ("privacy",)


async def test_sha_512_is_as_good(service, make):
    assert (await service.answer(await make(algorithms=SHA512))).signed_in.principal.subject == "alice"


async def test_sha_1_even_with_the_right_key(service, make):
    assert await refusal(service, await make(algorithms=SHA1)) == "saml_alg_refused"


async def test_a_login_ends_when_the_identity_provider_wants_it_to(service, make):
    ends = time.time() + 600
    found = await service.answer(await make(session=f' SessionNotOnOrAfter="{instant(ends)}"'))

    assert abs(found.signed_in.until - ends) < 2


async def test_issuer_mismatch_between_the_response_and_its_assertion(service, make):
    answer = xml(await make())
    other = answer.replace(f">{ENTITY}</saml:Issuer><samlp:Status>", ">urn:example:another</saml:Issuer><samlp:Status>")

    assert other != answer
    assert await refusal(service, encoded(other)) == "saml_wrong_issuer"


async def test_an_unsigned_response_cannot_send_a_signed_assertion_elsewhere(service, make):
    answer = xml(await make())
    moved = answer.replace(f'InResponseTo="{re.search("InResponseTo=.([^ ]*?).>", answer)[1]}"', 'InResponseTo="_x"', 1)

    assert moved != answer
    assert await refusal(service, encoded(moved)) == "saml_wrong_request"


# Trouble.


async def test_an_xmlsec1_that_hangs_is_no_login(metadata, make, service, tmp_path, monkeypatch):
    from gateway.identity.saml import pysaml

    program = tmp_path / "xmlsec1"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && exec xmlsec1 --version\nexec sleep 60\n')
    program.chmod(0o755)
    monkeypatch.setattr(pysaml, "XMLSEC_S", 0.2)
    monkeypatch.setattr(service, "_pysaml", pysaml.Pysaml(program))
    with pytest.raises(IdentityUnavailable):
        await service.answer(await make())


async def test_too_many_answers_at_once_are_told_to_come_again(make, service, monkeypatch):
    from gateway.identity.saml import service as module

    monkeypatch.setattr(module, "WAITING", 0)
    with pytest.raises(IdentityUnavailable, match="too many people"):
        await service.answer(await make())


async def test_nothing_of_an_answer_is_logged(service, real, caplog):
    caplog.set_level(0)
    answer = xml(await answered(service, real))
    await refusal(service, encoded(answer.replace(">alice<", ">admin<")))
    await refusal(service, encoded(answer.replace("<saml:Subject>", "<saml:Odd>alice</saml:Odd><saml:Subject>")))

    ours = "".join(record.getMessage() for record in caplog.records if not record.name.startswith(("http", "trio")))
    for secret in ("alice", "admin", "privacy", "SignatureValue"):
        assert secret not in ours
