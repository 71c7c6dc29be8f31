"""What hostile or broken clients and apps do to our connection handler, each attack by name, on real sockets."""

import logging
import os
import socket
import struct
import tracemalloc
from contextlib import suppress

import pytest
import trio
import trio.testing

from gateway.web.connection import READ_BYTES, Connection, ServerSettings
from gateway.web.cycle import HUNG_UP

HEAD = b"POST /mcp HTTP/1.1\r\nHost: x\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
NEXT = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

SMUGGLING = {
    "content-length and transfer-encoding": (
        HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "transfer-encoding and content-length": (
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"
    ),
    "two equal content-lengths": HEAD + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
    "two different content-lengths": HEAD + b"Content-Length: 4\r\nContent-Length: 40\r\n\r\nbody",
    "a list of content-lengths": HEAD + b"Content-Length: 4, 4\r\n\r\nbody",
    "a signed content-length": HEAD + b"Content-Length: +4\r\n\r\nbody",
    "a negative content-length": HEAD + b"Content-Length: -4\r\n\r\nbody",
    "a hexadecimal content-length": HEAD + b"Content-Length: 0x4\r\n\r\nbody",
    "an empty content-length": HEAD + b"Content-Length:\r\n\r\nbody",
    "a content-length beyond 64 bits": HEAD + b"Content-Length: 18446744073709551620\r\n\r\nbody",
    "a blank before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab in the coding": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked not last": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "identity": HEAD + b"Transfer-Encoding: identity\r\n\r\nbody",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded header": HEAD + b"X: a\r\n b\r\n\r\n",
    "a header folded at the start": b"POST / HTTP/1.1\r\n Host: x\r\n\r\n",
    "bare LF after the request line": b"GET / HTTP/1.1\nHost: x\r\n\r\n",
    "bare LF between headers": HEAD + b"X: a\nY: b\r\n\r\n",
    "bare LF at the end": HEAD + b"X: a\r\n\n",
    "bare CR in a value": HEAD + b"X: a\rY: b\r\n\r\n",
    "NUL in a value": HEAD + b"X: a\0b\r\n\r\n",
    "NUL in a name": HEAD + b"X\0: b\r\n\r\n",
    "an empty header name": HEAD + b": b\r\n\r\n",
    "a header without a colon": HEAD + b"Xb\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "a target whose authority is not Host": b"GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target without a slash": b"GET mcp HTTP/1.1\r\nHost: x\r\n\r\n",
    "a fragment in the target": b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a control character in the target": b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a raw byte in the target": b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown version": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "a version as a response has it": b"HTTP/1.1 200 OK\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS on the cleartext port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32,
}
BROKEN_CHUNKS = {
    "a chunk size with a prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": b"fffffffffffffffff\r\nabc",
    "a chunk size ended by bare LF": b"3\nabc\r\n0\r\n\r\n",
    "an extension ended by bare LF": b"3;a\nabc\r\n0\r\n\r\n",
    "a chunk longer than it says": b"3\r\nabcd\r\n0\r\n\r\n",
    "a content-length in the trailers": b"3\r\nabc\r\n0\r\nContent-Length: 4\r\n\r\n",
}


@pytest.mark.parametrize("attack", SMUGGLING)
async def test_an_ambiguous_request_is_refused_and_nothing_after_it_is_read(start, apps, attack):
    asked = []

    @apps.lifespan
    async def app(scope, receive, send):
        asked.append(scope["path"])
        await apps.respond(send)

    server = await start(app)
    said = await server.exchange(SMUGGLING[attack] + NEXT)
    assert said[9:12] in (b"400", b"501", b"505")
    assert b"connection: close" in said
    assert said.count(b"HTTP/1.1 ") == 1
    assert asked == []


@pytest.mark.parametrize("attack", BROKEN_CHUNKS)
async def test_a_body_with_broken_framing_is_refused_and_never_whole(start, apps, attack):
    bodies = []

    @apps.lifespan
    async def app(scope, receive, send):
        bodies.append(await apps.read_body(receive))

    server = await start(app)
    said = await server.exchange(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + BROKEN_CHUNKS[attack] + NEXT)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert bodies == []


async def test_a_good_request_is_answered_before_the_bad_one_behind_it_is_refused(start, apps):
    server = await start(apps.echo)
    said = await server.exchange(HEAD + b"Content-Length: 2\r\n\r\nok" + b"GARBAGE\r\n\r\n" + NEXT)
    assert [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]


async def test_an_upgrade_is_declined_and_its_body_is_still_a_body(start, apps):
    server = await start(apps.echo)
    peer = await server.peer()
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    await peer.send(HEAD + upgrade + b"Content-Length: %d\r\n\r\n%s" % (len(NEXT), NEXT))
    assert (await peer.answer()).json["body"].encode() == NEXT
    await peer.send(b"GET /after HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await peer.answer()).json["path"] == "/after"


async def test_an_upgrade_hides_no_ambiguous_length(start, apps):
    server = await start(apps.echo)
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    said = await server.exchange(HEAD + upgrade + b"0\r\n\r\n" + NEXT)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 ") == 1


async def test_a_target_in_absolute_form_is_the_path_when_it_names_the_host(start, apps):
    server = await start(apps.echo)
    said = await server.ask(b"GET http://Phi.Example:80/mcp?a=1 HTTP/1.1\r\nHost: phi.example:80\r\n\r\n")
    assert (said.json["path"], said.json["query"]) == ("/mcp", "a=1")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 5000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /" + b"a" * 100_000,
        b"\r\n" * 50_000,
    ],
    ids=["long target", "long value", "many headers", "endless target", "endless blank lines"],
)
async def test_a_head_beyond_its_limit_is_a_431(start, apps, head):
    server = await start(apps.echo, max_head=4096)
    assert (await server.exchange(head)).startswith(b"HTTP/1.1 431 ")


async def test_a_declared_body_beyond_the_limit_is_a_413_before_it_is_sent(start, apps):
    server = await start(apps.echo, max_body=1000)
    said = await server.exchange(HEAD + b"Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "body",
    [b"200\r\n" + b"a" * 512 + b"\r\n" + b"200\r\n" + b"a" * 512, b"1;" + b"x" * 200_000],
    ids=["long chunks", "an endless chunk extension"],
)
async def test_a_chunked_body_beyond_the_limit_is_a_413_and_a_disconnect(start, apps, body):
    bodies = []

    @apps.lifespan
    async def app(scope, receive, send):
        bodies.append(await apps.read_body(receive))
        await apps.respond(send)

    server = await start(app, max_body=1000)
    said = await server.exchange(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    assert said.startswith(b"HTTP/1.1 413 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert set(bodies) <= {None}


async def test_a_client_still_writing_what_is_refused_reads_why(start, apps):
    """Closing on unread bytes resets the connection; the refusal must arrive before that."""
    server = await start(apps.echo, max_body=1000)
    peer = await server.peer()
    await peer.send(HEAD + b"Content-Length: 300000\r\n\r\n")
    for _ in range(30):
        await peer.send(b"x" * 10_000)
    assert (await peer.everything()).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("sent", [b"P", b"PRI * HTTP", HEAD, HEAD + b"X-Slow: lor", b"\r\n"])
async def test_a_slow_loris_is_cut_at_the_head_deadline(start, apps, sent):
    server = await start(apps.echo, head_s=0.2)
    peer = await server.peer()
    await peer.send(sent)
    with trio.fail_after(2):
        assert await peer.everything() == b""


async def test_a_slow_loris_that_drips_gets_no_more_time(start, apps):
    server = await start(apps.echo, head_s=0.3)
    peer = await server.peer()
    await peer.send(b"GET /")
    with trio.fail_after(3):
        drops = await drip(peer)
    assert drops > 2


async def drip(peer):
    """One byte at a time until the server closes: how many."""
    drops = 0
    while True:
        with trio.move_on_after(0.05):
            if not await peer.some():
                return drops
        await peer.send(b"X")
        drops += 1


async def test_a_body_that_stalls_is_a_408_and_a_disconnect(start, apps):
    bodies = []

    @apps.lifespan
    async def app(scope, receive, send):
        bodies.append(await apps.read_body(receive))

    server = await start(app, body_s=0.2)
    said = await server.exchange(HEAD + b"Content-Length: 10\r\n\r\nhalf")
    assert said.startswith(b"HTTP/1.1 408 ")
    assert bodies == [None]


async def test_a_silent_answer_outlives_every_read_deadline(start, apps):
    @apps.lifespan
    async def app(scope, receive, send):
        await apps.read_body(receive)
        with trio.move_on_after(0.4):
            await receive()
        await apps.respond(send, b"late")

    server = await start(app, keep_alive_s=0.1, head_s=0.1, body_s=0.1)
    assert (await server.ask(HEAD + b"Content-Length: 2\r\n\r\n{}")).body == b"late"


async def test_a_client_that_reads_nothing_is_given_up(start, apps):
    over = trio.Event()

    @apps.lifespan
    async def app(scope, receive, send):
        await apps.respond(send, b"x" * 20_000_000)
        assert (await receive())["type"] == "http.disconnect"
        over.set()

    server = await start(app, send_s=0.2)
    peer = await server.peer()
    await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    with trio.fail_after(3):
        await over.wait()


@pytest.mark.parametrize("ending", ["hang_up", "reset"])
@pytest.mark.parametrize("pipelines", [False, True], ids=["", "after it pipelined"])
async def test_an_app_can_ask_whether_its_client_has_hung_up(start, apps, ending, pipelines):
    asked, over, seen = trio.Event(), trio.Event(), []

    @apps.lifespan
    async def app(scope, receive, send):
        hung_up = scope["extensions"][HUNG_UP]["ask"]
        await apps.read_body(receive)
        seen.append(hung_up())
        asked.set()
        while not hung_up():
            await trio.lowlevel.checkpoint()
        seen.append((await receive())["type"])
        over.set()

    server = await start(app)
    peer = await server.peer()
    await peer.send(GET)
    await asked.wait()
    if pipelines:
        await peer.send(GET)
    await getattr(peer, ending)()
    with trio.fail_after(5):
        await over.wait()
    assert seen == [False, "http.disconnect"]


async def test_who_asks_whether_its_client_is_there_loses_nothing_that_it_pipelined(start, apps):
    asked, sent = trio.Event(), trio.Event()

    @apps.lifespan
    async def app(scope, receive, send):
        await apps.read_body(receive)
        asked.set()
        await sent.wait()
        assert not scope["extensions"][HUNG_UP]["ask"]()
        await apps.respond(send, scope["path"].encode())

    server = await start(app)
    peer = await server.peer()
    await peer.send(GET)
    await asked.wait()
    await peer.send(NEXT)
    sent.set()
    assert (await peer.answer()).body == b"/"
    assert (await peer.answer()).body == b"/smuggled"


async def test_a_look_at_what_has_come_reads_no_further_than_a_wait_for_it(apps):
    here, there = socket.socketpair()
    with here, there:
        connection = Connection(
            apps.echo, ServerSettings(), {}, trio.SocketStream(trio.socket.from_stdlib_socket(here.dup()))
        )
        there.setblocking(False)
        for _ in range(20):
            with suppress(BlockingIOError):
                there.send(b"x" * READ_BYTES)
            connection.look()
        connection._stream.socket.close()
    assert READ_BYTES <= len(connection.stash) < 2 * READ_BYTES


async def test_a_client_cannot_make_us_hold_what_it_pipelines_without_end(start, apps):
    begun, release = trio.Event(), trio.Event()

    @apps.lifespan
    async def app(scope, receive, send):
        await apps.read_body(receive)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            begun.set()
            await release.wait()
            await apps.respond(send, b"done")

    server = await start(app)
    peer = await server.peer()
    await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await begun.wait()
    peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    requests = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000_000
    with trio.move_on_after(0.5) as stuck:
        await peer.send(requests)
    assert stuck.cancelled_caught
    release.set()
    assert (await peer.answer()).body == b"done"


@pytest.mark.parametrize("ending", ["hang_up", "reset"])
async def test_attack_a_client_that_wrote_far_ahead_and_left_keeps_no_stream(start, apps, ending):
    ahead, over = trio.Event(), trio.Event()

    @apps.lifespan
    async def app(scope, receive, send):
        await apps.read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_it_hangs_up, receive, nursery.cancel_scope)
            await ahead.wait()
            while True:  # Nobody asks for anything: it is only told, now and then, that we are still here.
                await send({"type": "http.response.body", "body": b":\n", "more_body": True})
                await trio.sleep(0.01)
        over.set()

    server = await start(app)
    peer = await server.peer()
    with trio.move_on_after(0.5) as stuck:
        await peer.send(GET * 1_000_000)
    assert stuck.cancelled_caught  # As much as is taken of it.
    ahead.set()
    await peer.some()
    await getattr(peer, ending)()
    with trio.fail_after(5):
        await over.wait()


async def test_attack_a_client_that_takes_nothing_of_a_stream_keeps_none(start, apps):
    over = trio.Event()

    @apps.lifespan
    async def app(scope, receive, send):
        await apps.read_body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_it_hangs_up, receive, nursery.cancel_scope)
            await send({"type": "http.response.body", "body": b"x" * 20_000_000, "more_body": True})
            await trio.sleep_forever()
        over.set()

    server = await start(app, send_s=0.2)
    peer = await server.peer()
    await peer.send(GET)
    with trio.fail_after(5):
        await over.wait()


async def until_it_hangs_up(receive, scope):
    assert (await receive())["type"] == "http.disconnect"
    scope.cancel()


async def test_an_app_that_answers_before_the_body_came_ends_the_connection(start, apps):
    @apps.lifespan
    async def app(scope, receive, send):
        await apps.respond(send, b"no", status=401)

    server = await start(app)
    said = await server.exchange(HEAD + b"Expect: 100-continue\r\nContent-Length: 40\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in said


async def test_a_response_cut_short_never_looks_whole(start, apps):
    @apps.lifespan
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise LookupError

    server = await start(app)
    said = await server.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert said.endswith(b"4\r\npart\r\n")


@pytest.mark.parametrize("length", [b"3", b"5"])
async def test_a_body_that_is_not_as_long_as_it_says_ends_the_connection(start, apps, length):
    @apps.lifespan
    async def app(scope, receive, send):
        await apps.respond(send, b"four", headers=[(b"content-length", length)])

    server = await start(app)
    said = await server.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + NEXT)
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"four" not in said or length == b"5"


@pytest.mark.parametrize("header", [(b"x", b"a\r\nset-cookie: b"), (b"x\r\ny", b"a"), (b"x", b"a\0b"), (b"x", b"\n")])
async def test_an_app_cannot_split_its_response(start, apps, header):
    @apps.lifespan
    async def app(scope, receive, send):
        await apps.respond(send, b"", headers=[header])

    server = await start(app)
    said = await server.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in said


async def test_what_an_app_says_about_the_connection_does_not_count(start, apps):
    @apps.lifespan
    async def app(scope, receive, send):
        headers = [(b"Transfer-Encoding", b"chunked"), (b"Server", b"secret"), (b"Connection", b"close")]
        await apps.respond(send, b"body", headers=headers)

    server = await start(app)
    answer = await server.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.body == b"body"
    assert set(answer.headers) == {"content-length", "date"}


async def test_a_failure_is_logged_with_its_place_and_without_its_text(start, apps, caplog):
    @apps.lifespan
    async def app(scope, receive, send):
        async with trio.open_nursery():
            raise LookupError("MRN 12345678")

    server = await start(app)
    with caplog.at_level(logging.ERROR):
        assert (await server.ask(b"GET /patient/12345678 HTTP/1.1\r\nHost: x\r\n\r\n")).status == 500
    assert "LookupError" in caplog.text
    assert "test_connection.py" in caplog.text
    assert "12345678" not in caplog.text


async def test_a_process_that_is_to_end_ends_though_an_app_has_a_bug_at_the_same_time(apps, caplog):
    async def app(scope, receive, send):
        raise BaseExceptionGroup("of a nursery", [LookupError("MRN 12345678"), SystemExit(3)])

    ours, theirs = trio.socket.socketpair()
    connection = Connection(app, ServerSettings(), {}, trio.SocketStream(ours))
    await theirs.send(GET)
    with theirs, caplog.at_level(logging.ERROR), pytest.raises(BaseExceptionGroup) as ended:
        await connection.run()

    assert [type(each) for each in ended.value.exceptions] == [SystemExit]
    assert "LookupError" in caplog.text
    assert "12345678" not in caplog.text


async def test_a_request_that_had_arrived_when_the_drain_began_is_answered_and_the_last(apps, nursery):
    ours, theirs = trio.socket.socketpair()
    connection = Connection(apps.echo, ServerSettings(), {}, trio.SocketStream(ours))
    nursery.start_soon(connection.run)
    await trio.testing.wait_all_tasks_blocked()
    os.write(theirs.fileno(), b"GET /last HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.drain()  # No task ran between these two lines.
    async with trio.SocketStream(theirs) as stream:
        said = b"".join([piece async for piece in stream])
    assert b"connection: close" in said
    assert b'"path": "/last"' in said


async def test_a_held_connection_costs_little_memory(start, apps):
    begun, release = trio.CapacityLimiter(200), trio.Event()

    @apps.lifespan
    async def app(scope, receive, send):
        await apps.read_body(receive)
        begun.acquire_nowait()
        await release.wait()
        await apps.respond(send)

    server = await start(app)
    peers = [await server.peer() for _ in range(100)]
    await trio.testing.wait_all_tasks_blocked()
    tracemalloc.start()
    for peer in peers:
        await peer.send(HEAD + b"Content-Length: 2\r\n\r\n{}")
    while begun.borrowed_tokens < 100:
        await trio.lowlevel.checkpoint()
    held = tracemalloc.get_traced_memory()[0] / len(peers)
    tracemalloc.stop()
    release.set()
    assert held < 50_000


async def test_a_server_that_goes_down_serves_on_for_its_delay_and_says_that_each_answer_is_the_last(start, apps):
    server = await start(apps.echo, drain_delay_s=0.5, drain_s=5)
    used, fresh = await server.peer(), await server.peer()
    await used.send(GET)
    assert "connection" not in (await used.answer()).headers
    server.stop.set()
    await trio.testing.wait_all_tasks_blocked()
    late = await server.peer()  # It still listens.
    for peer in (used, fresh, late):
        await peer.send(GET)
        assert (await peer.answer()).headers["connection"] == "close"
        assert await peer.some() == b""
    with trio.fail_after(5):
        await server.stopped.wait()


async def test_a_connection_that_the_kernel_took_before_the_end_is_served(start, apps):
    server = await start(apps.echo, drain_s=5)
    # Nothing runs between these lines: the server has accepted none of them when it is told to stop.
    peers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
    for peer in peers:
        peer.sendall(GET)
    server.stop.set()
    with trio.fail_after(5):
        await server.stopped.wait()
    for peer in peers:
        peer.settimeout(5)
        assert peer.recv(4096).startswith(b"HTTP/1.1 200")
        peer.close()


async def test_a_connection_that_was_reset_before_it_was_looked_at_costs_nobody_else(start, apps):
    server = await start(apps.echo)
    for _ in range(20):
        # Nothing runs between these lines: the server accepts what is reset already.
        peer = socket.create_connection(("127.0.0.1", server.port))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
    assert (await server.ask(GET)).status == 200


async def test_a_new_connection_that_says_nothing_does_not_hold_up_the_end(start, apps, autojump_clock):
    server = await start(apps.echo, drain_s=300)
    await server.peer()
    await trio.testing.wait_all_tasks_blocked()
    server.stop.set()
    began = trio.current_time()
    await server.stopped.wait()
    assert trio.current_time() - began < 5
