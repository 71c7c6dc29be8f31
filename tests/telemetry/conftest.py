"""One gateway that is watched, for all tests of what is seen of it."""

from __future__ import annotations

import pytest

from tests.e2e import issuer
from tests.telemetry import watched as watching


@pytest.fixture(scope="session")
def people():
    """The issuer that the gateways trust."""
    with issuer.running() as running:
        yield running


@pytest.fixture(scope="session")
def watched_gateway(tmp_path_factory, people):
    place, db = tmp_path_factory.mktemp("watched"), tmp_path_factory.mktemp("ledger") / "ledger.db"
    with watching.opened(place, people, db) as watched:
        yield watched


@pytest.fixture
def watched(watched_gateway):
    """The gateway; what it has logged and left is checked when all tests are done."""
    watched_gateway.header = {}
    return watched_gateway
