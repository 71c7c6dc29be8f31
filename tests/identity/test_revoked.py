"""Tokens that were revoked before they expired: which are meant, remembered ones too, and which are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.core.errors import Unauthenticated
from gateway.core.revocation import Kind, Revocation
from gateway.identity.issuers import Issuers
from gateway.identity.revoked import Revoked
from tests.identity.minting import CONFIG, ISSUER, NOW, RESOURCE, Published, claims, mint, signing_key

KEY = signing_key("ES256")
OTHER = replace(CONFIG, url="https://partner.example")


def pseudonym(principal):
    return f"actor of {principal.issuer} {principal.subject}"


def token(issuer, name):
    return f"token of {issuer} {name}"


def revoked(*said: tuple[Kind, str, str, float]) -> Revoked:
    found = [Revocation(kind, issuer, of, datetime.fromtimestamp(at, UTC).isoformat()) for kind, issuer, of, at in said]
    return Revoked(tuple(found), pseudonym, token)


def issuers() -> Issuers:
    return Issuers([CONFIG, OTHER], Published(KEY.jwk()), now=lambda: NOW)


async def counts(known, **changes) -> bool:
    try:
        await known.identify(mint(KEY, claims(**changes)), resource=RESOURCE)
    except Unauthenticated as refusal:
        if refusal.reason != "revoked":
            raise
        return False
    return True


ALICE = (Kind.SUBJECT, ISSUER, f"actor of {ISSUER} alice")


async def test_one_token_is_revoked_by_its_jti_and_no_other():
    known = issuers()
    known.revoke(revoked((Kind.TOKEN, ISSUER, token(ISSUER, "leaked"), 0)))
    assert not await counts(known, jti="leaked")
    assert await counts(known, jti="another")
    assert await counts(known)
    assert await counts(known, jti="leaked", iss=OTHER.url)


async def test_entra_ids_uti_names_a_token_as_a_jti_does():
    known = issuers()
    known.revoke(revoked((Kind.TOKEN, ISSUER, token(ISSUER, "leaked"), 0)))
    assert not await counts(known, uti="leaked")


async def test_a_remembered_token_is_refused_as_soon_as_it_is_revoked():
    known = issuers()
    sent = mint(KEY, claims(jti="leaked"))
    await known.identify(sent, resource=RESOURCE)
    known.revoke(revoked((Kind.TOKEN, ISSUER, token(ISSUER, "leaked"), 0)))
    with pytest.raises(Unauthenticated) as refusal:
        await known.identify(sent, resource=RESOURCE)
    assert refusal.value.reason == "revoked"
    known.revoke(revoked())
    assert (await known.identify(sent, resource=RESOURCE)).subject == "alice"


async def test_what_a_subject_was_issued_until_then_is_refused_and_what_comes_later_is_not():
    known = issuers()
    known.revoke(revoked((*ALICE, NOW - 100)))
    assert not await counts(known, iat=NOW - 101)
    assert await counts(known, iat=NOW - 10)
    assert await counts(known, iat=NOW - 101, sub="bob")
    assert await counts(known, iat=NOW - 101, iss=OTHER.url)


async def test_an_issuer_whose_clock_is_ahead_does_not_save_a_token_from_before():
    known = issuers()
    known.revoke(revoked((*ALICE, NOW - 100)))
    assert not await counts(known, iat=NOW - 100 + CONFIG.clock_skew_s)
    assert await counts(known, iat=NOW - 100 + CONFIG.clock_skew_s + 1)


async def test_a_token_that_hides_when_it_was_issued_counts_as_from_before():
    known = issuers()
    known.revoke(revoked((*ALICE, 0)))
    assert not await counts(known, iat=None)


async def test_everything_of_an_issuer_can_be_revoked():
    known = issuers()
    known.revoke(revoked((Kind.ISSUER, ISSUER, "", NOW)))
    assert not await counts(known)
    assert not await counts(known, sub="bob")
    assert await counts(known, iss=OTHER.url)


async def test_a_time_to_come_shuts_somebody_out_until_then():
    known = issuers()
    known.revoke(revoked((*ALICE, NOW + 3600)))
    assert not await counts(known, iat=NOW)


async def test_a_later_revocation_does_not_shorten_another():
    known = issuers()
    known.revoke(revoked((*ALICE, NOW + 3600), (*ALICE, NOW - 3600)))
    assert not await counts(known, iat=NOW)
