"""An HTTP upstream that stalls, lies, floods or dies: each time one fault of the right kind, in time, and no mix-up."""

import math

import pytest
import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol.jsonrpc import Request, Success
from gateway.upstream.base import Deadlines, HttpSettings
from gateway.upstream.streamable_http import StreamableHttp
from tests.upstream.wires import (
    ANSWER,
    ANSWER_JSON,
    MODERN,
    STREAM,
    answering,
    ask,
    chunk,
    echoing,
    event,
    json_response,
    serving,
    small,
    upstream_of,
)

QUICK = Deadlines(connect_s=1, idle_s=0.2, call_s=0.6)


async def fault_of(script, **changed):
    async with upstream_of(script, **changed) as (upstream, _):
        with trio.fail_after(5), pytest.raises(UpstreamFault) as raised:
            await ask(upstream)
    return raised.value


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

LIES = {
    "an end before anything": (b"", "closed"),
    "an end within the status line": (b"HTTP/1.1 2", "closed"),
    "an end within the headers": (HEAD, "closed"),
    "an end before the declared length": (HEAD + b"Content-Length: 1000\r\n\r\n" + ANSWER_JSON, "closed"),
    "an end within a chunk": (STREAM + b"ff\r\nabc", "closed"),
    "an end between chunks": (STREAM + chunk(b": hello\n"), "closed"),
    "an end of the stream before the answer": (STREAM + chunk(b": hello\n\n") + b"0\r\n\r\n", "closed"),
    "a length that is too short": (HEAD + b"Content-Length: 20\r\n\r\n" + ANSWER_JSON, "malformed"),
    "a body without length that is cut off": (HEAD + b"\r\n" + ANSWER_JSON[:-5], "malformed"),
    "two lengths": (HEAD + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\n" + ANSWER_JSON, "malformed"),
    "a length that is no number": (HEAD + b"Content-Length: many\r\n\r\n" + ANSWER_JSON, "malformed"),
    "a length beyond 64 bits": (HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", "malformed"),
    "length and chunks at once": (
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "malformed",
    ),
    "chunks that are garbage": (STREAM + b"zz\r\nabc\r\n", "malformed"),
    "a chunk size beyond 64 bits": (STREAM + b"f" * 17 + b"\r\nabc\r\n", "malformed"),
    "a chunk longer than it says": (STREAM + b"2\r\nabcdef\r\n", "malformed"),
    "a header folded over two lines": (HEAD + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n", "malformed"),
    "line feeds alone": (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "malformed"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n", "malformed"),
    "a change of protocol": (b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", "malformed"),
    "a compressed body": (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "malformed"),
    "HTML": (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", "malformed"),
    "no type": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "malformed"),
    "no JSON": (json_response(b"<html>"), "malformed"),
    "a batch": (json_response(b"[" + ANSWER_JSON + b"]"), "malformed"),
    "a key twice": (json_response(ANSWER_JSON.replace(b"{", b'{"id":"other",', 1)), "malformed"),
    "an integer that would be rounded": (json_response(ANSWER_JSON.replace(b'"one"', b"1" * 25)), "malformed"),
    "the answer to another call": (json_response(ANSWER_JSON.replace(b"call-1", b"call-2")), "malformed"),
    "an answer without an id": (json_response(b'{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}'), "malformed"),
    "a request instead of an answer": (json_response(b'{"jsonrpc":"2.0","id":"call-1","method":"m"}'), "malformed"),
    "an answer to another call in a stream": (STREAM + event({"jsonrpc": "2.0", "id": 9, "result": {}}), "malformed"),
    "a request in a modern stream": (STREAM + event({"jsonrpc": "2.0", "id": 9, "method": "roots/list"}), "malformed"),
    "a pause that no clock can hold": (STREAM + chunk(b"retry: " + b"9" * 400 + b"\n\n") + b"0\r\n\r\n", "closed"),
    "a pause of too many digits to read": (
        STREAM + chunk(b"retry: " + b"9" * 5000 + b"\n\n") + b"0\r\n\r\n",
        "closed",
    ),
    "an event that is no message": (STREAM + chunk(b"data: hello\n\n"), "malformed"),
    "a declared length beyond the limit": (HEAD + b"Content-Length: 100000000\r\n\r\n", "oversize"),
    "a body beyond the limit, in chunks": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"x" * 9_000) * 2,
        "oversize",
    ),
    "an event beyond the limit": (STREAM + chunk(b"data: " + b"x" * 9_000) * 2, "oversize"),
    "headers without end": (HEAD + b"X-A: aaaaaaaaaaaaaaaaaaaaaa\r\n" * 1000, "oversize"),
    "interim responses without end": (b"HTTP/1.1 102 Processing\r\n\r\n" * 5000, "oversize"),
    "trailers without end": (STREAM + b"0\r\n" + b"X-A: aaaaaaaaaaaaaaaaaaaaaa\r\n" * 9000, "oversize"),
    "401": (json_response(b"{}", status=b"401 Unauthorized"), "status"),
    "500 with a stack trace": (json_response(b"Traceback", status=b"500 Oops"), "status"),
    "502 of a proxy": (b"HTTP/1.1 502 Bad\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", "status"),
    "500 with a result": (json_response(status=b"500 Oops"), "status"),
    "an empty acceptance of a request": (b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", "status"),
    "a redirect to another origin": (
        b"HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:9/mcp\r\nContent-Length: 0\r\n\r\n",
        "status",
    ),
    "a redirect to another scheme": (
        b"HTTP/1.1 308 P\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
        "status",
    ),
    "a redirect to what is no address": (
        b"HTTP/1.1 307 T\r\nLocation: http://[::1/mcp\r\nContent-Length: 0\r\n\r\n",
        "status",
    ),
    "a redirect to nowhere": (b"HTTP/1.1 307 T\r\nContent-Length: 0\r\n\r\n", "status"),
    "a redirect that would change the method": (
        b"HTTP/1.1 302 F\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n",
        "status",
    ),
}


@pytest.mark.parametrize(("said", "kind"), LIES.values(), ids=LIES.keys())
async def test_whatever_is_no_proper_answer_is_one_fault_of_its_kind(said, kind):
    fault = await fault_of(answering(said), bounds=small())

    assert fault.kind == kind


async def test_no_fault_repeats_what_the_upstream_said():
    for said in (json_response(b"Synthia"), json_response(b"Synthia", status=b"500 Synthia"), b"Synthia\r\n"):
        fault = await fault_of(answering(said))

        assert "Synthia" not in f"{fault!r}{fault}{fault.detail}"
        assert fault.__suppress_context__ or fault.__context__ is None


async def test_a_server_that_does_not_answer_is_given_up_after_the_longest_silence():
    async def silent(wire):
        await wire.request()
        await wire.closed()

    fault = await fault_of(silent, deadlines=QUICK)

    assert (fault.kind, fault.detail) == ("timeout", "it did not answer in time")


async def test_a_connection_that_was_given_up_is_closed_and_the_next_call_has_another():
    async def late_once(wire):
        await wire.request()
        if server.connections == 1:
            await wire.closed()
        else:
            await wire.say(json_response())

    async with upstream_of(late_once, deadlines=QUICK) as (upstream, server):
        with trio.fail_after(5), pytest.raises(UpstreamFault, match="in time"):
            await ask(upstream)
        assert await ask(upstream) == [ANSWER]
        assert server.connections == 2


async def test_a_server_that_stalls_within_its_answer_is_given_up():
    async def stalling(wire):
        await wire.request()
        await wire.say(HEAD + b"Content-Length: 50\r\n\r\n{")
        await wire.closed()

    assert (await fault_of(stalling, deadlines=QUICK)).kind == "timeout"


async def test_a_server_that_sends_its_headers_byte_by_byte_is_given_up_when_the_call_has_lasted_too_long():
    async def dripping(wire):
        await wire.request()
        while True:
            await wire.say(b"X")
            await trio.sleep(0.05)

    started = trio.current_time()
    fault = await fault_of(dripping, deadlines=Deadlines(connect_s=1, idle_s=0.3, call_s=0.4))

    assert fault.kind in ("timeout", "malformed")
    assert trio.current_time() - started < 2


async def test_a_server_that_only_keeps_the_stream_alive_is_given_up_when_the_call_has_lasted_too_long():
    async def chatting(wire):
        await wire.request()
        await wire.say(STREAM)
        while True:
            await wire.say(chunk(b": still there\n\n"))
            await trio.sleep(0.05)

    assert (await fault_of(chatting, deadlines=QUICK)).kind == "timeout"


async def test_a_server_that_does_not_read_is_given_up():
    async def deaf(wire):
        await trio.sleep(math.inf)

    big = Request(1, "tools/call", {"name": "n", "arguments": {"text": "x" * 20_000_000}})
    async with upstream_of(deaf, deadlines=QUICK) as (upstream, _):
        with trio.fail_after(5), pytest.raises(UpstreamFault) as raised:
            await ask(upstream, big)

    assert raised.value.kind == "timeout"


async def test_a_hundred_megabytes_are_not_read():
    sent = 0

    async def flooding(wire):
        nonlocal sent
        await wire.request()
        await wire.say(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while sent < 100_000_000:
            await wire.say(chunk(b"x" * 65_536))
            sent += 65_536

    fault = await fault_of(flooding, bounds=small())

    assert fault.kind == "oversize"
    assert sent < 20_000_000  # What the kernel's buffers took before the connection was closed.


async def test_a_port_where_nobody_listens_is_unreachable():
    async with serving(echoing()) as server:
        settings = server.settings()
    upstream = StreamableHttp(settings)

    with pytest.raises(UpstreamFault, match="check that it runs") as raised:
        await ask(upstream)
    assert raised.value.kind == "unreachable"


async def test_a_name_that_does_not_exist_is_unreachable():
    with pytest.raises(UpstreamFault) as raised:
        await ask(StreamableHttp(HttpSettings("clinic", "http://no-such-host.invalid/mcp")))

    assert raised.value.kind == "unreachable"


async def test_a_server_without_tls_behind_an_https_url_is_unreachable():
    async with serving(answering(b"")) as server:
        url = f"https://127.0.0.1:{server.port}/mcp"
        upstream = StreamableHttp(HttpSettings("clinic", url, deadlines=QUICK))
        with pytest.raises(UpstreamFault) as raised:
            await ask(upstream)

    assert raised.value.kind == "unreachable"


async def test_a_connection_that_the_server_has_closed_meanwhile_is_not_used_again():
    async with upstream_of(echoing(1)) as (upstream, server):
        for ident in range(5):
            assert await ask(upstream, Request(ident, "ping")) == [Success(ident, {"line": 1})]
            await trio.testing.wait_all_tasks_blocked()

    assert server.connections == 5


async def test_a_second_answer_smuggled_behind_the_first_is_never_taken_for_the_next_calls():
    stolen = json_response(ANSWER_JSON.replace(b"one", b"somebody else's"))

    async with upstream_of(answering(json_response() + stolen, json_response())) as (upstream, server):
        first = await ask(upstream)
        second = await ask(upstream)

    assert (first, second) == ([ANSWER], [ANSWER])
    assert server.connections == 2


async def test_a_second_answer_that_comes_late_is_never_taken_for_the_next_calls():
    stolen = json_response(ANSWER_JSON.replace(b"one", b"somebody else's"))
    arrived = trio.Event()

    async def late(wire):
        await wire.request()
        await wire.say(json_response())
        await wire.say(stolen)
        arrived.set()
        await wire.request()
        await wire.say(json_response())

    async with upstream_of(late) as (upstream, server):
        first = await ask(upstream)
        await arrived.wait()
        second = await ask(upstream)

    assert (first, second) == ([ANSWER], [ANSWER])
    assert server.connections == 2


async def test_garbage_behind_the_answer_does_not_spoil_it():
    async with upstream_of(answering(json_response() + b"\0garbage")) as (upstream, _):
        assert await ask(upstream) == [ANSWER]


async def test_a_request_is_never_sent_twice():
    bodies = []

    async def dying(wire):
        bodies.append((await wire.request()).body)
        await wire.say(json_response())
        bodies.append((await wire.request()).body)  # And then it dies, having perhaps acted on it.

    async with upstream_of(dying) as (upstream, _):
        assert await ask(upstream) == [ANSWER]
        with pytest.raises(UpstreamFault) as raised:
            await ask(upstream)

    assert raised.value.kind == "closed"
    assert len(bodies) == 2


async def test_no_more_connections_are_opened_than_allowed():
    release = trio.Event()

    async def held(wire):
        await wire.request()
        await release.wait()
        await wire.say(json_response())

    async with upstream_of(held, bounds=small(max_connections=2)) as (upstream, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, upstream)
            nursery.start_soon(ask, upstream)
            await trio.testing.wait_all_tasks_blocked(0.05)
            with pytest.raises(UpstreamFault, match="in use"):
                await ask(upstream)
            release.set()
        assert await ask(upstream) == [ANSWER]

    assert server.connections == 3


async def test_closing_the_upstream_ends_what_is_waiting():
    async def silent(wire):
        await wire.request()
        await wire.closed()

    async with upstream_of(silent) as (upstream, _):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def wait():
                with pytest.raises(UpstreamFault) as raised:
                    await ask(upstream)
                assert raised.value.kind == "closed"

            await trio.testing.wait_all_tasks_blocked(0.05)
            await upstream.aclose()
        with pytest.raises(UpstreamFault, match="shutting down"):
            await ask(upstream)


async def test_leaving_early_closes_the_connection_which_is_the_modern_cancellation():
    cancelled = trio.Event()

    async def working(wire):
        await wire.request()
        await wire.closed()
        cancelled.set()

    async with upstream_of(working) as (upstream, _):
        async with upstream.converse(MODERN) as conversation:
            await conversation.send(Request(1, "tools/call", {"name": "slow"}))
            with trio.move_on_after(0.1):
                await conversation.receive()
        with trio.fail_after(2):
            await cancelled.wait()
