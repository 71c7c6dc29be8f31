"""`phigate emergency`: what was done, then who and why for a purpose on record, and closing by somebody else."""

import argparse
import json
from pathlib import Path

import pytest
import trio

from gateway.cli import emergency, operator
from gateway.core import records
from gateway.core.call import Call
from gateway.core.commands import Decided
from gateway.core.errors import EvidenceFault
from gateway.core.evidence.record import LeafType
from gateway.core.policy.decision import Decision, Effect, Reason
from gateway.core.protocol.jsonrpc import Request
from gateway.core.types import Digest, Era, ExchangeId, Principal, UpstreamRef
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import intent, make_keys, now, outcome, report, tamper

POLICIES = Path(__file__).parents[2] / "policies"
ALICE = Principal("https://id.example", "alice@clinic.example", ("clinicians",), "agent-1")
WHY = "Jane Roe is unconscious\x1b[2J"
GRANTED = Decided(
    Decision(Effect.ALLOW, (Reason("too_many_rows", "more"),), labels={"emergency": True, "emergency_s": 600}),
    json.dumps({"input": {"principal": {"sub": ALICE.subject, "client": ALICE.client}}}).encode(),
    Digest("b" * 64),
)


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


@pytest.fixture
def store(tmp_path, keys, monkeypatch):
    monkeypatch.setattr(operator.getpass, "getuser", lambda: "bob")
    path = tmp_path / "evidence.db"
    trio.run(fill, path, keys)
    return path


async def fill(path, keys):
    async with EvidenceLog.open(path, keys, now=now) as log:
        session = await log.session("alice", members={}, idle_s=60)
        for name in ("x-one", "x-two"):
            call = Call(
                ExchangeId(name),
                session,
                keys.actor(ALICE),
                Era.LEGACY,
                "2025-11-25",
                ALICE,
                UpstreamRef("clinic"),
                Request(1, "tools/call", {"name": "read"}),
                justification=WHY,
            )
            await log.append(intent(session, name))
            await log.append(records.emergency(call, GRANTED))
            await log.append(outcome(session, name))


def phigate(store, *arguments, asks=False):
    top = argparse.ArgumentParser()
    emergency.add(top.add_subparsers())
    where = ["--keys", store.parent / "keys", "--bundle", POLICIES] if asks else []
    parsed = top.parse_args(["emergency", *map(str, [*arguments, *where]), "--store", str(store)])
    return parsed.run(parsed)


def types(store):
    with Reader.open(store) as reader:
        return [leaf.type for leaf in reader.leaves()]


def test_emergencies_that_wait_for_their_review_are_listed(store, capsys):
    assert phigate(store, "list", "--format", "json") == 0
    (found,) = json.loads(capsys.readouterr().out)

    assert (found["id"], found["accesses"], found["closed"]) == ("x-one", 2, None)
    assert phigate(store, "list") == 0
    assert "x-one" in capsys.readouterr().out


def test_what_was_done_is_shown_to_everybody_and_who_and_why_is_not(store, capsys):
    assert phigate(store, "show", "x-o") == 0
    out = capsys.readouterr().out

    assert out.count("too_many_rows") == 2
    assert "alice" not in out
    assert "Jane" not in out
    assert "--purpose" in out


def test_who_and_why_is_shown_for_a_purpose_after_that_is_on_record(store, keys, capsys):
    assert phigate(store, "show", "one", "--purpose", "weekly review", asks=True) == 0
    out = capsys.readouterr().out

    assert "alice@clinic.example" in out
    assert "Jane Roe" in out
    assert "\x1b" not in out
    with Reader.open(store, keys) as reader:
        read = next(leaf for leaf in reader.leaves() if leaf.type is LeafType.EVIDENCE_READ)
        assert (read.members["kind"], read.members["of"], read.members["effect"]) == ("emergency", "x-one", "allow")
        assert reader.body(read, "purpose") == b"weekly review"


def test_a_purpose_that_says_nothing_shows_nothing_and_the_attempt_is_on_record(store, capsys):
    assert phigate(store, "show", "one", "--purpose", " ", asks=True) == 1

    assert "alice" not in capsys.readouterr().out
    assert types(store).count(LeafType.EVIDENCE_READ) == 1


def test_a_review_is_closed_with_who_and_what_was_found_on_record(store, keys, capsys):
    assert phigate(store, "close", "x-one", "--reason", "chart reviewed, justified", asks=True) == 0
    assert "2 accesses" in capsys.readouterr().out
    assert phigate(store, "list", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == []

    with Reader.open(store, keys) as reader:
        review = next(leaf for leaf in reader.leaves() if leaf.type is LeafType.ACTIVITY_REVIEW)
        assert review.members["actor"] == keys.actor(Principal("local", "bob"))
        assert review.members["of"] == keys.actor(ALICE)
        assert reader.body(review, "reason") == b"chart reviewed, justified"
    assert report(store, keys).passed


def test_a_review_is_closed_once(store, capsys):
    arguments = ("close", "x-one", "--reason", "justified", "--format", "json")
    assert phigate(store, *arguments, asks=True) == 0
    closed = json.loads(capsys.readouterr().out)["closed"]
    assert phigate(store, *arguments, asks=True) == 0

    assert f"leaf {closed}" in capsys.readouterr().out
    assert types(store).count(LeafType.ACTIVITY_REVIEW) == 1
    assert phigate(store, "list", "--all") == 0
    assert f"leaf {closed}" in capsys.readouterr().out


@pytest.mark.parametrize("login", ["alice", "ALICE", "alice@elsewhere.example"])
def test_self_review_whoever_broke_the_glass_does_not_close_its_review(store, capsys, monkeypatch, login):
    monkeypatch.setattr(operator.getpass, "getuser", lambda: login)

    assert phigate(store, "close", "x-one", "--reason", "fine", asks=True) == 1
    assert "somebody else" in capsys.readouterr().err
    assert LeafType.ACTIVITY_REVIEW not in types(store)


def test_a_review_needs_what_it_found(store):
    with pytest.raises(EvidenceFault, match="--reason"):
        phigate(store, "close", "x-one", "--reason", "  ", asks=True)


def test_an_emergency_that_is_not_there_or_not_the_only_one_is_told(store):
    with pytest.raises(EvidenceFault, match="No emergency"):
        phigate(store, "show", "nothing")


def test_a_first_access_whose_record_was_altered_is_not_reviewed(store):
    tamper(store, "UPDATE body SET data = x'00' WHERE name = 'decision'")

    with pytest.raises(EvidenceFault, match="altered"):
        phigate(store, "close", "x-one", "--reason", "fine", asks=True)
