import io
import json
import sys
from datetime import UTC, datetime

import pytest
import trio

from gateway.__main__ import main
from gateway.core import records
from gateway.core.call import Call
from gateway.core.evidence.record import LeafType, Record
from gateway.core.policy import bundle, samples
from gateway.core.policy.decision import Entrypoint
from gateway.core.protocol.jsonrpc import Request
from gateway.core.records import Ending, Status
from gateway.core.replies import Reply
from gateway.core.types import Era, ExchangeId, Principal, UpstreamRef
from gateway.pdp import loader
from gateway.pdp.engine import Pdp
from gateway.store import keys as keystore
from gateway.store.sequencer import EvidenceLog

AT = "2026-01-05T12:00:00.000000Z"
SHIPPED = bundle.read(loader.shipped())


@pytest.fixture
def policies(tmp_path):
    loader.unpack(SHIPPED, tmp_path / "policies")
    return tmp_path / "policies"


def said(capsys):
    return capsys.readouterr().out


def test_eval_shows_the_answer_and_what_the_gateway_makes_of_it(capsys, tmp_path):
    document = next(asked for entrypoint, asked in samples.samples() if entrypoint is Entrypoint.CALL)
    (tmp_path / "input.json").write_text(json.dumps(document))

    assert main(["policy", "eval", "call", "-i", str(tmp_path / "input.json")]) == 0

    told = said(capsys)
    assert '"effect": "deny"' in told
    assert "The gateway reads this as deny." in told
    assert "no_role" in told


def test_eval_takes_a_query_a_directory_and_standard_input(capsys, policies, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"principal": {"groups": ["analysts"]}}')))

    assert main(["policy", "eval", "data.gateway.roles.name", "-d", str(policies), "-i", "-", "--format", "json"]) == 0

    assert json.loads(said(capsys))["result"][0]["expressions"][0]["value"] == "analysis"


def test_eval_says_undefined_where_there_is_no_answer(capsys):
    assert main(["policy", "eval", "data.gateway.roles.terms"]) == 0
    assert "undefined" in said(capsys)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["policy", "eval", "][", "-i", "{input}"], "error"),
        (["policy", "eval", "call", "-i", "{broken}"], "not JSON"),
        (["policy", "eval", "call", "-i", "{nowhere}"], "cannot be read"),
        (["policy", "eval", "call", "-d", "{nowhere}"], "cannot be read"),
        (["policy", "test", "{nowhere}"], "cannot be read"),
        (["policy", "test", "{policies}", "-r", "("], "not a regular expression"),
        (["bundle", "inspect", "{broken}"], "not a gzip file"),
        (["bundle", "build", "{policies}", "-o", "{nowhere}/x/y"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(capsys, tmp_path, policies, arguments, told):
    paths = {name: tmp_path / name for name in ("input", "broken", "nowhere")} | {"policies": policies}
    paths["input"].write_text("{}")
    paths["broken"].write_text("{ broken")

    assert main([argument.format(**paths) for argument in arguments]) == 2

    assert told in capsys.readouterr().err


def test_test_passes_for_the_shipped_library(capsys, policies):
    assert main(["policy", "test", str(policies)]) == 0
    assert "tests passed" in said(capsys)


def test_test_fails_with_file_line_and_name(capsys, policies):
    (policies / "gateway/roles/more_test.rego").write_text("package gateway.more_test\n\ntest_no if 1 == 2\n")

    assert main(["policy", "test", str(policies), "-r", "more_test"]) == 1

    assert "gateway/roles/more_test.rego:3: data.gateway.more_test.test_no: FAIL" in said(capsys)


def test_test_prints_opas_json(capsys, policies):
    assert main(["policy", "test", str(policies), "-r", "roles_test", "--format", "json"]) == 0
    assert {item["package"] for item in json.loads(said(capsys))} == {"data.gateway.roles_test"}


def test_check_finds_nothing_in_the_shipped_library(capsys, policies):
    assert main(["policy", "check", str(policies)]) == 0
    assert "No faults" in said(capsys)


def test_check_tells_a_fault_with_its_fix(capsys, policies):
    (policies / "gateway/more.rego").write_text("package gateway.more\nx if walk(input)\n")

    assert main(["policy", "check", str(policies)]) == 1
    assert "gateway/more.rego:2:6:" in said(capsys)
    assert main(["policy", "check", str(policies), "--format", "json"]) == 1
    assert json.loads(said(capsys))[0]["rule"] == "walk-as-value"


def test_check_does_not_hang_on_a_deep_literal(policies, capsys):
    (policies / "gateway/more.rego").write_text("package gateway.more\nx := " + "[" * 60 + "]" * 60 + "\n")

    assert main(["policy", "check", str(policies)]) == 1
    assert "deep-literal" in said(capsys)


def decided(principal, document, entrypoint=Entrypoint.CALL):
    return Pdp(SHIPPED).decide(entrypoint, document, at=AT)


async def store(tmp_path, *, event=None, archive=SHIPPED):
    """A real store with one session of one exchange, decided by the shipped bundle."""
    keys = keystore.generate(tmp_path / "keys", origin="test.example/phigate")
    async with EvidenceLog.open(tmp_path / "evidence.db", keys, now=lambda: datetime.now(UTC)) as log:
        await log.transact(lambda transaction: transaction.archive_bundle(SHIPPED.digest, archive.archive))
        members = {"bundle": SHIPPED.digest, "revision": SHIPPED.manifest.revision}
        await log.append(Record(LeafType.BUNDLE_ACTIVATED, members))
        principal = Principal("https://issuer.example", "somebody", ("analysts",))
        session = await log.session("key", members={}, idle_s=60)
        call = Call(
            ExchangeId("exchange"),
            session,
            keys.actor(principal),
            Era.LEGACY,
            "2025-11-25",
            principal,
            UpstreamRef("clinic"),
            Request(1, "tools/list", {}),
        )
        asked = {"principal": {"groups": ["analysts"]}, "message": {"kind": "request", "method": "tools/list"}}
        first = decided(principal, asked)
        if event is not None:
            first = type(first)(first.decision, event(first.event), first.bundle)
        await log.append(records.intent(call, first))
        listing = decided(principal, asked, Entrypoint.CATALOGUE)
        result = decided(principal, asked, Entrypoint.RESULT)
        await log.append(records.outcome(call, Ending(Status.REPLIED, Reply(b"{}"), decided=(listing, result))))
    return ["policy", "replay", "--store", str(tmp_path / "evidence.db"), "--keys", str(tmp_path / "keys")], session


def test_replay_finds_every_decision_as_it_was_recorded(tmp_path, capsys):
    command, session = trio.run(store, tmp_path)

    assert main(command) == 0
    assert "3 decisions replayed: all came out byte for byte as recorded." in said(capsys)
    assert main([*command, "--session", session, "--format", "json"]) == 0
    assert json.loads(said(capsys)) == {"decisions": 3, "differences": []}


def test_replay_says_which_decision_differs_where_and_why(tmp_path, capsys):
    def forged(event):
        return event.replace(b'"result":{"effect":"allow"}', b'"result":{"effect":"allow","labels":{}}')

    async def lie():
        return await store(tmp_path, event=forged)

    command, _ = trio.run(lie)

    assert main([*command, "--format", "json"]) == 1
    (difference,) = json.loads(said(capsys))["differences"]
    assert difference["type"] == "exchange.intent"
    assert difference["body"] == "decision"
    assert difference["why"] == "the answer differs: at $.labels, which only one of them has"


def test_replay_tells_when_the_leaf_and_its_decision_disagree(tmp_path, capsys):
    def forged(event):
        return event[:1] + b'"error":{"code":"policy_slow"},' + event[1:]

    async def lie():
        return await store(tmp_path, event=forged)

    command, _ = trio.run(lie)

    assert main(command) == 1
    assert "the leaf says allow, its decision deny" in said(capsys)


def test_replay_with_an_altered_archive_is_no_proof(tmp_path, capsys):
    async def swap():
        other = bundle.read(bundle.build({**bundle.unrevised(SHIPPED)}, revision=SHIPPED.manifest.revision + "x"))
        return await store(tmp_path, archive=other)

    command, _ = trio.run(swap)

    assert main(command) == 1
    assert "was altered" in said(capsys)


def test_replay_of_a_session_that_is_not_there_is_told(tmp_path, capsys):
    command, _ = trio.run(store, tmp_path)

    assert main([*command, "--session", "nobody"]) == 2
    assert "There is no session nobody" in capsys.readouterr().err
