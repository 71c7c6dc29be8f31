"""Servers that we did not write, as upstreams: the official SDK over HTTP in both eras, others as programs."""

import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success
from gateway.core.types import Era, SessionId
from gateway.upstream import wire
from gateway.upstream.base import Deadlines, HttpSettings, Link, StdioSettings
from tests import real_parts
from tests.upstream.wires import ask

CLIENT = {"name": "phigate-test", "version": "1"}
GREETING = {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": CLIENT}
MODERN = Link(SessionId("m"), Era.MODERN, "2026-07-28")
LEGACY = Link(SessionId("l"), Era.LEGACY, "2025-11-25")
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def tool(name, ident=1, meta=META, **arguments):
    return Request(ident, "tools/call", {"name": name, "arguments": arguments, "_meta": meta})


def text_of(heard):
    assert isinstance(heard[-1], Success)
    return heard[-1].result["content"][0]["text"]


async def line_of(stream):
    line = b""
    while not line.endswith(b"\n"):
        line += await stream.receive_some(1)
    return line


@asynccontextmanager
async def sdk_server():
    """The official SDK's server: its upstream, and the stream of what it prints."""
    command = [sys.executable, str(Path(__file__).with_name("sdk_server.py"))]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            lambda task_status: trio.run_process(command, stdout=subprocess.PIPE, check=False, task_status=task_status)
        )
        with trio.fail_after(20):
            port = int(await line_of(process.stdout))
            async with wire(HttpSettings("sdk", f"http://127.0.0.1:{port}/mcp")) as upstream:
                yield upstream, process.stdout
        nursery.cancel_scope.cancel()


async def greeted(upstream):
    """A link in a legacy session that has just been begun."""
    async with upstream.converse(LEGACY) as conversation:
        await conversation.send(Request(0, "initialize", GREETING))
        assert isinstance(await conversation.receive(), Success)
        link = replace(LEGACY, upstream_session=conversation.upstream_session)
    assert await ask(upstream, Notification("notifications/initialized"), link) == [None]
    return link


async def test_the_official_server_in_the_modern_era():
    async with sdk_server() as (upstream, _):
        discovered = await ask(upstream, Request(1, "server/discover", {"_meta": META}), MODERN)
        sums = [text_of(await ask(upstream, tool("add", ident, one=ident, other=1), MODERN)) for ident in range(3)]
        counted = await ask(upstream, tool("count", "c", {**META, "progressToken": "p"}, to=3), MODERN)
        unknown = await ask(upstream, Request(9, "no/such/method", {"_meta": META}), MODERN)
        without = await ask(upstream, Request(9, "tools/list"), MODERN)

    assert "2026-07-28" in discovered[0].result["supportedVersions"]
    assert sums == ["1", "2", "3"]
    assert [message.params["progress"] for message in counted[:-1]] == [1, 2, 3]
    assert {message.params["progressToken"] for message in counted[:-1]} == {"p"}
    assert text_of(counted) == "counted to 3"
    assert isinstance(unknown[0], Failure)
    assert unknown[0].code == -32601
    assert isinstance(without[0], Failure)


async def test_leaving_a_modern_call_stops_the_work_at_the_official_server():
    async with sdk_server() as (upstream, printed):
        async with upstream.converse(MODERN) as conversation:
            await conversation.send(tool("wait", seconds=60))
            with trio.move_on_after(0.5):
                await conversation.receive()
        assert await line_of(printed) == b"cancelled\n"


async def test_the_official_server_in_the_legacy_era():
    async with sdk_server() as (upstream, _):
        link = await greeted(upstream)
        assert text_of(await ask(upstream, tool("add", meta={}, one=2, other=3), link)) == "5"
        counted = await ask(upstream, tool("count", "c", {"progressToken": 0}, to=2), link)
        assert [message.params["progressToken"] for message in counted[:-1]] == [0, 0]
        async with upstream.converse(link) as conversation:
            await conversation.send(tool("ask_for_ward", meta={}))
            asked = await conversation.receive()
            assert (type(asked), asked.method) == (Request, "elicitation/create")
            await conversation.respond(Success(asked.id, {"action": "accept", "content": {"name": "synthetic"}}))
            assert text_of([await conversation.receive()]) == "accept: synthetic"
        await upstream.end(link)
        with pytest.raises(UpstreamFault) as raised:
            await ask(upstream, tool("add", meta={}, one=2, other=3), link)

    assert link.upstream_session
    assert raised.value.kind == "ended"


async def test_the_official_servers_legacy_stream_opens_and_is_left():
    async with sdk_server() as (upstream, _):
        link = await greeted(upstream)
        async with upstream.listen(link) as stream:
            with trio.move_on_after(0.3) as silence:
                await stream.receive()
        assert silence.cancelled_caught
        assert text_of(await ask(upstream, tool("add", meta={}, one=2, other=3), link)) == "5"


@asynccontextmanager
async def npm_server(name, *arguments, cwd):
    command = (str(await trio.to_thread.run_sync(real_parts.npm_tool, name)), *arguments)
    settings = StdioSettings("npm", command, cwd, real_parts.environment(), deadlines=Deadlines(connect_s=20))
    async with wire(settings) as upstream:
        with trio.fail_after(60):
            yield upstream


async def test_the_filesystem_server_of_npm_greeted_in_the_clients_stead(tmp_path):
    (tmp_path / "note.txt").write_text("a synthetic note")
    link = replace(LEGACY, greeting={**GREETING, "capabilities": {}})

    async with npm_server("mcp-server-filesystem", str(tmp_path), cwd=tmp_path) as upstream:
        read = await ask(upstream, tool("read_text_file", meta={}, path=str(tmp_path / "note.txt")), link)
        elsewhere = await ask(upstream, tool("read_text_file", meta={}, path="/etc/hostname"), link)

    assert text_of(read) == "a synthetic note"
    assert elsewhere[-1].result["isError"] is True


async def test_the_everything_server_of_npm_with_progress_two_calls_at_once_and_a_handshake_of_the_clients(tmp_path):
    async with npm_server("mcp-server-everything", cwd=tmp_path) as upstream:
        await ask(upstream, Request("i", "initialize", {**GREETING, "capabilities": {}}), LEGACY)
        await ask(upstream, Notification("notifications/initialized"), LEGACY)
        heard = {}

        async def work(token):
            slow = "trigger-long-running-operation"
            message = tool(slow, "same", {"progressToken": token}, duration=0.5, steps=2)
            heard[token] = await ask(upstream, message, LEGACY)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, "one")
            nursery.start_soon(work, 2)

    for token, messages in heard.items():
        assert [message.params["progressToken"] for message in messages[:-1]] == [token, token]
        assert messages[-1].id == "same"


async def test_a_database_through_mcp_alchemy_in_the_modern_era(tmp_path):
    with sqlite3.connect(tmp_path / "clinic.db") as clinic:
        clinic.executescript("create table visit (id integer, ward text); insert into visit values (1, 'synthetic')")
    clinic.close()
    command = (str(await trio.to_thread.run_sync(real_parts.python_tool, "mcp-alchemy")),)
    environment = {"PATH": "/usr/bin:/bin", "DB_URL": f"sqlite:///{tmp_path}/clinic.db"}

    async with wire(StdioSettings("db", command, tmp_path, environment)) as upstream:
        with trio.fail_after(60):
            tables = await ask(upstream, tool("all_table_names"), MODERN)
            rows = await ask(upstream, tool("execute_query", query="select ward from visit"), MODERN)

    assert text_of(tables) == "visit"
    assert "ward: synthetic" in text_of(rows)
    assert rows[-1].result["resultType"] == "complete"
