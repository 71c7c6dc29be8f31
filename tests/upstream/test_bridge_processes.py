"""No stickiness: a client's next message may come to another process than the one that has its call."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import mcp, tasks
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success
from gateway.core.types import Era, SessionId
from gateway.upstream.base import Link
from gateway.upstream.bridge import far, homes
from gateway.upstream.bridge.office import Office
from tests.fakes.mail import FakeMail, Post
from tests.upstream.scripted import (
    LEGACY,
    MODERN,
    answer_to,
    ask,
    call,
    legacy_server,
    modern,
    modern_server,
    processes,
    retry,
)

QUESTION = Request("q1", "elicitation/create", {"message": "Who?"})
PROGRAM = Link(SessionId("s"), Era.LEGACY, "2025-11-25", greeting=LEGACY.greeting)
"""A legacy session at a program: there is none upstream."""


def asking(times=1):
    """A legacy server that asks so often, says what it got, and says something between."""

    async def play(talk, message):
        talk.got = []
        talk.say(QUESTION)

    async def answered(talk, response):
        talk.got.append(response.result)
        token = mcp.progress_token(talk.message)
        if token is not None:
            talk.say(Notification(mcp.PROGRESS, {"progressToken": token, "progress": len(talk.got)}))
        if len(talk.got) < times:
            talk.say(QUESTION)
        else:
            talk.result(content=[], got=talk.got)

    return legacy_server(play, answered=answered)


async def test_a_retry_that_comes_to_another_process_goes_on_with_the_call_where_it_is():
    holder, other = asking(), legacy_server()
    async with processes(holder, other, era=Era.LEGACY) as (one, two):
        asked = await answer_to(one, modern(progressToken="t"), MODERN)
        again = retry(modern(), asked, {"action": "accept"}, progressToken="t")
        told, done = await ask(two, again, MODERN)

    assert told.params == {"progressToken": "t", "progress": 1}
    assert done == Success("1+", {"content": [], "got": [{"action": "accept"}], "resultType": "complete"})
    assert len(holder.of("tools/call")) == 1
    assert other.heard == []


async def test_each_answer_may_come_to_yet_another_process():
    holder = asking(times=4)
    async with processes(holder, legacy_server(), legacy_server(), era=Era.LEGACY) as bridges:
        said = await answer_to(bridges[0], modern(), MODERN)
        for number, bridge in enumerate((bridges[1], bridges[2], bridges[0], bridges[1])):
            said = await answer_to(bridge, retry(modern(), said, {"n": number}), MODERN)

    assert said.result["got"] == [{"n": number} for number in range(4)]


async def test_attack_at_another_process_too_only_the_same_request_of_the_same_principal_goes_on():
    async with processes(asking(), legacy_server(), era=Era.LEGACY) as (one, two):
        asked = await answer_to(one, modern(), MODERN)
        right = retry(modern(), asked, {"action": "accept"})
        other = Link(SessionId("other"), Era.MODERN, "2026-07-28")
        changed = Request(right.id, right.method, {**right.params, "name": "another"})
        assert (await answer_to(two, right, other)).code == -32602
        assert (await answer_to(two, changed, MODERN)).code == -32602
        assert (await answer_to(two, right, MODERN)).result["got"] == [{"action": "accept"}]
        assert (await answer_to(two, right, MODERN)).code == -32602


async def test_a_call_whose_process_has_gone_is_unknown_within_seconds(autojump_clock):
    async with processes(legacy_server(), era=Era.LEGACY) as (bridge,):
        gone = "018f0000-0000-7000-8000-00000000beef." + "x" * 32
        request = Request(1, "tools/call", {**modern().params, "inputResponses": {"answer": {}}, "requestState": gone})
        began = trio.current_time()
        assert (await answer_to(bridge, request, MODERN)).code == -32602

    assert trio.current_time() - began <= far.TAKEN_S


async def test_a_call_whose_process_dies_while_it_goes_on_ends_within_seconds(autojump_clock):
    began, post = trio.current_time(), Post()
    here, there = FakeMail("here", post), FakeMail("there", post)
    office = Office(here, "clinic")
    async with trio.open_nursery() as nursery:

        def taken(document):
            if document["kind"] == far.RESUME:
                nursery.start_soon(carry, document)

        async def carry(document):
            for said in ({"taken": True}, *[{"alive": True}] * 10):
                await there.send("here/clinic", {"kind": document["thread"], **said})
                await trio.sleep(far.ALIVE_S)

        with office.open(), there.listen("there/clinic", taken):
            retry = far.Far(office, "there")
            assert await retry.open(MODERN, modern())
            with pytest.raises(UpstreamFault, match="what became of the call is not known"):
                await retry.receive()
            await retry.aclose()
    assert trio.current_time() - began == 10 * far.ALIVE_S + far.SILENT_S


async def test_a_process_that_goes_on_with_a_call_says_that_it_still_does(autojump_clock):
    answers = []

    async def play(talk, message):
        talk.say(Request("q", "elicitation/create", {}))

    async def answered(talk, response):
        answers.append(talk)

    async with processes(legacy_server(play, answered=answered), legacy_server()) as (one, other):
        asked = await answer_to(one, modern(), MODERN)
        async with other.converse(MODERN) as conversation:
            await conversation.send(retry(modern(), asked, {"action": "accept"}))
            with trio.move_on_after(10 * far.SILENT_S):
                await conversation.receive()
            answers[0].result(content=["late"])
            assert (await conversation.receive()).result["content"] == ["late"]


async def test_a_fault_of_the_upstream_comes_to_the_process_that_has_the_client():
    async def answered(talk, response):
        talk.say(UpstreamFault("it broke", kind="closed"))

    async def play(talk, message):
        talk.say(QUESTION)

    async with processes(legacy_server(play, answered=answered), legacy_server(), era=Era.LEGACY) as (one, two):
        asked = await answer_to(one, modern(), MODERN)
        async with two.converse(MODERN) as conversation:
            await conversation.send(retry(modern(), asked, {}))
            with pytest.raises(UpstreamFault, match="it broke") as said:
                await conversation.receive()
    assert said.value.kind == "closed"


async def test_a_client_that_hangs_up_at_another_process_cancels_its_call_where_it_is():
    async def answered(talk, response):
        pass

    async def play(talk, message):
        talk.say(QUESTION)

    holder = legacy_server(play, answered=answered)
    async with processes(holder, legacy_server(), era=Era.LEGACY) as (one, two):
        asked = await answer_to(one, modern(), MODERN)
        async with two.converse(MODERN) as conversation:
            await conversation.send(retry(modern(), asked, {}))
            await wait_all_tasks_blocked()
            assert holder.of(mcp.CANCELLED) == []
        await wait_all_tasks_blocked()
        assert [message.params["requestId"] for message in holder.of(mcp.CANCELLED)] == [holder.of("tools/call")[0].id]


def needing():
    """A modern server whose calls need an answer."""

    async def play(talk, message):
        if "inputResponses" in message.params:
            talk.result(resultType="complete", content=[], got=message.params["inputResponses"])
        else:
            question = {"method": "elicitation/create", "params": {"message": "Who?"}}
            talk.result(resultType="input_required", inputRequests={"who": question}, requestState="x")

    return modern_server(play)


async def test_a_legacy_clients_answer_may_come_to_another_process_than_asked():
    holder, other = needing(), modern_server()
    async with processes(holder, other, era=Era.MODERN) as (one, two), one.converse(LEGACY) as conversation:
        await conversation.send(call())
        question = await conversation.receive()
        assert await ask(two, Success(question.id, {"action": "accept"}), LEGACY) == [None]
        assert (await conversation.receive()).result["got"] == {"who": {"action": "accept"}}

    assert other.heard == []


async def test_a_legacy_clients_cancellation_may_come_to_another_process_than_the_call():
    async def play(talk, message):
        pass

    holder, other = modern_server(play), modern_server()
    async with processes(holder, other, era=Era.MODERN) as (one, two), one.converse(LEGACY) as conversation:
        await conversation.send(call(ident=7))
        assert await ask(two, mcp.cancel(7), LEGACY) == [None]
        with pytest.raises(UpstreamFault, match="cancelled"):
            await conversation.receive()

    assert holder.abandoned == holder.of("tools/call")


async def test_attack_nobody_else_cancels_a_call_at_another_process():
    async def play(talk, message):
        talk.ended = trio.Event()

    holder = modern_server(play)
    async with processes(holder, modern_server(), era=Era.MODERN) as (one, two), one.converse(LEGACY) as conversation:
        await conversation.send(call(ident=7))
        stranger = Link(SessionId("other"), Era.LEGACY, "2025-11-25", upstream_session=LEGACY.upstream_session)
        await ask(two, mcp.cancel(7), stranger)
        await ask(two, mcp.cancel("7"), LEGACY)
        await wait_all_tasks_blocked()
        assert holder.abandoned == []


async def test_a_log_level_that_was_set_at_one_process_holds_at_all():
    one, two = modern_server(), modern_server()
    async with processes(one, two, era=Era.MODERN) as bridges:
        await answer_to(bridges[0], Request(1, "logging/setLevel", {"level": "error"}), LEGACY)
        await answer_to(bridges[1], call(), LEGACY)
        await bridges[0].end(LEGACY)
        await answer_to(bridges[1], call(), LEGACY)

    assert [mcp.meta(message).get(mcp.LOG_LEVEL) for message in two.of("tools/call")] == ["error", None]


async def test_a_stream_hears_of_what_its_client_subscribed_to_at_another_process():
    one, two = modern_server(), modern_server()
    async with (
        processes(one, two, era=Era.MODERN) as bridges,
        bridges[0].listen(LEGACY) as stream,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(stream.receive)
        await wait_all_tasks_blocked()
        await answer_to(bridges[1], Request(1, "resources/subscribe", {"uri": "a:b"}), LEGACY)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    wanted = [message.params["notifications"].get("resourceSubscriptions") for message in one.of(mcp.LISTEN)]
    assert wanted == [None, ["a:b"]]


def program(play=None):
    """A legacy program, of which each process has its own."""

    async def asks(talk, message):
        talk.say(QUESTION)

    async def answered(talk, response):
        got = response.result if isinstance(response, Success) else response.code
        talk.result(content=[], got=got, under=response.id)

    return legacy_server(play or asks, answered=answered, local=True)


async def test_the_answer_to_a_programs_question_comes_to_the_program_that_asked():
    mine, other = program(), program()
    async with processes(mine, other, era=Era.LEGACY) as (one, two), one.converse(PROGRAM) as conversation:
        await conversation.send(call())
        question = await conversation.receive()
        await ask(two, Success(question.id, {"action": "accept"}), PROGRAM)
        done = await conversation.receive()

    assert (done.result["got"], done.result["under"]) == ({"action": "accept"}, QUESTION.id)
    assert other.heard == []


async def test_the_gateways_own_answer_goes_to_the_program_under_its_id():
    mine = program()
    async with processes(mine, era=Era.LEGACY) as (one,), one.converse(PROGRAM) as conversation:
        await conversation.send(call())
        question = await conversation.receive()
        await conversation.respond(Failure(question.id, -32010, "Refused by policy"))
        done = await conversation.receive()

    assert (done.result["got"], done.result["under"]) == (-32010, QUESTION.id)


async def test_what_a_program_asks_outside_any_call_is_answered_to_it_too():
    mine = program()
    streams = []

    async def opened(stream):
        streams.append(stream)
        stream.say(QUESTION)

    async def answered(talk, response):
        talk.got = response

    mine.opened, mine.answered = opened, answered
    async with processes(mine, program(), era=Era.LEGACY) as (one, two), one.listen(PROGRAM) as stream:
        question = await stream.receive()
        await ask(two, Success(question.id, {"action": "decline"}), PROGRAM)
        await wait_all_tasks_blocked()

    assert streams[0].got == Success(QUESTION.id, {"action": "decline"})


async def test_a_call_at_a_program_is_cancelled_from_another_process():
    async def play(talk, message):
        pass

    mine, other = program(play), program()
    async with processes(mine, other, era=Era.LEGACY) as (one, two), one.converse(PROGRAM) as conversation:
        await conversation.send(call(ident="c"))
        await ask(two, mcp.cancel("c"), PROGRAM)
        with pytest.raises(UpstreamFault, match="cancelled"):
            await conversation.receive()

    assert mine.abandoned == mine.of("tools/call")
    assert other.heard == []


async def test_a_session_that_ends_at_one_process_ends_its_programs_at_all():
    mine, other = program(), program()
    async with processes(mine, other, era=Era.LEGACY) as (one, _):
        await one.end(PROGRAM)
        await wait_all_tasks_blocked()

    assert [link.session for link in mine.ended] == [link.session for link in other.ended] == [PROGRAM.session]


async def test_what_another_release_says_is_not_understood_and_harms_nothing(caplog):
    async with processes(legacy_server(), legacy_server(), era=Era.LEGACY) as (one, two):
        await two._office.tell(one._office.name, "resume", to="x", thread="y", session="s", version="z")
        await two._office.tell(one._office.name, "answer", session="s", message="{")
        await two._office.tell(one._office.name, "made up")
        await two._office.tell("", "cancel", session="s", id=None)
    assert "same release" in caplog.text


def program_with_a_task(era=Era.LEGACY):
    """A program that makes a task of a call, and asks who it is for before it tells what came of it."""

    async def play(talk, message):
        match message.method:
            case "tools/call" if era is Era.MODERN:
                talk.result(resultType="task", taskId="t.1", status="working", ttlMs=None)
            case "tools/call":
                talk.result(task={"taskId": "t.1", "status": "working", "ttl": None})
            case "tasks/result":
                talk.say(Request("q", "elicitation/create", {"_meta": {tasks.RELATED: {"taskId": "t.1"}}}))
            case "tasks/get" if message.params["taskId"] == "t.1":
                talk.result(taskId="t.1", status="working", resultType="complete")
            case _:
                talk.say(Failure(message.id, -32602, "no such task"))

    async def answered(talk, response):
        talk.result(content=[getattr(response, "result", None)], _meta={tasks.RELATED: {"taskId": "t.1"}})

    make = legacy_server if era is Era.LEGACY else modern_server
    upstream = make(play, local=True)
    upstream.answered = answered
    return upstream


def nothing_running(era=Era.LEGACY):
    """The same in a process that has made none."""

    async def play(talk, message):
        talk.say(Failure(message.id, -32602, "no such task"))

    return (legacy_server if era is Era.LEGACY else modern_server)(play, local=True)


async def begun(bridge, request, link):
    result = (await answer_to(bridge, request, link)).result
    return (result.get("task") or result)["taskId"]


@pytest.mark.parametrize(
    ("era", "request_", "link"),
    [
        (Era.LEGACY, call(task={}), PROGRAM),
        (Era.MODERN, modern(), MODERN),
    ],
)
async def test_a_programs_task_is_asked_after_at_every_process(era, request_, link):
    holder, other = program_with_a_task(era), nothing_running(era)
    async with processes(holder, other, era=era) as (one, two):
        ident = await begun(one, request_, link)
        polls = [Request(5, "tasks/get", {**request_.params, "taskId": ident})] * 2
        told = [(await answer_to(bridge, poll, link)).result for bridge, poll in zip((one, two), polls, strict=True)]
    assert [(each["taskId"], each["status"]) for each in told] == [(ident, "working")] * 2
    assert other.heard == []
    assert {message.params["taskId"] for message in holder.of("tasks/get")} == {"t.1"}


async def test_what_a_programs_task_asks_reaches_the_client_at_another_process_and_its_answer_comes_back():
    async with processes(program_with_a_task(), nothing_running(), era=Era.LEGACY) as (one, two):
        ident = await begun(one, call(task={}), PROGRAM)
        async with two.converse(PROGRAM) as conversation:
            await conversation.send(Request(5, "tasks/result", {"taskId": ident}))
            question = await conversation.receive()
            assert question.params["_meta"][tasks.RELATED]["taskId"] == ident
            async with two.converse(PROGRAM) as answering:
                await answering.send(Success(question.id, {"action": "accept"}))
            done = await conversation.receive()
    assert done.result == {"content": [{"action": "accept"}], "_meta": {tasks.RELATED: {"taskId": ident}}}


async def test_a_question_of_a_task_elsewhere_that_policy_withholds_is_answered_there():
    async with processes(program_with_a_task(), nothing_running(), era=Era.LEGACY) as (one, two):
        ident = await begun(one, call(task={}), PROGRAM)
        async with two.converse(PROGRAM) as conversation:
            await conversation.send(Request(5, "tasks/result", {"taskId": ident}))
            question = await conversation.receive()
            await conversation.respond(Failure(question.id, -32010, "withheld"))
            assert (await conversation.receive()).result["content"] == [None]


async def test_a_task_whose_program_went_with_its_process_is_said_to_be_lost(autojump_clock):
    async with processes(nothing_running(), era=Era.LEGACY) as (two,):
        gone = "018f0000-0000-7000-8000-000000000009.t.1"
        lost = await answer_to(two, Request(5, "tasks/get", {"taskId": gone}), PROGRAM)
    assert lost == Failure(5, -32602, homes.LOST)
