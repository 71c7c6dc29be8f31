"""Legacy clients of a modern upstream."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success
from gateway.core.types import Era
from gateway.upstream.bridge import downward, modern
from tests.upstream.scripted import GREETING, LEGACY, answer_to, ask, call, modern_server, processes

FORM = {"method": "elicitation/create", "params": {"message": "Who?"}}
MODEL = {"method": "sampling/createMessage", "params": {"maxTokens": 1}}


def needing(*rounds):
    """A server whose calls need what each of `rounds` says, one after the other, and then repeat the last request."""

    async def play(talk, message):
        number = int(message.params.get("requestState", "0"))
        if number < len(rounds):
            needs = {"requestState": str(number + 1), **rounds[number]}
            talk.result(resultType="input_required", **needs)
        else:
            talk.result(resultType="complete", content=[], got=message.params.get("inputResponses"))

    return modern_server(play)


async def told(bridge, message):
    """Have the client post something that has no reply."""
    assert await ask(bridge, message, LEGACY) == [None]


async def test_what_a_call_needs_is_asked_by_requests_and_the_call_is_made_again_with_the_answers():
    upstream = needing({"inputRequests": {"who": FORM, "what": MODEL}})
    async with processes(upstream, era=Era.MODERN) as (bridge,), bridge.converse(LEGACY) as conversation:
        await conversation.send(call())
        asked = [await conversation.receive(), await conversation.receive()]
        assert [(question.method, question.params) for question in asked] == [
            (FORM["method"], FORM["params"]),
            (MODEL["method"], MODEL["params"]),
        ]
        await told(bridge, Success(asked[1].id, {"role": "assistant"}))
        await told(bridge, Success(asked[0].id, {"action": "accept"}))
        done = await conversation.receive()

    assert done.result == {"content": [], "got": {"who": {"action": "accept"}, "what": {"role": "assistant"}}}
    assert [message.params.get("requestState") for message in upstream.of("tools/call")] == [None, "1"]


async def test_two_calls_at_once_with_one_id_each_get_their_own_answers():
    upstream = needing({"inputRequests": {"who": FORM}})
    async with (
        processes(upstream, era=Era.MODERN) as (bridge,),
        bridge.converse(LEGACY) as one,
        bridge.converse(LEGACY) as two,
    ):
        questions = []
        for conversation in (one, two):
            await conversation.send(call())
            questions.append(await conversation.receive())
        for number, question in reversed(list(enumerate(questions))):
            await told(bridge, Success(question.id, {"action": "accept", "content": {"n": number}}))
        for number, conversation in enumerate((one, two)):
            assert (await conversation.receive()).result["got"]["who"]["content"] == {"n": number}


async def test_a_late_or_foreign_answer_is_taken_and_changes_nothing():
    upstream = needing({"inputRequests": {"who": FORM}})
    async with processes(upstream, era=Era.MODERN) as (bridge,), bridge.converse(LEGACY) as conversation:
        await conversation.send(call())
        question = await conversation.receive()
        await ask(bridge, Success(question.id, {"action": "decline"}), replace(LEGACY, session="other"))
        await told(bridge, Success(7, {}))
        await told(bridge, Success(question.id, {"action": "accept"}))
        await told(bridge, Success(question.id, {"action": "decline"}))
        assert (await conversation.receive()).result["got"] == {"who": {"action": "accept"}}


async def test_an_upstream_that_asks_for_ever_is_given_up(autojump_clock):
    upstream = needing(*[{"inputRequests": {"who": FORM}}] * 50)
    async with processes(upstream, era=Era.MODERN) as (bridge,), bridge.converse(LEGACY) as conversation:
        await conversation.send(call())
        for _ in range(downward.ROUNDS):
            question = await conversation.receive()
            await told(bridge, Success(question.id, {"action": "accept"}))
        with pytest.raises(UpstreamFault, match="10 times"):
            await conversation.receive()


async def test_an_upstream_that_wants_to_be_asked_again_is_after_ever_longer_pauses(autojump_clock):
    upstream = needing({}, {"inputRequests": {}}, {})
    async with processes(upstream, era=Era.MODERN) as (bridge,):
        began = trio.current_time()
        done = await answer_to(bridge, call(), LEGACY)

    assert done.result["got"] is None
    assert trio.current_time() - began == pytest.approx(0.2 + 0.4 + 0.8)
    assert len(upstream.of("tools/call")) == 4


async def test_a_question_without_an_answer_ends_the_call(autojump_clock):
    upstream = needing({"inputRequests": {"who": FORM}})
    async with processes(upstream, era=Era.MODERN) as (bridge,), bridge.converse(LEGACY) as conversation:
        await conversation.send(call())
        await conversation.receive()
        began = trio.current_time()
        with pytest.raises(UpstreamFault) as failed:
            await conversation.receive()

    assert failed.value.kind == "timeout"
    assert trio.current_time() - began == pytest.approx(downward.ANSWER_S)


async def test_a_client_that_fails_at_a_form_has_cancelled_it_and_one_that_fails_at_sampling_ends_the_call():
    upstream = needing({"inputRequests": {"who": FORM}}, {"inputRequests": {"what": MODEL}})
    async with processes(upstream, era=Era.MODERN) as (bridge,), bridge.converse(LEGACY) as conversation:
        await conversation.send(call())
        await told(bridge, Failure((await conversation.receive()).id, -1, "no"))
        question = await conversation.receive()
        assert upstream.of("tools/call")[-1].params["inputResponses"] == {"who": {"action": "cancel"}}
        await conversation.respond(Failure(question.id, -32010, "Refused by policy"))
        with pytest.raises(UpstreamFault, match="did not give"):
            await conversation.receive()


async def test_a_client_is_never_asked_what_it_has_not_declared():
    upstream = needing({"inputRequests": {"who": FORM}})
    unable = replace(LEGACY, greeting={**GREETING, "capabilities": {}})
    async with processes(upstream, era=Era.MODERN) as (bridge,):
        (done,) = await ask(bridge, call(), unable)

    assert done.result["got"] == {"who": {"action": "cancel"}}
    assert mcp.meta(upstream.of("tools/call")[0])[mcp.CLIENT_CAPABILITIES] == {}


TOO_MANY = {str(number): FORM for number in range(downward.QUESTIONS + 1)}


@pytest.mark.parametrize("asked", [{"a": 1}, {"a": {"method": "tools/call"}}, {"a": {}}, TOO_MANY])
async def test_attack_what_cannot_be_asked_is_not(asked):
    async with processes(needing({"inputRequests": asked}), era=Era.MODERN) as (bridge,):
        with pytest.raises(UpstreamFault) as failed:
            await ask(bridge, call(), LEGACY)

    assert failed.value.kind == "malformed"


ANY = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["method", "params", "a"]), inner),
)
RESULTS = st.fixed_dictionaries(
    {"resultType": st.just("input_required") | ANY}, optional={"inputRequests": ANY, "requestState": ANY, "x": ANY}
)


@given(RESULTS)
async def test_no_modern_result_reaches_a_legacy_client_as_one_that_asks(result):
    async def play(talk, message):
        talk.say(Success(message.id, result))

    async with processes(modern_server(play), era=Era.MODERN) as (bridge,), bridge.converse(LEGACY) as conversation:
        await conversation.send(call())
        message = None
        with trio.move_on_after(0.01), suppress(UpstreamFault):  # It is asked again, or given up.
            message = await conversation.receive()
        if isinstance(message, Success):
            assert result["resultType"] != "input_required"
            assert "resultType" not in message.result


async def test_a_cancelled_call_is_left_which_is_how_the_upstream_hears_of_it():
    async def play(talk, message):
        pass

    upstream = modern_server(play)
    async with processes(upstream, era=Era.MODERN) as (bridge,), bridge.converse(LEGACY) as conversation:
        await conversation.send(call(ident="a"))
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def fails():
                with pytest.raises(UpstreamFault, match="cancelled"):
                    await conversation.receive()

            await wait_all_tasks_blocked()
            await told(bridge, mcp.cancel("another"))
            await told(bridge, mcp.cancel("a"))

    assert upstream.abandoned == upstream.of("tools/call")
    assert upstream.of(mcp.CANCELLED) == []


async def test_a_call_is_cancelled_while_its_client_is_asked_something():
    upstream = needing({"inputRequests": {"who": FORM}})
    async with processes(upstream, era=Era.MODERN) as (bridge,), bridge.converse(LEGACY) as conversation:
        await conversation.send(call(ident=4))
        question = await conversation.receive()
        await told(bridge, mcp.cancel(4))
        with pytest.raises(UpstreamFault, match="cancelled"):
            await conversation.receive()
        await told(bridge, Success(question.id, {"action": "accept"}))

    assert len(upstream.of("tools/call")) == 1


async def test_progress_and_logs_come_as_the_client_asked_for_them():
    async def play(talk, message):
        token = mcp.progress_token(message)
        talk.say(Notification(mcp.PROGRESS, {"progressToken": token, "progress": 1}))
        talk.result(resultType="complete", content=[], level=mcp.meta(message).get(mcp.LOG_LEVEL))

    upstream = modern_server(play)
    async with processes(upstream, era=Era.MODERN) as (bridge,):
        assert (await answer_to(bridge, Request(1, "logging/setLevel", {"level": "notice"}), LEGACY)).result == {}
        heard, done = await ask(bridge, call(_meta={"progressToken": "t"}), LEGACY)
        refused = await answer_to(bridge, Request(1, "logging/setLevel", {"level": "shout"}), LEGACY)

    assert heard.params["progressToken"] == "t"
    assert done.result == {"content": [], "level": "notice"}
    assert refused.code == -32602


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [(each, each) for each in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")]
    + [("2026-07-28", "2025-11-25"), ("1999-01-01", "2025-11-25"), (7, "2025-11-25"), (None, "2025-11-25")],
)
async def test_a_greeting_is_answered_in_the_version_that_was_offered_if_there_is_one(offered, agreed):
    upstream = modern_server()
    greeting = Request(0, mcp.INITIALIZE, {**GREETING, "protocolVersion": offered})
    async with (
        processes(upstream, era=Era.MODERN) as (bridge,),
        bridge.converse(replace(LEGACY, upstream_session=None)) as talk,
    ):
        await talk.send(greeting)
        answer = await talk.receive()
        assert talk.upstream_session == LEGACY.upstream_session

    assert answer.result["protocolVersion"] == agreed
    assert upstream.methods() == ["server/discover"]


async def test_a_ping_and_what_a_client_notifies_stay_here():
    upstream = modern_server()
    async with processes(upstream, era=Era.MODERN) as (bridge,):
        assert (await answer_to(bridge, Request(1, "ping"), LEGACY)).result == {}
        await told(bridge, Notification(mcp.INITIALIZED))
        await told(bridge, Notification("notifications/roots/list_changed"))

    assert upstream.heard == []


async def test_attack_a_legacy_client_cannot_answer_what_it_was_not_asked():
    upstream = modern_server()
    async with processes(upstream, era=Era.MODERN) as (bridge,):
        await answer_to(bridge, call(inputResponses={"who": {}}, requestState="1"), LEGACY)

    assert not {"inputResponses", "requestState"} & upstream.of("tools/call")[0].params.keys()


async def test_a_session_has_so_many_subscriptions_and_no_more():
    async with processes(modern_server(), era=Era.MODERN) as (bridge,):
        for number in range(modern.URIS):
            assert isinstance(await answer_to(bridge, subscribe(f"a:{number}"), LEGACY), Success)
        assert (await answer_to(bridge, subscribe("a:last"), LEGACY)).code == -32602
        assert (await answer_to(bridge, subscribe(7), LEGACY)).code == -32602
        assert (await answer_to(bridge, subscribe("a:1", "un"), LEGACY)).result == {}
        assert isinstance(await answer_to(bridge, subscribe("a:last"), LEGACY), Success)


def subscribe(uri, un=""):
    return Request(1, f"resources/{un}subscribe", {"uri": uri})
