"""`phigate sessions`: leaves for everyone, bodies for a purpose that policy accepts, after it is on record."""

import argparse
import json
from contextlib import nullcontext

import pytest
import trio
from rich.console import Console
from rich.text import Text

from gateway.cli import opening, replay, sessions
from gateway.core.commands import Decided
from gateway.core.errors import EvidenceFault
from gateway.core.evidence.record import LeafType, Record
from gateway.core.policy.decision import Decision, Effect, Entrypoint, Reason
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import SECRET, intent, make_keys, now, report, tamper

EVENT = json.dumps(
    {
        "path": "gateway/call/decision",
        "timestamp": "2026-11-22T12:00:00Z",
        "input": {
            "phase": "call",
            "principal": {"sub": "alice", "client": "agent-1", "groups": ["analysts"]},
            "facts": {"sql": {"kinds": ["select"]}},
            "tool": None,
        },
        "result": {"effect": "allow", "reasons": [{"code": "read", "message": f"{SECRET} may be read"}]},
    }
).encode()
MANIFEST = (
    b'{"counts":{"SSN":1},"items":[{"path":"$.rows[0].ssn","class":"SSN","detector":"field","operator":"redact"}]}'
)
ABOUT = {"actor": "ab" * 16, "upstream": "clinic", "method": "tools/call", "tool": "run_sql", "effect": "allow"}


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


@pytest.fixture
def store(tmp_path, keys):
    path = tmp_path / "evidence.db"
    trio.run(fill, path, keys)
    return path


async def fill(path, keys):
    async with EvidenceLog.open(path, keys, now=now) as log:
        session = await log.session("client", members={"actor": "ab" * 16, "upstream": "clinic"}, idle_s=60)
        request = json.dumps({"method": "tools/call", "params": {"sql": f"{SECRET}\x1b[2J\x9b2J", "rows": [0] * 99}})
        await log.append(
            Record(
                LeafType.EXCHANGE_INTENT, ABOUT, session, "x1", bodies={"request": request.encode(), "decision": EVENT}
            )
        )
        await log.append(
            Record(LeafType.APPROVAL_REQUEST, {"state": "pending"}, session, "x1", "a1", {"reason": b"why\x07"})
        )
        await log.append(
            Record(LeafType.APPROVAL_RESOLVED, {"state": "granted"}, None, None, "a1", {"reason": b"fine"})
        )
        ended = {"status": "replied", "effect": "allow", "masked": {"SSN": 1}}
        bodies = {"response": b'{"result":"[redacted]"}', "decision": EVENT, "manifest": MANIFEST}
        await log.append(Record(LeafType.EXCHANGE_OUTCOME, ended, session, "x1", bodies=bodies))
        refused = {**ABOUT, "effect": "deny", "reasons": ["ddl_forbidden"]}
        await log.append(Record(LeafType.EXCHANGE_REFUSED, refused, session, "x2"))
        await log.append(intent(session, "x3", {}))
        await log.close_session(session, why="client")


def phigate(*arguments):
    top = argparse.ArgumentParser()
    sessions.add(top.add_subparsers())
    parsed = top.parse_args(["sessions", *map(str, arguments)])
    return parsed.run(parsed)


def only_session(store):
    with Reader.open(store) as reader:
        return reader.sessions()[0].id


def flat(text):
    return " ".join(text.split())


def test_sessions_are_listed(store, capsys):
    assert phigate("list", "--store", store) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(only_session(store)[-12:])

    assert phigate("list", "--store", store, "--format", "json") == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["id"], listed["exchanges"], listed["leaves"]) == (only_session(store), 3, 8)


def test_without_a_purpose_only_what_is_free_of_phi_is_shown(store, tmp_path, capsys):
    assert phigate("show", only_session(store)[-6:], "--store", store, "--keys", tmp_path / "keys") == 0

    said = capsys.readouterr().out
    assert SECRET not in said
    for words in ("run_sql tools/call replied", "masked 1 SSN", "deny ddl_forbidden", "after 3 exchanges", "✔ proven"):
        assert words in flat(said)


def test_messages_that_share_a_leaf_are_shown_one_by_one(tmp_path, keys, capsys):
    path = tmp_path / "burst.db"
    data = json.dumps({"method": "notifications/progress", "params": {"message": SECRET}}).encode()
    told = {"method": "notifications/progress", "status": "relayed", "effect": "allow", "count": 2}

    async def fill_burst():
        async with EvidenceLog.open(path, keys, now=now) as log:
            session = await log.session("client", members={}, idle_s=60)
            await log.append(intent(session, "x1"))
            bodies = {"messages": data + b"\n" + data}
            await log.append(Record(LeafType.EXCHANGE_MESSAGE, told, session, "x1", bodies=bodies))

    trio.run(fill_burst)
    with Reader.open(path, keys) as reader:
        leaf = next(leaf for leaf in reader.leaves() if leaf.type is LeafType.EXCHANGE_MESSAGE)
        assert sessions._leaf_document(leaf, reader.body, proven=True)["bodies"] == {"messages": [json.loads(data)] * 2}
        shown = replay.session([leaf], badge=lambda _: Text("?"), opened=reader.body, full=False)
    Console(width=200).print(shown)
    said = capsys.readouterr().out
    assert "relayed 2 messages" in flat(said)
    assert said.count(SECRET) == 2


def test_nothing_is_called_proven_without_a_key(store, tmp_path, capsys):
    assert phigate("show", only_session(store), "--store", store, "-c", tmp_path / "none.toml") == 0

    said = capsys.readouterr().out
    assert "✔" not in said
    assert "not checked" in said


def test_nothing_is_called_proven_in_an_altered_log(store, tmp_path, capsys):
    tamper(store, "UPDATE leaf SET entry = replace(entry, 'ddl_forbidden', 'ddl_forbiddeN')")
    assert phigate("show", only_session(store), "--store", store, "--keys", tmp_path / "keys") == 0

    said = capsys.readouterr().out
    assert "✔" not in said
    assert "✘ the leaves are not what was signed" in said


def policy(effect, asked):
    """A policy with one answer, in place of the bundle that the configuration names."""

    class Policy:
        def decide(self, entrypoint, document, *, at):
            asked.append((entrypoint, document))
            decision = Decision(effect, reasons=(Reason("no_access", "Ask the privacy office."),))
            return Decided(decision, b'{"asked": true}', "b" * 64)

    return lambda _: nullcontext(Policy())


@pytest.fixture
def asked(monkeypatch):
    """What policy is asked; it allows."""
    found = []
    monkeypatch.setattr(opening, "Pdp", policy(Effect.ALLOW, found))
    monkeypatch.setattr(sessions.loader, "read", lambda path: path)
    return found


def show(store, tmp_path, *more):
    options = (
        "--store",
        store,
        "--keys",
        tmp_path / "keys",
        "--bundle",
        tmp_path,
        "--purpose",
        f"complaint of {SECRET}",
    )
    return phigate("show", only_session(store), *options, *more)


def test_with_a_purpose_the_bodies_are_shown_and_the_reading_is_on_record_first(store, tmp_path, capsys, asked, keys):
    assert show(store, tmp_path) == 0

    said = capsys.readouterr().out
    for words in (
        SECRET,
        "alice through agent-1, analysts",
        "was told",
        '"kinds": ["select"]',
        "SSN $.rows[0].ssn redact by field",
        '"[redacted]"',
        "fine",
    ):
        assert words in flat(said)
    ((entrypoint, document),) = asked
    assert entrypoint is Entrypoint.ACCESS
    assert document["access"]["kind"] == "plaintext"
    assert document["access"]["session"] == only_session(store)
    assert (document["principal"]["iss"], document["principal"]["groups"]) == ("local", ["local-operator"])
    with Reader.open(store, keys) as reader:
        read = next(leaf for leaf in reader.leaves() if leaf.type is LeafType.EVIDENCE_READ)
        assert read.members["effect"] == "allow"
        assert SECRET.encode() not in read.entry
        assert reader.body(read, "purpose") == f"complaint of {SECRET}".encode()
    assert report(store, keys).passed


def test_what_a_client_sent_is_shown_and_never_obeyed_by_the_terminal(store, tmp_path, capsys, asked):
    assert show(store, tmp_path, "--full") == 0

    said = capsys.readouterr().out
    assert not {sign for sign in said if (sign < " " and sign != "\n") or "\x7f" <= sign <= "\x9f"}


def test_long_bodies_are_cut_unless_they_are_asked_for(store, tmp_path, capsys, asked):
    show(store, tmp_path)
    assert "more lines (--full)" in capsys.readouterr().out
    show(store, tmp_path, "--full")
    assert "more lines" not in capsys.readouterr().out


def test_when_policy_denies_nothing_is_shown_and_the_attempt_is_on_record(store, tmp_path, capsys, monkeypatch, asked):
    monkeypatch.setattr(opening, "Pdp", policy(Effect.DENY, asked))

    with pytest.raises(EvidenceFault, match=r"bodies: Ask the privacy office\. The attempt is on record"):
        show(store, tmp_path)

    assert SECRET not in capsys.readouterr().out
    with Reader.open(store) as reader:
        newest = reader.leaf(reader.size() - 1)
    assert (newest.type, newest.members["effect"]) == (LeafType.EVIDENCE_READ, "deny")


def test_json_has_the_leaves_as_they_are_and_the_bodies_when_they_may_be_seen(store, tmp_path, capsys, asked):
    assert phigate("show", only_session(store), "--store", store, "--keys", tmp_path / "keys", "--format", "json") == 0
    leaves = json.loads(capsys.readouterr().out)
    assert [row["leaf"]["index"] for row in leaves] == list(range(9))
    assert all(row["proven"] and "bodies" not in row for row in leaves)

    assert show(store, tmp_path, "--format", "json") == 0
    leaves = json.loads(capsys.readouterr().out)
    assert leaves[1]["bodies"]["request"]["params"]["sql"].startswith(SECRET)
    assert leaves[3]["bodies"] == {"reason": "fine"}


def test_a_session_that_is_not_there_is_told(store):
    with pytest.raises(EvidenceFault, match="No session has"):
        phigate("show", "nowhere", "--store", store)
