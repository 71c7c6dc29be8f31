"""Who may see and resolve what, as the shipped policy has it."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.policy.approval import Approval, Ground, Objection
from gateway.core.policy.decision import ApprovalTerms
from gateway.core.types import Principal
from gateway.pdp import loader
from gateway.pdp.engine import Pdp
from gateway.store.approvals import Approvals
from gateway.web.counter import Counter
from tests.fakes.evidence import Clock
from tests.fakes.house import ALICE, ISSUER, asked, process

LIBRARY = Path(__file__).resolve().parents[2] / "policies"
OFFICER = Principal(ISSUER, "morgan", ("privacy-officers",), "browser")
AUDITOR = Principal(ISSUER, "audrey", ("auditors",), "browser")
ONLOOKER = Principal(ISSUER, "oscar", ("clinicians",), "browser")
TERMS = ApprovalTerms(("privacy-officers",))


@pytest.fixture(scope="module")
def pdp():
    with Pdp(loader.read(LIBRARY)) as pdp:
        yield pdp


@pytest.fixture
async def counter(tmp_path, pdp):
    async with process(tmp_path, Clock()) as house:

        def decide(entrypoint, document):
            return pdp.decide(entrypoint, document, at="2026-11-22T12:00:00.000000Z")

        approvals = Approvals(house.log, decide, url=str)
        counter = Counter(approvals, decide, None, None, "https://gate.example", b"k" * 32, house.clock, None)
        held = await approvals.request(asked(await house.call(), TERMS))
        yield counter, await approvals.get(held.approval)


@pytest.mark.parametrize(
    ("who", "sees", "reads"),
    [
        (OFFICER, True, True),
        (AUDITOR, True, False),
        (ONLOOKER, False, False),
        (replace(ALICE, client="browser"), True, True),
    ],
    ids=["reviewer", "auditor", "onlooker", "requester"],
)
async def test_the_shipped_policy_shows_each_what_is_theirs(counter, who, sees, reads):
    at, held = counter

    assert [each.id for each in await at.listed(who, None)] == ([held.id] if sees else [])
    assert ((await at.seen(who, held.id)) is not None) is sees
    assert await at.opened(who, held) is reads


async def test_the_shipped_policy_hears_reviewers_and_nobody_else(counter):
    at, held = counter
    refused = {}
    for who in (AUDITOR, replace(ALICE, groups=("privacy-officers",), client="browser")):
        answer = await at.act(who, held.id, "grant", "")
        assert isinstance(answer, Objection)
        refused[who.subject] = answer.ground
    heard = await at.act(OFFICER, held.id, "refuse", "too much")

    assert refused == {"audrey": Ground.DENIED, "alice": Ground.SELF_APPROVAL}
    assert await at.act(ONLOOKER, held.id, "grant", "") is None
    assert isinstance(heard, Approval)
