"""Stores of earlier schemas go on with their leaves and checkpoints; a newer one is refused, and left as it is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.core.errors import EvidenceFault
from gateway.core.evidence import checkpoint
from gateway.store import engines, schema
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import intent, make_keys, now, outcome, report

ADDED = {
    2: ("tool_pin", "usage", "usage_patient", "emergency", "emergency_access"),
    3: ("mail", "note"),
    4: ("kek",),
    5: (),
}
"""The tables that came with each version of the schema."""


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


async def exchange(log, name):
    session = await log.session("client", members={}, idle_s=60)
    await log.append(intent(session, name))
    await log.append(outcome(session, name))


def kept(store, keys):
    """A checkpoint, as somebody kept it before the upgrade."""
    with Reader.open(store) as reader:
        return checkpoint.verify(reader.checkpoint()[1], [keys.signer.verifier])


def test_every_version_of_the_schema_is_tried_here():
    assert set(ADDED) == set(range(2, schema.VERSION + 1))


@pytest.mark.parametrize("version", range(1, schema.VERSION))
async def test_a_log_of_an_earlier_schema_goes_on_and_extends_what_was_kept(file, keys, version):
    async with EvidenceLog.open(file, keys, now=now) as log:
        await exchange(log, "before")
    with closing(sqlite3.connect(file)) as connection:
        for tables in (ADDED[later] for later in ADDED if later > version):
            for table in tables:
                connection.execute(f"DROP TABLE {table}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
    anchor = kept(file, keys)

    async with EvidenceLog.open(file, keys, now=now) as log:
        await exchange(log, "after")

    checked = report(file, keys, anchor=anchor)
    assert checked.passed
    assert checked.size > anchor.size
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


def bring_forward(store):
    """What a release to come does with the store: its schema has another version."""
    engine = engines.of(store)
    with closing(engine.connect()) as connection:
        if isinstance(store, Path):
            connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        else:
            connection.execute("UPDATE schema_version SET version = ?", (schema.VERSION + 1,))


async def test_who_runs_goes_on_when_a_newer_release_brings_the_store_forward(store, keys):
    async with EvidenceLog.open(store, keys, now=now) as log:
        await exchange(log, "before")
        bring_forward(store)
        await exchange(log, "after")
        size = await log.transact(lambda transaction: transaction.size)

        with pytest.raises(EvidenceFault, match=f"schema version {schema.VERSION + 1}"):
            async with EvidenceLog.open(store, keys, now=now):
                pass
        with pytest.raises(EvidenceFault, match="Use the phigate release that wrote it"), Reader.open(store):
            pass
        assert await log.transact(lambda transaction: transaction.size) == size
        assert log.fault is None
