"""An identity provider's metadata: what is believed, until when, and every document that is not."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial

import httpx2
import pytest
import trio
import trio.testing

from gateway.core.errors import IdentityUnavailable
from gateway.identity.saml import document, metadata
from gateway.identity.saml.document import METADATA
from gateway.identity.saml.metadata import RETRY_S, Source
from tests import saml_idp
from tests.identity.saml.parts import config, idp, pysaml
from tests.saml_idp import ENTITY, needs_xmlsec1, pair, signed

pytestmark = needs_xmlsec1

CERTIFICATE = "".join(pair("idp").certificate.split("\n")[1:-2])
SSO = '<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{}"/>'
KEY = (
    '<md:KeyDescriptor{}><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>{}'
    "</X509Certificate></X509Data></KeyInfo></md:KeyDescriptor>"
)


def described(*, entity=ENTITY, until="", keys=None, sso="https://idp.example/sso", protocol=document.SAMLP, mark=""):
    valid = f' validUntil="{until}"' if until else ""
    held = KEY.format("", CERTIFICATE) if keys is None else keys
    return (
        f'<md:EntityDescriptor xmlns:md="{METADATA}" entityID="{entity}" ID="_m"{valid}>{mark}'
        f'<md:IDPSSODescriptor protocolSupportEnumeration="{protocol}">{held}{SSO.format(sso)}</md:IDPSSODescriptor>'
        "</md:EntityDescriptor>"
    )


def several(*entities, until=""):
    valid = f' validUntil="{until}"' if until else ""
    inner = "".join(each.replace('ID="_m"', f'ID="_{number}"') for number, each in enumerate(entities))
    return f'<EntitiesDescriptor xmlns="{METADATA}"{valid}><!-- ours -->{inner}</EntitiesDescriptor>'


def decoded(text):
    return metadata.decode(document.read_metadata(text.encode()), ENTITY)


def test_the_keys_and_the_address_are_read():
    found = decoded(described())

    assert (found.sso_url, found.certificates, found.until) == ("https://idp.example/sso", (CERTIFICATE,), math.inf)


async def test_a_real_identity_providers_metadata_is_read():
    with saml_idp.running() as real:
        found = metadata.decode(document.read_metadata(real.metadata()), ENTITY)

    assert found.sso_url == f"{real.url}/sso"
    assert found.certificates == (CERTIFICATE,)


def test_one_of_several_entities_is_found_and_comments_are_no_trouble():
    other = described(entity="urn:example:another", sso="https://other.example")

    assert decoded(several(other, described())).sso_url == "https://idp.example/sso"


def test_a_key_for_encryption_signs_nothing_and_two_for_signing_may_overlap():
    keys = KEY.format(' use="encryption"', "AAAA") + KEY.format(' use="signing"', CERTIFICATE) + KEY.format("", "BBBB")

    assert decoded(described(keys=keys)).certificates == (CERTIFICATE, "BBBB")


def test_valid_until_is_the_earliest_that_is_stated():
    text = several(described(until="2100-01-01T00:00:00Z"), until="2001-09-09T01:46:40Z")

    assert decoded(text).until == 1_000_000_000


BAD = [
    ("another entity", described(entity="urn:example:another"), "does not describe the configured entity_id"),
    ("another protocol", described(protocol="urn:oasis:names:tc:SAML:1.1:protocol"), "SAML 2.0 identity provider"),
    ("no key", described(keys=""), "has no signing certificate"),
    ("only keys for encryption", described(keys=KEY.format(' use="encryption"', "A")), "has no signing certificate"),
    ("too many keys", described(keys="".join(KEY.format("", f"A{n}") for n in range(9))), "more than 8"),
    ("http elsewhere", described(sso="http://idp.example/sso"), "over https"),
    ("a script", described(sso="javascript:alert(1)"), "over https"),
    ("a password in the address", described(sso="https://a:b@idp.example/"), "over https"),
    ("twice the same entity", several(described(), described()), "entity_id"),
]


@pytest.mark.parametrize(("text", "told"), [each[1:] for each in BAD], ids=[each[0] for each in BAD])
def test_metadata_that_is_not_right_is_told_why(text, told):
    with pytest.raises(ValueError, match=told):
        decoded(text)


@pytest.fixture
def source(tmp_path):
    """A source over a file, whose clock a test may set."""
    file = tmp_path / "idp.xml"
    clock = {"now": time.time()}

    def made(text=None, **changes):
        if text is not None:
            file.write_text(text)

        async def check(read, certificate):
            await trio.to_thread.run_sync(partial(pysaml().check_metadata, read, certificate))

        one = idp(file, **changes)
        return Source(one, config(one), httpx2.AsyncClient(), check, lambda: clock["now"])

    made.file, made.clock = file, clock
    return made


async def refusal(source):
    with pytest.raises(IdentityUnavailable) as raised:
        await source.current()
    return raised.value.detail


UNUSABLE = [
    ("no file", None, "could not be had (FileNotFoundError)"),
    ("not XML", "hello", "cannot be used (saml_malformed)"),
    (
        "XXE",
        f'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>{described()}',
        "cannot be used (saml_forbidden_xml)",
    ),
    ("too large", described() + " " * (1 << 20), "cannot be used (saml_oversize)"),
    ("past its validUntil", described(until="2001-01-01T00:00:00Z"), "is older than its validUntil allows"),
    ("a validUntil that is none", described(until="tomorrow"), "is older than its validUntil allows"),
]


@pytest.mark.parametrize(("text", "told"), [each[1:] for each in UNUSABLE], ids=[each[0] for each in UNUSABLE])
async def test_nobody_signs_in_by_metadata_that_cannot_be_used(source, text, told):
    assert told in await refusal(source(text))


async def test_metadata_that_runs_out_while_it_is_kept_is_not_believed_any_longer(source):
    kept = source(described(until="2100-01-01T00:00:00Z"))
    await kept.current()
    source.clock["now"] = 4_102_444_800.0

    assert "validUntil" in await refusal(kept)


def at_url(answers):
    """A source over a URL that answers with the status and body under `now`."""

    def answer(request):
        assert request.headers["accept-encoding"] == "identity"
        status, body = answers["now"]

        async def streamed():
            yield body

        return httpx2.Response(status, content=streamed())

    one = idp("https://idp.example/metadata")
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    return Source(one, config(one), http, None, time.time)


async def test_new_metadata_is_taken_over_and_an_outage_is_outlived_for_a_while(autojump_clock):
    answers = {"now": (200, described().encode())}
    kept = at_url(answers)
    assert (await kept.current()).sso_url == "https://idp.example/sso"
    answers["now"] = 200, described(sso="https://idp.example/new").encode()
    assert (await kept.current()).sso_url == "https://idp.example/sso"
    await trio.sleep(601)
    assert (await kept.current()).sso_url == "https://idp.example/new"

    answers["now"] = 503, b""
    await trio.sleep(1000)
    assert (await kept.current()).sso_url == "https://idp.example/new"
    await trio.sleep(3600)
    assert "status 503" in await refusal(kept)
    answers["now"] = 200, described().encode()
    await trio.sleep(RETRY_S)
    assert (await kept.current()).sso_url == "https://idp.example/sso"


async def test_a_key_that_is_not_known_causes_another_look_but_not_more_often_than_bounded(autojump_clock):
    answers = {"now": (200, described().encode())}
    kept = at_url(answers)
    old = await kept.current()
    answers["now"] = 200, described(keys=KEY.format("", "BBBB")).encode()
    assert await kept.beyond(old) is old
    await trio.sleep(RETRY_S)
    new = await kept.beyond(old)
    assert new.certificates == ("BBBB",)
    assert await kept.current() is new

    await trio.sleep(RETRY_S)
    assert await kept.beyond(new) is new
    answers["now"] = 503, b""
    await trio.sleep(RETRY_S)
    assert await kept.beyond(new) is new
    assert await kept.current() is new


def with_signature(tmp_path, own="federation"):
    return signed(described(mark="SIGNATURE"), tmp_path, kind=f"{METADATA}:EntityDescriptor", own=own)


async def test_signed_metadata_counts_only_under_the_configured_certificate(source, tmp_path):
    federation = {"metadata_certificate": pair("federation").certificate.encode()}
    good = with_signature(tmp_path)
    assert (await source(good, **federation).current()).certificates == (CERTIFICATE,)

    assert "is not signed" in await refusal(source(described(), **federation))
    assert "saml_bad_signature" in await refusal(source(with_signature(tmp_path, own="evil"), **federation))
    assert "saml_bad_signature" in await refusal(source(good.replace("idp.example", "evil.example"), **federation))


URLS = [(404, b"", "was answered with the status 404"), (302, b"", "was answered with the status 302")]
URLS += [(200, b" " * ((1 << 20) + 1), "saml_oversize"), (200, b"<html>", "saml_malformed")]


@pytest.mark.parametrize(("status", "body", "told"), URLS, ids=["not there", "redirect", "endless", "html"])
async def test_metadata_from_a_url_is_bounded_and_must_be_there(status, body, told):
    assert told in await refusal(at_url({"now": (status, body)}))


async def test_a_url_that_does_not_answer_has_a_deadline(autojump_clock):
    async def answer(request):
        await trio.sleep_forever()

    one = idp("https://idp.example/metadata")
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    slow = Source(one, replace(config(one), timeout_s=1), http, None, time.time)

    assert "could not be had within 1 s" in await refusal(slow)
