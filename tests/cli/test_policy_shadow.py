"""`phigate policy shadow`: what is on record of candidates that ran beside the active policy."""

import json

import pytest

from gateway.cli.main import main
from gateway.core.evidence.record import LeafType, Record
from gateway.core.policy import shadow
from gateway.core.policy.change import Change, Kind
from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.shadow import Candidate, Tally

from .traffic import ANN, fill, policy

FIRST, SECOND = Candidate("1" * 64, "2026.1"), Candidate("2" * 64, "2026.2")
DENIED = (Change(Kind.NEWLY_DENIED, ("gateway.grants: chiefs_only",)),)
ALLOWING = policy('decision := {"effect": "allow"} if true\n')


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with two summaries and a difference of one candidate, and a summary of another."""
    place = tmp_path_factory.mktemp("shadows")

    async def script(traffic):
        await traffic.activate(ALLOWING)
        exchange = await traffic.call(ANN)

        async def say(members):
            await traffic.log.append(Record(LeafType.POLICY_SHADOW, members))

        for candidate, changes in ((FIRST, DENIED), (FIRST, ()), (SECOND, ())):
            tally = Tally(dropped=1)
            tally.count(changes)
            await say(tally.members(candidate, ALLOWING.digest))
        await say(shadow.difference(FIRST, ALLOWING.digest, exchange, Entrypoint.CALL, DENIED))
        await say(shadow.difference(FIRST, ALLOWING.digest, "gone", Entrypoint.CALL, DENIED))
        return exchange, traffic.keys.actor(ANN)

    return place / "evidence.db", fill(place, script)


def test_candidates_are_told_with_counts_rules_samples_and_principals(store, capsys):
    path, (exchange, ann) = store

    assert main(["policy", "shadow", "--store", str(path), "--format", "json"]) == 0

    first, second = json.loads(capsys.readouterr().out)["candidates"]
    assert (first["candidate"], first["revision"], first["active"]) == (FIRST.digest, "2026.1", [ALLOWING.digest])
    assert (first["compared"], first["differing"], first["dropped"], first["told"]) == (2, 1, 2, 2)
    assert first["rules"] == [
        {"rule": "newly-denied: gateway.grants: chiefs_only", "decisions": 1, "samples": [exchange, "gone"]}
    ]
    principals = {each["principal"]: each["told"] for each in first["principals"]}
    assert principals == {ann: 1, "(unknown)": 1}
    assert (second["candidate"], second["differing"], second["rules"]) == (SECOND.digest, 0, [])


def test_it_is_told_to_people_too(store, capsys):
    path, _ = store

    assert main(["policy", "shadow", "--store", str(path), "--samples", "0"]) == 0

    told = capsys.readouterr().out
    assert "2, of which it would decide 1 otherwise" in told
    assert "2 were not put to it" in told
    assert "chiefs_only" in told


def test_one_candidate_is_chosen_by_its_digests_beginning(store, capsys):
    path, _ = store

    assert main(["policy", "shadow", "--store", str(path), "--candidate", "22", "--format", "json"]) == 0
    assert [each["revision"] for each in json.loads(capsys.readouterr().out)["candidates"]] == ["2026.2"]


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--candidate", "3"], "No candidate whose digest"), (["--samples", "-1"], "0 or more")]
)
def test_what_cannot_be_told_is_a_sentence(store, capsys, arguments, said):
    path, _ = store

    assert main(["policy", "shadow", "--store", str(path), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_store_without_a_shadow_says_how_to_have_one(tmp_path, capsys):
    async def script(traffic):
        await traffic.activate(ALLOWING)

    fill(tmp_path, script)

    assert main(["policy", "shadow", "--store", str(tmp_path / "evidence.db")]) == 0
    assert "[policy] shadow" in capsys.readouterr().out
