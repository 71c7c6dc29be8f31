"""How long keys are believed and how often they are asked for, on a clock that the test runs ahead."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing

from gateway.core.errors import IdentityUnavailable, Unauthenticated
from gateway.identity.issuers import Issuers
from gateway.identity.provider import Provider
from tests.identity.minting import CONFIG, NOW, RESOURCE, Published, claims, mint, signing_key

KEY, NEXT = signing_key("RS256"), signing_key("RS256", "key-2")


def issuers(published) -> Issuers:
    return Issuers([CONFIG], published, now=lambda: NOW)


class Slow(Published):
    """A provider that answers when the test lets it."""

    def __init__(self, *published) -> None:
        super().__init__(*published)
        self.asked = trio.Event()
        self.answer = trio.Event()

    async def __call__(self, issuer):
        self.asked.set()
        await self.answer.wait()
        return await super().__call__(issuer)


async def test_keys_are_fetched_once_for_many_tokens(autojump_clock):
    published = Published(KEY.jwk())
    known = issuers(published)
    for name in "abc":
        await known.identify(mint(KEY, claims(sub=name)), resource=RESOURCE)
    assert published.fetches == 1


async def test_concurrent_first_requests_share_one_fetch(autojump_clock):
    published = Slow(KEY.jwk())
    known = issuers(published)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(lambda: known.identify(mint(KEY), resource=RESOURCE))
        await trio.testing.wait_all_tasks_blocked()
        published.answer.set()
    assert published.fetches == 1


async def test_a_rotated_key_is_found_as_soon_as_a_token_names_it(autojump_clock):
    published = Published(KEY.jwk())
    known = issuers(published)
    await known.identify(mint(KEY), resource=RESOURCE)
    await trio.sleep(11)
    published.jwks = [NEXT.jwk()]
    assert (await known.identify(mint(NEXT), resource=RESOURCE)).subject == "alice"
    with pytest.raises(Unauthenticated):
        await known.identify(mint(KEY), resource=RESOURCE)


async def test_a_flood_of_unknown_key_ids_causes_at_most_one_fetch_an_interval(autojump_clock):
    published = Published(KEY.jwk())
    known = issuers(published)
    await known.identify(mint(KEY), resource=RESOURCE)
    for second in range(100):
        with pytest.raises(Unauthenticated):
            await known.identify(mint(KEY, kid=f"forged-{second}"), resource=RESOURCE)
        await trio.sleep(1)
    assert published.fetches <= 1 + 100 // 10


async def test_an_outage_does_not_end_what_cached_keys_can_still_prove(autojump_clock):
    published = Published(KEY.jwk())
    known = issuers(published)
    await known.identify(mint(KEY), resource=RESOURCE)
    published.down = True
    await trio.sleep(600 + 3599)
    assert (await known.identify(mint(KEY, claims(sub="bob")), resource=RESOURCE)).subject == "bob"


async def test_after_its_bound_an_outage_ends_every_belief_also_in_remembered_tokens(autojump_clock):
    published = Published(KEY.jwk())
    known = issuers(published)
    sent = mint(KEY)
    await known.identify(sent, resource=RESOURCE)
    published.down = True
    await trio.sleep(600 + 3601)
    with pytest.raises(IdentityUnavailable):
        await known.identify(sent, resource=RESOURCE)


async def test_remembered_tokens_end_with_the_keys_even_when_the_last_look_was_just_before(autojump_clock):
    published = Published(KEY.jwk())
    known = issuers(published)
    sent = mint(KEY)
    await known.identify(sent, resource=RESOURCE)
    published.down = True
    await trio.sleep(600 + 3595)
    await known.identify(sent, resource=RESOURCE)
    await trio.sleep(6)
    with pytest.raises(IdentityUnavailable):
        await known.identify(sent, resource=RESOURCE)


async def test_a_provider_that_is_down_is_asked_at_most_once_an_interval(autojump_clock):
    published = Published()
    published.down = True
    known = issuers(published)
    for _ in range(100):
        with pytest.raises(IdentityUnavailable):
            await known.identify(mint(KEY), resource=RESOURCE)
        await trio.sleep(1)
    assert published.fetches <= 11


async def test_a_provider_that_comes_back_is_believed_again(autojump_clock):
    published = Published(KEY.jwk())
    published.down = True
    known = issuers(published)
    with pytest.raises(IdentityUnavailable):
        await known.identify(mint(KEY), resource=RESOURCE)
    published.down = False
    await trio.sleep(11)
    assert (await known.identify(mint(KEY), resource=RESOURCE)).subject == "alice"


async def test_an_unknown_key_id_during_an_outage_is_the_providers_fault_not_the_clients(autojump_clock):
    published = Published(KEY.jwk())
    known = issuers(published)
    await known.identify(mint(KEY), resource=RESOURCE)
    published.down = True
    await trio.sleep(11)
    with pytest.raises(IdentityUnavailable):
        await known.identify(mint(NEXT), resource=RESOURCE)
    assert (await known.identify(mint(KEY), resource=RESOURCE)).subject == "alice"


async def test_while_one_request_waits_for_a_slow_provider_the_others_use_the_old_keys(autojump_clock):
    published = Slow(KEY.jwk())
    published.answer.set()
    known = issuers(published)
    await known.identify(mint(KEY), resource=RESOURCE)
    published.asked, published.answer = trio.Event(), trio.Event()
    await trio.sleep(601)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: known.identify(mint(KEY), resource=RESOURCE))
        await published.asked.wait()
        assert (await known.identify(mint(KEY, claims(sub="bob")), resource=RESOURCE)).subject == "bob"
        published.answer.set()


async def test_an_issuer_that_withdraws_all_its_keys_is_obeyed(autojump_clock):
    published = Published(KEY.jwk())
    known = issuers(published)
    await known.identify(mint(KEY), resource=RESOURCE)
    published.jwks = []
    await trio.sleep(601)
    with pytest.raises(Unauthenticated) as refusal:
        await known.identify(mint(KEY), resource=RESOURCE)
    assert refusal.value.reason == "unknown_key"


async def test_the_same_keys_fetched_again_keep_remembered_tokens(autojump_clock):
    published = Published(KEY.jwk())
    known = issuers(published)
    sent = mint(KEY)
    first = await known.identify(sent, resource=RESOURCE)
    await trio.sleep(601)
    await known.probe()
    assert published.fetches == 2
    assert await known.identify(sent, resource=RESOURCE) is first


async def test_no_grace_means_that_keys_end_with_their_age(autojump_clock):
    published = Published(KEY.jwk())
    provider = Provider(replace(CONFIG, jwks_stale_s=0), published)
    await provider.keys()
    published.down = True
    await trio.sleep(601)
    with pytest.raises(IdentityUnavailable):
        await provider.keys()


async def test_a_provider_never_asked_has_no_fresh_keys(autojump_clock):
    assert Provider(CONFIG, Published(KEY.jwk())).fresh is None
