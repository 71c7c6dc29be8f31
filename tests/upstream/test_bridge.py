"""Which way a message goes: eras that are found out by asking, and everybody straight through who can."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Failure, Request, Success
from gateway.core.types import Era
from gateway.upstream import opened
from gateway.upstream.base import Deadlines, StdioSettings
from tests.fakes.mail import FakeMail
from tests.upstream.scripted import (
    GREETING,
    LEGACY,
    MODERN,
    answer_to,
    call,
    legacy_server,
    modern,
    modern_server,
    processes,
)

FRESH = replace(LEGACY, upstream_session=None)
GREETS = Request(0, mcp.INITIALIZE, GREETING)
OLD = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "server/discover":
        raise SystemExit("unknown method")
    if message.get("method") == "initialize":
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"],
            "result": {"protocolVersion": "2024-11-05", "capabilities": {}}}), flush=True)
    elif "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}), flush=True)
"""
"""A server that ends when it is asked what it does not know."""


def both_eras():
    """A server that speaks both."""
    old, new = legacy_server(), modern_server()

    async def script(talk, message):
        side = old if talk.link.era is Era.LEGACY else new
        await side.script(talk, message)

    upstream = legacy_server()
    upstream.script = script
    return upstream


async def greeted(bridge, link=FRESH):
    """The answer to a legacy greeting, and the session that it gave."""
    async with bridge.converse(link) as conversation:
        await conversation.send(GREETS)
        return await conversation.receive(), conversation.upstream_session


async def test_who_speaks_what_an_upstream_of_both_eras_speaks_goes_straight_through():
    upstream = both_eras()
    async with processes(upstream) as (bridge,):
        answer, session = await greeted(bridge)
        assert (answer.result["serverInfo"]["name"], session) == ("old", "up-1")
        await answer_to(bridge, call(), replace(FRESH, upstream_session=session))
        await answer_to(bridge, modern(), MODERN)

    assert [link.era for link, message in upstream.heard if message.method == "tools/call"] == [Era.LEGACY, Era.MODERN]


async def test_the_verdict_is_remembered():
    upstream = modern_server()
    async with processes(upstream) as (bridge,), trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(answer_to, bridge, modern(ident=number), MODERN)

    assert upstream.methods().count("server/discover") == 1


async def test_a_legacy_client_of_a_modern_upstream_is_found_out_by_its_greeting_and_bridged_from_then_on():
    upstream = modern_server()
    async with processes(upstream) as (bridge,):
        answer, session = await greeted(bridge)
        assert (answer.result["protocolVersion"], session) == ("2025-11-25", LEGACY.upstream_session)
        asked = len(upstream.heard)
        await greeted(bridge)

    assert upstream.methods()[asked:] == ["server/discover"]


async def test_a_legacy_client_that_an_upstream_of_its_era_refuses_is_told_what_it_said():
    async def script(talk, message):
        talk.say(Failure(message.id, -32000, "not you"))

    upstream = legacy_server()
    upstream.script = script
    async with processes(upstream) as (bridge,):
        with pytest.raises(UpstreamFault, match="refuses"):
            await greeted(bridge)


@pytest.mark.parametrize("kind", ["status", "closed", "malformed", "timeout", "unreachable"])
async def test_an_upstream_that_is_down_for_a_while_is_not_taken_for_an_old_one(kind):
    down = {"is": True}
    upstream = modern_server()
    inner = upstream.script

    async def script(talk, message):
        if down["is"]:
            talk.say(UpstreamFault("it is down", kind=kind))
        else:
            await inner(talk, message)

    upstream.script = script
    async with processes(upstream) as (bridge,):
        with pytest.raises(UpstreamFault, match="down"):
            await answer_to(bridge, modern(), MODERN)
        with pytest.raises(UpstreamFault, match="down"):
            await greeted(bridge)
        down["is"] = False
        await answer_to(bridge, modern(), MODERN)

    assert upstream.methods()[-1] == "tools/call"
    assert upstream.heard[-1][0].era is Era.MODERN


async def test_an_upstream_that_is_silent_about_what_it_does_not_know_is_an_old_one(autojump_clock):
    upstream = legacy_server()
    inner = upstream.script

    async def script(talk, message):
        if getattr(message, "method", "") != "server/discover":
            await inner(talk, message)

    upstream.script = script
    async with processes(upstream) as (bridge,):
        assert isinstance(await answer_to(bridge, modern(), MODERN), Success)
        began = trio.current_time()
        await answer_to(bridge, modern(), MODERN)
        assert trio.current_time() == began

    assert upstream.methods().count("server/discover") == 1


async def test_the_session_that_a_question_was_asked_in_is_ended():
    upstream = legacy_server()
    async with processes(upstream) as (bridge,):
        await answer_to(bridge, modern(), MODERN)

    asked, used = upstream.ended
    assert (asked.session, used.session) != (used.session, asked.session)
    assert [link.upstream_session for link in upstream.ended] == ["up-1", "up-2"]


async def test_what_is_configured_is_not_asked():
    legacy_, modern_ = legacy_server(), modern_server()
    async with processes(legacy_, era=Era.LEGACY) as (one,), processes(modern_, era=Era.MODERN) as (other,):
        await answer_to(one, modern(), MODERN)
        await answer_to(other, modern(), MODERN)

    assert "server/discover" not in legacy_.methods()
    assert modern_.methods() == ["tools/call"]


async def test_an_old_program_that_dies_of_a_question_serves_clients_of_both_eras(tmp_path):
    settings = StdioSettings("old", (sys.executable, "-c", OLD), Path(tmp_path), deadlines=Deadlines(20, 20, 20))
    async with opened(settings, FakeMail()) as upstream:
        assert (await answer_to(upstream, modern(), MODERN)).result == {"content": [], "resultType": "complete"}
        legacy = replace(FRESH, session="other", upstream_session=None)
        answer, _ = await greeted(upstream, legacy)
        assert answer.result["protocolVersion"] == "2024-11-05"
        assert (await answer_to(upstream, call(), legacy)).result == {"content": []}
