"""What is said to an HTTP upstream in each era, and how its proper answers are understood."""

import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf

import orjson
import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.core.errors import UpstreamFault
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success
from gateway.core.types import Era
from gateway.upstream.base import TOGETHER_BYTES, TOGETHER_MOST, Deadlines, HttpSettings, Upstream
from gateway.upstream.streamable_http import StreamableHttp
from tests.upstream.wires import (
    ANSWER,
    ANSWER_JSON,
    CALL,
    LEGACY,
    MODERN,
    STREAM,
    answering,
    ask,
    chunk,
    echoing,
    event,
    json_response,
    upstream_of,
)

GREETING = Request(0, "initialize", {"protocolVersion": "2025-11-25"})
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
PROGRESS = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}


async def said(message, link, response=None, **changed):
    """The request that the upstream sees for `message`."""
    asked = []

    async def script(wire):
        asked.append(await wire.request())
        await wire.say(response or json_response())

    async with upstream_of(script, **changed) as (upstream, _):
        await ask(upstream, message, link)
    return asked[0]


async def test_a_modern_request_repeats_version_method_and_name_in_its_headers():
    asked = await said(CALL, replace(MODERN, mirrored=(("mcp-param-region", "us-west1"),)))

    assert asked.line == b"POST /mcp HTTP/1.1"
    assert orjson.loads(asked.body) == {"jsonrpc": "2.0", "id": "call-1", "method": CALL.method, "params": CALL.params}
    assert asked.headers[b"accept"] == b"application/json, text/event-stream"
    assert asked.headers[b"content-type"] == b"application/json"
    assert asked.headers[b"mcp-protocol-version"] == b"2026-07-28"
    assert asked.headers[b"mcp-method"] == b"tools/call"
    assert asked.headers[b"mcp-name"] == b"query"
    assert asked.headers[b"mcp-param-region"] == b"us-west1"
    assert b"mcp-session-id" not in asked.headers


async def test_a_name_or_method_cannot_break_out_of_its_header():
    nasty = Request("call-1", "tools/call", {"name": "x\r\nX-Admin: yes"})
    odd = Request("call-1", "a\r\nX-Admin: yes")

    for asked in (await said(nasty, MODERN), await said(odd, MODERN)):
        assert b"x-admin" not in asked.headers
        assert b"=?base64?" in asked.headers[b"mcp-name" if b"mcp-name" in asked.headers else b"mcp-method"]


async def test_a_legacy_request_names_session_and_version_and_mirrors_nothing():
    asked = await said(CALL, LEGACY)

    assert asked.headers[b"mcp-session-id"] == b"abc"
    assert asked.headers[b"mcp-protocol-version"] == b"2025-11-25"
    assert b"mcp-method" not in asked.headers


async def test_initialize_names_neither():
    response = json_response(ANSWER_JSON.replace(b'"call-1"', b"0"))
    asked = await said(GREETING, replace(LEGACY, upstream_session=None), response)

    assert b"mcp-session-id" not in asked.headers
    assert b"mcp-protocol-version" not in asked.headers


async def test_the_gateways_own_credentials_are_sent_and_in_no_repr():
    asked = await said(CALL, MODERN, headers={"Authorization": "Bearer synthetic-secret"})

    assert asked.headers[b"authorization"] == b"Bearer synthetic-secret"
    assert "secret" not in repr(HttpSettings("n", "http://h/", {"Authorization": "synthetic-secret"}))


async def test_path_and_query_of_the_url_are_kept_and_its_host_is_named():
    asked = await said(CALL, MODERN, path="/a/b?tenant=1")

    assert asked.line == b"POST /a/b?tenant=1 HTTP/1.1"
    assert asked.headers[b"host"].startswith(b"127.0.0.1:")


ANSWERS = {
    "JSON": json_response(),
    "JSON with a charset": json_response().replace(b"application/json", b"Application/JSON; charset=utf-8"),
    "JSON in chunks": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunk(ANSWER_JSON[:7])
    + chunk(ANSWER_JSON[7:])
    + b"0\r\n\r\n",
    "JSON until the end of the connection": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + ANSWER_JSON,
    "JSON after interim responses": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n"
    + json_response(),
    "a stream": STREAM + event(orjson.loads(ANSWER_JSON)) + b"0\r\n\r\n",
    "a stream that primes the client first": STREAM + chunk(b"id: 1\ndata: \n\n") + event(orjson.loads(ANSWER_JSON)),
    "a stream with other events": STREAM + chunk(b"event: ping\ndata: x\n\n: y\n\n") + event(orjson.loads(ANSWER_JSON)),
}


@pytest.mark.parametrize("response", ANSWERS.values(), ids=ANSWERS.keys())
async def test_an_answer_is_understood_in_every_form_that_http_allows(response):
    async with upstream_of(answering(response)) as (upstream, _):
        assert await ask(upstream) == [ANSWER]


@pytest.mark.parametrize("response", ANSWERS.values(), ids=ANSWERS.keys())
async def test_an_answer_is_understood_also_when_it_comes_byte_by_byte(response):
    async def script(wire):
        await wire.request()
        for at in range(len(response)):
            await wire.say(response[at : at + 1])

    async with upstream_of(script) as (upstream, _):
        assert await ask(upstream) == [ANSWER]


async def test_what_comes_ahead_of_the_answer_is_heard_in_order():
    later = {**PROGRESS, "params": {"progressToken": 1, "progress": 2}}
    stream = STREAM + event(PROGRESS) + event(later) + event(orjson.loads(ANSWER_JSON)) + b"0\r\n\r\n"

    async with upstream_of(answering(stream)) as (upstream, _):
        heard = await ask(upstream)

    assert heard == [Notification(PROGRESS["method"], m["params"]) for m in (PROGRESS, later)] + [ANSWER]


async def test_a_message_is_heard_as_soon_as_it_comes():
    heard = trio.Event()

    async def script(wire):
        await wire.request()
        await wire.say(STREAM + event(PROGRESS))
        await heard.wait()
        await wire.say(event(orjson.loads(ANSWER_JSON)))

    async with upstream_of(script) as (upstream, _), upstream.converse(MODERN) as conversation:
        await conversation.send(CALL)
        assert isinstance(await conversation.receive(), Notification)
        heard.set()
        assert await conversation.receive() == ANSWER


def progress(number):
    return Notification(PROGRESS["method"], {"progressToken": 1, "progress": number})


def saying(number):
    return event({**PROGRESS, "params": {"progressToken": 1, "progress": number}})


async def test_notifications_that_come_within_the_time_given_are_handed_over_together():
    heard = trio.Event()

    async def script(wire):
        await wire.request()
        await wire.say(STREAM + saying(1) + saying(2))
        await heard.wait()
        await wire.say(saying(3))
        await wire.say(saying(4) + event(orjson.loads(ANSWER_JSON)) + b"0\r\n\r\n")

    async with upstream_of(script) as (upstream, _), upstream.converse(MODERN) as conversation:
        await conversation.send(CALL)
        assert await conversation.receive() == progress(1)
        assert await conversation.together(-inf) == (progress(2),)
        heard.set()
        with trio.fail_after(5):  # The answer ends the wait.
            assert await conversation.together(trio.current_time() + 3600) == (progress(3), progress(4))
            assert await conversation.receive() == ANSWER


async def test_the_wait_for_more_notifications_ends_in_time_and_loses_nothing():
    heard = trio.Event()

    async def script(wire):
        await wire.request()
        cut = len(saying(2)) // 2
        await wire.say(STREAM + saying(1) + saying(2)[:cut])
        await heard.wait()
        await wire.say(saying(2)[cut:] + event(orjson.loads(ANSWER_JSON)) + b"0\r\n\r\n")

    async with upstream_of(script) as (upstream, _), upstream.converse(MODERN) as conversation:
        await conversation.send(CALL)
        assert await conversation.receive() == progress(1)
        assert await conversation.together(trio.current_time() + 0.05) == ()
        heard.set()
        assert await conversation.receive() == progress(2)
        assert await conversation.receive() == ANSWER


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 30, 200])
@pytest.mark.parametrize(
    "last",
    [{"result": {"method": "x", "text": '"method"'}, "id": "call-1"}, {"id": "call-1", "method": "roots/list"}],
    ids=["result", "request"],
)
async def test_what_may_not_wait_ends_the_wait_however_it_is_cut(last, size):
    heard = trio.Event()

    async def script(wire):
        await wire.request()
        await wire.say(STREAM + saying(1))
        await heard.wait()
        stream = b"".join(b"data: %s\n\n" % orjson.dumps(said) for said in ({**PROGRESS}, {"jsonrpc": "2.0", **last}))
        for at in range(0, len(stream), size):
            await wire.say(chunk(stream[at : at + size]))
            await trio.lowlevel.checkpoint()
        await wire.closed()  # Nothing else tells that this is all.

    async with upstream_of(script) as (upstream, _), upstream.converse(LEGACY) as conversation:
        await conversation.send(CALL)
        assert await conversation.receive() == progress(1)
        heard.set()
        with trio.fail_after(5):
            assert await conversation.together(trio.current_time() + 3600) == (progress(1),)
            assert isinstance(await conversation.receive(), Request if "method" in last else Success)


async def heard_until_it_fails(conversation, wait_s):
    """The notifications that come, with waits of `wait_s` for more of them, and what ends them."""
    heard = []
    with trio.fail_after(5):
        while True:
            try:
                heard.append(await conversation.receive())
            except UpstreamFault as fault:
                return heard, fault
            heard += await conversation.together(trio.current_time() + wait_s)


async def test_a_call_that_never_stops_telling_of_its_progress_is_given_up_when_it_has_lasted_too_long():
    async def chatting(wire):
        await wire.request()
        await wire.say(STREAM)
        while True:
            await wire.say(saying(1))
            await trio.sleep(0.001)

    lasts = Deadlines(connect_s=1, idle_s=1, call_s=0.3)
    async with upstream_of(chatting, deadlines=lasts) as (upstream, _), upstream.converse(MODERN) as conversation:
        await conversation.send(CALL)
        heard, fault = await heard_until_it_fails(conversation, 0.05)
    assert all(message == progress(1) for message in heard)
    assert fault.kind == "timeout"


async def test_who_waits_for_more_is_told_that_the_gateway_closes_its_connections():
    async def script(wire):
        await wire.request()
        await wire.say(STREAM + saying(1))
        await wire.closed()

    async with upstream_of(script) as (upstream, _), upstream.converse(MODERN) as conversation:
        await conversation.send(CALL)
        assert await conversation.receive() == progress(1)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(conversation.together, trio.current_time() + 3600)
                await trio.testing.wait_all_tasks_blocked()
                await upstream.aclose()
            with pytest.raises(UpstreamFault) as raised:
                await conversation.receive()
    assert raised.value.kind == "closed"


@pytest.mark.parametrize("spoils", [b"", chunk(b"data: {\r\n\r\n")], ids=["breaks off", "malformed"])
async def test_what_goes_wrong_comes_after_the_notifications_before_it(spoils):
    async def script(wire):
        await wire.request()
        await wire.say(STREAM + saying(1), saying(2) + saying(3) + spoils)
        if spoils:
            await wire.closed()

    async with upstream_of(script) as (upstream, _), upstream.converse(MODERN) as conversation:
        await conversation.send(CALL)
        assert await conversation.receive() == progress(1)
        with trio.fail_after(5):
            assert await conversation.together(trio.current_time() + 3600) == (progress(2), progress(3))
        for _ in range(2 if not spoils else 1):
            with pytest.raises(UpstreamFault) as raised:
                await conversation.receive()
            assert raised.value.kind == ("malformed" if spoils else "closed")


async def test_no_more_is_handed_over_together_than_is_good():
    many = TOGETHER_MOST + 2

    async def script(wire):
        await wire.request()
        await wire.say(STREAM + b"".join(map(saying, range(many))))
        large = {**PROGRESS, "params": {"message": "x" * TOGETHER_BYTES}}
        await wire.say(event(large), event(large), event(orjson.loads(ANSWER_JSON)) + b"0\r\n\r\n")

    async with upstream_of(script) as (upstream, _), upstream.converse(MODERN) as conversation:
        await conversation.send(CALL)
        heard = [await conversation.receive()]
        sizes = []
        with trio.fail_after(5):
            while not isinstance(heard[-1], Success):
                found = await conversation.together(trio.current_time() + 3600)
                sizes.append(len(found))
                heard += [*found, await conversation.receive()]
    assert [message.params.get("progress") for message in heard[:-1]] == [*range(many), None, None]
    assert max(sizes) == TOGETHER_MOST


async def test_sending_does_not_wait_for_anything_to_come_back():
    async def silent(wire):
        await wire.request()
        await wire.closed()

    async with upstream_of(silent) as (upstream, _), upstream.converse(MODERN) as conversation:
        with trio.fail_after(1):
            await conversation.send(CALL)


async def test_a_connection_is_used_again_after_json_and_after_a_stream_that_was_ended():
    stream = STREAM + event(orjson.loads(ANSWER_JSON)) + b"0\r\n\r\n"

    async with upstream_of(answering(json_response(), stream, json_response())) as (upstream, server):
        for _ in range(3):
            assert await ask(upstream) == [ANSWER]

    assert server.connections == 1


@pytest.mark.parametrize("more", [b"Connection: close\r\n", b"connection: Close\r\n"])
async def test_a_connection_that_the_server_will_close_is_not_used_again(more):
    async with upstream_of(answering(*[json_response(more=more)] * 2)) as (upstream, server):
        await ask(upstream)
        await ask(upstream)

    assert server.connections == 2


async def test_a_stream_that_goes_on_after_the_answer_is_left():
    async def endless(wire):
        await wire.request()
        await wire.say(STREAM + event(orjson.loads(ANSWER_JSON)))
        await wire.closed()

    async with upstream_of(endless) as (upstream, _):
        with trio.fail_after(1):
            assert await ask(upstream) == [ANSWER]


@pytest.mark.parametrize("status", [b"400 Bad Request", b"404 Not Found", b"500 Oops"])
async def test_a_json_rpc_error_under_an_error_status_is_the_answer(status):
    body = b'{"jsonrpc":"2.0","id":"call-1","error":{"code":-32601,"message":"no"}}'
    without_id = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"no"}}'

    for said in (body, without_id):
        async with upstream_of(answering(json_response(said, status=status))) as (upstream, _):
            assert await ask(upstream) == [Failure("call-1", -32601, "no")]


@pytest.mark.parametrize("status", [b"200 OK", b"202 Accepted", b"204 No Content"])
async def test_a_notification_that_is_accepted_has_no_reply(status):
    accepted = b"HTTP/1.1 " + status + (b"\r\n\r\n" if b"204" in status else b"\r\nContent-Length: 0\r\n\r\n")

    async with upstream_of(answering(accepted, accepted)) as (upstream, server):
        assert await ask(upstream, Notification("notifications/initialized"), LEGACY) == [None]
        assert await ask(upstream, Notification("notifications/initialized"), LEGACY) == [None]

    assert server.connections == 1


async def test_a_notification_that_is_not_accepted_is_a_fault():
    async with upstream_of(answering(json_response(b"{}", status=b"400 Bad Request"))) as (upstream, _):
        with pytest.raises(UpstreamFault, match="400"):
            await ask(upstream, Notification("notifications/initialized"), LEGACY)


@pytest.mark.parametrize("status", [b"307 Temporary Redirect", b"308 Permanent Redirect"])
async def test_a_redirect_within_the_origin_keeps_method_and_body(status):
    asked = []

    async def script(wire):
        asked.append(await wire.request())
        await wire.say(b"HTTP/1.1 " + status + b"\r\nLocation: /mcp/\r\nContent-Length: 0\r\n\r\n")
        asked.append(await wire.request())
        await wire.say(json_response())

    async with upstream_of(script) as (upstream, _):
        assert await ask(upstream) == [ANSWER]

    assert [request.line for request in asked] == [b"POST /mcp HTTP/1.1", b"POST /mcp/ HTTP/1.1"]
    assert asked[0].body == asked[1].body
    assert asked[0].headers == asked[1].headers


async def test_redirects_in_a_circle_come_to_an_end():
    again = b"HTTP/1.1 307 T\r\nLocation: /mcp\r\nContent-Length: 0\r\n\r\n"

    async with upstream_of(answering(*[again] * 10)) as (upstream, _):
        with pytest.raises(UpstreamFault, match="circle"):
            await ask(upstream)


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_session_that_initialize_assigns_is_kept(streamed):
    body = ANSWER_JSON.replace(b'"call-1"', b"0")
    response = STREAM + event(orjson.loads(body)) if streamed else json_response(body)
    response = response.replace(b"Content-Type", b"Mcp-Session-Id: s-1\r\nContent-Type")

    link = replace(LEGACY, upstream_session=None)
    async with upstream_of(answering(response)) as (upstream, _), upstream.converse(link) as conversation:
        await conversation.send(GREETING)
        assert conversation.upstream_session is None
        assert isinstance(await conversation.receive(), Success)
        assert conversation.upstream_session == "s-1"


async def test_nothing_of_one_answer_is_taken_for_the_next_ones_on_its_connection():
    body = ANSWER_JSON.replace(b'"call-1"', b"0")
    given = [json_response(body, more=b"Mcp-Session-Id: s-1\r\n"), json_response(body)]
    sessions = []
    async with upstream_of(answering(*given)) as (upstream, server):
        for _ in given:
            async with upstream.converse(replace(LEGACY, upstream_session=None)) as conversation:
                await conversation.send(GREETING)
                await conversation.receive()
                sessions.append(conversation.upstream_session)

    assert server.connections == 1
    assert sessions == ["s-1", None]


@pytest.mark.parametrize("more", [b"Mcp-Session-Id: a b\r\n", b"Mcp-Session-Id: a\r\nMcp-Session-Id: b\r\n"])
async def test_a_session_id_that_is_not_one_is_refused(more):
    response = json_response(ANSWER_JSON.replace(b'"call-1"', b"0"), more=more)

    async with upstream_of(answering(response)) as (upstream, _):
        with pytest.raises(UpstreamFault, match="session id"):
            await ask(upstream, GREETING, replace(LEGACY, upstream_session=None))


async def test_a_dead_legacy_session_is_told_from_a_wrong_path():
    gone = json_response(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"x"}}', status=b"404 Not Found")

    for message in (CALL, Notification("notifications/initialized")):
        async with upstream_of(answering(gone)) as (upstream, _):
            with pytest.raises(UpstreamFault) as raised:
                await ask(upstream, message, LEGACY)
        assert raised.value.kind == "ended"
    async with upstream_of(answering(b"HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n")) as (upstream, _):
        with pytest.raises(UpstreamFault, match="path of its URL") as raised:
            await ask(upstream)
    assert raised.value.kind == "status"


async def test_a_legacy_upstreams_own_request_is_heard_and_answered_in_a_post_of_its_own():
    posts = []
    answered = trio.Event()

    async def script(wire):
        asked = await wire.request()
        posts.append(asked)
        if b"result" in asked.body:
            answered.set()
            await wire.say(ACCEPTED)
        else:
            await wire.say(STREAM + event({"jsonrpc": "2.0", "id": 7, "method": "roots/list"}))
            await answered.wait()
            await wire.say(event(orjson.loads(ANSWER_JSON)))

    async with upstream_of(script) as (upstream, _), upstream.converse(LEGACY) as conversation:
        await conversation.send(CALL)
        assert await conversation.receive() == Request(7, "roots/list")
        await conversation.respond(Success(7, {"roots": []}))
        assert await conversation.receive() == ANSWER

    assert orjson.loads(posts[1].body) == {"jsonrpc": "2.0", "id": 7, "result": {"roots": []}}
    assert posts[1].headers[b"mcp-session-id"] == b"abc"


async def test_the_legacy_stream_brings_what_is_said_outside_any_call_until_it_ends():
    asked = []
    change = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}

    async def script(wire):
        asked.append(await wire.request())
        await wire.say(STREAM, chunk(b": hello\n\n"), event(change), b"0\r\n\r\n")

    async with upstream_of(script) as (upstream, _), upstream.listen(LEGACY) as stream:
        assert await stream.receive() == Notification("notifications/tools/list_changed")
        assert await stream.receive() is None

    assert asked[0].line == b"GET /mcp HTTP/1.1"
    assert asked[0].headers[b"accept"] == b"text/event-stream"
    assert asked[0].headers[b"mcp-session-id"] == b"abc"


async def test_an_answer_has_no_place_on_the_legacy_stream():
    said = STREAM + event(orjson.loads(ANSWER_JSON))
    async with upstream_of(answering(said)) as (upstream, _), upstream.listen(LEGACY) as stream:
        with pytest.raises(UpstreamFault, match="no answer"):
            await stream.receive()


@pytest.mark.parametrize(("status", "kind"), [(b"405 Method Not Allowed", "status"), (b"404 Not Found", "ended")])
async def test_an_upstream_without_a_legacy_stream_says_so(status, kind):
    said = json_response(b"{}", status=status)
    async with upstream_of(answering(said)) as (upstream, _):
        with pytest.raises(UpstreamFault) as raised:
            async with upstream.listen(LEGACY):
                pass

    assert raised.value.kind == kind


@pytest.mark.parametrize("status", [b"200 OK", b"204 No Content", b"404 Not Found", b"405 Method Not Allowed"])
async def test_ending_a_session_tells_the_upstream_which_may_not_care(status):
    asked = []

    async def script(wire):
        asked.append(await wire.request())
        await wire.say(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

    async with upstream_of(script) as (upstream, _):
        await upstream.end(LEGACY)

    assert asked[0].line == b"DELETE /mcp HTTP/1.1"
    assert asked[0].headers[b"mcp-session-id"] == b"abc"


async def test_ending_a_session_that_fails_is_a_fault_and_one_that_never_was_is_nothing():
    async with upstream_of(answering(json_response(b"{}", status=b"500 Oops"))) as (upstream, server):
        await upstream.end(MODERN)
        assert server.connections == 0
        with pytest.raises(UpstreamFault, match="500"):
            await upstream.end(LEGACY)


async def test_many_calls_at_once_each_get_their_own_answer():
    async with upstream_of(echoing()) as (upstream, server):
        heard = {}

        async def one(ident):
            heard[ident] = await ask(upstream, Request(ident, "ping"))

        for _ in range(3):
            async with trio.open_nursery() as nursery:
                for ident in range(20):
                    nursery.start_soon(one, ident)

    assert heard == {ident: [Success(ident, {"line": 1})] for ident in range(20)}
    assert server.connections <= 20


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for localhost, and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    directory = tmp_path_factory.mktemp("tls")
    (directory / "cert.pem").write_bytes(signed.public_bytes(Encoding.PEM))
    (directory / "key.pem").write_bytes(plain)
    return directory


async def serve_tls(certificate, script, *, task_status):
    from tests.upstream.wires import Wire

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    async def play(stream):
        try:
            await script(Wire(trio.SSLStream(stream, context, server_side=True, https_compatible=True)))
        except (trio.EndOfChannel, trio.BrokenResourceError):
            await stream.aclose()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(play, listeners)


@asynccontextmanager
async def tls_upstream(certificate, script, host="localhost", ca=True, **changed):
    async with trio.open_nursery() as nursery:
        port = await nursery.start(lambda task_status: serve_tls(certificate, script, task_status=task_status))
        ca_file = certificate / "cert.pem" if ca else None
        upstream = StreamableHttp(HttpSettings("clinic", f"https://{host}:{port}/mcp", ca_file=ca_file, **changed))
        try:
            yield upstream
        finally:
            await upstream.aclose()
            nursery.cancel_scope.cancel()


async def tls_fault(*arguments, **changed):
    async with tls_upstream(*arguments, **changed) as upstream:
        with pytest.raises(UpstreamFault) as raised:
            await ask(upstream)
    return raised.value


async def test_tls_is_spoken_and_a_connection_is_kept(certificate):
    async with tls_upstream(certificate, answering(json_response(), json_response())) as upstream:
        assert await ask(upstream) == [ANSWER]
        assert await ask(upstream) == [ANSWER]


async def test_notifications_within_tls_are_handed_over_together(certificate):
    heard = trio.Event()

    async def script(wire):
        await wire.request()
        await wire.say(STREAM + saying(1))
        await heard.wait()
        await wire.say(saying(2), saying(3))  # Two TLS records, which may come as one segment.
        await wire.say(event(orjson.loads(ANSWER_JSON)) + b"0\r\n\r\n")

    async with tls_upstream(certificate, script) as upstream, upstream.converse(MODERN) as conversation:
        await conversation.send(CALL)
        assert await conversation.receive() == progress(1)
        assert await conversation.together(trio.current_time() + 0.02) == ()
        heard.set()
        with trio.fail_after(5):
            assert await conversation.together(trio.current_time() + 3600) == (progress(2), progress(3))
            assert await conversation.receive() == ANSWER


async def test_a_stream_that_is_cut_off_within_tls_brings_what_came_before(certificate):
    async def cutting(wire):
        await wire.request()
        await wire.say(STREAM + saying(1), saying(2), saying(3))
        await wire.stream.transport_stream.aclose()

    async with tls_upstream(certificate, cutting) as upstream, upstream.converse(MODERN) as conversation:
        await conversation.send(CALL)
        heard, fault = await heard_until_it_fails(conversation, 3600)
    assert heard == [progress(1), progress(2), progress(3)]
    assert fault.kind == "closed"


async def test_an_answer_smuggled_within_tls_is_never_taken_for_the_next_calls(certificate):
    stolen = json_response(ANSWER_JSON.replace(b"one", b"somebody else's"))

    both_sent = trio.Event()

    async def script(wire):
        await wire.request()
        await wire.say(json_response(), stolen)  # Two TLS records, of which the client reads the first.
        both_sent.set()
        await wire.request()
        await wire.say(json_response())

    async with tls_upstream(certificate, script) as upstream:
        async with upstream.converse(MODERN) as conversation:
            await conversation.send(CALL)
            await both_sent.wait()
            assert await conversation.receive() == ANSWER
        assert await ask(upstream) == [ANSWER]


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate):
    fault = await tls_fault(certificate, echoing(), ca=False)

    assert fault.kind == "unreachable"
    assert "certificate" in fault.detail


async def test_a_certificate_for_another_name_is_refused(certificate):
    fault = await tls_fault(certificate, echoing(), host="127.0.0.1")

    assert fault.kind == "unreachable"
    assert "certificate" in fault.detail


async def test_an_answer_that_is_cut_off_within_tls_is_no_answer(certificate):
    async def cutting(wire):
        await wire.request()
        await wire.say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + ANSWER_JSON)
        await wire.stream.transport_stream.aclose()

    assert (await tls_fault(certificate, cutting)).kind == "closed"


async def test_an_answer_that_stalls_within_tls_is_given_up(certificate):
    async def stalling(wire):
        await wire.request()
        await wire.say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{")
        await wire.closed()

    with trio.fail_after(5):
        assert (await tls_fault(certificate, stalling, deadlines=Deadlines(idle_s=0.2))).kind == "timeout"


def test_it_is_an_upstream():
    upstream: Upstream = StreamableHttp(HttpSettings("clinic", "http://127.0.0.1:1/mcp"))

    assert upstream.name == "clinic"
    assert MODERN.era is Era.MODERN


async def test_an_upstream_that_has_asked_something_may_be_silent_until_a_person_has_answered():
    async def script(wire):
        asked = await wire.request()
        if b"tools/call" in asked.body:
            await wire.say(STREAM + event({"jsonrpc": "2.0", "id": 7, "method": "roots/list"}))
            await trio.sleep(0.6)
            await wire.say(event({"jsonrpc": "2.0", "id": "call-1", "result": ANSWER.result}), b"0\r\n\r\n")
            await wire.closed()

    async with upstream_of(script, deadlines=Deadlines(connect_s=2, idle_s=0.3, call_s=5)) as (upstream, _):
        *_, answer = await ask(upstream, link=LEGACY)

    assert answer == ANSWER
