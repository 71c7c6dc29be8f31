"""An operator revokes somebody's tokens while two workers serve: both refuse them within seconds, and nobody else's."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from tests.e2e import harness, workers
from tests.e2e.harness import Upstream

UPSTREAM = Path(__file__).with_name("upstream_server.py")
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
SECONDS = 30.0
"""A bound for a machine that is busy; a worker looks once a second."""


@pytest.fixture
def gateway(tmp_path, people):
    ward = Upstream("ward", {"command": sys.executable, "args": [str(UPSTREAM)]})
    with harness.running(tmp_path, people, [ward], workers=2) as running:
        yield running


def status(worker) -> int:
    response = worker.post("ward", PING)
    response.read()
    return int(response.status)


def until(wanted: int, worker) -> bool:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if status(worker) == wanted:
            return True
        time.sleep(0.05)
    return False


def test_both_workers_refuse_what_was_revoked_and_take_it_back(gateway):
    where = ("-c", str(gateway.config))
    with workers.each(gateway, "clinician") as ours, workers.each(gateway, "analyst") as others:
        before = [status(worker) for worker in (*ours, *others)]
        gateway.phigate("tokens", "revoke", "--subject", "clinician", "--reason", "laptop stolen", *where)
        assert all(until(401, worker) for worker in ours)
        assert "was revoked here" in ours[0].post("ward", PING).headers["www-authenticate"]
        ours[0].response.read()
        assert [status(worker) for worker in others] == before[2:]

        (known,) = json.loads(gateway.phigate("tokens", "list", "--format", "json", *where))
        gateway.phigate("tokens", "restore", str(known["leaf"]), "--reason", "found again", *where)
        assert all(until(before[0], worker) for worker in ours)
    gateway.stop()
    kinds = [leaf["type"] for leaf in gateway.leaves()]
    assert (kinds.count("token.revoked"), kinds.count("token.restored")) == (1, 1)
    assert any(
        leaf["members"].get("reason") == "revoked" for leaf in gateway.leaves() if leaf["type"] == "login.failed"
    )
    assert "laptop" not in json.dumps(gateway.leaves())
    gateway.check()
