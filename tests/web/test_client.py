"""The client's side of a request: when it is a plain reply, when a stream, and what ends a wait."""

from __future__ import annotations

import orjson
import pytest
import trio
import trio.testing

from gateway.core.commands import Resolution, Settled
from gateway.core.replies import Reply
from gateway.core.types import ApprovalId, SessionId
from gateway.web.client import WRITE_S, HttpClient

HELD = Resolution(ApprovalId("ap_x"), Settled.PENDING)
REPLY = Reply(b'{"jsonrpc":"2.0"}')


class Wire:
    """Takes what is sent, or stops taking it."""

    def __init__(self) -> None:
        self.events: list[dict] = []
        self.stalled = False

    async def send(self, event: dict) -> None:
        if self.stalled:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        self.events.append(event)

    @property
    def body(self) -> bytes:
        return b"".join(event.get("body", b"") for event in self.events)

    @property
    def kind(self) -> bytes:
        return dict(self.events[0]["headers"])[b"content-type"]


async def test_a_reply_with_nothing_before_it_is_plain_json() -> None:
    wire = Wire()
    await HttpClient(wire.send).finish(REPLY)

    assert (wire.kind, wire.body) == (b"application/json", REPLY.data)
    assert dict(wire.events[0]["headers"])[b"content-length"] == b"%d" % len(REPLY.data)


async def test_what_is_relayed_first_makes_it_a_stream_that_the_reply_ends() -> None:
    wire = Wire()
    client = HttpClient(wire.send)
    await client.relay([b'{"a":1}'])
    await client.finish(REPLY)

    assert wire.kind == b"text/event-stream"
    assert wire.body.count(b"event: message") == 2
    assert wire.events[-1]["more_body"] is False


async def test_who_waited_to_keep_a_stream_alive_leaves_a_reply_that_went_out_whole_alone() -> None:
    wire = Wire()
    client = HttpClient(wire.send)
    async with trio.open_nursery() as nursery, client._stream():
        nursery.start_soon(client.relay, [b'{"a":1}'])
        await trio.testing.wait_all_tasks_blocked()
        await client.finish(REPLY)

    assert (wire.kind, wire.body) == (b"application/json", REPLY.data)


async def test_a_silent_call_is_kept_alive_by_comments(autojump_clock: object) -> None:
    wire = Wire()
    client = HttpClient(wire.send, keepalive_s=15)
    with trio.move_on_after(50):
        await client.keep_alive()

    assert wire.body.count(b": still here") == 3


async def test_a_held_call_tells_its_progress_when_asked_to(autojump_clock: object) -> None:
    wire = Wire()
    client = HttpClient(wire.send, keepalive_s=15, progress="t")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.keep_alive)
        with trio.move_on_after(40):
            await client.wait_for(HELD)
        nursery.cancel_scope.cancel()

    told = [line for line in wire.body.splitlines() if line.startswith(b"data: ")]
    assert [orjson.loads(line[6:])["params"]["progress"] for line in told] == [0, 1, 2]


async def test_a_client_that_takes_nothing_any_more_is_gone(autojump_clock: object) -> None:
    wire = Wire()
    client = HttpClient(wire.send)
    wire.stalled = True
    began = trio.current_time()
    await client.relay([b"{}"])

    assert client.gone
    assert trio.current_time() - began <= 2 * WRITE_S


async def test_a_hang_up_interrupts_what_waits_for_the_clients_sake_and_what_begins_to() -> None:
    client = HttpClient(Wire().send)
    with client.interruptible() as scope:
        client.leave()
        await trio.sleep_forever()
    with client.interruptible() as late:
        await trio.sleep_forever()

    assert scope.cancelled_caught
    assert late.cancelled_caught


@pytest.mark.parametrize("held", [True, False])
async def test_a_request_that_is_taken_back_is_not_run_if_it_still_waits_for_reviewers(held: bool) -> None:
    """MCP 2025-11-25, Cancellation; what runs already is for the upstream to stop."""
    client = HttpClient(Wire().send)
    client.answers = (SessionId("s"), 7)
    async with trio.open_nursery() as nursery:
        if held:
            nursery.start_soon(client.wait_for, HELD)
            await trio.testing.wait_all_tasks_blocked()
        client.withdraw((SessionId("other"), 7))
        client.withdraw((SessionId("s"), "7"))
        assert not client.gone
        client.withdraw((SessionId("s"), 7))
        nursery.cancel_scope.cancel()

    assert client.gone is held


@pytest.mark.parametrize("before", [True, False])
async def test_nobody_is_kept_waiting_by_a_gateway_that_goes_down(before: bool) -> None:
    client = HttpClient(Wire().send)
    if before:
        client.hurry()
    with client.patience(3600) as scope:
        if not before:
            client.hurry()
        await trio.sleep_forever()

    assert scope.cancelled_caught
