"""The rules that an issuer's configuration adds: subject, audiences, type, lifetime, scopes, groups left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from gateway.core.errors import IdentityUnavailable, Unauthenticated
from gateway.identity.issuers import Issuers
from gateway.identity.settings import GraphConfig
from tests.identity.minting import CONFIG, ISSUER, NOW, RESOURCE, Published, claims, mint, sign, signing_key

KEY = signing_key("ES256")
PLAIN = {"alg": "ES256", "kid": KEY.kid, "typ": "JWT"}
USERINFO = "https://idp.example/userinfo"
OID = "00000000-0000-4000-8000-0000000000a1"
OVERAGE = {
    "oid": OID,
    "groups": None,
    "_claim_names": {"groups": "src1"},
    "_claim_sources": {"src1": {"endpoint": "https://evil.example/collect"}},
}
GRAPH = GraphConfig("https://graph.example/v1.0", "https://login.example/token", "id", "secret", 300, 5)


def issuers(look_ups=None, now=lambda: NOW, **changes) -> Issuers:
    return Issuers([replace(CONFIG, **changes)], Published(KEY.jwk()), look_ups=look_ups, now=now)


async def identified(payload, known=None, *, header=None, scopes=()):
    sent = mint(KEY, payload) if header is None else sign(KEY, header, payload)
    return await (known or issuers()).identify(sent, resource=RESOURCE, scopes=scopes)


async def reason(payload, known=None, **how) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await identified(payload, known, **how)
    return refusal.value.reason


async def test_the_subject_is_the_claim_that_the_configuration_names():
    known = issuers(subject_claim="oid")
    assert (await identified(claims(sub="pairwise", oid="same-everywhere"), known)).subject == "same-everywhere"
    assert await reason(claims(), known) == "no_subject"


async def test_a_token_for_another_audience_is_told_which_is_ours():
    with pytest.raises(Unauthenticated, match=RESOURCE):
        await identified(claims(aud=[USERINFO]))


async def test_beside_ours_only_the_audiences_that_are_named_may_stand():
    both = claims(aud=[RESOURCE, USERINFO])
    assert (await identified(both)).subject == "alice"
    assert (await identified(both, issuers(other_audiences=frozenset({USERINFO})))).subject == "alice"
    assert await reason(both, issuers(other_audiences=frozenset())) == "other_audience"
    assert (await identified(claims(aud=[RESOURCE]), issuers(other_audiences=frozenset()))).subject == "alice"
    assert await reason(claims(aud=[USERINFO]), issuers(other_audiences=frozenset())) == "wrong_audience"


@pytest.mark.parametrize("odd", [None, 1, {"a": 1}, [RESOURCE]])
async def test_an_audience_that_is_no_text_beside_ours_is_malformed(odd):
    assert await reason(claims(aud=[RESOURCE, odd])) == "malformed"


async def test_where_at_jwt_is_required_a_plain_jwt_is_refused():
    known = issuers(require_at_jwt=True)
    assert (await identified(claims(), known)).subject == "alice"
    assert await reason(claims(), known, header=PLAIN) == "not_at_jwt"
    assert await reason(claims(nonce="n"), known, header=PLAIN) == "wrong_type"


async def test_a_token_that_lives_longer_than_the_ceiling_is_refused_from_its_first_second():
    known = issuers(max_lifetime_s=600)
    assert (await identified(claims(iat=NOW, exp=NOW + 600), known)).subject == "alice"
    assert await reason(claims(iat=NOW, exp=NOW + 601), known) == "too_long_lived"
    assert await reason(claims(iat=NOW - 599, exp=NOW + 2), known) == "too_long_lived"


async def test_a_token_that_hides_when_it_was_issued_is_measured_from_now():
    known = issuers(max_lifetime_s=600)
    assert (await identified(claims(iat=None, exp=NOW + 600), known)).subject == "alice"
    assert await reason(claims(iat=None, exp=NOW + 601), known) == "too_long_lived"


async def test_a_token_for_a_year_is_refused_by_default():
    assert await reason(claims(exp=NOW + 365 * 86_400)) == "too_long_lived"


@pytest.mark.parametrize(
    "held",
    [{"scope": "openid mcp:read mcp:write"}, {"scp": ["mcp:read", "mcp:write"]}, {"scp": "mcp:read mcp:write"},
     {"scope": "mcp:read", "scp": ["mcp:write"]}],
)  # fmt: skip
async def test_scopes_are_read_as_each_provider_writes_them(held):
    assert (await identified(claims(**held), scopes=("mcp:read", "mcp:write"))).subject == "alice"


@pytest.mark.parametrize(
    "held",
    [{}, {"scope": ""}, {"scope": "mcp:rea"}, {"scope": "mcp:read2"}, {"scope": "MCP:READ"}, {"scope": "mcp:read,x"},
     {"scope": ["mcp", "read"]}, {"scope": {"mcp:read": True}}, {"scope": 7}, {"scp": [["mcp:read"]]}, {"scp": None}],
)  # fmt: skip
async def test_a_token_without_a_required_scope_is_refused_and_one_that_needs_none_is_not(held):
    assert await reason(claims(**held), scopes=("mcp:read",)) == "insufficient_scope"
    assert (await identified(claims(**held))).subject == "alice"


async def test_a_remembered_token_is_held_against_the_scopes_of_each_request():
    known = issuers()
    sent = mint(KEY, claims(scope="mcp:read"))
    await known.identify(sent, resource=RESOURCE, scopes=("mcp:read",))
    with pytest.raises(Unauthenticated) as refusal:
        await known.identify(sent, resource=RESOURCE, scopes=("mcp:write",))
    assert refusal.value.reason == "insufficient_scope"


async def test_where_scopes_are_short_what_stands_before_the_name_in_requests_is_not_in_the_token():
    known = issuers(short_scopes=True)
    assert (await identified(claims(scp="mcp.read"), known, scopes=("api://gateway/mcp.read",))).subject == "alice"
    assert await reason(claims(scp="mcp.read"), known, scopes=("api://gateway/mcp.write",)) == "insufficient_scope"
    assert await reason(claims(scp="mcp.read"), known, scopes=("api://gateway/",)) == "insufficient_scope"
    assert await reason(claims(scp="mcp.read"), scopes=("api://gateway/mcp.read",)) == "insufficient_scope"


# Groups that a token leaves to be looked up


class Directory:
    """Knows what the test lets it know."""

    def __init__(self, groups=("looked-up",), *, valid_s=300.0, fault="") -> None:
        self.answer, self.valid_s, self.fault = groups, valid_s, fault
        self.asked: list[str] = []

    async def groups(self, person):
        await trio.lowlevel.checkpoint()
        self.asked.append(person)
        if self.fault:
            raise IdentityUnavailable(self.fault)
        return self.answer, self.valid_s


async def test_a_link_in_place_of_groups_is_a_refusal_where_nobody_may_look_them_up():
    assert await reason(claims(**OVERAGE)) == "groups_elsewhere"
    assert await reason(claims(groups=None, hasgroups=True, oid=OID)) == "groups_elsewhere"


async def test_groups_that_are_left_out_are_looked_up_and_join_those_of_other_claims():
    directory = Directory(("g1", "g2"))
    known = issuers({ISSUER: directory.groups}, graph=GRAPH, groups_claim=(("groups",), ("roles",)))
    principal = await identified(claims(**OVERAGE, roles=["Reviewer", "g1"]), known)
    assert principal.groups == ("g1", "g2", "Reviewer")
    assert directory.asked == [OID]


async def test_a_directory_that_cannot_be_asked_ends_in_unavailable_and_never_in_no_groups():
    known = issuers({ISSUER: Directory(fault="down").groups}, graph=GRAPH)
    with pytest.raises(IdentityUnavailable):
        await identified(claims(**OVERAGE), known)


async def test_looked_up_groups_are_believed_no_longer_than_the_directory_says():
    clock = {"now": NOW}
    directory = Directory(valid_s=60)
    known = issuers({ISSUER: directory.groups}, now=lambda: clock["now"], graph=GRAPH)
    sent = mint(KEY, claims(**OVERAGE))
    await known.identify(sent, resource=RESOURCE)
    clock["now"] = NOW + 59
    await known.identify(sent, resource=RESOURCE)
    assert len(directory.asked) == 1
    clock["now"], directory.answer = NOW + 60, ("another",)
    assert (await known.identify(sent, resource=RESOURCE)).groups == ("another",)


async def test_more_groups_than_policy_can_be_told_are_a_refusal_wherever_they_come_from():
    many = Directory(tuple(f"g{n}" for n in range(512)))
    known = issuers({ISSUER: many.groups}, graph=GRAPH, groups_claim=(("groups",), ("roles",)))
    assert await reason(claims(**OVERAGE, roles=["one-more"]), known) == "groups_unreadable"


@pytest.mark.parametrize("oid", [None, "", 7, "../me", "alice@hospital.example", OID + "/x", OID[:-1]])
async def test_nobody_is_looked_up_by_what_is_no_object_id(oid):
    directory = Directory()
    known = issuers({ISSUER: directory.groups}, graph=GRAPH)
    payload = {**claims(**OVERAGE), "oid": oid}
    assert await reason(payload, known, header=PLAIN) == "groups_elsewhere"
    assert directory.asked == []


async def test_a_claim_that_the_directory_does_not_have_is_not_looked_up_there():
    known = issuers({ISSUER: Directory().groups}, graph=GRAPH, groups_claim=(("roles",),))
    payload = claims(**{**OVERAGE, "_claim_names": {"roles": "src1"}})
    assert await reason(payload, known) == "groups_elsewhere"


async def test_a_forged_token_asks_no_directory():
    directory = Directory()
    known = issuers({ISSUER: directory.groups}, graph=GRAPH)
    with pytest.raises(Unauthenticated):
        await known.identify(mint(signing_key("ES256", "forger"), claims(**OVERAGE), kid=KEY.kid), resource=RESOURCE)
    assert directory.asked == []


async def test_claims_of_a_login_have_their_groups_looked_up_too():
    known = issuers({ISSUER: Directory(("g1",)).groups}, graph=GRAPH)
    assert (await known.principal(claims(**OVERAGE), ISSUER)).groups == ("g1",)
    assert (await known.principal(claims(), ISSUER)).groups == ("clinicians",)
