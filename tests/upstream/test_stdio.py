"""Programs as upstreams: one for each session, ids kept apart, every fault in time, and nothing left running."""

import os
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.core.errors import UpstreamFault
from gateway.core.protocol.jsonrpc import Failure, Limits, Notification, Request, Success
from gateway.core.types import Era, SessionId
from gateway.upstream import wire
from gateway.upstream.base import Bounds, Deadlines, Link, StdioSettings
from tests.upstream.wires import ask

PROGRAM = (sys.executable, str(Path(__file__).with_name("program.py")))
GREETING = {"protocolVersion": "2025-11-25", "capabilities": {}}
LEGACY = Link(SessionId("a"), Era.LEGACY, "2025-11-25", greeting=GREETING)
MODERN = Link(SessionId("m"), Era.MODERN, "2026-07-28")
QUICK = Deadlines(connect_s=5, idle_s=0.4, call_s=1)


def tool(name, ident="call", **params):
    return Request(ident, "tools/call", {"name": name, **params})


@asynccontextmanager
async def program(tmp_path, **changed):
    usual = {"cwd": tmp_path, "environment": {"PATH": os.defpath, "CLINIC": "synthetic"}}
    async with wire(StdioSettings("clinic", **({"command": PROGRAM} | usual | changed))) as upstream:
        with trio.fail_after(15):
            yield upstream


async def result_of(upstream, message, link=MODERN):
    (*_, last) = await ask(upstream, message, link)
    assert isinstance(last, Success)
    return last.result


async def fault_of(upstream, message, link=MODERN):
    with pytest.raises(UpstreamFault) as raised:
        await ask(upstream, message, link)
    return raised.value


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


async def test_a_request_is_answered_under_the_clients_own_id(tmp_path):
    async with program(tmp_path) as upstream:
        for ident in ("x", 5, 0, ""):
            assert await ask(upstream, Request(ident, "ping"), MODERN) == [Success(ident, {})]
        assert await ask(upstream, tool("fail", 7), MODERN) == [Failure(7, -5, "no", [1])]


async def test_a_program_has_the_environment_and_the_directory_that_it_was_given_and_no_more(tmp_path):
    async with program(tmp_path) as upstream:
        result = await result_of(upstream, tool("heard"))

    assert set(result["environment"]) - {"LC_CTYPE"} == {"PATH", "CLINIC"}
    assert result["cwd"] == str(tmp_path)
    assert "synthetic" not in repr(StdioSettings("n", PROGRAM, tmp_path, {"CLINIC": "synthetic"}))


async def test_sessions_never_share_a_program_and_a_session_keeps_its_own(tmp_path):
    async with program(tmp_path) as upstream:
        first = await result_of(upstream, tool("heard"), MODERN)
        again = await result_of(upstream, tool("heard"), MODERN)
        other = await result_of(upstream, tool("heard"), replace(MODERN, session=SessionId("n")))

    assert first["pid"] == again["pid"] != other["pid"]


async def test_the_same_id_in_two_calls_at_once_is_two_ids_on_the_wire(tmp_path):
    async with program(tmp_path) as upstream, upstream.converse(MODERN) as stalled:
        await stalled.send(tool("stall", "same"))
        heard = (await result_of(upstream, tool("heard", "same")))["heard"]
        ids = [message["id"] for message in heard]

    assert len(ids) == len(set(ids)) == 1


async def test_progress_comes_back_to_its_call_under_the_clients_own_token(tmp_path):
    message = tool("progress", _meta={"progressToken": "mine", "other": 1})

    async with program(tmp_path) as upstream:
        first, second, last = await ask(upstream, message, MODERN)

    assert [first, second] == [
        Notification("notifications/progress", {"progressToken": "mine", "progress": n}) for n in (1, 2)
    ]
    assert last.result["token"] != "mine"


async def test_notifications_of_a_program_are_handed_over_together_until_its_answer_comes(tmp_path):
    message = tool("progress", _meta={"progressToken": "mine"})

    async with program(tmp_path) as upstream, upstream.converse(MODERN) as conversation:
        await conversation.send(message)
        first = await conversation.receive()
        others = await conversation.together(trio.current_time() + 3600)
        assert [each.params["progress"] for each in (first, *others)] == [1, 2]
        assert await conversation.together(trio.current_time() + 3600) == ()
        assert isinstance(await conversation.receive(), Success)


async def test_a_program_that_dies_while_more_is_waited_for_is_a_fault_of_the_next_message(tmp_path):
    async with program(tmp_path) as upstream, upstream.converse(MODERN) as conversation:
        await conversation.send(tool("die"))
        assert await conversation.together(trio.current_time() + 3600) == ()
        with pytest.raises(UpstreamFault) as raised:
            await conversation.receive()
    assert raised.value.kind == "closed"


async def test_what_is_said_during_the_only_call_belongs_to_it(tmp_path):
    async with program(tmp_path) as upstream:
        heard = await ask(upstream, tool("log"), MODERN)

    assert [message.method for message in heard[:-1]] == ["notifications/message", "notifications/tools/list_changed"]


async def test_a_listener_hears_of_changes_and_the_call_of_itself(tmp_path):
    async with program(tmp_path) as upstream, upstream.listen(LEGACY) as listener, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def listen():
            assert await listener.receive() == Notification("notifications/tools/list_changed")

        await trio.testing.wait_all_tasks_blocked(0.2)
        heard = await ask(upstream, tool("log"), LEGACY)

    assert [message.method for message in heard[:-1]] == ["notifications/message"]


async def test_a_subscription_is_known_by_the_clients_id(tmp_path):
    message = Request("sub", "subscriptions/listen", {"name": "subscribe"})
    named = {"_meta": {"io.modelcontextprotocol/subscriptionId": "sub"}}

    async with program(tmp_path) as upstream:
        heard = await ask(upstream, message, MODERN)

    assert heard == [Notification("notifications/tools/list_changed", named), Success("sub", named)]


async def test_a_legacy_program_may_ask_the_client_and_is_answered(tmp_path):
    async with program(tmp_path) as upstream, upstream.converse(LEGACY) as conversation:
        await conversation.send(tool("ask"))
        assert await conversation.receive() == Request("ask-1", "roots/list")
        await conversation.respond(Success("ask-1", {"roots": []}))
        last = await conversation.receive()

    assert last == Success("call", {"answered": {"jsonrpc": "2.0", "id": "ask-1", "result": {"roots": []}}})


async def test_the_clients_answer_may_also_come_in_a_message_of_its_own(tmp_path):
    async with program(tmp_path) as upstream, upstream.converse(LEGACY) as conversation:
        await conversation.send(tool("ask"))
        await conversation.receive()
        assert await ask(upstream, Success("ask-1", {"roots": []}), LEGACY) == [None]
        assert isinstance(await conversation.receive(), Success)


async def test_a_modern_program_may_not_ask(tmp_path):
    async with program(tmp_path) as upstream:
        fault = await fault_of(upstream, tool("ask"))

    assert fault.kind == "malformed"


async def test_a_programs_ping_is_answered_by_the_gateway(tmp_path):
    async with program(tmp_path) as upstream:
        result = await result_of(upstream, tool("ping"))

    assert result == {"answered": {"jsonrpc": "2.0", "id": 9, "result": {}}}


async def test_the_clients_cancellation_reaches_the_program_under_the_id_it_knows(tmp_path):
    async with program(tmp_path) as upstream, upstream.converse(LEGACY) as conversation:
        await conversation.send(tool("stall", "mine"))
        cancelled = Notification("notifications/cancelled", {"requestId": "mine", "reason": "enough"})
        assert await ask(upstream, cancelled, LEGACY) == [None]
        with pytest.raises(UpstreamFault, match="cancelled"):
            await conversation.receive()
        heard = (await result_of(upstream, tool("heard"), LEGACY))["heard"]

    call, cancel = heard[-2:]
    assert cancel["method"] == "notifications/cancelled"
    assert cancel["params"] == {"requestId": call["id"], "reason": "enough"}


async def test_a_cancellation_of_nothing_is_not_passed_on(tmp_path):
    async with program(tmp_path) as upstream:
        cancelled = Notification("notifications/cancelled", {"requestId": 1})
        assert await ask(upstream, cancelled, MODERN) == [None]
        assert (await result_of(upstream, tool("heard")))["heard"] == []


async def test_leaving_early_cancels_and_a_late_answer_goes_to_nobody(tmp_path):
    async with program(tmp_path) as upstream:
        async with upstream.converse(MODERN) as conversation:
            await conversation.send(tool("stall"))
        call, cancel = (await result_of(upstream, tool("heard")))["heard"]

    assert cancel == {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": call["id"]}}


async def test_a_call_that_is_answered_is_not_cancelled(tmp_path):
    async with program(tmp_path) as upstream:
        await result_of(upstream, Request(1, "ping"))
        assert [message["method"] for message in (await result_of(upstream, tool("heard")))["heard"]] == ["ping"]


async def test_the_clients_own_handshake_is_passed_on_as_it_is(tmp_path):
    fresh = replace(LEGACY, greeting=None)

    async with program(tmp_path) as upstream:
        greeted = await result_of(upstream, Request(0, "initialize", GREETING), fresh)
        await ask(upstream, Notification("notifications/initialized"), fresh)
        heard = (await result_of(upstream, tool("heard"), LEGACY))["heard"]

    assert greeted == {"protocolVersion": "2025-11-25"}
    assert [message["method"] for message in heard] == ["initialize", "notifications/initialized"]


async def test_a_fresh_program_of_a_legacy_session_is_greeted_once_before_anything_else(tmp_path):
    async with program(tmp_path) as upstream:
        async with trio.open_nursery() as nursery:
            for ident in range(4):
                nursery.start_soon(ask, upstream, Request(ident, "ping"), LEGACY)
        heard = (await result_of(upstream, tool("heard"), LEGACY))["heard"]

    methods = [message["method"] for message in heard]
    assert methods == ["initialize", "notifications/initialized", "ping", "ping", "ping", "ping"]
    assert heard[0]["params"] == GREETING


@pytest.mark.parametrize(("odd", "kind"), [("refuse", "malformed"), ("stall", "timeout")])
async def test_a_program_that_does_not_take_the_greeting_is_not_used(tmp_path, odd, kind):
    link = replace(LEGACY, greeting={**GREETING, odd: True})

    async with program(tmp_path, deadlines=replace(QUICK, connect_s=1)) as upstream:
        assert (await fault_of(upstream, Request(1, "ping"), link)).kind == kind
        heard = (await result_of(upstream, tool("heard"), LEGACY))["heard"]

    assert [message["method"] for message in heard] == ["initialize", "notifications/initialized"]


async def test_a_modern_program_needs_no_greeting(tmp_path):
    async with program(tmp_path) as upstream:
        assert (await result_of(upstream, tool("heard")))["heard"] == []


async def test_a_program_that_dies_fails_its_calls_and_the_next_call_finds_a_new_one(tmp_path):
    async with program(tmp_path) as upstream:
        before = await result_of(upstream, tool("heard"), LEGACY)
        assert (await fault_of(upstream, tool("die"), LEGACY)).kind == "closed"
        after = await result_of(upstream, tool("heard"), LEGACY)

    assert before["pid"] != after["pid"]
    assert after["heard"][0]["method"] == "initialize"


async def test_a_program_that_stalls_is_given_time_and_no_more(tmp_path):
    async with program(tmp_path, deadlines=QUICK) as upstream:
        assert (await fault_of(upstream, tool("stall"))).kind == "timeout"
        assert await result_of(upstream, Request(1, "ping")) == {}


async def test_a_program_that_does_not_read_is_given_up(tmp_path):
    big = tool("stall", arguments={"text": "x" * 5_000_000})

    async with program(tmp_path, deadlines=QUICK) as upstream:
        await result_of(upstream, tool("deaf"))
        assert (await fault_of(upstream, big)).kind == "timeout"
        assert await result_of(upstream, Request(1, "ping")) == {}


async def test_a_line_of_a_hundred_megabytes_is_not_kept(tmp_path):
    bounds = Bounds(message=Limits(max_bytes=1_000_000))

    async with program(tmp_path, bounds=bounds) as upstream:
        assert (await fault_of(upstream, tool("flood", arguments={"megabytes": 100}))).kind == "oversize"
        assert await result_of(upstream, Request(1, "ping")) == {}


async def test_banners_and_logs_on_standard_output_are_overlooked_and_stderr_is_thrown_away(tmp_path, caplog, capfd):
    async with program(tmp_path) as upstream:
        assert await result_of(upstream, tool("chatter")) == {}

    assert "secrets" not in caplog.text + "".join(capfd.readouterr())


async def test_an_answer_that_cannot_be_passed_on_unaltered_is_a_fault(tmp_path):
    async with program(tmp_path) as upstream:
        assert (await fault_of(upstream, tool("garbled"))).kind == "malformed"
        assert await result_of(upstream, Request(1, "ping")) == {}


async def test_answers_to_nothing_that_was_asked_are_overlooked(tmp_path):
    async with program(tmp_path) as upstream:
        assert await result_of(upstream, tool("stranger")) == {}


@pytest.mark.parametrize("command", [("/no/such/program",), ("/",)])
async def test_a_program_that_cannot_be_started_is_unreachable(tmp_path, command):
    async with program(tmp_path, command=command) as upstream:
        fault = await fault_of(upstream, Request(1, "ping"))

    assert fault.kind == "unreachable"
    assert "check its command" in fault.detail


async def test_ending_the_session_ends_its_program(tmp_path):
    async with program(tmp_path) as upstream:
        pid = (await result_of(upstream, tool("heard")))["pid"]
        await upstream.end(MODERN)
        other = (await result_of(upstream, tool("heard")))["pid"]
        await upstream.aclose()
        assert not alive(pid)
        assert not alive(other)


async def test_a_program_that_nobody_talks_to_is_let_go_and_one_that_is_listened_to_is_not(tmp_path):
    async with program(tmp_path, bounds=Bounds(process_idle_s=0.3)) as upstream, upstream.listen(LEGACY) as listener:
        pid = (await result_of(upstream, tool("heard"), MODERN))["pid"]
        kept = (await result_of(upstream, tool("heard"), LEGACY))["pid"]
        with trio.move_on_after(1.2):
            await listener.receive()
        assert not alive(pid)
        assert alive(kept)


async def test_nothing_outlives_the_upstream_neither_the_stubborn_nor_what_was_started(tmp_path):
    async with program(tmp_path) as upstream:
        child = (await result_of(upstream, tool("child")))["pid"]
        stubborn = (await result_of(upstream, tool("stubborn"), replace(MODERN, session=SessionId("n"))))["pid"]
        assert alive(child)
        assert alive(stubborn)

    assert not alive(child)
    assert not alive(stubborn)


async def test_closing_the_upstream_ends_what_is_waiting(tmp_path):
    async with program(tmp_path) as upstream, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait():
            assert (await fault_of(upstream, tool("stall"))).kind == "closed"

        await result_of(upstream, Request(1, "ping"))
        await upstream.aclose()


async def test_no_more_programs_are_run_than_allowed(tmp_path):
    async with program(tmp_path, bounds=Bounds(max_connections=1)) as upstream:
        await result_of(upstream, Request(1, "ping"))
        fault = await fault_of(upstream, Request(1, "ping"), replace(MODERN, session=SessionId("n")))
        assert await result_of(upstream, Request(1, "ping")) == {}

    assert fault.kind == "unreachable"


async def test_a_program_that_has_asked_something_may_be_silent_until_a_person_has_answered(tmp_path):
    async with (
        program(tmp_path, deadlines=replace(QUICK, call_s=5)) as upstream,
        upstream.converse(LEGACY) as conversation,
    ):
        await conversation.send(tool("ask"))
        question = await conversation.receive()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def think():
                await trio.sleep(QUICK.idle_s * 1.5)
                await conversation.respond(Success(question.id, {"roots": []}))

            answer = await conversation.receive()

    assert answer.result["answered"]["result"] == {"roots": []}
