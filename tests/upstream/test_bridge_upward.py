"""Modern clients of a legacy upstream."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success
from gateway.core.types import Era, SessionId
from gateway.upstream.base import Link
from gateway.upstream.bridge import parked, sessions
from tests.upstream.scripted import META, MODERN, answer_to, ask, legacy_server, modern, processes, rest, retry

QUESTION = Request("q1", "elicitation/create", {"message": "Who?"})


def asking(*questions):
    """A server whose calls ask all that, one after the other, and then repeat the answers."""

    async def play(talk, message):
        talk.left_to_ask = list(questions)
        talk.got = []
        talk.say(talk.left_to_ask.pop(0))

    async def answered(talk, response):
        talk.got.append(response.result if isinstance(response, Success) else response.code)
        if talk.left_to_ask:
            talk.say(talk.left_to_ask.pop(0))
        else:
            talk.result(content=[], got=talk.got)

    return legacy_server(play, answered=answered)


async def test_a_question_ends_the_request_and_the_answer_goes_on_with_the_call():
    upstream = asking(QUESTION)
    async with processes(upstream) as (bridge,):
        asked = await answer_to(bridge, modern(), MODERN)
        assert asked.result["resultType"] == "input_required"
        assert asked.result["inputRequests"] == {"answer": {"method": QUESTION.method, "params": QUESTION.params}}

        done = await answer_to(bridge, retry(modern(), asked, {"action": "accept"}), MODERN)

    assert done == Success("1+", {"content": [], "got": [{"action": "accept"}], "resultType": "complete"})
    assert len(upstream.of("tools/call")) == 1


async def test_several_questions_are_asked_one_after_the_other():
    upstream = asking(QUESTION, Request("q2", "roots/list"), Request("q3", "sampling/createMessage"))
    async with processes(upstream) as (bridge,):
        said = await answer_to(bridge, modern(), MODERN)
        for answer in ({"action": "accept"}, {"roots": []}, {"role": "assistant"}):
            said = await answer_to(bridge, retry(modern(), said, answer), MODERN)

    assert said.result["got"] == [{"action": "accept"}, {"roots": []}, {"role": "assistant"}]


async def test_a_client_is_asked_only_what_it_declared_and_the_upstream_is_pinged_back():
    upstream = asking(Request("p", "ping"), Request("q", "roots/list"), Request("x", "made/up"))
    async with processes(upstream, era=Era.LEGACY) as (bridge,):
        done = await answer_to(bridge, modern(**{mcp.CLIENT_CAPABILITIES: {"elicitation": {}}}), MODERN)

    assert done.result["got"] == [{}, -32601, -32601]
    assert upstream.of("initialize")[0].params["capabilities"] == {"elicitation": {}}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda request: {**request.params, "requestState": request.params["requestState"][:-1] + "!"},
        lambda request: {**request.params, "requestState": 7},
        lambda request: {**request.params, "name": "another"},
        lambda request: {**request.params, "inputResponses": {}},
        lambda request: {**request.params, "inputResponses": []},
    ],
)
async def test_attack_only_the_same_request_with_its_own_state_and_an_answer_goes_on(spoil):
    upstream = asking(QUESTION)
    async with processes(upstream) as (bridge,):
        asked = await answer_to(bridge, modern(), MODERN)
        again = retry(modern(), asked, {"action": "accept"})
        refused = await answer_to(bridge, Request(again.id, again.method, spoil(again)), MODERN)
        assert refused.code == -32602
        assert (await answer_to(bridge, again, MODERN)).result["got"] == [{"action": "accept"}]
        assert (await answer_to(bridge, again, MODERN)).code == -32602


async def test_attack_another_principal_cannot_go_on_with_a_call():
    upstream = asking(QUESTION)
    async with processes(upstream) as (bridge,):
        asked = await answer_to(bridge, modern(), MODERN)
        other = Link(SessionId("other"), Era.MODERN, "2026-07-28")
        refused = await answer_to(bridge, retry(modern(), asked, {"action": "accept"}), other)

    assert refused.code == -32602
    assert upstream.abandoned == upstream.of("tools/call")


async def test_a_call_whose_client_does_not_come_back_is_cancelled_upstream(autojump_clock):
    upstream = asking(QUESTION)
    async with processes(upstream) as (bridge,):
        asked = await answer_to(bridge, modern(), MODERN)
        await trio.sleep(parked.PARKED_S + 10)
        (sent,) = upstream.of("tools/call")
        assert [message.params["requestId"] for message in upstream.of(mcp.CANCELLED)] == [sent.id]
        assert upstream.abandoned == [sent]
        assert (await answer_to(bridge, retry(modern(), asked, {}), MODERN)).code == -32602


async def test_a_client_that_hangs_up_cancels_its_call_upstream_by_saying_so():
    async def play(talk, message):
        talk.say(Notification("notifications/message", {"level": "info", "data": "working"}))

    upstream = legacy_server(play, capabilities={})
    async with processes(upstream) as (bridge,):
        async with bridge.converse(MODERN) as conversation:
            await conversation.send(modern(**{mcp.LOG_LEVEL: "debug"}))
            await conversation.receive()
        assert upstream.of(mcp.CANCELLED)[0].params["requestId"] == upstream.of("tools/call")[0].id


async def test_a_call_that_was_answered_is_not_cancelled():
    upstream = legacy_server()
    async with processes(upstream) as (bridge,):
        await answer_to(bridge, modern(), MODERN)

    assert upstream.of(mcp.CANCELLED) == []


async def test_a_session_that_the_upstream_forgot_is_begun_anew_once_and_no_call_runs_twice():
    forgetful = {"lost": True}
    ran = []

    async def play(talk, message):
        if talk.link.upstream_session == "up-1" and forgetful["lost"] and message.method == "tools/call":
            talk.say(UpstreamFault("gone", kind="ended"))
        else:
            ran.append(message.id)
            talk.result(content=[])

    upstream = legacy_server(play)
    async with processes(upstream, era=Era.LEGACY) as (bridge,), trio.open_nursery() as nursery:
        await answer_to(bridge, modern("tools/list", {}), MODERN)
        for number in range(5):
            nursery.start_soon(answer_to, bridge, modern(ident=number), MODERN)

    assert len(upstream.of("initialize")) == 2
    assert len(ran) == len(set(ran)) == 6


async def test_a_session_that_cannot_be_begun_anew_is_tried_again_by_the_next_call():
    broken = {"init": False}
    upstream = legacy_server()
    inner = upstream.script

    async def script(talk, message):
        if broken["init"] and getattr(message, "method", "") == "initialize":
            talk.say(UpstreamFault("down", kind="unreachable"))
        elif broken["init"]:
            talk.say(UpstreamFault("gone", kind="ended"))
        else:
            await inner(talk, message)

    upstream.script = script
    async with processes(upstream, era=Era.LEGACY) as (bridge,):
        await answer_to(bridge, modern(), MODERN)
        broken["init"] = True
        with pytest.raises(UpstreamFault, match="down"):
            await answer_to(bridge, modern(), MODERN)
        broken["init"] = False
        assert isinstance(await answer_to(bridge, modern(), MODERN), Success)


async def test_a_session_lost_after_something_came_is_a_failure_and_not_a_second_try():
    async def play(talk, message):
        talk.say(Notification("notifications/message", {"level": "error", "data": ""}))
        talk.say(UpstreamFault("gone", kind="ended"))

    upstream = legacy_server(play, capabilities={})
    async with processes(upstream) as (bridge,):
        with pytest.raises(UpstreamFault, match="forgot the session") as failed:
            await answer_to(bridge, modern(**{mcp.LOG_LEVEL: "debug"}), MODERN)

    assert failed.value.kind == "closed"
    assert len(upstream.of("tools/call")) == 1


async def test_clients_that_use_the_same_ids_and_tokens_at_once_do_not_meet():
    talks = []

    async def play(talk, message):
        talks.append(talk)

    upstream = legacy_server(play)
    async with processes(upstream) as (bridge,), bridge.converse(MODERN) as one, bridge.converse(MODERN) as two:
        for conversation in (one, two):
            await conversation.send(modern(progressToken="t"))
        assert len({talk.message.id for talk in talks}) == 2
        assert len({mcp.progress_token(talk.message) for talk in talks}) == 2
        for number, talk in enumerate(talks):
            token = mcp.progress_token(talk.message)
            talk.say(Notification(mcp.PROGRESS, {"progressToken": token, "progress": number}))
            talk.result(content=[], number=number)
        for number, conversation in enumerate((one, two)):
            told, done = await rest(conversation)
            assert told.params == {"progressToken": "t", "progress": number}
            assert (done.id, done.result["number"]) == (1, number)


async def test_each_request_hears_the_log_that_it_asked_for_and_the_upstream_is_told_the_loudest():
    async def play(talk, message):
        if message.method != "tools/call":
            talk.result()
            return
        for level in ("debug", "warning", "error"):
            talk.say(Notification("notifications/message", {"level": level, "data": level}))
        talk.result(content=[])

    upstream = legacy_server(play)
    async with processes(upstream) as (bridge,):
        heard = {}
        for level in ("warning", "debug", "error", None):
            meta = {} if level is None else {mcp.LOG_LEVEL: level}
            heard[level] = [message.params["level"] for message in (await ask(bridge, modern(**meta), MODERN))[:-1]]

    assert heard == {
        "warning": ["warning", "error"],
        "debug": ["debug", "warning", "error"],
        "error": ["error"],
        None: [],
    }
    assert [message.params["level"] for message in upstream.of("logging/setLevel")] == ["warning", "debug"]


async def test_what_a_legacy_upstream_knows_nothing_of_does_not_reach_it():
    upstream = legacy_server()
    async with processes(upstream) as (bridge,):
        await answer_to(bridge, modern(_x=1), MODERN)
        discovered = (await answer_to(bridge, modern("server/discover", {}), MODERN)).result

    assert discovered["supportedVersions"] == ["2026-07-28"]
    assert discovered[mcp.META] == {mcp.SERVER_INFO: {"name": "old", "version": "1"}}
    (sent,) = upstream.of("tools/call")
    assert sent.params[mcp.META] == {"_x": 1}


async def test_a_modern_client_has_one_session_however_often_it_calls():
    upstream = legacy_server()
    async with processes(upstream, era=Era.LEGACY) as (bridge,), trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(answer_to, bridge, modern(ident=number), MODERN)

    assert len(upstream.of("initialize")) == 1
    assert len(upstream.of("notifications/initialized")) == 1
    assert [link.upstream_session for link in upstream.ended] == ["up-1"]


async def test_a_session_that_nobody_uses_is_ended(autojump_clock):
    upstream = legacy_server()
    async with processes(upstream, era=Era.LEGACY) as (bridge,):
        await answer_to(bridge, modern(), MODERN)
        await trio.sleep(sessions.IDLE_S + 10)
        assert [link.upstream_session for link in upstream.ended] == ["up-1"]


async def test_attack_a_client_that_calls_itself_ever_something_else_fills_nothing():
    upstream = legacy_server()
    async with processes(upstream, era=Era.LEGACY) as (bridge,):
        for number in range(3 * sessions.EACH):
            named = {mcp.CLIENT_INFO: {"name": f"agent {number}", "version": "1"}}
            await answer_to(bridge, modern(**named), MODERN)
        assert len(upstream.ended) == 2 * sessions.EACH


async def test_attack_calls_that_nobody_goes_on_with_make_room_for_their_own_principals_only():
    upstream = asking(QUESTION)
    async with processes(upstream) as (bridge,):
        first = await answer_to(bridge, modern(ident=0), MODERN)
        other = await answer_to(bridge, modern(), Link(SessionId("other"), Era.MODERN, "2026-07-28"))
        for number in range(1, parked.EACH + 1):
            await answer_to(bridge, modern(ident=number), MODERN)
        await wait_all_tasks_blocked()
        assert len(upstream.of(mcp.CANCELLED)) == 1
        assert (await answer_to(bridge, retry(modern(), first, {}), MODERN)).code == -32602
        done = await answer_to(
            bridge, retry(modern(), other, {"action": "cancel"}), Link(SessionId("other"), Era.MODERN, "2026-07-28")
        )
        assert isinstance(done, Success)


async def test_when_the_gateway_goes_down_what_waits_is_cancelled_and_sessions_end():
    upstream = asking(QUESTION)
    async with processes(upstream) as (bridge,):
        await answer_to(bridge, modern(), MODERN)

    assert len(upstream.of(mcp.CANCELLED)) == 1
    assert [link.upstream_session for link in upstream.ended][-1] == upstream.heard[-1][0].upstream_session


@given(
    st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers()), st.dictionaries(st.text(), st.integers()))
)
async def test_whatever_a_legacy_upstream_answers_is_a_final_result_for_a_modern_client(result):
    async def play(talk, message):
        talk.say(Success(message.id, result))

    async with processes(legacy_server(play), era=Era.LEGACY) as (bridge,):
        answer = await answer_to(bridge, modern("tools/list", {}), MODERN)

    assert answer.result["resultType"] == "complete"
    assert answer.result["cacheScope"] == "private"


@pytest.mark.parametrize("initialized", [[], "hello", None])
async def test_an_upstream_that_greets_back_with_no_result_is_told_so(initialized):
    async def script(talk, message):
        talk.say(Success(message.id, initialized) if isinstance(message, Request) else None)

    upstream = legacy_server()
    upstream.script = script
    async with processes(upstream, era=Era.LEGACY) as (bridge,):
        with pytest.raises(UpstreamFault, match="refuses the greeting"):
            await answer_to(bridge, modern(), MODERN)


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_the_legacy_version_that_the_upstream_chooses_is_spoken_from_then_on(version):
    upstream = legacy_server()
    inner = upstream.script

    async def script(talk, message):
        if isinstance(message, Request) and message.method == "initialize":
            talk.result(protocolVersion=version, capabilities={})
        else:
            await inner(talk, message)

    upstream.script = script
    async with processes(upstream, era=Era.LEGACY) as (bridge,):
        await answer_to(bridge, modern(), MODERN)

    assert {link.version for link, message in upstream.heard if message.method != "initialize"} == {version}
    assert META[mcp.CLIENT_INFO] == upstream.of("initialize")[0].params["clientInfo"]


async def test_an_error_keeps_its_text_and_data_under_the_clients_id_and_modern_code():
    async def play(talk, message):
        talk.say(Failure(message.id, -32002, "gone", {"uri": "a:b"}))

    async with processes(legacy_server(play)) as (bridge,):
        answer = await answer_to(bridge, modern("resources/read", {"uri": "a:b"}), MODERN)

    assert answer == Failure(1, -32602, "gone", {"uri": "a:b"})


async def test_a_modern_clients_notification_is_taken_and_goes_nowhere():
    upstream = legacy_server()
    async with processes(upstream, era=Era.LEGACY) as (bridge,):
        assert await ask(bridge, Notification("notifications/made/up"), MODERN) == [None]

    assert upstream.heard == []


async def test_a_question_that_the_upstream_takes_back_is_nothing_to_a_modern_client():
    async def play(talk, message):
        talk.say(mcp.cancel("q1"))
        talk.result(content=[])

    async with processes(legacy_server(play)) as (bridge,):
        (done,) = await ask(bridge, modern(), MODERN)

    assert isinstance(done, Success)


async def test_attack_however_many_principals_there_are_so_many_calls_wait_and_so_many_sessions_are_open(monkeypatch):
    monkeypatch.setattr(parked, "ALL", 3)
    monkeypatch.setattr(sessions, "ALL", 4)
    upstream = asking(QUESTION)
    async with processes(upstream, era=Era.LEGACY) as (bridge,):
        for number in range(3):
            await answer_to(bridge, modern(), Link(SessionId(f"s{number}"), Era.MODERN, "2026-07-28"))
        with pytest.raises(UpstreamFault, match="too many calls"):
            await answer_to(bridge, modern(), Link(SessionId("s3"), Era.MODERN, "2026-07-28"))
        await answer_to(bridge, modern("server/discover", {}), Link(SessionId("s4"), Era.MODERN, "2026-07-28"))
        assert len(upstream.ended) == 1
        monkeypatch.setattr(sessions, "ALL", 3)
        async with bridge.converse(Link(SessionId("s4"), Era.MODERN, "2026-07-28")) as busy:
            await busy.send(modern())
            with pytest.raises(UpstreamFault, match="too many sessions"):
                await answer_to(bridge, modern(), Link(SessionId("s5"), Era.MODERN, "2026-07-28"))
