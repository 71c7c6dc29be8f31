"""A store in PostgreSQL, backed up and restored by PostgreSQL's own means, as docs/postgresql.md says."""

from __future__ import annotations

import subprocess
from contextlib import closing

import pytest
import trio

from gateway.cli.main import main
from gateway.core.evidence.record import LeafType
from gateway.store import engines
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import database, intent, make_keys, now, outcome, report


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


def own(server, program, *arguments):
    """One of PostgreSQL's own commands."""
    done = subprocess.run(
        [server.programs / program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_dump_made_while_gateways_write_is_restored_and_the_log_says_so(
    postgresql, database_url, keys, tmp_path, capsys
):
    dump, kept = tmp_path / "evidence.dump", tmp_path / "kept"
    async with EvidenceLog.open(database(database_url), keys, now=now) as log:
        session = await log.session("client", members={}, idle_s=60)
        await log.append(intent(session, "x1"))
        await trio.to_thread.run_sync(own, postgresql, "pg_dump", "-Fc", "-d", database_url, "-f", dump)
        await log.append(outcome(session, "x1"))
        await log.append(intent(session, "x2"))
        await log.append(outcome(session, "x2"))
    with Reader.open(database(database_url)) as reader:
        kept.write_text(reader.checkpoint()[1])
    with postgresql.database() as other:
        own(postgresql, "pg_restore", "--exit-on-error", "-d", other, dump)
        restore = ["evidence", "restore", "--store", other, "--keys", str(tmp_path / "keys"), "--reason", "the drill"]

        refused = await trio.to_thread.run_sync(main, [*restore, "--checkpoint", str(kept)])
        told = capsys.readouterr()
        done = await trio.to_thread.run_sync(main, [*restore, "--checkpoint", str(kept), "--accept-loss"])

        assert (refused, done) == (1, 0)
        assert "LEAVES ARE LOST" in told.err
        with Reader.open(database(other)) as reader:
            (said,) = (leaf for leaf in reader.leaves() if leaf.type is LeafType.EVIDENCE_RESTORED)
        assert said.members["lost"] > 0
        assert report(database(other), keys).passed
        with closing(engines.of(database(other)).connect()) as connection:
            guards = connection.execute("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal").fetchone()
        with closing(engines.of(database(database_url)).connect()) as connection:
            assert connection.execute("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal").fetchone() == guards


def test_a_file_is_not_restored_into_a_database_nor_a_database_backed_up_to_a_file(
    database_url, keys, tmp_path, capsys
):
    where = ["--store", database_url, "--keys", str(tmp_path / "keys")]

    assert main(["evidence", "backup", str(tmp_path / "copy.db"), *where]) == 2

    assert "PostgreSQL, which has means of its own: docs/postgresql.md" in capsys.readouterr().err
    assert not (tmp_path / "copy.db").exists()
    assert keys.origin
