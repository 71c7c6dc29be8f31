"""The evidence store in PostgreSQL, in each way that is not well; against a real server."""

from __future__ import annotations

import pytest
from psycopg import sql

from gateway.cli.doctor import keys, store
from gateway.cli.doctor.finding import Status
from gateway.store import keys as keystore
from gateway.store import kms
from gateway.store.sequencer import EvidenceLog
from tests import postgresql as real
from tests.cli.doctor.conftest import bad
from tests.fakes.evidence import database, now


def use(patient, url):
    """Have the configuration name this database."""
    patient.edit(lambda text: text.replace('store = "evidence.db"', f'store = "{url}"'))


async def made(patient, url):
    """The store in the database, as a gateway has it."""
    loaded = keystore.load(patient.place / "keys")
    kms.prepare(patient.place / "keys", now(), 2)
    async with EvidenceLog.open(database(url), loaded, now=now):
        pass


async def test_a_store_that_is_well_is_told_without_a_leaf(patient, database_url):
    use(patient, database_url)
    await made(patient, database_url)

    found = await store.check(patient.config)

    assert [one.status for one in found if one.status is not Status.OK] == []
    assert any("keeps what it acknowledges" in one.text for one in found)
    assert any("leaves" in one.text for one in found)


async def test_a_database_without_a_store_is_told_with_the_command_that_makes_it(patient, database_url):
    use(patient, database_url)

    found = bad(await store.check(patient.config))

    assert found.status is Status.FAIL
    assert "phigate store migrate" in found.text


async def test_a_role_that_may_not_write_is_told(patient, database_url, postgresql):
    await made(patient, database_url)
    name = database_url.rpartition("/")[2]
    reader = f"reader_{name}"
    postgresql.execute(
        sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(reader)),
        sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(sql.Identifier(reader)),
        database=name,
    )
    use(patient, postgresql.url(name, reader))

    found = bad(await store.check(patient.config))

    assert "This role may not add to leaf, body" in found.text
    assert "docs/postgresql.md" in found.fix


async def test_a_server_that_is_down_or_forgets_what_it_acknowledged_is_told(patient):
    with real.running("fsync=off") as server, server.database() as url:
        use(patient, url)
        forgets = bad(await store.check(patient.config))
        server.stop()
        down = bad(await store.check(patient.config))

    assert "fsync off" in forgets.text
    assert "start the database" in down.text


@pytest.mark.parametrize("file", [True, False], ids=["file", "database"])
async def test_replicas_are_told_to_prepare_the_months_that_come(patient, database_url, file):
    await made(patient, database_url)
    if not file:
        use(patient, database_url)
    for wrapping in (patient.place / "keys").glob("kek-*.key"):
        wrapping.unlink()

    found = [one for one in await keys.check(patient.config) if "wrapping key" in one.text]

    assert found[0].status is (Status.OK if file else Status.FAIL)
    assert file or "phigate keys prepare" in found[0].fix
