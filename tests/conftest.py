"""What tests of several directories share, and how a whole run goes about them."""

from __future__ import annotations

import os
from functools import cache

import httpcore2
import pytest
from hypothesis import HealthCheck, settings

from tests import postgresql as real

LONG = ("interop", "ingress", "e2e", "conformance", "chaos", "test_docs", "deploy", "telemetry", "store", "cli", "pdp")
"""Where tests start programs and wait for them."""

# How long an example takes says what else runs on the machine, and nothing of the code.
settings.register_profile("any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_xdist_auto_num_workers():
    """One more than there are cores: many tests wait for a moment to come, and not for a processor."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config, items):
    """What takes long comes first, or it would be what everybody waits for at the end, on one core of several."""

    def place(item):
        part = item.path.relative_to(config.rootpath / "tests").parts[0]
        return next((number for number, name in enumerate(LONG) if part.startswith(name)), len(LONG))

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def authorities():
    """Clients that ask over plain HTTP read the machine's list of authorities once, and not for 20 ms each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpcore2, "default_ssl_context", cache(httpcore2.default_ssl_context))
        yield


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
