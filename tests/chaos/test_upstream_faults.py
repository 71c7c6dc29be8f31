"""Upstreams at their worst, through the whole gateway: the right error, on record, and the gateway as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from tests.chaos import audit, wire
from tests.chaos.upstream import FAULTS

GROWTH_BYTES = 100 * 1000 * 1000
"""What two answers of 100 MB at once may cost for a moment; an answer may have 16 MiB."""


def resident(gateway, field):
    """The largest memory of any worker, in bytes: `VmRSS` now, `VmHWM` at its worst since it was reset."""
    sizes = []
    for pid in gateway.workers():
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        sizes.append(int(lines[field].split()[0]) * 1024)
    return max(sizes)


def forget_worst(gateway):
    for pid in gateway.workers():
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): resets VmHWM.


@pytest.mark.parametrize("tool", FAULTS)
async def test_a_faulty_upstream_is_one_error_on_record_and_the_next_call_works(gateway, agent, ward, seen, tool):
    kind = FAULTS[tool]
    forget_worst(gateway)
    before = resident(gateway, "VmRSS")
    agents = {era: agent("analyst", modern=era == "modern") for era in ("modern", "legacy")}
    answers = {}

    async def misfortune(era):
        async with wire.connected(gateway.port) as connection:
            await agents[era].greet(connection)
            for name in (tool, "read_patient"):
                ident = f"{tool}-{era}-{name}"
                answers[era, name] = await agents[era].call(connection, name, ident=ident, token=ident)
                seen.note(ident, answers[era, name])

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for era in agents:
                nursery.start_soon(misfortune, era)

    told = audit.read(gateway)
    for era in agents:
        error = answers[era, tool].last["error"]
        assert (error["code"], error["data"]["code"]) == (-32011, f"upstream_{kind}")
        ended = told.exchanges[error["data"]["exchange"]]
        assert (ended.ends, ended.why) == (["failed"], kind)
        follows = answers[era, "read_patient"].last
        assert "structuredContent" in follows["result"]
        assert "Forged" not in json.dumps(follows)
    assert (await wire.fetch(gateway.port, "GET", "/readyz"))[0] == 200
    assert resident(gateway, "VmHWM") - before < GROWTH_BYTES
