"""Each shipped ingress, really started before real gateways: traffic, and every attack on it by name."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime

import httpx2
import jwt
import pytest
import trio

from gateway.core.types import Principal
from gateway.identity import mtls
from gateway.store import keys as keystore
from gateway.web.connection import ServerSettings
from tests.e2e.issuer import _KEY, AUDIENCE
from tests.identity import certificates
from tests.identity.certificates import DAY, uri
from tests.ingress import parts
from tests.ingress.parts import AGENT, ENVOY, HAPROXY, KINDS, NGINX, raw
from tests.ingress.talk import answer, ask, call, headers, said, stream

GIVE_UP_S = 120
SPOOFED = "203.0.113.9"
ADD = call("add", one=1, other=2)


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_calls_go_through(ingress, http2):
    async with ingress.client(http2=http2) as http:
        for ident in range(5):
            response = await ask(http, ingress, "analyst", call("add", ident, one=ident, other=2))
            assert said(response) == str(ident + 2)
        assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        assert response.headers["strict-transport-security"]


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
async def test_an_event_arrives_before_the_next_is_sent(ingress, http2):
    key = f"{ingress.kind.name}-{http2}"
    steps = 0
    async with (
        ingress.client(http2=http2) as http,
        stream(http, ingress, "analyst", call("stepwise", key=key, steps=3)) as lines,
    ):
        async for line in lines:
            if "notifications/progress" in line:
                steps += 1
                # The next step is not taken before this is told: an event that is held back stops everything.
                await ask(http, ingress, "analyst", call("tell", event=f"{key}/{steps}"))
            elif line.startswith("data: "):
                assert "3 steps" in line
    assert steps == 3


async def test_a_call_that_is_silent_for_longer_than_the_ingress_waits_is_kept_alive_by_comments(kind, put):
    event = f"late-{kind.name}"
    comments, heard = 0, None
    with put(kind, *kind.brief) as ingress:
        async with (
            ingress.client() as http,
            trio.open_nursery() as nursery,
            stream(http, ingress, "analyst", call("hear", event=event)) as lines,
        ):
            async for line in lines:
                comments += line.startswith(":")
                if comments == 4:  # One a second; three seconds of silence would have ended it.
                    nursery.start_soon(ask, http, ingress, "analyst", call("tell", event=event))
                if line.startswith("data: "):
                    heard = json.loads(line[6:])["result"]["structuredContent"]["result"]
    assert heard is True


async def test_the_ingress_would_end_it_without_them(kind, put):
    impatient = [(new, re.sub(r"3s", "500ms" if kind is not ENVOY else "0.5s", new)) for _, new in kind.brief]
    with put(kind, *kind.brief, *impatient) as ingress:
        async with ingress.client() as http:
            ended = None
            with trio.fail_after(GIVE_UP_S), suppress(httpx2.TransportError):
                ended = await ask(http, ingress, "analyst", call("hear", event="never"))
    assert ended is None or ended.status_code in (408, 504)


async def test_a_body_that_is_too_large_gets_413_and_a_large_one_goes_through(ingress):
    async with ingress.client() as http:
        # It reaches the gateway; whether policy decides on so much in time is another matter.
        fits = await ask(http, ingress, "analyst", call("tell", event="x" * (4_194_304 - 1_000)))
        assert (fits.status_code, answer(fits)["id"]) == (200, 1)
        too_large = json.dumps(call("tell", event="x" * 4_194_304)).encode()

        async def pieces():
            for at in range(0, len(too_large), 65_536):
                yield too_large[at : at + 65_536]

        for body in (too_large, pieces()):
            given = headers(ingress, "analyst", ADD)
            try:
                with trio.fail_after(GIVE_UP_S):
                    response = await http.post(ingress.mcp("ward"), content=body, headers=given)
            except httpx2.TransportError:
                # HAProxy closes on a client that is still sending, which may lose the answer.
                assert ingress.kind is HAPROXY
            else:
                assert response.status_code == 413
        assert said(await ask(http, ingress, "analyst", ADD)) == "3"


def test_haproxy_says_413_to_who_listens_before_it_sends(put):
    with put(HAPROXY) as ingress, raw(ingress) as client:
        client.sendall(b"POST /mcp/ward HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")


async def test_readiness_is_not_told_outside(ingress):
    async with ingress.client() as http:
        for path in ("/readyz", "/healthz", "/metrics"):
            assert (await http.get(f"{ingress.url}{path}")).status_code == 404


HIDDEN = ("/%72eadyz", "/%68ealth%7A", "//readyz", "/%2freadyz", "/x/../readyz", "/x/%2e%2e/readyz")


@pytest.mark.parametrize("target", HIDDEN)
def test_not_by_a_path_either_that_the_gateway_reads_otherwise_than_the_ingress(ingress, target):
    with raw(ingress) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        heard = b"".join(iter(lambda: client.recv(65536), b""))
    assert b"ready" not in heard.partition(b"\r\n\r\n")[2], heard
    assert heard.split(b" ")[1] in (b"400", b"404"), heard


async def test_another_host_is_not_answered(ingress):
    async with ingress.client() as http:
        given = headers(ingress, "analyst", ADD, host="evil.example")
        response = await http.post(ingress.mcp("ward"), json=ADD, headers=given)
    assert response.status_code in (403, 421)


# Attacks, by name


SPOOFS = {
    "x-forwarded-for": SPOOFED,
    "forwarded": f"for={SPOOFED}",
    "x-real-ip": SPOOFED,
    "two lines": None,
}


@pytest.mark.parametrize("name", SPOOFS)
async def test_a_client_cannot_say_that_it_is_at_another_address(ingress, name):
    replica = ingress.replicas[0]
    before = len(replica.leaves())
    told = [("x-forwarded-for", SPOOFED)] * 2 if name == "two lines" else [(name, SPOOFS[name])]
    given = {**headers(ingress, None, ADD), "authorization": "Bearer x.y.z"}
    # Another address than the ingress', whom the gateway trusts, and than any other test's.
    own = f"127.0.{1 + list(KINDS).index(ingress.kind.name)}.{1 + list(SPOOFS).index(name)}"
    transport = httpx2.AsyncHTTPTransport(verify=ingress.trust(), local_address=own)
    async with httpx2.AsyncClient(transport=transport, timeout=30) as http:
        response = await http.post(ingress.mcp("ward"), json=ADD, headers=[*given.items(), *told])
    assert response.status_code == 401
    keys = keystore.load(replica.place / "keys")
    with trio.fail_after(GIVE_UP_S):
        while keys.peer(own) not in (found := peers(replica.leaves()[before:])):
            await trio.sleep(0.05)
    assert keys.peer(SPOOFED) not in found


def peers(leaves):
    """Where refused tokens came from."""
    return [leaf["members"].get("peer") for leaf in leaves if leaf["type"] == "login.failed"]


@pytest.mark.parametrize("name", [kind.header for kind in KINDS.values()])
async def test_a_client_cannot_write_a_certificate_into_a_header(ingress, name):
    """The certificate is a good one, of the agent's own: everybody may know it, but not have its key."""
    agent = ingress.agent
    written = {
        "client-cert": f":{certificates.base64_of(agent.der)}:",
        "x-forwarded-client-cert": f'Cert="{agent.escaped.decode()}"',
        "x-ssl-client-cert": agent.escaped.decode(),
    }
    async with ingress.client() as http:
        for spelt in (name, name.title(), name.replace("-", "_")):
            response = await ask(http, ingress, None, ADD, **{spelt: written[name]})
            assert response.status_code in (400, 401), spelt


async def test_a_stranger_beside_the_ingress_cannot_either(fleet, tmp_path):
    """Who reaches the gateway from another address than the ingress' is believed in nothing."""
    gateway = fleet["haproxy"]
    agent = parts.agents(gateway.place).issue(uri(AGENT))
    for peer, status in (("127.0.0.1", 200), ("127.0.0.2", 401)):
        transport = httpx2.HTTPTransport(local_address=peer)
        with httpx2.Client(transport=transport, timeout=60) as http:
            given = {**parts.PLAIN, "client-cert": f":{certificates.base64_of(agent.der)}:"}
            assert http.post(gateway.mcp("ward"), json=ADD, headers=given).status_code == status


# Agents


async def test_an_agent_is_known_by_its_certificate(kind, put):
    with put(kind) as ingress:
        before = len(ingress.replicas[0].leaves())
        for http2 in (False, True):
            async with ingress.client(ingress.agent, http2=http2) as http:
                assert said(await ask(http, ingress, None, ADD)) == "3"
        keys = keystore.load(ingress.replicas[0].place / "keys")
        leaves = ingress.replicas[0].leaves()[before:]
    who = mtls_principal()
    assert {leaf["members"]["actor"] for leaf in leaves if "actor" in leaf["members"]} <= {keys.actor(who)}
    assert [leaf["type"] for leaf in leaves if leaf["type"] == "exchange.outcome"] != []


def mtls_principal():
    return Principal("mtls:agents", AGENT)


@pytest.mark.parametrize("what", ["another authority", "expired", "for servers"])
async def test_a_bad_certificate_gets_nowhere(kind, put, what):
    with put(kind) as ingress:
        now = datetime.now(UTC)
        agents = ingress.authority
        bad = {
            "another authority": lambda: certificates.authority().issue(uri(AGENT)),
            "expired": lambda: agents.issue(uri(AGENT), begins=now - 2 * DAY, ends=now - DAY),
            "for servers": lambda: agents.issue(uri(AGENT), usage=(certificates.SERVER,)),
        }[what]()
        status = None
        async with ingress.client(bad) as http:
            with suppress(httpx2.TransportError, ssl.SSLError):
                status = (await ask(http, ingress, None, ADD)).status_code
    assert status in (None, 400, 401, 403)


async def test_a_token_that_is_bound_to_a_certificate_counts_over_that_connection_alone(kind, put, people):
    with put(kind) as ingress:
        now = int(time.time())
        claims = {
            "iss": people.url, "aud": AUDIENCE, "sub": "analyst", "client_id": "agent", "groups": ["analysts"],
            "iat": now, "exp": now + 60, "cnf": {"x5t#S256": mtls.thumbprint(ingress.agent.der)},
        }  # fmt: skip
        token = jwt.encode(claims, _KEY.private, algorithm=_KEY.algorithm, headers={"kid": _KEY.kid, "typ": "at+jwt"})
        other = ingress.authority.issue(uri(AGENT))
        for agent, status in ((ingress.agent, 200), (other, 401), (None, 401)):
            async with ingress.client(agent) as http:
                response = await ask(http, ingress, None, ADD, authorization=f"Bearer {token}")
            assert response.status_code == status


# Clients that dawdle, and logs


def test_a_client_that_dawdles_over_its_headers_is_let_go(kind, put):
    with put(kind, *kind.brief) as ingress, raw(ingress) as slow:
        slow.sendall(b"POST /mcp/ward HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        slow.settimeout(10)
        heard = b""
        with suppress(ConnectionError, ssl.SSLError):
            while piece := slow.recv(4096):
                heard += piece
    assert heard == b"" or b" 408 " in heard.splitlines()[0]


async def test_no_token_query_or_path_of_a_clients_making_is_in_the_logs_of_the_ingress(ingress):
    token = ingress.replicas[0].issuer.token("analyst")
    secrets = (token, "MRN-219099999", "SECRET-QUERY", "SECRET-NAME")
    async with ingress.client() as http:
        for path in ("/patient/MRN-219099999", "/mcp/ward?access_token=SECRET-QUERY", "/approvals/MRN-219099999"):
            given = {"authorization": f"Bearer {token}", "mcp-name": "SECRET-NAME"}
            await http.get(f"{ingress.url}{path}", headers=given)
        assert said(await ask(http, ingress, "analyst", ADD)) == "3"
    with trio.fail_after(GIVE_UP_S):  # Envoy writes its log once in a while.
        while "/mcp/ward" not in logs(ingress) and "calls" not in logs(ingress):
            await trio.sleep(0.05)
    assert [each for each in secrets if each in logs(ingress)] == []


def test_not_even_when_no_gateway_answers(kind, put, fleet):
    # A gateway that refuses connections is what an error log tells of, request line and all.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = [(f"127.0.0.1:{fleet[kind.name].port}", f"127.0.0.1:{nobody.getsockname()[1]}")]
        if kind is ENVOY:
            dead = [(f"port_value: {fleet[kind.name].port}", f"port_value: {nobody.getsockname()[1]}")]
        with put(kind, *dead, answers=502 if kind is NGINX else 503) as ingress:
            url = f"{ingress.mcp('ward')}?access_token=SECRET-QUERY"
            response = httpx2.get(url, verify=ingress.trust(), timeout=30)
    assert response.status_code in (502, 503)
    assert "SECRET-QUERY" not in logs(ingress)


def logs(ingress):
    return "".join(file.read_text() for file in ingress.place.directory.glob("*.log"))


# Routing


async def test_one_tool_may_have_a_pool_of_its_own(kind, put, fleet):
    with socket.create_server(("127.0.0.1", 0)) as batch:
        port = str(batch.getsockname()[1])
        changes = [(old, new.replace("BATCH", port)) for old, new in kind.to_batch]

        def serve():
            connection, _ = batch.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nbatch")

        with put(kind, *changes) as ingress:
            async with ingress.client() as http, trio.open_nursery() as nursery:
                assert said(await ask(http, ingress, "analyst", ADD)) == "3"
                nursery.start_soon(trio.to_thread.run_sync, serve)
                assert (await ask(http, ingress, "analyst", call("nightly_export"))).text == "batch"


async def test_a_header_that_contradicts_the_body_takes_another_way_and_ends_there(ingress):
    async with ingress.client() as http:
        response = await ask(http, ingress, "analyst", call("withdrawn"), **{"mcp-name": "add"})
    assert response.status_code == 400
    assert answer(response)["error"]["code"] == -32020


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (NGINX, [("rate=50r/s", "rate=1r/s"), ("burst=200", "burst=2")]),
        (HAPROXY, [("gt 500", "gt 3")]),
    ],
    ids=["nginx", "haproxy"],
)
async def test_calls_of_one_address_are_limited_and_other_messages_are_not(kind, changes, put):
    with put(kind, *changes) as ingress:
        async with ingress.client() as http:
            calls = [(await ask(http, ingress, "analyst", ADD)).status_code for _ in range(6)]
            listing = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": ADD["params"]["_meta"]}}
            lists = [(await ask(http, ingress, "analyst", listing)).status_code for _ in range(6)]
    assert calls[0] == 200
    assert 429 in calls
    assert set(lists) == {200}


async def test_envoy_may_speak_http2_to_the_gateway(put):
    h1, h2 = (f"explicit_http_config: {{{name}_protocol_options: {{}}}}" for name in ("http", "http2"))
    told = 0
    with put(ENVOY, (h1, h2)) as ingress:
        async with (
            ingress.client(http2=True) as http,
            stream(http, ingress, "analyst", call("stepwise", key="h2c", steps=2)) as lines,
        ):
            async for line in lines:
                if "notifications/progress" in line:
                    told += 1
                    await ask(http, ingress, "analyst", call("tell", event=f"h2c/{told}"))
    assert told == 2


# The files


def test_the_limit_on_bodies_is_the_gateways_own():
    most = ServerSettings().max_body
    assert f"client_max_body_size {most >> 20}m" in parts.rendered(NGINX, ())
    assert f"req.body_size gt {most}" in parts.rendered(HAPROXY, ())
    assert f"max_request_bytes: {most}" in parts.rendered(ENVOY, ())
