"""`phigate evidence backup`, `restore` and `drill`, as an operator runs them."""

from __future__ import annotations

import json
import shutil
import stat

import pytest
import trio

from gateway.cli.main import main
from gateway.core.evidence.record import LeafType
from gateway.store import keys as keystore
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from tests.cli.traffic import ANN, fill, options, policy
from tests.fakes.evidence import intent, now, outcome, tamper

ALLOW = 'decision := {"effect": "allow"}'


@pytest.fixture
def place(tmp_path):
    """A place whose store has a few real exchanges."""

    async def some(traffic):
        await traffic.activate(policy(ALLOW, ALLOW))
        for _ in range(3):
            await traffic.call(ANN)

    fill(tmp_path, some)
    return tmp_path


def more(place, count=1):
    """Further exchanges, in another session."""

    async def append():
        async with EvidenceLog.open(place / "evidence.db", keystore.load(place / "keys"), now=now) as log:
            session = await log.session("another", members={}, idle_s=60)
            for number in range(count):
                await log.append(intent(session, f"more-{session}-{number}"))
                await log.append(outcome(session, f"more-{session}-{number}"))

    trio.run(append)


def backed_up(place):
    copy = place / "copy.db"
    assert main(["evidence", "backup", str(copy), *options(place)]) == 0
    return copy


def lost(place):
    for path in place.glob("evidence.db*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def restore(place, copy, *words):
    return main(["evidence", "restore", str(copy), *options(place), "--reason", "the disk died", *words])


def test_a_backup_is_verified_and_leaves_a_checkpoint_to_be_kept_elsewhere(place, capsys):
    copy = backed_up(place)

    said = capsys.readouterr().out
    kept = place / "copy.db.checkpoint"
    assert f"{copy}  8 leaves, {copy.stat().st_size} bytes" in said
    assert f"{kept}  keep it elsewhere" in said
    verified = ["evidence", "verify", "--store", str(copy), "--keys", str(place / "keys"), "--checkpoint", str(kept)]
    assert main([*verified, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"] == 8


def test_a_directory_gets_a_file_named_after_the_time(place, capsys):
    (place / "backups").mkdir()

    assert main(["evidence", "backup", str(place / "backups"), *options(place)]) == 0

    (made,) = (place / "backups").glob("evidence-*Z.db")
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert str(made) in capsys.readouterr().out


def test_evidence_that_was_altered_is_copied_as_it_is_and_the_exit_code_says_so(place, capsys):
    tamper(place / "evidence.db", "UPDATE leaf SET entry = replace(entry, 'allow', 'alloW') WHERE idx = 3")

    assert main(["evidence", "backup", str(place / "copy.db"), *options(place)]) == 1

    told = capsys.readouterr()
    assert "leaf 3: its bytes were altered" in told.out
    assert "does not verify; the copy is as it is" in told.err
    assert (place / "copy.db").exists()


def test_a_restore_without_a_checkpoint_must_be_meant(place, capsys):
    copy = backed_up(place)
    lost(place)

    assert restore(place, copy) == 1

    assert "without a checkpoint nobody can say how many came after. Nothing was restored." in capsys.readouterr().err
    assert not (place / "evidence.db").exists()
    assert restore(place, copy, "--accept-loss") == 0
    assert "8 leaves restored. The backup has 8 leaves; without a checkpoint" in capsys.readouterr().out


def test_a_restore_behind_a_kept_checkpoint_says_loudly_what_is_lost_and_puts_it_on_record(place, capsys):
    copy = backed_up(place)
    more(place, 2)
    capsys.readouterr()
    assert main(["evidence", "checkpoint", *options(place)[:2]]) == 0
    kept = place / "kept"
    kept.write_text(capsys.readouterr().out)
    lost(place)

    assert restore(place, copy, "--checkpoint", str(kept)) == 1
    assert "5 LEAVES ARE LOST: the log had 13 and the backup has 8. Nothing was restored." in capsys.readouterr().err
    assert not (place / "evidence.db").exists()

    assert restore(place, copy, "--checkpoint", str(kept), "--accept-loss") == 0
    assert "5 LEAVES ARE LOST" in capsys.readouterr().out
    with Reader.open(place / "evidence.db") as reader:
        (said,) = (leaf for leaf in reader.leaves() if leaf.type is LeafType.EVIDENCE_RESTORED)
    assert (said.members["leaves"], said.members["kept"], said.members["lost"]) == (8, 13, 5)
    verified = ["evidence", "verify", *options(place)]
    assert main(verified) == 0
    more(place, 4)
    assert main([*verified, "--checkpoint", str(kept)]) == 1, "what was lost shows, however far the log has grown"


def test_a_backup_that_reaches_the_kept_checkpoint_loses_nothing_of_it(place, capsys):
    copy = backed_up(place)
    lost(place)
    kept = f"{copy}.checkpoint"

    assert restore(place, copy, "--checkpoint", kept) == 0

    assert "so nothing that it covers is lost" in capsys.readouterr().out
    assert main(["policy", "replay", *options(place)]) == 0
    more(place)
    assert main(["evidence", "verify", *options(place), "--checkpoint", kept]) == 0


def test_a_backup_that_was_altered_is_not_restored(place, capsys):
    copy = backed_up(place)
    tamper(copy, "UPDATE leaf SET entry = replace(entry, 'allow', 'alloW') WHERE idx = 3")
    lost(place)

    assert restore(place, copy, "--accept-loss") == 1

    told = capsys.readouterr()
    assert "leaf 3: its bytes were altered" in told.out
    assert "not as it was written. Nothing was restored" in told.err
    assert not (place / "evidence.db").exists()


def test_a_backup_of_another_log_is_not_restored(place, tmp_path_factory, capsys):
    copy = backed_up(place)
    other = tmp_path_factory.mktemp("other")
    keystore.generate(other / "keys", origin="other.example/phigate")

    assert restore(other, copy, "--accept-loss") == 1

    assert not (other / "evidence.db").exists()
    assert "FAIL" in capsys.readouterr().out


def test_a_store_that_is_there_is_never_restored_over(place):
    copy = backed_up(place)
    before = (place / "evidence.db").read_bytes()

    assert restore(place, copy, "--accept-loss") == 2
    assert (place / "evidence.db").read_bytes() == before


def test_a_drill_restores_verifies_and_replays_elsewhere(place, capfd):
    copy = backed_up(place)
    config = ["--keys", str(place / "keys")]
    before = sorted(place.iterdir())

    assert main(["evidence", "drill", str(copy), *config, "--place", str(place)]) == 0

    said = capfd.readouterr().out
    assert "decisions replayed: all came out byte for byte as recorded" in said
    assert "Nothing was altered, removed or reordered." in said
    assert "The drill passed in" in said
    assert sorted(place.iterdir()) == before


def test_a_drill_without_the_month_s_wrapping_key_fails_where_bodies_do_not_open(place, capfd):
    copy = backed_up(place)
    for wrapping in (place / "keys").glob("kek-*.key"):
        wrapping.unlink()

    assert main(["evidence", "drill", str(copy), "--keys", str(place / "keys")]) == 1

    told = capfd.readouterr()
    assert "The drill failed at" in told.err


def test_what_cannot_be_read_is_told_in_a_sentence(place):
    copy = backed_up(place)
    lost(place)
    arguments = ["--checkpoint", str(place / "none")]

    assert restore(place, copy, *arguments) == 2
    assert restore(place, place / "none.db", "--accept-loss") == 2
