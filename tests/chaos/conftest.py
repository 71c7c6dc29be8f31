"""A gateway with the misbehaving upstream behind it, audited after each test."""

from __future__ import annotations

import pytest

from tests.chaos import upstream
from tests.e2e import issuer


@pytest.fixture(scope="session")
def people():
    """The issuer that the gateways trust."""
    with issuer.running() as running:
        yield running


@pytest.fixture
async def ward():
    """The upstream; it serves in the test's own event loop."""
    async with upstream.ward() as running:
        yield running
