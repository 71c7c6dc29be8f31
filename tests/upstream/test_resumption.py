"""A legacy stream that ends before its answer is gone on with, as MCP 2025-11-25 has it (Resumability, Redelivery)."""

import math

import pytest
import trio

from gateway.core.errors import UpstreamFault
from gateway.upstream.base import Deadlines
from tests.upstream.wires import ANSWER, ANSWER_JSON, LEGACY, MODERN, STREAM, ask, chunk, event, upstream_of

END = b"0\r\n\r\n"
PRIMING = STREAM + chunk(b"id: one\nretry: 100\ndata:\n\n")
ANSWERED = STREAM + chunk(b"id: two\ndata: " + ANSWER_JSON + b"\n\n") + END


def resuming(first, *later):
    """A script whose first connection says `first` to the POST, and each later one the next of `later` to a GET."""
    asked = []
    waiting = [first, *later]

    async def script(wire):
        while waiting:
            asked.append(await wire.request())
            said = waiting.pop(0)
            await wire.say(said)
            if not said.endswith(END):
                return

    return script, asked


async def test_a_stream_that_its_upstream_closed_is_resumed_after_the_last_event_once_it_may():
    script, asked = resuming(PRIMING + END, ANSWERED)
    async with upstream_of(script) as (upstream, _):
        began = trio.current_time()
        assert await ask(upstream, link=LEGACY) == [ANSWER]

    again = asked[1]
    assert trio.current_time() - began >= 0.1
    assert again.line == b"GET /mcp HTTP/1.1"
    assert again.headers[b"last-event-id"] == b"one"
    assert again.headers[b"mcp-session-id"] == b"abc"


async def test_a_stream_whose_connection_broke_is_resumed_too():
    script, asked = resuming(PRIMING, ANSWERED)
    async with upstream_of(script) as (upstream, _):
        assert await ask(upstream, link=LEGACY) == [ANSWER]

    assert len(asked) == 2


async def test_what_was_said_before_the_end_is_not_lost():
    progress = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}
    script, _ = resuming(PRIMING + event(progress) + END, ANSWERED)
    async with upstream_of(script) as (upstream, _):
        heard = await ask(upstream, link=LEGACY)

    assert [type(message).__name__ for message in heard] == ["Notification", "Success"]


@pytest.mark.parametrize("link", [LEGACY, MODERN], ids=["legacy", "modern"])
async def test_a_stream_without_a_place_to_go_on_from_has_ended(link):
    script, asked = resuming(STREAM + chunk(b": hello\n\n") + END, ANSWERED)
    async with upstream_of(script) as (upstream, _):
        with pytest.raises(UpstreamFault) as raised:
            await ask(upstream, link=link)

    assert raised.value.kind == "closed"
    assert len(asked) == 1


async def test_a_modern_stream_is_never_resumed():
    script, asked = resuming(PRIMING + END, ANSWERED)
    async with upstream_of(script) as (upstream, _):
        with pytest.raises(UpstreamFault):
            await ask(upstream, link=MODERN)

    assert len(asked) == 1


async def test_an_event_id_that_would_break_a_header_is_no_place_to_go_on_from():
    script, asked = resuming(STREAM + chunk("id: é\x01\ndata:\n\n".encode()) + END, ANSWERED)
    async with upstream_of(script) as (upstream, _):
        with pytest.raises(UpstreamFault):
            await ask(upstream, link=LEGACY)

    assert len(asked) == 1


async def test_an_upstream_that_refuses_to_go_on_has_failed_the_call():
    script, _ = resuming(PRIMING + END, b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n")
    async with upstream_of(script) as (upstream, _):
        with pytest.raises(UpstreamFault) as raised:
            await ask(upstream, link=LEGACY)

    assert raised.value.kind == "status"


async def test_an_upstream_that_always_wants_to_be_asked_again_is_given_up_when_the_call_has_lasted_too_long():
    forever = [PRIMING + END] * 1000
    script, asked = resuming(*forever)
    async with upstream_of(script, deadlines=Deadlines(connect_s=1, idle_s=math.inf, call_s=0.5)) as (upstream, _):
        with pytest.raises(UpstreamFault) as raised:
            await ask(upstream, link=LEGACY)

    assert raised.value.kind == "timeout"
    assert len(asked) <= 6  # One each 0.1 s, however short a wait the upstream asks for.
