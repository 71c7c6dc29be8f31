"""What tests of several directories share."""

from __future__ import annotations

import pytest

from tests import postgresql as real


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server that many tests use and none stops."""
    with real.running() as server:
        yield server


@pytest.fixture
def database_url(postgresql):
    """The URL of a fresh PostgreSQL database."""
    with postgresql.database() as url:
        yield url
