"""Real MCP servers as upstreams, each with what is asked of it: what is let through, refused, held, and asked back."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import real_parts
from tests.conformance import parts
from tests.e2e import harness
from tests.e2e.harness import Upstream
from tests.interop import fhir, postgres

SSN = "912-34-5678"
"""A synthetic social security number in what upstreams hold: 900 and above are never given to anybody."""

_LOOPBACK = Path(__file__).parents[1] / "node" / "loopback.cjs"


@dataclass(frozen=True)
class Call:
    """A tool call, and what is in its result when it came through."""

    tool: str
    arguments: Mapping[str, Any]
    says: str = ""


@dataclass(frozen=True)
class Real:
    """An upstream and what clients do with it. What it cannot do is None."""

    upstream: Upstream
    package: str
    """As its registry and users call it, without the version."""
    who: str
    """In whose role clients call; `harness` knows the roles."""
    allowed: Call
    refused: Call
    reason: str
    """The code of that refusal."""
    held: Call
    """A call that policy holds for reviewers."""
    phi: str | None = None
    """What `allowed` would return unmasked."""
    progress: Call | None = None
    elicitation: Call | None = None
    sampling: Call | None = None

    @property
    def name(self) -> str:
        return self.upstream.name


@contextmanager
def running(place: Path) -> Iterator[tuple[Real, ...]]:
    """All of them, ready to be put behind a gateway. Files that they serve are in `place`."""
    with ExitStack() as stack:
        everything = stack.enter_context(parts.everything_server())
        over_http = stack.enter_context(everything_over_http())
        yield (
            _postgres(stack.enter_context(postgres.running())),
            _files(place),
            _everything("everything", _npm("mcp-server-everything")),
            _everything("everything-http", {"url": over_http}),
            _database(place),
            _fhir(stack.enter_context(fhir.backend())),
            _sdk_legacy({"url": everything, "era": "legacy"}),
            _sdk_modern({"url": everything, "era": "modern"}),
        )


def policy(policies: Path) -> None:
    """What the shipped policy is told of these upstreams, and no more than they need."""

    def change(settings: dict[str, Any]) -> None:
        asks = ("trigger-elicitation-request", "trigger-sampling-request")
        everything = dict.fromkeys(asks, "read") | {"get-env": "deny", "toggle-simulated-logging": "write"}
        sdk = ("test_simple_text", "test_tool_with_progress", "test_elicitation", "test_sampling")
        rounds = ("test_input_required_result_elicitation", "test_input_required_result_sampling")
        settings["tools"] |= {
            "postgres": {"query": "read"},
            "files": {"move_file": "deny"},
            "everything": everything,
            "everything-http": everything,
            "database": {"execute_query": "read", "all_table_names": "read"},
        }
        for name in ("sdk-legacy", "sdk-modern"):
            settings["tools"][name] = dict.fromkeys((*sdk, *rounds), "read") | {"test_audio_content": "deny"}
        settings["from_upstream"]["requests"] += ["elicitation/create", "sampling/createMessage"]
        settings["guards"]["fhir"] = fhir.GUARD

    harness.change_settings(policies, change)


def _postgres(url: str) -> Real:
    settings = _npm("mcp-server-postgres", url) | {"sql": {"query": "sql"}, "sql_dialect": "postgres"}
    return Real(
        Upstream("postgres", settings),
        "server-postgres",
        "analyst",
        allowed=Call("query", {"sql": "select id, ward, ssn from patient where id = 7"}, "icu"),
        phi=postgres.ssn(7),
        refused=Call("query", {"sql": "delete from patient where id = 7"}),
        reason="write",
        held=Call("query", {"sql": "select ward, ssn from patient"}, "ward"),
    )


def _files(place: Path) -> Real:
    directory = place / "files"
    directory.mkdir()
    letter = directory / "letter.txt"
    letter.write_text(f"Synthetic. Ms Doe, SSN: {SSN}, wants her records.\n")
    return Real(
        Upstream("files", _npm("mcp-server-filesystem", str(directory))),
        "server-filesystem",
        "clinician",
        allowed=Call("read_text_file", {"path": str(letter)}, "Synthetic."),
        phi=SSN,
        refused=Call("move_file", {"source": str(letter), "destination": str(directory / "gone.txt")}),
        reason="tool_denied",
        held=Call("write_file", {"path": str(directory / "note.txt"), "content": "synthetic"}, "Successfully wrote"),
    )


def _everything(name: str, settings: dict[str, Any]) -> Real:
    return Real(
        Upstream(name, settings),
        "server-everything",
        "clinician",
        allowed=Call("echo", {"message": f"Synthetic. SSN {SSN}"}, "Synthetic."),
        phi=SSN,
        refused=Call("get-env", {}),
        reason="tool_denied",
        progress=Call("trigger-long-running-operation", {"duration": 0.6, "steps": 3}, "completed"),
        elicitation=Call("trigger-elicitation-request", {}, "User provided the requested information"),
        sampling=Call("trigger-sampling-request", {"prompt": "Which?", "maxTokens": 10}, "Paris"),
        held=Call("toggle-simulated-logging", {}, "simulated"),
    )


def _database(place: Path) -> Real:
    file = place / "visits.db"
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("create table visit (id integer primary key, ward text, ssn text)")
        db.executemany("insert into visit (ward, ssn) values (?, ?)", [("icu", SSN)] * 60)
    start = ["-c", f'DB_URL="sqlite:///{file}" exec "$0"', str(real_parts.python_tool("mcp-alchemy"))]
    settings = {"command": "/bin/sh", "args": start, "sql": {"execute_query": "query"}, "sql_dialect": "sqlite"}
    return Real(
        Upstream("database", settings),
        "mcp-alchemy",
        "analyst",
        allowed=Call("execute_query", {"query": "select id, ward, ssn from visit where id = 7"}, "ward: icu"),
        phi=SSN,
        refused=Call("execute_query", {"query": "drop table visit"}),
        reason="sql_schema_change",
        held=Call("execute_query", {"query": "select ward, ssn from visit"}, "ward"),
    )


def _fhir(base: str) -> Real:
    library = real_parts.python_library("fhir-mcp")
    variables = f'PYTHONPATH="{library}" FHIR_SERVER_BASE_URL="{base}" FHIR_SERVER_DISABLE_AUTHORIZATION=True'
    start = ["-c", f'{variables} exec "$0" -m fhir_mcp_server --transport stdio --log-level ERROR', sys.executable]
    settings = {"command": "/bin/sh", "args": start, "connect_s": 30, "fhir": fhir.FHIR, "fhir_bases": [base]}
    return Real(
        Upstream("fhir", settings),
        "fhir-mcp-server",
        "analyst",
        allowed=Call("read", {"type": "Patient", "id": "p7"}, "female"),
        phi=fhir.SSN_OF_P7,
        refused=Call("delete", {"type": "Patient", "id": "p7"}),
        reason="write",
        held=Call("search", {"type": "Patient", "searchParam": {"family": "Quillfeather"}}, "Patient"),
    )


def _sdk_legacy(settings: dict[str, Any]) -> Real:
    elicitation = Call("test_elicitation", {"message": "Who?"}, "action=accept")
    sampling = Call("test_sampling", {"prompt": "Which?"}, "LLM response: Paris")
    return _sdk("sdk-legacy", settings, elicitation, sampling)


def _sdk_modern(settings: dict[str, Any]) -> Real:
    elicitation = Call("test_input_required_result_elicitation", {}, "Hello, Ada!")
    sampling = Call("test_input_required_result_sampling", {}, "Model said: Paris")
    return _sdk("sdk-modern", settings, elicitation, sampling)


def _sdk(name: str, settings: dict[str, Any], elicitation: Call, sampling: Call) -> Real:
    return Real(
        Upstream(name, settings),
        "SDK's everything-server",
        "clinician",
        allowed=Call("test_simple_text", {}, "simple text"),
        refused=Call("test_audio_content", {}),
        reason="tool_denied",
        progress=Call("test_tool_with_progress", {}),
        elicitation=elicitation,
        sampling=sampling,
        held=Call("test_embedded_resource", {}, "embedded"),
    )


def _npm(tool: str, *arguments: str) -> dict[str, Any]:
    command = [str(real_parts.npm_tool(tool)), *arguments]
    return {"command": str(real_parts.node()), "args": command, "connect_s": 30}


@contextmanager
def everything_over_http() -> Iterator[str]:
    """The URL of npm's server-everything over Streamable HTTP, kept from listening beyond this machine."""
    port = harness.free_port()
    command = [str(real_parts.node()), str(real_parts.npm_tool("mcp-server-everything")), "streamableHttp"]
    environment = real_parts.environment() | {"PORT": str(port), "NODE_OPTIONS": f"--require={_LOOPBACK}"}
    with harness.child(*command, env=environment) as process:
        harness.wait_for_port(process, port)
        yield f"http://127.0.0.1:{port}/mcp"
