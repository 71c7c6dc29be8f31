"""A gateway with the misbehaving upstream behind it, audited after each test."""

from __future__ import annotations

import time

import pytest
import trio

from tests.chaos import upstream, wire
from tests.chaos.audit import Seen, audit, read
from tests.chaos.wire import Agent
from tests.e2e import harness, issuer
from tests.e2e.harness import START_S, Upstream

QUIET_S = 60.0
"""All that goes on has its end on record within this time, on a busy machine too."""


def in_force(gateway, *, workers, since=0):
    """Wait until so many workers serve that started since the log was `since` bytes long: one is enough to be ready."""
    deadline = time.monotonic() + START_S
    while gateway.log.read_bytes()[since:].count(b" is in force: ") < workers:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="session")
def people():
    """The issuer that the gateways trust."""
    with issuer.running() as running:
        yield running


@pytest.fixture(scope="session")
def ward():
    with upstream.ward_in_thread() as running:
        yield running


@pytest.fixture(scope="session")
def served(tmp_path_factory, people, ward):
    """A gateway with two workers that many tests hurt and none may break."""
    upstreams = [Upstream("ward", {**ward.settings, "idle_s": 1})]
    settings = {"gateway": {"hold_s": 1}}
    with harness.running(tmp_path_factory.mktemp("chaos"), people, upstreams, workers=2, settings=settings) as gateway:
        gateway.phi |= upstream.identifiers()
        in_force(gateway, workers=2)
        trio.run(wire.listed, Agent(gateway.port, "ward", people.token("analyst"), modern=True))
        yield gateway
    # `running` has stopped it, and checked that the log verifies and holds no patient in the clear.


@pytest.fixture
def seen():
    """What clients of this test receive, for the audit."""
    return Seen()


@pytest.fixture
async def gateway(served, ward, seen):
    """The same, audited after the test, when nothing goes on any more."""
    yield served
    with trio.fail_after(QUIET_S):
        while read(served).still_open:
            await trio.sleep(0.1)
    audit(served, seen, ward.calls, at_rest=True)


@pytest.fixture
def agent(gateway):
    """Makes clients: `agent("analyst", modern=True)`."""

    def make(who, *, modern):
        return Agent(gateway.port, "ward", gateway.issuer.token(who), modern)

    return make
