"""One gateway with everything behind it, for the whole session of end-to-end tests; checked after each."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import trio

from tests import real_parts
from tests.e2e import harness, issuer, sdk_server
from tests.e2e.harness import Upstream
from tests.interop.upstreams import everything_over_http

CONFIDENTIAL = "078-05-1121"
"""A synthetic social security number in a file that an upstream serves."""


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
def patient(clinic):
    """One of the clinic's patients, as the row of its database."""
    with closing(sqlite3.connect(clinic["db"])) as db:
        db.row_factory = sqlite3.Row
        return dict(db.execute("select * from patients limit 1").fetchone())


@pytest.fixture(scope="session")
def clinic_upstream(clinic):
    return Upstream("clinic", {"url": clinic["url"], "sql": {"run_sql": "sql"}, "sql_dialect": "sqlite"})


@pytest.fixture(scope="session")
def ward_upstream():
    """The official SDK's server with one tool for each thing MCP can do, over HTTP."""
    with harness.python_program("-m", "tests.e2e.sdk_server") as said:
        yield Upstream("ward", {"url": said["mcp"]})


@pytest.fixture(scope="session")
def files_upstream(tmp_path_factory):
    """npm's filesystem server, over stdio, on a directory with one file."""
    directory = tmp_path_factory.mktemp("files")
    (directory / "letter.txt").write_text(f"Synthetic. Ms Doe, SSN: {CONFIDENTIAL}, wants her records.\n")
    return Upstream("files", _npm("mcp-server-filesystem", str(directory)) | {"labels": {"directory": str(directory)}})


@pytest.fixture(scope="session")
def everything_upstream():
    """npm's server-everything over stdio."""
    return Upstream("everything", _npm("mcp-server-everything"))


@pytest.fixture(scope="session")
def everything_http_upstream():
    """npm's server-everything over Streamable HTTP."""
    with everything_over_http() as url:
        yield Upstream("everything-http", {"url": url})


@pytest.fixture(scope="session")
def database_upstream(tmp_path_factory):
    """PyPI's mcp-alchemy over stdio, in the modern era alone, on a SQLite database."""
    directory = tmp_path_factory.mktemp("alchemy")
    with closing(sqlite3.connect(directory / "visits.db")) as db, db:
        db.execute("create table visit (id integer primary key, ward text, ssn text)")
        db.executemany("insert into visit (ward, ssn) values (?, ?)", [("icu", CONFIDENTIAL)] * 60)
    # As careless programs do, it tells its standard error whom it serves: the gateway's logs must not repeat it.
    start = f'echo "SSN {CONFIDENTIAL}" >&2; DB_URL="sqlite:///{directory}/visits.db" exec "$0"'
    command = ["-c", start, str(real_parts.python_tool("mcp-alchemy"))]
    settings = {"command": "/bin/sh", "args": command, "sql": {"execute_query": "query"}, "sql_dialect": "sqlite"}
    return Upstream("database", settings)


def _npm(tool, *arguments):
    return {"command": str(real_parts.node()), "args": [str(real_parts.npm_tool(tool)), *arguments]}


def _withdraw(settings):
    """What the served gateway's policy says beside the shipped one."""
    settings["tools"]["ward"] = {"withdrawn": "deny"}
    settings["tools"]["database"] = {"execute_query": "read", "all_table_names": "read"}


@pytest.fixture(scope="session")
def served(
    tmp_path_factory,
    people,
    clinic_upstream,
    ward_upstream,
    files_upstream,
    everything_upstream,
    everything_http_upstream,
    database_upstream,
):
    """A gateway with two workers on one port and everything behind it, for tests that leave it as it was."""
    over_http = [clinic_upstream, ward_upstream, everything_http_upstream]
    upstreams = [*over_http, files_upstream, everything_upstream, database_upstream]
    place = tmp_path_factory.mktemp("served")
    change = lambda policies: harness.change_settings(policies, _withdraw)  # noqa: E731
    with harness.running(place, people, upstreams, workers=2, policy=change) as gateway:
        gateway.phi |= {sdk_server.SSN, CONFIDENTIAL}
        trio.run(harness.list_tools, gateway, "analyst", *(upstream.name for upstream in upstreams))
        yield gateway


@pytest.fixture
def gateway(served):
    """The same, checked after the test."""
    yield served
    served.check()


def _open_questions(settings):
    settings["from_upstream"]["requests"] += ["elicitation/create", "sampling/createMessage"]


@pytest.fixture(scope="session")
def asked(tmp_path_factory, people, ward_upstream):
    """A gateway whose policy lets upstreams ask the client."""
    place = tmp_path_factory.mktemp("asking")
    change = lambda policies: harness.change_settings(policies, _open_questions)  # noqa: E731
    with harness.running(place, people, [ward_upstream], policy=change) as gateway:
        trio.run(harness.list_tools, gateway, "analyst", "ward")
        yield gateway


@pytest.fixture
def asking(asked):
    """The same, checked after the test."""
    yield asked
    asked.check()


def pytest_collection_modifyitems(items):
    """The official client, cancelled, leaves generators of its HTTP library to the garbage collector: not our doing."""
    for item in items:
        if item.path.parent.name == "e2e":
            item.add_marker(
                pytest.mark.filterwarnings("ignore:Async generator '(httpx2|httpcore2|mcp):ResourceWarning")
            )
