"""Tasks across the bridge: a legacy upstream's for modern clients, and a modern one's for legacy clients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import mcp, tasks
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success
from gateway.upstream.bridge import far, homes, undertakings
from gateway.upstream.bridge import modern as modern_side
from gateway.upstream.bridge.office import Office
from gateway.upstream.bridge.sessions import Sessions
from gateway.upstream.bridge.translated import BRIDGED, WITH_TASKS
from gateway.upstream.bridge.undertakings import EACH
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
)

TASKS = {mcp.CLIENT_CAPABILITIES: {"elicitation": {}, "extensions": {mcp.TASKS: {}}}}
CAPABILITIES = {"tools": {}, "tasks": {"cancel": {}, "requests": {"tools": {"call": {}}}}}
QUESTION = {"message": "Who?", "_meta": {tasks.RELATED: {"taskId": "t-1"}}}
TIMES = {"createdAt": "2026-11-23T00:00:00Z", "lastUpdatedAt": "2026-11-23T00:00:00Z"}


def legacy_tasks(*statuses, support="required", result=None, asks=False, ttl=60_000):
    """A legacy upstream whose only tool must be, or may be, a task that stands as `statuses` say, the last for ever."""
    stands = list(statuses)
    answers = trio.Event()

    async def play(talk, message):
        match message.method:
            case "tools/list":
                talk.result(tools=[{"name": "query", "execution": {"taskSupport": support}}])
            case "tools/call" if "task" in message.params:
                talk.result(task={"taskId": "t-1", "status": "working", "ttl": ttl, "pollInterval": 10, **TIMES})
            case "tools/call":
                talk.result(content=["plain"])
            case "tasks/get":
                status = stands.pop(0) if len(stands) > 1 else stands[0]
                talk.result(taskId="t-1", status=status, ttl=ttl, **TIMES)
            case "tasks/cancel":
                talk.result(taskId="t-1", status="cancelled", ttl=ttl, **TIMES)
            case "tasks/result" if asks and not answers.is_set():
                talk.say(Request("q-1", "elicitation/create", QUESTION))
            case "tasks/result":
                talk.say(result or Success(message.id, {"content": ["done"], "_meta": QUESTION["_meta"]}))

    async def answered(talk, response):
        upstream.answers.append(response)
        answers.set()
        talk.result(content=["done", getattr(response, "result", None)], _meta=QUESTION["_meta"])

    upstream = legacy_server(play, capabilities=CAPABILITIES, answered=answered)
    upstream.answers = []
    return upstream


def about(ident, method="tasks/get", **more):
    return modern(method, {"taskId": ident, **more}, **TASKS)


async def made(bridge):
    answer = await answer_to(bridge, modern(**TASKS), MODERN)
    assert answer.result["resultType"] == "task"
    return answer.result["taskId"]


@pytest.mark.parametrize("support", ["required", "optional"])
async def test_a_client_that_declares_tasks_gets_one_and_its_result_with_a_poll(support):
    upstream = legacy_tasks("working", "completed", support=support)
    async with processes(upstream) as (bridge,):
        ident = await made(bridge)
        working = (await answer_to(bridge, about(ident), MODERN)).result
        assert (working["status"], working["ttlMs"], working["resultType"]) == ("working", 60_000, "complete")
        done = (await answer_to(bridge, about(ident), MODERN)).result
    assert (done["status"], done["taskId"]) == ("completed", ident)
    assert done["result"] == {"content": ["done"], "resultType": "complete"}
    (sent,) = upstream.of("tools/call")
    assert sent.params["task"] == {"ttl": undertakings.KEPT_MS}


async def test_a_tool_that_may_be_a_task_is_none_for_those_who_take_none_and_no_client_says_so_itself():
    upstream = legacy_tasks("working", support="optional")
    async with processes(upstream) as (bridge,):
        request = modern(params={"name": "query", "task": {"ttl": 1}})
        assert (await answer_to(bridge, request, MODERN)).result["content"] == ["plain"]
    assert "task" not in upstream.of("tools/call")[0].params


async def test_a_tool_that_must_be_a_task_is_waited_for_by_those_who_take_none():
    upstream = legacy_tasks("working")
    async with processes(upstream) as (bridge,):
        done = await answer_to(bridge, modern(), MODERN)
    assert done.result == {"content": ["done"], "resultType": "complete"}


async def test_what_such_a_task_asks_is_asked_by_a_round_trip():
    upstream = legacy_tasks("working", asks=True)
    async with processes(upstream) as (bridge,):
        asked = (await answer_to(bridge, modern(), MODERN)).result
        assert asked["inputRequests"] == {"answer": {"method": "elicitation/create", "params": {"message": "Who?"}}}
        back = {
            "name": "query",
            "inputResponses": {"answer": {"action": "decline"}},
            "requestState": asked["requestState"],
        }
        done = await answer_to(bridge, modern(params=back), MODERN)
    assert done.result["content"] == ["done", {"action": "decline"}]


async def test_a_client_that_waits_for_a_task_and_hangs_up_has_it_cancelled():
    upstream = legacy_tasks("working", result=Notification("notifications/message", {"level": "info"}))
    async with processes(upstream) as (bridge,), bridge.converse(MODERN) as conversation:
        await conversation.send(modern(**{mcp.LOG_LEVEL: "info"}))
        assert (await conversation.receive()).method == "notifications/message"
    (cancelled,) = upstream.of("tasks/cancel")
    assert cancelled.params == {"taskId": "t-1"}
    assert upstream.of(mcp.CANCELLED) == []


async def test_a_task_that_wants_input_says_what_and_takes_the_answer_once():
    upstream = legacy_tasks("input_required", "input_required", "completed", asks=True)
    async with processes(upstream) as (bridge,):
        ident = await made(bridge)
        first = (await answer_to(bridge, about(ident), MODERN)).result
        assert first["status"] == "input_required"
        ((key, question),) = first["inputRequests"].items()
        assert question == {"method": "elicitation/create", "params": {"message": "Who?"}}
        assert (await answer_to(bridge, about(ident), MODERN)).result["inputRequests"] == first["inputRequests"]
        for responses in ({"other": {"action": "accept"}}, {key: 7}, None, {key: {"action": "decline"}}, {key: {}}):
            update = about(ident, "tasks/update", inputResponses=responses)
            assert (await answer_to(bridge, update, MODERN)).result == {"resultType": "complete"}
        done = (await answer_to(bridge, about(ident), MODERN)).result
    assert done["status"] == "completed"
    assert [answer.result["action"] for answer in upstream.answers] == ["decline"]
    assert upstream.answers[0].result["_meta"] == QUESTION["_meta"]


def asking_much(questions):
    """A legacy upstream whose task asks so much at a time, and ends when all is answered."""
    upstream = legacy_tasks("input_required")
    plays = upstream.script

    async def script(talk, message):
        if isinstance(message, Request) and message.method == "tasks/result":
            talk.say(*(Request(f"q-{n}", "elicitation/create", QUESTION) for n in range(questions)))
        else:
            await plays(talk, message)

    async def answered(talk, response):
        upstream.answers.append(response.id)
        if len(upstream.answers) == questions:
            talk.result(content=["done"])

    upstream.script, upstream.answered = script, answered
    return upstream


async def test_what_a_task_asks_at_a_time_is_told_together_and_may_be_answered_in_any_order(autojump_clock):
    upstream = asking_much(3)
    async with processes(upstream) as (bridge,):
        ident = await made(bridge)
        while len(asked := (await answer_to(bridge, about(ident), MODERN)).result["inputRequests"]) < 3:
            await trio.sleep(0.1)
        first, second, third = asked
        for keys, left in (([second], [first, third]), ([first, second], [third])):
            update = about(ident, "tasks/update", inputResponses={key: {"action": "accept"} for key in keys})
            assert (await answer_to(bridge, update, MODERN)).result == {"resultType": "complete"}
            assert [*(await answer_to(bridge, about(ident), MODERN)).result["inputRequests"]] == left
    assert upstream.answers == ["q-1", "q-0"]


async def test_attack_of_very_many_questions_of_a_task_so_many_are_open_at_a_time(autojump_clock):
    most = undertakings.QUESTIONS
    upstream = asking_much(most + 5)
    async with processes(upstream) as (bridge,):
        ident = await made(bridge)
        seen: set[str] = set()
        while len(seen) < most + 5:
            asked = (await answer_to(bridge, about(ident), MODERN)).result.get("inputRequests", {})
            assert len(asked) <= most
            seen |= asked.keys()
            if len(asked) == most or len(seen) == most + 5:
                update = about(ident, "tasks/update", inputResponses={key: {"action": "accept"} for key in asked})
                await answer_to(bridge, update, MODERN)
            await trio.sleep(0.1)
    assert len(upstream.answers) == most + 5


async def test_a_client_of_a_task_is_asked_only_what_it_declared():
    upstream = legacy_tasks("input_required", "completed", asks=True)
    async with processes(upstream) as (bridge,):
        ident = await made(bridge)
        bare = {mcp.CLIENT_CAPABILITIES: {"extensions": {mcp.TASKS: {}}}}
        polled = await answer_to(bridge, modern("tasks/get", {"taskId": ident}, **bare), MODERN)
        assert polled.result["status"] == "working"
    assert [answer.code for answer in upstream.answers] == [-32601]


async def test_a_task_is_asked_after_answered_and_cancelled_at_another_process():
    upstream = legacy_tasks("input_required", "working", asks=True)
    async with processes(upstream, legacy_tasks("working")) as (one, other):
        ident = await made(one)
        asked = (await answer_to(other, about(ident), MODERN)).result
        (key,) = asked["inputRequests"]
        update = about(ident, "tasks/update", inputResponses={key: {"action": "accept"}})
        assert (await answer_to(other, update, MODERN)).result == {"resultType": "complete"}
        assert (await answer_to(other, about(ident, "tasks/cancel"), MODERN)).result == {"resultType": "complete"}
    assert [answer.result["action"] for answer in upstream.answers] == ["accept"]
    assert upstream.of("tasks/cancel")[0].params == {"taskId": "t-1"}


async def test_a_task_that_never_was_is_unknown():
    async with processes(legacy_tasks("working")) as (bridge,):
        for ident in ("018f0000-0000-7000-8000-000000000009." + "x" * 32, "made-up", 7, None):
            assert (await answer_to(bridge, about(ident), MODERN)).code == -32602


def kill(bridge):
    """The process of this bridge hears nothing any more, nor says anything."""
    mail = bridge._office.mail
    mail.post.dead.add(mail.name)


def in_(upstream):
    """The upstream's session that its task was made in."""
    return {link.upstream_session for link, message in upstream.heard if message.method == "tools/call"}


async def test_another_process_goes_on_with_the_task_of_one_that_died_in_the_session_that_it_was_made_in(
    autojump_clock,
):
    home, other = legacy_tasks("working"), legacy_tasks("working", "input_required", "completed", asks=True)
    async with processes(home, other, legacy_tasks("working")) as (one, two, three):
        ident = await made(one)
        kill(one)
        assert (await answer_to(two, about(ident), MODERN)).result["status"] == "working"
        ((key, _),) = (await answer_to(three, about(ident), MODERN)).result["inputRequests"].items()
        update = about(ident, "tasks/update", inputResponses={key: {"action": "accept"}})
        assert (await answer_to(three, update, MODERN)).result == {"resultType": "complete"}
        assert (await answer_to(three, about(ident), MODERN)).result["status"] == "completed"
        assert (await answer_to(two, about(ident, "tasks/cancel"), MODERN)).result == {"resultType": "complete"}
    assert {link.upstream_session for link, message in other.heard if message.method.startswith("tasks/")} == in_(home)
    assert not {link.upstream_session for link in other.ended} & in_(home)


async def test_a_process_that_ends_hands_its_tasks_over_at_once_and_leaves_their_session_alone(autojump_clock):
    home, other = legacy_tasks("working"), legacy_tasks("working", "completed")
    async with processes(home, other) as (one, two):
        ident = await made(one)
        await one._let_go()
        began = trio.current_time()
        assert (await answer_to(two, about(ident), MODERN)).result["status"] == "working"
        assert (await answer_to(two, about(ident), MODERN)).result["status"] == "completed"
        assert trio.current_time() - began < far.TAKEN_S
    assert not {link.upstream_session for link in home.ended} & in_(home)


@pytest.mark.parametrize("dies", [True, False])
async def test_the_task_of_a_program_is_lost_with_it_and_its_client_is_told_so_for_good(autojump_clock, dies):
    home, other = legacy_tasks("working"), legacy_tasks("working")
    home.local = other.local = True
    async with processes(home, other) as (one, two):
        ident = await made(one)
        if dies:
            kill(one)
        else:
            await one._let_go()
        for bridge in (two, one, two):
            lost = (await answer_to(bridge, about(ident), MODERN)).result
            assert (lost["taskId"], lost["status"]) == (ident, "failed")
            assert {key: lost[key] for key in TIMES} == TIMES
            assert lost["error"] == {"code": -32603, "message": homes.LOST}
        for method in ("tasks/update", "tasks/cancel"):
            assert (await answer_to(two, about(ident, method), MODERN)).result == {"resultType": "complete"}
    assert other.of("tasks/get") == []


async def test_a_task_whose_session_the_upstream_has_forgotten_is_lost():
    upstream = legacy_tasks("working")
    async with processes(upstream) as (bridge,):
        ident = await made(bridge)

        async def forgets(talk, message):
            talk.say(UpstreamFault("it no longer knows the session", kind="ended"))

        upstream.script = forgets
        lost = (await answer_to(bridge, about(ident), MODERN)).result
        assert (await answer_to(bridge, about(ident, "tasks/cancel"), MODERN)).result == {"resultType": "complete"}
    assert (lost["status"], lost["error"]["message"]) == ("failed", undertakings.FORGOTTEN)


async def test_two_processes_that_find_a_task_orphaned_agree_on_who_goes_on_with_it(autojump_clock):
    upstreams = [legacy_tasks("working") for _ in range(3)]
    async with processes(*upstreams) as (one, two, three):
        ident = await made(one)
        kill(one)
        polled = []
        async with trio.open_nursery() as nursery:
            for bridge in (two, three):

                async def poll(bridge=bridge):
                    polled.append((await answer_to(bridge, about(ident), MODERN)).result["status"])

                nursery.start_soon(poll)
    assert polled == ["working"] * 2
    assert sorted(bool(upstream.of("tasks/get")) for upstream in upstreams) == [False, False, True]


async def test_only_a_client_that_declares_tasks_may_ask_after_one():
    async with processes(legacy_tasks("working")) as (bridge,):
        ident = await made(bridge)
        refused = await answer_to(bridge, modern("tasks/get", {"taskId": ident}), MODERN)
    assert (refused.code, refused.data) == (-32021, {"requiredCapabilities": {"extensions": {mcp.TASKS: {}}}})


async def test_a_call_that_failed_is_a_failed_task():
    async with processes(legacy_tasks("failed", result=Failure(0, -32000, "broken"))) as (bridge,):
        polled = (await answer_to(bridge, about(await made(bridge)), MODERN)).result
    assert (polled["status"], polled["error"]) == ("failed", {"code": -32000, "message": "broken"})


async def test_a_principal_has_so_many_tasks_and_those_that_are_over_make_room():
    upstream = legacy_tasks("completed", "working")
    async with processes(upstream) as (bridge,):
        first = await made(bridge)
        for _ in range(EACH - 1):
            await made(bridge)
        with pytest.raises(UpstreamFault, match="too many tasks"):
            await made(bridge)
        assert (await answer_to(bridge, about(first), MODERN)).result["status"] == "completed"
        await made(bridge)
        assert (await answer_to(bridge, about(first), MODERN)).code == -32602


async def test_a_task_is_forgotten_when_its_time_is_up(autojump_clock):
    async with processes(legacy_tasks("working", ttl=10_000)) as (bridge,):
        ident = await made(bridge)
        await trio.sleep(20)
        assert (await answer_to(bridge, about(ident), MODERN)).code == -32602


async def test_a_legacy_upstreams_own_word_on_its_task_stays_behind():
    async def play(talk, message):
        talk.say(Notification("notifications/tasks/status", {"taskId": "t-1", "status": "working"}))
        talk.result(content=[])

    async with processes(legacy_server(play, capabilities={})) as (bridge,):
        (answer,) = await ask(bridge, modern(), MODERN)
    assert answer.result["content"] == []


def modern_tasks(*stands, at_once=None, offers=True):
    """A modern upstream that has the extension; its task stands as `stands` say, the last for ever."""
    stands = list(stands)

    async def play(talk, message):
        declared = mcp.declares_tasks(message)
        match message.method:
            case "tools/call" if at_once is not None or not declared:
                talk.result(**(at_once or {"content": ["plain"]}), resultType="complete")
            case "tools/call":
                talk.result(resultType="task", taskId="m-1", status="working", ttlMs=None, pollIntervalMs=10, **TIMES)
            case "tasks/get" if message.params["taskId"] != "m-1":
                talk.say(Failure(message.id, -32602, "no such task"))
            case "tasks/get":
                stand = stands.pop(0) if len(stands) > 1 else stands[0]
                talk.result(resultType="complete", taskId="m-1", ttlMs=None, **TIMES, **stand)
            case _:
                talk.result(resultType="complete")

    upstream = modern_server(play)
    script = upstream.script

    async def discovering(talk, message):
        if isinstance(message, Request) and message.method == "server/discover" and offers:
            capabilities = {"tools": {}, "extensions": {mcp.TASKS: {}}}
            talk.result(resultType="complete", supportedVersions=["2026-07-28"], capabilities=capabilities)
        else:
            await script(talk, message)

    upstream.script = discovering
    return upstream


WORKING = {"status": "working"}
DONE = {"status": "completed", "result": {"content": ["done"], "resultType": "complete"}}


def task_call():
    return call(task={"ttl": 60_000})


async def task_of(bridge):
    return (await answer_to(bridge, task_call(), LEGACY)).result["task"]


def legacy_about(method, ident="m-1"):
    return Request(9, method, {"taskId": ident})


@pytest.mark.parametrize(
    ("version", "offers", "mark"),
    [("2025-11-25", True, WITH_TASKS), ("2025-06-18", True, BRIDGED), ("2025-11-25", False, BRIDGED)],
)
async def test_a_greeting_says_that_there_are_tasks_where_both_sides_know_some(version, offers, mark):
    async with processes(modern_tasks(WORKING, offers=offers)) as (bridge,):
        greeting = Request(1, "initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": {}})
        fresh = replace(LEGACY, upstream_session=None)
        async with bridge.converse(fresh) as conversation:
            await conversation.send(greeting)
            answer = await conversation.receive()
            assert conversation.upstream_session == mark
    assert ("tasks" in answer.result["capabilities"]) == (mark == WITH_TASKS)


async def test_a_legacy_client_that_wants_a_task_gets_the_modern_upstreams():
    upstream = modern_tasks(WORKING, DONE)
    async with processes(upstream) as (bridge,):
        task = await task_of(bridge)
        assert task == {"taskId": "m-1", "status": "working", "ttl": None, "pollInterval": 10, **TIMES}
        assert (await answer_to(bridge, legacy_about("tasks/get"), LEGACY)).result["status"] == "working"
        done = await answer_to(bridge, legacy_about("tasks/result"), LEGACY)
    assert done == Success(9, {"content": ["done"], "_meta": QUESTION_OF_M})
    (sent,) = upstream.of("tools/call")
    assert "task" not in sent.params


QUESTION_OF_M = {tasks.RELATED: {"taskId": "m-1"}}


async def test_a_result_is_waited_for_and_its_questions_are_asked_once_each(autojump_clock):
    asking = {"status": "input_required", "inputRequests": {"who": {"method": "elicitation/create", "params": {}}}}
    upstream = modern_tasks(WORKING, asking, asking, WORKING, DONE)
    async with processes(upstream) as (bridge,), bridge.converse(LEGACY) as conversation:
        await conversation.send(legacy_about("tasks/result"))
        question = await conversation.receive()
        assert (question.method, question.params["_meta"]) == ("elicitation/create", QUESTION_OF_M)
        async with bridge.converse(LEGACY) as other:
            await other.send(Success(question.id, {"action": "accept", "_meta": QUESTION_OF_M}))
        done = await conversation.receive()
    assert done.result["content"] == ["done"]
    (update,) = upstream.of("tasks/update")
    assert update.params["inputResponses"] == {"who": {"action": "accept"}}
    assert all(mcp.declares_tasks(message) for message in upstream.of("tasks/get"))


async def test_a_call_that_wants_no_task_says_nothing_of_tasks_upstream():
    upstream = modern_tasks(WORKING)
    async with processes(upstream) as (bridge,):
        greeting = {**LEGACY.greeting, "capabilities": {"extensions": {mcp.TASKS: {}}}}
        link = type(LEGACY)(LEGACY.session, LEGACY.era, LEGACY.version, LEGACY.upstream_session, greeting)
        assert (await answer_to(bridge, call(), link)).result["content"] == ["plain"]


async def test_a_task_of_an_upstream_that_answers_at_once_has_its_result_at_every_process(autojump_clock):
    one, other = modern_tasks(WORKING, at_once={"content": ["now"]}), modern_tasks(WORKING)
    async with processes(one, other) as (first, second):
        task = await task_of(first)
        assert task["status"] == "working"
        ident = task["taskId"]
        assert (await answer_to(second, legacy_about("tasks/get", ident), LEGACY)).result["status"] == "completed"
        assert (await answer_to(second, legacy_about("tasks/result", ident), LEGACY)).result["content"] == ["now"]
        assert (await answer_to(second, legacy_about("tasks/cancel", ident), LEGACY)).code == -32602
        await trio.sleep(modern_side.KEPT_S + 1)
        assert (await answer_to(second, legacy_about("tasks/result", ident), LEGACY)).code == -32602


async def test_an_upstream_without_tasks_calls_as_ever_whatever_the_client_wants():
    upstream = modern_tasks(WORKING, offers=False)
    async with processes(upstream) as (bridge,):
        assert (await answer_to(bridge, task_call(), LEGACY)).result == {"content": ["plain"]}


async def test_a_task_that_nobody_asked_for_is_a_fault():
    async def play(talk, message):
        talk.result(resultType="task", taskId="m-1", status="working", ttlMs=None, **TIMES)

    async with processes(modern_server(play)) as (bridge,):
        with pytest.raises(UpstreamFault, match="nobody asked for"):
            await answer_to(bridge, call(), LEGACY)


@pytest.mark.parametrize(
    ("stands", "code"), [([WORKING, {"status": "cancelled"}], None), ([DONE], -32602), ([WORKING, DONE], -32602)]
)
async def test_a_legacy_cancellation_is_over_when_the_task_is(autojump_clock, stands, code):
    upstream = modern_tasks(*stands)
    async with processes(upstream) as (bridge,):
        answer = await answer_to(bridge, legacy_about("tasks/cancel"), LEGACY)
    assert (answer.result["status"] if code is None else answer.code) == (code or "cancelled")
    assert len(upstream.of("tasks/cancel")) == len(stands) - 1


async def test_a_task_that_does_not_end_lets_go_of_its_waiting_client(autojump_clock):
    async with processes(modern_tasks(WORKING)) as (bridge,):
        for method in ("tasks/result", "tasks/cancel"):
            with pytest.raises(UpstreamFault, match="ask again"):
                await answer_to(bridge, legacy_about(method), LEGACY)


async def test_an_unknown_task_is_unknown():
    async with processes(modern_tasks(WORKING)) as (bridge,):
        for method in ("tasks/get", "tasks/result", "tasks/cancel"):
            assert (await answer_to(bridge, legacy_about(method, "other"), LEGACY)).code == -32602


def unasked_tasks(together=1):
    """A legacy upstream that makes a task of every call, asked or not, once so many are under way `together`."""
    waiting = []

    async def play(talk, message):
        match message.method:
            case "tools/list":
                talk.result(tools=[{"name": "query", "execution": {"taskSupport": support}}])
            case "tools/call":
                waiting.append(talk)
                if len(waiting) >= together:
                    for each in waiting:
                        each.result(task={"taskId": "t-1", "status": "working", "ttl": 60_000, **TIMES})
                    waiting.clear()

    support = "required" if together > 1 else "forbidden"
    return legacy_server(play, capabilities=CAPABILITIES)


async def outcomes(bridge, count):
    """How many of so many calls at once became tasks, and how many were refused for want of room."""
    made, full = [], []

    async def one(ident):
        nonlocal full
        try:
            answer = await answer_to(bridge, modern(ident=ident, **TASKS), MODERN)
            made.append(answer.result["taskId"])
        except UpstreamFault as fault:
            full += ["too many tasks"] if "too many tasks" in fault.detail else []

    async with trio.open_nursery() as nursery:
        for ident in range(count):
            nursery.start_soon(one, ident)
    return len(made), len(full)


async def test_attack_calls_made_together_do_not_all_find_the_one_place_that_is_left():
    async with processes(unasked_tasks(together=3 * EACH)) as (bridge,):
        assert await outcomes(bridge, 3 * EACH) == (EACH, 2 * EACH)


async def test_attack_an_upstream_that_makes_tasks_unasked_does_not_fill_the_memory():
    async with processes(unasked_tasks()) as (bridge,):
        assert await outcomes(bridge, 2 * EACH) == (EACH, EACH)


class Hasty:
    """Work beside that has not taken a step when what it is for is let go of."""

    def __init__(self, nursery):
        self.nursery = nursery
        self.before = lambda: None

    def start_soon(self, work, *args):
        self.before()
        self.nursery.start_soon(work, *args)


async def test_attack_a_task_that_is_let_go_of_before_its_questions_are_heard_is_not_heard_for_ever(autojump_clock):
    upstream = legacy_tasks("input_required", result=Notification("notifications/message", {"level": "info"}))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            hasty = Hasty(nursery)
            sessions = Sessions(upstream, Office(FakeMail("here", Post()), "clinic"), hasty)
            kept = undertakings.Undertakings(sessions)
            session = await sessions.session(MODERN, mcp.meta(modern(**TASKS)))
            task = {"taskId": "t-1", "status": "working", **TIMES}
            ident = (await kept.keep(session, session.link, task))["taskId"]
            hasty.before = lambda: kept._kept[ident].let_go()
            poll = about(ident)
            assert (await kept.answer(poll)).result["status"] == "working"
    assert session.busy == 0


def insisting(*stands, asks_first=False):
    """A modern upstream that makes its call by a task alone, and may ask something before it makes one."""
    upstream = modern_tasks(*stands)
    makes = upstream.script

    async def script(talk, message):
        if message.method == "tools/call" and asks_first and "inputResponses" not in message.params:
            question = {"method": "elicitation/create", "params": {"message": "Who?"}}
            talk.result(resultType="input_required", inputRequests={"who": question}, requestState="s")
        elif message.method == "tools/call" and not mcp.declares_tasks(message):
            talk.say(Failure(message.id, -32021, "no", {"requiredCapabilities": {"extensions": {mcp.TASKS: {}}}}))
        else:
            await makes(talk, message)

    upstream.script = script
    return upstream


ASKING = {"status": "input_required", "inputRequests": {"who": {"method": "elicitation/create", "params": {}}}}


@pytest.mark.parametrize("stands", [[WORKING, DONE], [WORKING, ASKING, WORKING, DONE]])
@pytest.mark.parametrize("asks_first", [False, True])
async def test_a_legacy_client_that_asks_for_no_task_gets_what_comes_of_one_that_the_upstream_insists_on(
    autojump_clock, stands, asks_first
):
    upstream = insisting(*stands, asks_first=asks_first)
    async with processes(upstream) as (bridge,), bridge.converse(LEGACY) as conversation:
        await conversation.send(call(ident=7))
        while isinstance(message := await conversation.receive(), Request):
            assert message.method == "elicitation/create"
            assert "_meta" not in message.params
            async with bridge.converse(LEGACY) as other:
                await other.send(Success(message.id, {"action": "accept"}))
    assert message == Success(7, {"content": ["done"]})
    assert len(upstream.of("tasks/update")) == stands.count(ASKING)
    assert upstream.of("tasks/cancel") == []


@pytest.mark.parametrize("how", ["hangs up", "cancels", "waits too long"])
async def test_a_task_that_was_insisted_on_and_that_nobody_waits_for_any_more_is_taken_back(autojump_clock, how):
    upstream = insisting(WORKING)
    async with processes(upstream) as (bridge,), bridge.converse(LEGACY) as conversation:
        await conversation.send(call(ident=7))
        if how == "hangs up":
            with trio.move_on_after(3):
                await conversation.receive()
        else:
            async with trio.open_nursery() as nursery:

                async def cancel():
                    await trio.sleep(3)
                    await answerless(bridge, mcp.cancel(7))

                if how == "cancels":
                    nursery.start_soon(cancel)
                with pytest.raises(UpstreamFault, match="cancelled" if how == "cancels" else "did not end in time"):
                    await conversation.receive()
    (taken_back,) = upstream.of("tasks/cancel")
    assert taken_back.params["taskId"] == "m-1"


async def answerless(bridge, message):
    async with bridge.converse(LEGACY) as conversation:
        await conversation.send(message)


async def test_an_upstream_that_insists_on_something_else_is_told_on():
    async def play(talk, message):
        talk.say(Failure(message.id, -32021, "no", {"requiredCapabilities": {"sampling": {}}}))

    async with processes(modern_server(play)) as (bridge,):
        assert (await answer_to(bridge, call(), LEGACY)).code == -32021
