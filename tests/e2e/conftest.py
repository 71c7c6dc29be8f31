"""One gateway with everything behind it, for the whole session of end-to-end tests; checked after each."""

from __future__ import annotations

import pytest

from tests.e2e import harness, issuer
from tests.e2e.harness import Upstream


@pytest.fixture(scope="session")
def people():
    """The issuer that the gateways trust."""
    with issuer.running() as running:
        yield running


@pytest.fixture(scope="session")
def clinic(tmp_path_factory):
    """The demo's clinic: an HTTP upstream over a SQLite database, by `url` and `db`."""
    db = tmp_path_factory.mktemp("clinic") / "clinic.db"
    with harness.python_program("-m", "gateway.cli.demo.clinic", "--db", str(db)) as said:
        yield {"url": said["mcp"], "db": db}


@pytest.fixture(scope="session")
def clinic_upstream(clinic):
    return Upstream("clinic", {"url": clinic["url"], "sql": {"run_sql": "sql"}, "sql_dialect": "sqlite"})


@pytest.fixture(scope="session")
def served(tmp_path_factory, people, clinic_upstream):
    """A gateway with two workers on one port and the clinic behind it, for tests that leave it as it was."""
    with harness.running(tmp_path_factory.mktemp("served"), people, [clinic_upstream], workers=2) as gateway:
        yield gateway


@pytest.fixture
def gateway(served):
    """The same, checked after the test."""
    yield served
    served.check()
