"""What well-behaved clients and apps may rely on, run over stock hypercorn and over ours: they must not differ."""

import json

import httpx2
import pytest
import trio
from quart import Response, request
from quart_trio import QuartTrio

pytestmark = pytest.mark.parametrize("which", ["ours", "stock"])

POST = b"POST /mcp?a=%20b HTTP/1.1\r\nHost: phi.example\r\nContent-Type: application/json\r\n"


async def test_an_app_sees_the_request_as_it_was_sent(start, apps, which):
    server = await start(apps.echo, which)
    said = (await server.ask(POST + b"X-Mixed-Case:  two words \r\nContent-Length: 4\r\n\r\nbody")).json
    assert (said["method"], said["path"], said["query"], said["body"]) == ("POST", "/mcp", "a=%20b", "body")
    assert (said["scheme"], said["http_version"]) == ("http", "1.1")
    assert ["x-mixed-case", "two words"] in said["headers"]
    assert [name for name, _ in said["headers"]] == ["host", "content-type", "x-mixed-case", "content-length"]


async def test_a_path_arrives_decoded(start, apps, which):
    server = await start(apps.echo, which)
    assert (await server.ask(b"GET /a%20b/%C3%A9?q HTTP/1.1\r\nHost: x\r\n\r\n")).json["path"] == "/a b/é"


async def test_a_chunked_body_arrives_without_its_framing(start, apps, which):
    server = await start(apps.echo, which)
    chunks = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nX-Trailer: t\r\n\r\n"
    said = (await server.ask(POST + chunks)).json
    assert said["body"] == "abcdefg"
    assert "x-trailer" not in dict(said["headers"])


async def test_a_request_that_trickles_in_byte_by_byte_is_served(start, apps, which):
    server = await start(apps.echo, which)
    peer = await server.peer()
    for byte in POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
        await peer.send(bytes([byte]))
    assert (await peer.answer()).json["body"] == "abc"


async def test_a_large_body_arrives_whole(start, apps, which):
    server = await start(apps.echo, which)
    body = b"0123456789abcdef" * 60_000
    said = (await server.ask(POST + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))).json
    assert said["body"].encode() == body


async def test_a_connection_serves_many_requests(start, apps, which):
    server = await start(apps.echo, which)
    peer = await server.peer()
    for number in range(5):
        await peer.send(POST + b"Content-Length: 1\r\n\r\n%d" % number)
        answer = await peer.answer()
        assert (answer.status, answer.json["body"]) == (200, str(number))
        assert "connection" not in answer.headers


async def test_pipelined_requests_are_answered_in_order(start, apps, which):
    server = await start(apps.echo, which)
    peer = await server.peer()
    await peer.send(b"".join(POST + b"Content-Length: 1\r\n\r\n%d" % number for number in range(8)))
    assert [(await peer.answer()).json["body"] for _ in range(8)] == list("01234567")


async def test_requests_sent_while_one_is_answered_are_answered_after_it(start, apps, which):
    release, begun = trio.Event(), trio.Event()

    @apps.lifespan
    async def slow_at_first(scope, receive, send):
        await apps.read_body(receive)
        async with trio.open_nursery() as nursery:

            async def watch():
                assert (await receive())["type"] == "http.disconnect"

            nursery.start_soon(watch)
            if scope["path"] == "/1":
                begun.set()
                await release.wait()
            await apps.respond(send, scope["path"].encode())
            nursery.cancel_scope.cancel()

    server = await start(slow_at_first, which)
    peer = await server.peer()
    await peer.send(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
    await begun.wait()
    await peer.send(b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\nGET /3 HTTP/1.1\r\nHo")
    release.set()
    assert (await peer.answer()).body == b"/1"
    await peer.send(b"st: x\r\n\r\n")
    assert [(await peer.answer()).body for _ in range(2)] == [b"/2", b"/3"]


async def test_connection_close_is_honoured(start, apps, which):
    server = await start(apps.echo, which)
    peer = await server.peer()
    await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await peer.answer()
    assert (answer.json["path"], answer.headers["connection"]) == ("/", "close")
    assert await peer.everything() == b""


async def test_http_1_0_is_answered_and_closed(start, apps, which):
    server = await start(apps.echo, which)
    said = await server.exchange(b"GET /old HTTP/1.0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["http_version"] == "1.0"


async def test_head_gets_the_headers_of_get_and_no_body(start, apps, which):
    @apps.lifespan
    async def app(scope, receive, send):
        await apps.respond(send, b"12345", headers=[(b"content-length", b"5")])

    server = await start(app, which)
    peer = await server.peer()
    await peer.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await peer.answer(method="HEAD")
    assert (answer.headers["content-length"], answer.body) == ("5", b"")
    await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await peer.answer()).body == b"12345"


async def test_a_204_has_no_body_and_keeps_the_connection(start, apps, which):
    @apps.lifespan
    async def app(scope, receive, send):
        await apps.respond(send, status=204)

    server = await start(app, which)
    peer = await server.peer()
    for _ in range(2):
        await peer.send(b"DELETE /mcp HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await peer.answer()
        assert (answer.status, answer.body) == (204, b"")
        assert "content-length" not in answer.headers


async def test_a_client_that_expects_100_continue_is_told_to_go_on(start, apps, which):
    server = await start(apps.echo, which)
    peer = await server.peer()
    await peer.send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    await peer.send(b"abc")
    assert (await peer.answer()).json["body"] == "abc"


async def test_a_stream_is_chunked_and_each_piece_leaves_at_once(start, apps, which):
    go_on = trio.Event()

    @apps.lifespan
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"two", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    server = await start(app, which)
    peer = await server.peer()
    await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"transfer-encoding: chunked" in (await peer.until(b"3\r\none\r\n")).lower()
    go_on.set()
    assert await peer.until(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"
    await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await peer.answer()).body == b"onetwo"


async def test_a_body_larger_than_every_buffer_reaches_a_client_that_reads_late(start, apps, which):
    body, done = b"x" * 20_000_000, trio.Event()

    @apps.lifespan
    async def app(scope, receive, send):
        await apps.respond(send, body)
        done.set()

    server = await start(app, which)
    peer = await server.peer()
    await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await peer.until(b"x")
    assert not done.is_set()
    received = len(head.partition(b"\r\n\r\n")[2])
    while received < len(body):
        received += len(await peer.some())
    await done.wait()


@pytest.mark.parametrize("how", ["hang_up", "reset"])
@pytest.mark.parametrize("streaming", [True, False])
async def test_a_client_that_leaves_is_noticed_while_the_app_streams_or_is_silent(start, apps, which, how, streaming):
    noticed, begun = trio.Event(), trio.Event()

    @apps.lifespan
    async def app(scope, receive, send):
        await apps.read_body(receive)
        if streaming:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        begun.set()
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": []}) if not streaming else None
        await send({"type": "http.response.body", "body": b"nobody hears this", "more_body": False})
        noticed.set()

    server = await start(app, which)
    peer = await server.peer()
    await peer.send(POST + b"Content-Length: 2\r\n\r\n{}")
    await begun.wait()
    await getattr(peer, how)()
    with trio.fail_after(2):
        await noticed.wait()


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_a_disconnect(start, apps, which):
    heard = trio.Event()

    @apps.lifespan
    async def app(scope, receive, send):
        if await apps.read_body(receive) is None:
            heard.set()

    server = await start(app, which)
    peer = await server.peer()
    await peer.send(POST + b"Content-Length: 20\r\n\r\nhalf")
    await peer.hang_up()
    with trio.fail_after(2):
        await heard.wait()


async def test_an_app_that_fails_before_it_answers_is_a_500_and_the_server_lives(start, apps, which):
    @apps.lifespan
    async def app(scope, receive, send):
        if scope["path"] == "/fail":
            raise LookupError
        await apps.respond(send, b"fine")

    server = await start(app, which)
    assert (await server.ask(b"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n")).status == 500
    assert (await server.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).body == b"fine"


async def test_an_app_that_waits_for_the_end_in_another_task_hears_of_it_after_its_answer(start, apps, which):
    finished = trio.Event()

    @apps.lifespan
    async def app(scope, receive, send):
        await apps.read_body(receive)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            await apps.respond(send, b"done")
        finished.set()

    server = await start(app, which)
    peer = await server.peer()
    await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await peer.answer()).body == b"done"
    with trio.fail_after(2):
        await finished.wait()


async def test_no_response_names_the_server_software(start, apps, which):
    server = await start(apps.echo, which)
    answer = await server.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "server" not in answer.headers
    assert answer.headers["date"].endswith(" GMT")


async def test_an_idle_connection_is_closed_after_the_keep_alive(start, apps, which):
    server = await start(apps.echo, which, keep_alive_s=0.1)
    peer = await server.peer()
    await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await peer.answer()).status == 200
    assert await peer.everything() == b""


async def test_draining_closes_idle_connections_and_lets_one_in_flight_finish(start, apps, which):
    begun, release = trio.Event(), trio.Event()

    @apps.lifespan
    async def app(scope, receive, send):
        begun.set()
        await release.wait()
        await apps.respond(send, b"finished")

    server = await start(app, which)
    idle, busy = await server.peer(), await server.peer()
    await busy.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await begun.wait()
    server.stop.set()
    assert await idle.everything() == b""
    with pytest.raises(OSError, match="127"):
        await trio.open_tcp_stream("127.0.0.1", server.port)
    release.set()
    assert b"finished" in await busy.everything()
    await busy.hang_up()
    with trio.fail_after(3):
        await server.stopped.wait()


async def test_what_is_in_flight_when_the_drain_runs_out_is_cancelled(start, apps, which):
    begun, cancelled = trio.Event(), trio.Event()

    @apps.lifespan
    async def app(scope, receive, send):
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    server = await start(app, which, drain_s=0.1)
    peer = await server.peer()
    await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await begun.wait()
    server.stop.set()
    with trio.fail_after(3):
        await cancelled.wait()
        await server.stopped.wait()


async def test_a_client_may_speak_http_2_with_prior_knowledge(start, apps, which):
    server = await start(apps.echo, which)
    async with httpx2.AsyncClient(http1=False, http2=True) as client:
        for _ in range(2):
            said = await client.post(f"http://127.0.0.1:{server.port}/two", content=b"over http/2")
            assert (said.json()["http_version"], said.json()["body"]) == ("2", "over http/2")


def quart_app():
    app = QuartTrio("quart")

    @app.post("/json")
    async def answer_json():
        return {"got": await request.get_json()}

    @app.get("/stream")
    async def answer_stream():
        async def pieces():
            for number in range(3):
                yield b"%d" % number

        return Response(pieces(), mimetype="text/plain")

    return app


async def test_quart_works_on_it(start, which):
    server = await start(quart_app(), which)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        for number in range(3):
            assert (await client.post("/json", json={"n": number})).json() == {"got": {"n": number}}
            assert (await client.get("/stream")).text == "012"
            assert (await client.get("/missing")).status_code == 404
            assert (await client.get("/json")).status_code == 405


async def test_a_quart_handler_is_cancelled_when_its_client_leaves(start, which):
    app, begun, cancelled = QuartTrio("quart"), trio.Event(), trio.Event()

    @app.get("/")
    async def wait():
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    server = await start(app, which)
    peer = await server.peer()
    await peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await begun.wait()
    await peer.hang_up()
    with trio.fail_after(2):
        await cancelled.wait()
