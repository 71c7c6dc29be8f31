"""The official Python client, in both eras, through a whole gateway."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.e2e import harness

pytestmark = pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])


def a_patient(clinic):
    with closing(sqlite3.connect(clinic["db"])) as db:
        db.row_factory = sqlite3.Row
        return dict(db.execute("select * from patients limit 1").fetchone())


async def test_a_patient_is_read_with_masks(gateway, clinic, mode):
    patient = a_patient(clinic)
    gateway.phi |= {patient["mrn"], patient["family"] + '"', patient["ssn"]}
    async with harness.client(gateway, "clinic", "analyst", mode=mode) as client:
        tools = await client.list_tools()
        result = await client.call_tool("read_patient", {"mrn": patient["mrn"]})
    assert "read_patient" in [tool.name for tool in tools.tools]
    assert not result.is_error
    assert patient["ssn"] not in result.model_dump_json()
