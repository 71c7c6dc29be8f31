"""What an upstream says of itself as a whole, across eras: `subscriptions/listen` and the legacy stream."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success
from gateway.core.types import Era
from tests.upstream.scripted import LEGACY, MODERN, answer_to, legacy_server, modern, modern_server, processes

CHANGED = Notification("notifications/tools/list_changed")
ALL = {"toolsListChanged": True, "promptsListChanged": True, "resourceSubscriptions": ["a:1", "a:2"]}


def updated(uri):
    return Notification("notifications/resources/updated", {"uri": uri})


def listen(ident=1, **wanted):
    return modern(mcp.LISTEN, {"notifications": wanted}, ident)


def streaming(play=None):
    """A legacy server with a stream that is open until somebody ends it."""

    async def opened(stream):
        await trio.lowlevel.checkpoint()

    return legacy_server(play, opened=opened)


async def begun(bridge, stack_of, request):
    """What a subscription acknowledges."""
    await stack_of.send(request)
    return (await stack_of.receive()).params["notifications"]


async def test_a_subscription_hears_what_it_asked_for_of_what_the_upstream_can_say():
    upstream = streaming()
    async with processes(upstream, era=Era.LEGACY) as (bridge,), bridge.converse(MODERN) as conversation:
        honoured = await begun(bridge, conversation, listen(**ALL))
        assert honoured == {"toolsListChanged": True, "resourceSubscriptions": ["a:1", "a:2"]}
        (stream,) = upstream.streams
        stream.say(updated("a:9"), Notification("notifications/prompts/list_changed"), updated("a:2"), CHANGED)
        heard = [await conversation.receive() for _ in range(2)]

    assert [(message.method, message.params.get("uri")) for message in heard] == [
        (updated("").method, "a:2"),
        (CHANGED.method, None),
    ]
    assert {mcp.subscription(message) for message in heard} == {1}
    assert [message.params["uri"] for message in upstream.of("resources/subscribe")] == ["a:1", "a:2"]
    assert [message.params["uri"] for message in upstream.of("resources/unsubscribe")] == ["a:1", "a:2"]
    assert upstream.streams == []


async def test_subscriptions_of_one_session_share_a_stream_and_what_one_leaves_the_other_keeps():
    upstream = streaming()
    async with processes(upstream, era=Era.LEGACY) as (bridge,), bridge.converse(MODERN) as stays:
        await begun(bridge, stays, listen(1, resourceSubscriptions=["a:1"]))
        async with bridge.converse(MODERN) as leaves:
            await begun(bridge, leaves, listen(2, toolsListChanged=True, resourceSubscriptions=["a:1", "a:2"]))
            assert len(upstream.streams) == 1
            upstream.streams[0].say(updated("a:1"))
            assert mcp.subscription(await leaves.receive()) == 2
            assert mcp.subscription(await stays.receive()) == 1
        assert [message.params["uri"] for message in upstream.of("resources/unsubscribe")] == ["a:2"]
        assert len(upstream.streams) == 1
        upstream.streams[0].say(updated("a:1"))
        assert (await stays.receive()).params["uri"] == "a:1"


async def test_what_an_upstream_says_of_itself_during_a_call_goes_to_subscriptions_and_not_to_the_call():
    async def play(talk, message):
        talk.say(CHANGED)
        talk.result(content=[])

    upstream = legacy_server(play)
    async with processes(upstream, era=Era.LEGACY) as (bridge,), bridge.converse(MODERN) as conversation:
        assert await begun(bridge, conversation, listen(toolsListChanged=True)) == {"toolsListChanged": True}
        assert isinstance(await answer_to(bridge, modern(), MODERN), Success)
        assert (await conversation.receive()).method == CHANGED.method


async def test_what_changed_twice_before_anybody_listened_is_told_once():
    upstream = streaming()
    async with processes(upstream, era=Era.LEGACY) as (bridge,), bridge.converse(MODERN) as conversation:
        await begun(bridge, conversation, listen(**ALL))
        upstream.streams[0].say(*[CHANGED] * 1000, updated("a:1"))
        await wait_all_tasks_blocked()
        assert [(await conversation.receive()).method for _ in range(2)] == [CHANGED.method, updated("").method]


async def test_a_resource_that_cannot_be_subscribed_to_is_not_acknowledged():
    async def play(talk, message):
        if message.params.get("uri") == "a:1":
            talk.say(Failure(message.id, -32602, "no"))
        else:
            talk.result()

    async with processes(legacy_server(play), era=Era.LEGACY) as (bridge,), bridge.converse(MODERN) as conversation:
        honoured = await begun(bridge, conversation, listen(resourceSubscriptions=["a:1", "a:2"]))

    assert honoured == {"resourceSubscriptions": ["a:2"]}


async def test_a_stream_that_breaks_off_is_opened_again_after_a_while(autojump_clock):
    upstream = streaming()
    async with processes(upstream, era=Era.LEGACY) as (bridge,), bridge.converse(MODERN) as conversation:
        await begun(bridge, conversation, listen(toolsListChanged=True))
        for fault in (UpstreamFault("it broke", kind="closed"), None):
            upstream.streams[0].say(fault)
            await trio.sleep(5)
            assert len(upstream.streams) == 1
        upstream.streams[0].say(CHANGED)
        assert (await conversation.receive()).method == CHANGED.method


async def test_a_session_that_was_begun_anew_is_told_again_what_is_subscribed_to(autojump_clock):
    upstream = streaming()
    async with processes(upstream, era=Era.LEGACY) as (bridge,), bridge.converse(MODERN) as conversation:
        await begun(bridge, conversation, listen(resourceSubscriptions=["a:1"]))
        upstream.streams[0].say(UpstreamFault("gone", kind="ended"))
        await trio.sleep(5)
        told = [
            link.upstream_session for link, message in upstream.heard if message in upstream.of("resources/subscribe")
        ]
        assert told == ["up-1", "up-2"]
        upstream.streams[0].say(updated("a:1"))
        assert (await conversation.receive()).params["uri"] == "a:1"


async def test_a_subscription_to_an_upstream_that_is_away_fails_and_the_next_is_tried_anew():
    upstream = streaming()
    good, away = upstream.opened, {"is": True}

    async def opened(stream):
        if away["is"]:
            raise UpstreamFault("it is away", kind="unreachable")
        await good(stream)

    upstream.opened = opened
    async with processes(upstream, era=Era.LEGACY) as (bridge,):
        async with bridge.converse(MODERN) as conversation:
            with pytest.raises(UpstreamFault, match="away"):
                await conversation.send(listen(**ALL))
        away["is"] = False
        async with bridge.converse(MODERN) as conversation:
            assert await begun(bridge, conversation, listen(toolsListChanged=True)) == {"toolsListChanged": True}


async def test_what_is_asked_on_the_stream_is_declined_and_pings_are_answered():
    upstream = streaming()
    said = []

    async def answered(talk, response):
        said.append(response)

    upstream.answered = answered
    async with processes(upstream, era=Era.LEGACY) as (bridge,), bridge.converse(MODERN) as conversation:
        await begun(bridge, conversation, listen(**ALL))
        upstream.streams[0].say(Request("p", "ping"), Request("q", "sampling/createMessage"))
        await wait_all_tasks_blocked()

    assert [(each.id, type(each)) for each in said] == [("p", Success), ("q", Failure)]


def subscribe(uri, un=""):
    return Request(1, f"resources/{un}subscribe", {"uri": uri})


async def test_a_legacy_stream_hears_what_its_modern_upstream_tells_subscriptions():
    talks = []
    upstream = modern_server()
    inner = upstream.script

    async def script(talk, message):
        await inner(talk, message)
        if message.method == mcp.LISTEN:
            talks.append(talk)

    upstream.script = script
    async with processes(upstream, era=Era.MODERN) as (bridge,), bridge.listen(LEGACY) as stream:
        meta = {mcp.META: {mcp.SUBSCRIPTION_ID: "(listen)"}}
        talks[0].say(
            Notification("notifications/message", {"level": "info", **meta}), Notification(CHANGED.method, meta)
        )
        assert await stream.receive() == CHANGED
        talks[0].result(resultType="complete")
        assert await stream.receive() is None


async def test_a_legacy_stream_is_renewed_when_its_client_subscribes_and_misses_nothing_meanwhile():
    talks, heard = [], []
    upstream = modern_server()
    inner = upstream.script

    async def script(talk, message):
        await inner(talk, message)
        if message.method == mcp.LISTEN:
            talks.append(talk)

    upstream.script = script
    async with (
        processes(upstream, era=Era.MODERN) as (bridge,),
        bridge.listen(LEGACY) as stream,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def hear():
            while True:
                heard.append(await stream.receive())

        await wait_all_tasks_blocked()
        await answer_to(bridge, subscribe("a:1"), LEGACY)
        await answer_to(bridge, subscribe("a:2"), LEGACY)
        await answer_to(bridge, subscribe("a:1", "un"), LEGACY)
        await wait_all_tasks_blocked()
        assert upstream.of(mcp.LISTEN)[-1].params["notifications"]["resourceSubscriptions"] == ["a:2"]
        assert [talk.left for talk in talks] == [True] * (len(talks) - 1) + [False]
        talks[-1].say(updated("a:2"))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert heard == [updated("a:2")]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Failure("(listen)", -32601, "Method not found"), "status"),
        (Success("(listen)", {}), "status"),
        (UpstreamFault("it answered HTTP 404", kind="status"), "status"),
        (UpstreamFault("away", kind="unreachable"), "unreachable"),
        (None, "status"),
    ],
)
async def test_a_legacy_client_is_told_when_there_is_nothing_to_listen_to(said, kind):
    upstream = modern_server()

    async def script(talk, message):
        talk.say(said)

    upstream.script = script
    async with processes(upstream, era=Era.MODERN) as (bridge,):
        with pytest.raises(UpstreamFault) as failed:
            async with bridge.listen(LEGACY):
                raise AssertionError("it opened")

    assert failed.value.kind == kind


async def test_an_upstream_that_never_acknowledges_is_not_waited_for_for_ever(autojump_clock):
    async def script(talk, message):
        await trio.lowlevel.checkpoint()

    upstream = modern_server()
    upstream.script = script
    async with processes(upstream, era=Era.MODERN) as (bridge,):
        with pytest.raises(UpstreamFault, match="acknowledge"):
            async with bridge.listen(LEGACY):
                raise AssertionError("it opened")


async def test_an_upstream_that_forgets_each_session_whose_stream_is_opened_is_not_waited_for_for_ever(autojump_clock):
    async def opened(stream):
        await trio.lowlevel.checkpoint()
        raise UpstreamFault("it answered HTTP 404", kind="ended")

    upstream = legacy_server(opened=opened)
    async with processes(upstream, era=Era.LEGACY) as (bridge,), bridge.converse(MODERN) as conversation:
        with trio.fail_after(60), pytest.raises(UpstreamFault) as raised:
            await begun(bridge, conversation, listen(**ALL))
    assert raised.value.kind == "timeout"
    assert upstream.methods().count("initialize") < 8


async def test_attack_a_word_that_breaks_the_reader_of_a_stream_ends_that_and_not_the_process(caplog):
    upstream = streaming()
    async with processes(upstream, era=Era.LEGACY) as (bridge,), bridge.converse(MODERN) as conversation:
        await begun(bridge, conversation, listen(**ALL))
        upstream.streams[0].say(ValueError("Synthia Mock"))
        await wait_all_tasks_blocked()
        assert (await answer_to(bridge, modern(), MODERN)).result["echo"] == "tools/call"
    assert "ValueError" in caplog.text
    assert "Synthia" not in caplog.text
