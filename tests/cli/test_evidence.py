"""`phigate evidence`, as an auditor runs it."""

import argparse
import json
import shutil

import pytest

from gateway.cli import evidence
from gateway.core.errors import ConfigFault, EvidenceFault
from gateway.core.evidence.record import LeafType, Record
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import intent, make_keys, now, outcome, tamper


def phigate(*arguments):
    """Run the command as the shell would."""
    top = argparse.ArgumentParser()
    evidence.add(top.add_subparsers())
    parsed = top.parse_args(["evidence", *map(str, arguments)])
    return parsed.run(parsed)


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


@pytest.fixture
async def store(tmp_path, keys):
    path = tmp_path / "evidence.db"
    await fill(path, keys)
    return path


async def fill(path, keys):
    async with EvidenceLog.open(path, keys, now=now) as log:
        session = await log.session("client", members={}, idle_s=60)
        exchange = f"x{await log.transact(lambda transaction: transaction.size)}"
        await log.append(intent(session, exchange))
        await log.append(outcome(session, exchange))
        await log.append(Record(LeafType.HEARTBEAT, {}))


async def test_an_honest_log_verifies_with_the_public_key_alone(store, tmp_path, capsys):
    assert phigate("verify", "--store", store, "--key", tmp_path / "keys" / "log.vkey") == 0

    said = capsys.readouterr().out
    assert "Nothing was altered, removed or reordered." in said
    assert said.count("PASS") == 8
    assert said.count("NOT CHECKED") == 2


async def test_with_the_keys_every_body_is_opened_too(store, tmp_path, capsys):
    assert phigate("verify", "--store", store, "--keys", tmp_path / "keys", "--format", "json") == 0

    report = json.loads(capsys.readouterr().out)
    statuses = {check["check"]: check["status"] for check in report["checks"]}
    assert (report["passed"], report["size"], statuses["opens"]) == (True, 4, "PASS")


async def test_an_altered_leaf_is_named_with_what_it_means(store, tmp_path, capsys):
    tamper(store, "UPDATE leaf SET entry = replace(entry, 'allow', 'alloW') WHERE idx = 1")

    assert phigate("verify", "--store", store, "--key", tmp_path / "keys") == 1

    said = " ".join(capsys.readouterr().out.split())
    assert "leaf 1: its bytes were altered" in said
    assert "not as it was written" in said


async def test_only_the_first_findings_are_listed_and_the_rest_counted(store, tmp_path, capsys, keys):
    for _ in range(5):
        await fill(store, keys)
    tamper(store, "UPDATE leaf SET entry = x'7b7d'")

    assert phigate("verify", "--store", store, "--key", tmp_path / "keys") == 1

    assert "and " in capsys.readouterr().out


async def test_a_rolled_back_store_fails_against_a_checkpoint_that_was_kept(store, tmp_path, capsys, keys):
    old = tmp_path / "old.db"
    shutil.copy(store, old)
    await fill(store, keys)
    assert phigate("checkpoint", "--store", store) == 0
    kept = tmp_path / "checkpoint"
    kept.write_text(capsys.readouterr().out)

    key = tmp_path / "keys" / "log.vkey"
    assert phigate("verify", "--store", store, "--key", key, "--checkpoint", kept) == 0
    assert phigate("verify", "--store", old, "--key", key, "--checkpoint", kept) == 1
    assert "rolled back or rewritten" in " ".join(capsys.readouterr().out.split())


async def test_a_proof_is_checked_without_the_log(store, tmp_path, capsysbinary):
    proof, leaf, key = tmp_path / "2.tlog-proof", tmp_path / "2.leaf", tmp_path / "keys" / "log.vkey"
    assert phigate("proof", 2, "--store", store) == 0
    proof.write_bytes(capsysbinary.readouterr().out)
    assert phigate("leaf", 2, "--store", store) == 0
    leaf.write_bytes(capsysbinary.readouterr().out)

    assert phigate("verify-proof", proof, leaf, "--key", key) == 0
    assert capsysbinary.readouterr().out.startswith(b"PASS  this is leaf 2 of example.org/log")
    leaf.write_bytes(leaf.read_bytes().replace(b"replied", b"refused"))
    assert phigate("verify-proof", proof, leaf, "--key", key) == 1
    assert capsysbinary.readouterr().out.startswith(b"FAIL")


async def test_what_cannot_be_read_is_told_in_a_sentence(store, tmp_path):
    key = tmp_path / "keys"
    with pytest.raises(EvidenceFault, match="no evidence store at"):
        phigate("verify", "--store", tmp_path / "none.db", "--key", key)
    with pytest.raises(ConfigFault, match="Say --store"):
        phigate("verify", "-c", tmp_path / "none.toml")
    with pytest.raises(ConfigFault, match="cannot be read"):
        phigate("verify", "--store", store, "--key", key, "--checkpoint", tmp_path / "none")
    with pytest.raises(EvidenceFault, match="no checkpoint of this log"):
        phigate("verify", "--store", store, "--key", key, "--checkpoint", key / "log.vkey")
    for index in (-1, 4):
        with pytest.raises(EvidenceFault, match="not under a checkpoint"):
            phigate("proof", "--store", store, "--", index)
    with pytest.raises(EvidenceFault, match="no leaf 4"):
        phigate("leaf", 4, "--store", store)


async def test_a_log_to_which_nothing_was_appended_has_no_checkpoint(tmp_path, keys):
    path = tmp_path / "evidence.db"
    async with EvidenceLog.open(path, keys, now=now):
        pass

    with Reader.open(path) as reader, pytest.raises(EvidenceFault, match="no checkpoint yet"):
        reader.checkpoint()
