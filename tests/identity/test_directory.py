"""Groups looked up at Microsoft Graph, played by a server on loopback: right, slow, lying, down."""

from __future__ import annotations

import contextlib
import json
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import parse_qs

import httpx2
import pytest
import trio
import trio.testing

from gateway.core.errors import IdentityUnavailable
from gateway.identity import oidc
from gateway.identity.directory import Directory
from gateway.identity.issuers import Issuers
from gateway.identity.settings import GraphConfig
from tests.identity import test_oidc as provider
from tests.identity.minting import CONFIG, NOW, RESOURCE, claims, mint, signing_key

PERSON, OTHER = "00000000-0000-4000-8000-0000000000a1", "00000000-0000-4000-8000-0000000000a2"
GROUPS = ["00000000-0000-4000-8000-00000000c11c", "00000000-0000-4000-8000-00000000c11d"]
SECRET = "graph-secret~+ &="


def answer(body: object, status: str = "200 OK") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(data)}\r\nconnection: close\r\n\r\n".encode() + data


class Graph:
    """Answers its token endpoint and its API with what the test sets; notes what it was asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.token = answer({"access_token": "graph-token", "expires_in": 3600, "token_type": "Bearer"})
        self.groups = answer({"value": GROUPS})
        self.tokens: list[dict[str, list[str]]] = []
        self.asked: list[tuple[str, str]] = []
        self.go_on: trio.Event | None = None

    async def __call__(self, stream: trio.SocketStream) -> None:
        head, _, body = (await stream.receive_some(65536)).partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += await stream.receive_some(65536)
        path = head.split(b" ")[1].decode()
        if path == "/token":
            self.tokens.append(parse_qs(body.decode()))
            data = self.token
        else:
            bearer = head.lower().split(b"authorization: bearer ")[1].split(b"\r\n")[0].decode()
            self.asked.append((path, bearer))
            if self.go_on is not None:
                await self.go_on.wait()
            data = self.groups
        with contextlib.suppress(trio.BrokenResourceError):  # Some tests want that the client has enough.
            await stream.send_all(data)
        await trio.aclose_forcefully(stream)


@asynccontextmanager
async def serving(**changes):
    """Graph, and a directory that asks it."""
    async with trio.open_nursery() as nursery, oidc.client() as http:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        graph = Graph(listener.socket.getsockname()[1])
        config = GraphConfig(f"{graph.url}/v1.0", f"{graph.url}/token", "gateway", SECRET, cache_s=300, timeout_s=5)
        nursery.start_soon(trio.serve_listeners, graph, [listener])
        yield graph, Directory(replace(config, **changes), http)
        nursery.cancel_scope.cancel()


async def fault(directory, person=PERSON) -> str:
    with pytest.raises(IdentityUnavailable) as raised:
        await directory.groups(person)
    return raised.value.detail


async def test_groups_are_asked_for_by_object_id_with_a_token_of_our_own():
    async with serving() as (graph, directory):
        found, valid_s = await directory.groups(PERSON)
    assert (found, 299 < valid_s <= 300) == (tuple(GROUPS), True)
    assert graph.asked == [(f"/v1.0/users/{PERSON}/getMemberGroups", "graph-token")]
    (form,) = graph.tokens
    assert (form["client_id"], form["client_secret"], form["grant_type"]) == (
        ["gateway"],
        [SECRET],
        ["client_credentials"],
    )
    assert form["scope"] == [f"{graph.url}/.default"]


async def test_an_answer_serves_until_its_age_and_the_token_for_everybody():
    async with serving() as (graph, directory):
        for person in (PERSON, PERSON, OTHER, PERSON):
            await directory.groups(person)
    assert len(graph.asked) == 2
    assert len(graph.tokens) == 1


async def test_an_answer_that_is_too_old_is_asked_for_again():
    async with serving(cache_s=0) as (graph, directory):
        await directory.groups(PERSON)
        graph.groups = answer({"value": []})
        assert (await directory.groups(PERSON))[0] == ()


async def test_many_requests_of_one_person_are_one_question():
    async with serving() as (graph, directory):
        graph.go_on = trio.Event()
        found = []

        async def ask():
            found.append((await directory.groups(PERSON))[0])

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            graph.go_on.set()
    assert (found, len(graph.asked)) == ([tuple(GROUPS)] * 20, 1)


async def test_a_caller_that_hangs_up_does_not_end_the_question_that_others_wait_for():
    async with serving() as (graph, directory):
        graph.go_on = trio.Event()
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as first:
                nursery.start_soon(directory.groups, OTHER)
                await trio.testing.wait_all_tasks_blocked()
                first.cancel()
            graph.go_on.set()
        assert (await directory.groups(OTHER))[0] == tuple(GROUPS)
    assert len(graph.asked) == 1


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("401 Unauthorized", "its token was refused"),
        ("403 Forbidden", "give the application GroupMember.Read.All"),
        ("404 Not Found", "knows no such person"),
        ("429 Too Many Requests", "asked too often"),
        ("500 Internal Server Error", "answered 500"),
        ("302 Found", "answered 302"),
        ("400 Bad Request", "answered 400"),
    ],
)
async def test_whatever_is_no_list_of_groups_is_told_and_is_never_no_groups(status, told):
    async with serving() as (graph, directory):
        graph.groups = answer({"value": [], "error": {"code": "x"}}, status)
        assert told in await fault(directory)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"<html>", b"\xff", b"[]", b"null", {}, {"value": None}, {"value": "g"}, {"value": [1]},
     {"value": [""]}, {"value": [["g"]]}, {"value": [f"g{n}" for n in range(513)]},
     {"value": ["g"], "@odata.nextLink": "https://graph.example/next"}],
)  # fmt: skip
async def test_an_answer_that_lies_about_its_shape_is_told(body):
    async with serving() as (graph, directory):
        graph.groups = answer(body)
        assert "no list of at most 512 groups" in await fault(directory)


async def test_an_answer_of_10_mb_is_not_read_to_its_end():
    async with serving() as (graph, directory):
        graph.groups = answer(b'{"value":[' + b" " * 10_000_000 + b"]}")
        assert "sent more than" in await fault(directory)


async def test_a_graph_that_stalls_is_given_up_at_its_deadline():
    async with serving(timeout_s=0.2) as (graph, directory):
        graph.go_on = trio.Event()
        assert "did not answer within 0.2 s" in await fault(directory)


async def test_a_graph_that_is_not_there_is_told():
    async with serving() as (_, directory):
        pass
    async with oidc.client() as http:
        directory = Directory(directory._config, http)
        assert "could not be reached (ConnectError)" in await fault(directory)


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (answer({"error": "invalid_client"}, "401 Unauthorized"), "its token endpoint answered 401"),
        (answer({"access_token": "a\r\nb", "expires_in": 3600}), "sent no token"),
        (answer({"access_token": "é", "expires_in": 3600}), "sent no token"),
        (answer({"access_token": 1, "expires_in": 3600}), "sent no token"),
        (answer({"expires_in": 3600}), "sent no token"),
        (answer(b"no json"), "sent no token"),
    ],
)
async def test_a_token_endpoint_that_gives_none_is_told_without_the_secret(token, told, caplog):
    caplog.set_level(logging.DEBUG)
    async with serving() as (graph, directory):
        graph.token = token
        detail = await fault(directory)
    assert told in detail
    assert "graph-secret" not in f"{detail} {caplog.text}"
    assert graph.asked == []


async def test_whatever_breaks_nobody_who_waits_for_the_same_answer_is_taken_for_somebody_without_groups():
    class Broken(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request):
            await trio.testing.wait_all_tasks_blocked()
            raise RuntimeError("a bug of a library's")

    config = GraphConfig("https://graph.example/v1.0", "https://graph.example/token", "gateway", SECRET, 300, 5)
    raised: list[type[Exception]] = []

    async def ask():
        try:
            await directory.groups(PERSON)
        except (RuntimeError, IdentityUnavailable) as error:
            raised.append(type(error))

    async with httpx2.AsyncClient(transport=Broken()) as http, trio.open_nursery() as nursery:
        directory = Directory(config, http)
        nursery.start_soon(ask)
        nursery.start_soon(ask)
    assert set(raised) == {RuntimeError, IdentityUnavailable}
    with pytest.raises(IdentityUnavailable):
        await directory.groups(PERSON)


async def test_a_failure_is_asked_about_again_only_after_a_moment():
    async with serving() as (graph, directory):
        graph.groups = answer(b"", "500 Internal Server Error")
        for _ in range(10):
            await fault(directory)
        graph.groups = answer({"value": GROUPS})
        assert (await directory.groups(OTHER))[0] == tuple(GROUPS)
    assert len(graph.asked) == 2


async def test_a_token_that_graph_refuses_is_renewed_for_the_next_question():
    async with serving() as (graph, directory):
        graph.groups = answer({}, "401 Unauthorized")
        await fault(directory)
        graph.groups = answer({"value": GROUPS})
        await directory.groups(OTHER)
    assert len(graph.tokens) == 2


async def test_an_issuer_that_is_opened_with_a_graph_asks_it_through_its_own_client():
    key = signing_key("ES256")
    async with serving() as (graph, directory), provider.serving() as idp:
        issuer = replace(CONFIG, url=idp.url, graph=directory._config, subject_claim="oid")
        token = claims(iss=idp.url, groups=None, oid=PERSON, _claim_names={"groups": "src1"})
        async with Issuers.open([issuer], now=lambda: NOW) as issuers:
            sent = mint(key, token)
            principal = await issuers.identify(sent, resource=RESOURCE)
            assert (principal.subject, principal.groups) == (PERSON, tuple(GROUPS))
            graph.groups = answer({}, "503 Service Unavailable")
            with pytest.raises(IdentityUnavailable, match="answered 503"):
                await issuers.identify(mint(key, {**token, "oid": OTHER}), resource=RESOURCE)
            assert (await issuers.identify(sent, resource=RESOURCE)) is principal
