"""The approvals API: who is let in, what they see, and what goes on record before they do."""

import json
from dataclasses import replace

import pytest

from gateway.core.evidence.record import LeafType
from gateway.core.policy.decision import Decision, Effect
from gateway.web.counter import DOOR, REASON_LIMIT
from gateway.web.small_body import LIMIT
from tests.fakes.evidence import Clock
from tests.fakes.house import ALICE, SECRET, TERMS, edit, process
from tests.fakes.reviewing import URL, Provider, site, token


@pytest.fixture
async def house(tmp_path):
    async with process(tmp_path, Clock()) as opened:
        yield opened


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def api(house, provider):
    client = site(house, provider).test_client()

    async def ask(method, path="", *, who="bob", **rest):
        headers = {"Authorization": f"Bearer {token(who)}", **rest.pop("headers", {})}
        response = await client.open(f"/api/approvals{path}", method=method, headers=headers, **rest)
        text = await response.get_data(as_text=True)
        assert response.headers["cache-control"] == "no-store"
        return response.status_code, json.loads(text)

    return ask


@pytest.fixture
async def held(house):
    return (await house.hold(await house.call(justification="for 900-45-6789"))).approval


async def test_a_reviewer_sees_exactly_what_will_run_and_that_is_on_record_first(api, held, house):
    status, shown = await api("GET", f"/{held}")

    assert status == 200
    assert shown["arguments"] == {"sql": SECRET}
    assert shown["justification"] == "for 900-45-6789"
    assert shown["url"] == f"{URL}/approvals/{held}"
    assert shown["reasons"][0]["message"] == "more than 50 rows"
    (read,) = house.leaves(LeafType.EVIDENCE_READ)
    assert read["kind"] == "approval"


async def test_nothing_sealed_is_shown_when_the_reading_cannot_be_recorded(api, held, house):
    edit(house, "CREATE TRIGGER full BEFORE INSERT ON leaf BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    status, shown = await api("GET", f"/{held}")

    assert status == 503
    assert shown.keys() == {"error"}


async def test_a_listing_shows_no_arguments_and_reads_nothing(api, held, house):
    status, shown = await api("GET", "?state=pending")

    assert status == 200
    assert [each["id"] for each in shown["approvals"]] == [held]
    assert "900-45-6789" not in json.dumps(shown)
    assert house.leaves(LeafType.EVIDENCE_READ) == []


async def test_an_auditor_who_may_not_review_sees_that_it_was_asked_and_not_what(api, held, house):
    status, shown = await api("GET", f"/{held}", who="dave")

    assert (status, shown["tool"], "arguments" in shown) == (200, "run_sql", False)
    assert house.leaves(LeafType.EVIDENCE_READ) == []


async def test_the_requester_sees_their_own_question_and_may_withdraw_it(api, held):
    status, shown = await api("GET", f"/{held}", who="alice")
    assert (status, shown["arguments"]) == (200, {"sql": SECRET})

    status, shown = await api("POST", f"/{held}/cancel", who="alice")
    assert (status, shown["state"], shown["why"]) == (200, "cancelled", "withdrawn")


async def test_what_somebody_may_not_see_is_not_there(api, held):
    asked = [await api(method, path, who="eve") for method, path in (
        ("GET", f"/{held}"), ("GET", "/ap_nothing"), ("POST", f"/{held}/grant"), ("POST", f"/{held}/cancel"),
    )]  # fmt: skip

    assert {status for status, _ in asked} == {404}
    assert len({json.dumps(shown) for _, shown in asked}) == 1
    assert await api("GET", who="eve") == (200, {"approvals": [], "changed_tools": []})


async def test_an_unlisted_tools_name_stays_out_of_listings(api, house):
    await house.hold(await house.call(tool=None))
    _, shown = await api("GET")

    assert shown["approvals"][0]["tool"] == ""


async def test_a_grant_by_a_reviewer_stands(api, held):
    status, shown = await api("POST", f"/{held}/grant", json={"reason": "checked"})

    assert (status, shown["state"], shown["grants"]) == (200, "granted", 1)


async def test_a_refusal_needs_no_body(api, held):
    status, shown = await api("POST", f"/{held}/refuse")

    assert (status, shown["state"]) == (200, "refused")


@pytest.mark.parametrize("groups", [(), ("privacy", "admins")])
async def test_self_approval_is_refused_also_for_admins(api, held, groups, provider):
    provider.people["alice"] = replace(ALICE, groups=groups, client="browser")
    status, shown = await api("POST", f"/{held}/grant", who="alice", json={"reason": "trust me"})

    assert (status, shown["error"]["code"]) == (403, "self_approval")


async def test_an_auditor_cannot_grant(api, held):
    status, shown = await api("POST", f"/{held}/grant", who="dave")

    assert (status, shown["error"]["code"]) == (403, "denied_by_policy")


async def test_only_the_requester_withdraws(api, held):
    status, shown = await api("POST", f"/{held}/cancel", who="bob")

    assert (status, shown["error"]["code"]) == (403, "not_the_requester")


async def test_a_late_or_second_word_is_a_conflict(api, house, held):
    await api("POST", f"/{held}/grant")
    status, shown = await api("POST", f"/{held}/refuse", who="carol")
    assert (status, shown["error"]["code"]) == (409, "not_pending")

    other = (await house.hold(await house.call("SELECT 1"))).approval
    house.clock.passes(901)
    status, shown = await api("POST", f"/{other}/grant")
    assert (status, shown["error"]["code"]) == (409, "not_pending")


async def test_a_grant_that_policy_no_longer_allows_says_so(api, house, held):
    house.policy.call = Decision(Effect.DENY)
    status, shown = await api("POST", f"/{held}/grant")

    assert (status, shown["state"], shown["why"]) == (200, "cancelled", "denied_by_policy")


async def test_a_demanded_reason_is_asked_for(api, house):
    terms = replace(TERMS, justification_required=True)
    held = (await house.hold(await house.call(justification="audit"), terms=terms)).approval
    status, shown = await api("POST", f"/{held}/grant", json={"reason": "  "})

    assert (status, shown["error"]["code"]) == (422, "no_reason")


# Attacks and mistakes.


FORGED = ["", "Bearer", "Bearer e30.e30.c2ln", "Basic Ym9iOmJvYg==", f"Bearer {token('nobody')}"]


@pytest.mark.parametrize("authorization", FORGED)
async def test_a_forged_or_foreign_token_is_turned_away_and_counted(api, held, provider, authorization):
    status, shown = await api("POST", f"/{held}/grant", headers={"Authorization": authorization})

    assert (status, shown["error"]["code"]) == (401, "unauthenticated")
    assert provider.refused == {("bad_signature", DOOR): 1}


async def test_the_challenge_says_that_a_bearer_token_is_wanted(house, provider):
    response = await site(house, provider).test_client().get("/api/approvals")

    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer ")


async def test_the_api_does_not_believe_the_pages_cookie(house, provider, held):
    client = site(house, provider).test_client()
    await client.post("/login", form={"token": token("bob")}, headers={"Origin": URL})
    response = await client.post(f"/api/approvals/{held}/grant", headers={"Origin": URL})

    assert response.status_code == 401


async def test_without_an_identity_provider_nobody_is_let_in(api, held, provider):
    provider.down = True

    assert (await api("GET", f"/{held}"))[0] == 503


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'"x"', b'{"reason": 1}', b'{"reason": "a", "verdict": "grant"}', b'{"reason": "%s"}'
     % (b"x" * (REASON_LIMIT + 1)), b"\xff"],
)  # fmt: skip
async def test_a_malformed_body_changes_nothing(api, held, body):
    status, shown = await api("POST", f"/{held}/grant", data=body)

    assert (status, shown["error"]["code"]) == (400, "malformed")
    assert (await api("GET", f"/{held}"))[1]["state"] == "pending"


async def test_an_oversized_body_is_not_read(api, held):
    status, shown = await api("POST", f"/{held}/grant", data=b"x" * (LIMIT + 1))

    assert (status, shown["error"]["code"]) == (413, "oversize")


async def test_an_unknown_state_is_named_as_such(api):
    status, shown = await api("GET", "?state=900-45-6789")

    assert (status, shown["error"]["code"]) == (400, "unknown_state")
    assert "900-45-6789" not in json.dumps(shown)


async def test_a_bug_tells_nothing_but_that_there_was_one(api, held, house, caplog):
    house.policy.bug = KeyError("900-45-6789")
    status, shown = await api("GET", f"/{held}")

    assert (status, shown["error"]["code"]) == (500, "internal")
    assert "900-45-6789" not in json.dumps(shown) + caplog.text
