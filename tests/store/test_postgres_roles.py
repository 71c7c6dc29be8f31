"""The roles of docs/postgresql.md, made by the page's own statements: who may do what, and nothing beyond."""

import re
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import trio

from gateway.core.errors import EvidenceFault
from gateway.store.sequencer import EvidenceLog
from tests import postgresql as real
from tests.fakes.evidence import database, edited, intent, make_keys, now, outcome, report

PAGE = Path(__file__).parents[2] / "docs" / "postgresql.md"


def run(server, block, role, database):
    """Run the statements of one of the page's blocks."""
    text = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)[block]
    with psycopg.connect(server.url(database, role), autocommit=True) as connection:
        for statement in text.split(";\n"):
            connection.execute(statement)


def store_of(server, role, **more):
    return replace(database(server.url("phigate", role)), migrates=False, **more)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A server with the page's database and roles; the owner has made the tables and given out the rights. Its keys."""
    keys = make_keys(tmp_path_factory.mktemp("roles"))
    with real.running() as server:
        run(server, 0, real.SUPERUSER, real.SUPERUSER)
        trio.run(migrated, replace(store_of(server, "phigate_owner"), migrates=True), keys)
        run(server, 1, "phigate_owner", "phigate")
        yield server, keys


async def migrated(store, keys):
    async with EvidenceLog.open(store, keys, now=now):
        pass


async def test_gateways_serve_and_auditors_verify_as_roles_that_may_change_no_evidence(made):
    server, keys = made
    async with EvidenceLog.open(store_of(server, "phigate"), keys, now=now) as log:
        session = await log.session("client", members={}, idle_s=60)
        await log.append(intent(session, "x1"))
        await log.append(outcome(session, "x1"))
        await log.close_session(session, why="client")

    assert report(store_of(server, "auditor"), keys).passed
    refused = {
        "phigate": [
            "UPDATE leaf SET idx = 1",
            "DELETE FROM body",
            "TRUNCATE leaf",
            "DROP TRIGGER leaf_append_only ON leaf",
            "ALTER TABLE leaf DISABLE TRIGGER ALL",
            "UPDATE origin SET name = 'another'",
            "UPDATE schema_version SET version = 9",
            "CREATE TABLE mine (id INT)",
        ],
        "auditor": ["INSERT INTO leaf SELECT * FROM leaf", "UPDATE head SET size = 0", "SELECT * FROM note"],
    }
    for role, wanted in refused.items():
        with edited(store_of(server, role)) as connection:
            for statement in wanted:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)


async def test_a_role_that_may_not_write_is_told_what_it_lacks(made):
    server, keys = made
    with pytest.raises(EvidenceFault, match=r"grant this role what docs/postgresql\.md lists"):
        async with EvidenceLog.open(store_of(server, "auditor"), keys, now=now):
            pass
