"""Discovery and key fetching against a server on loopback that answers what the test wants, true or not."""

from __future__ import annotations

import gzip
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from gateway.core.errors import IdentityUnavailable, Unauthenticated
from gateway.identity import oidc
from gateway.identity.issuers import Issuers
from gateway.identity.oidc import MAX_DOCUMENT_BYTES
from tests.identity.minting import CONFIG, RESOURCE, claims, mint, signing_key

KEY = signing_key("ES256")
OPENID, OAUTH = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"


def answer(body: bytes | object, *, status: str = "200 OK", head: str = "") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(data)}\r\n{head}\r\n".encode() + data


class Server:
    """Answers each path with the bytes under it, then closes; what is not there is a 404."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.asked: list[str] = []
        self.answers: dict[str, bytes] = {
            OPENID: answer({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}),
            "/jwks": answer({"keys": [KEY.jwk()]}),
        }
        self.stay_open = trio.Event()
        self.drip = False
        self.trickles: dict[str, bytes] = {}
        """Sent again and again after the answer to a path, for as long as the client takes it."""

    async def __call__(self, stream: trio.SocketStream) -> None:
        path = (await stream.receive_some(65536)).split(b" ")[1].decode()
        self.asked.append(path)
        data = self.answers.get(path, answer(b"", status="404 Not Found"))
        try:
            await stream.send_all(data)
            while path in self.trickles:
                await stream.send_all(self.trickles[path])
                await trio.sleep(0)
            if self.drip:
                await self.stay_open.wait()
        except trio.BrokenResourceError:
            return  # The client had enough, which is what some tests want.
        finally:
            await trio.aclose_forcefully(stream) if self.drip else await stream.aclose()


@asynccontextmanager
async def serving():
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server = Server(listener.socket.getsockname()[1])
        nursery.start_soon(trio.serve_listeners, server, [listener])
        yield server
        nursery.cancel_scope.cancel()


async def fetch(server, *, path: str = "", timeout_s: float = 5):
    issuer = replace(CONFIG, url=server.url + path, timeout_s=timeout_s)
    async with oidc.client() as http:
        return (await oidc.fetch(http, issuer))[1].keys


async def fault(server, **settings) -> str:
    with pytest.raises(IdentityUnavailable) as raised:
        await fetch(server, **settings)
    assert server.url in raised.value.detail
    return raised.value.detail


async def test_keys_are_found_through_openid_discovery():
    async with serving() as server:
        assert [key.kid for key in await fetch(server)] == ["key-1"]
        assert server.asked == [OPENID, "/jwks"]


async def test_keys_are_found_through_oauth_discovery_where_the_well_known_part_goes_before_the_path():
    async with serving() as server:
        url = f"{server.url}/tenant"
        server.answers[f"{OAUTH}/tenant"] = answer({"issuer": url, "jwks_uri": f"{server.url}/jwks"})
        assert await fetch(server, path="/tenant")
        assert server.asked == [f"/tenant{OPENID}", f"{OAUTH}/tenant", "/jwks"]


async def test_an_issuer_without_metadata_is_unavailable():
    async with serving() as server:
        server.answers = {}
        assert "has no metadata" in await fault(server)


@pytest.mark.parametrize("change", ["https://idp.example", "{url}/", "", None, 7])
async def test_metadata_that_names_another_issuer_is_not_believed(change):
    async with serving() as server:
        name = change.format(url=server.url) if isinstance(change, str) else change
        server.answers[OPENID] = answer({"issuer": name, "jwks_uri": f"{server.url}/jwks"})
        assert "calls itself by another name" in await fault(server)
        assert server.asked == [OPENID]


@pytest.mark.parametrize(
    "uri",
    ["http://keys.example/jwks", "file:///etc/passwd", "/jwks", "", None, 7, ["x"], "ftp://keys.example", "http://[", "https://",
     "https://user@keys.example/jwks", "gopher://127.0.0.1"],
)  # fmt: skip
async def test_keys_are_fetched_only_over_https_or_from_the_loopback_issuer_itself(uri):
    async with serving() as server:
        server.answers[OPENID] = answer({"issuer": server.url, "jwks_uri": uri})
        assert "jwks_uri" in await fault(server)


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"\xff", b"[" * 100_000, b"[]", b"null", b'"text"'])
async def test_metadata_that_is_not_an_object_is_a_fault_and_no_traceback(body):
    async with serving() as server:
        server.answers[OPENID] = answer(body)
        await fault(server)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"keys":{}}', b"[" * 100_000, b"\xff\xfe"])
async def test_keys_that_are_no_key_set_are_a_fault(body):
    async with serving() as server:
        server.answers["/jwks"] = answer(body)
        assert "not a JWK set" in await fault(server)


async def test_a_key_set_of_10_mb_is_not_read_to_its_end():
    async with serving() as server:
        server.answers["/jwks"] = answer(b'{"keys":[' + b" " * 10_000_000 + b"]}")
        assert f"more than {MAX_DOCUMENT_BYTES} bytes" in await fault(server)


async def test_a_compressed_bomb_is_not_unpacked():
    async with serving() as server:
        bomb = gzip.compress(b'{"keys":[' + b" " * 50_000_000 + b"]}")
        server.answers["/jwks"] = answer(bomb, head="content-encoding: gzip\r\n")
        assert "not a JWK set" in await fault(server)


async def test_a_redirect_is_not_followed():
    async with serving() as server:
        server.answers["/jwks"] = answer(b"", status="302 Found", head=f"location: {server.url}/elsewhere\r\n")
        assert "does not serve its jwks_uri" in await fault(server)
        assert "/elsewhere" not in server.asked


async def test_metadata_that_redirects_is_not_metadata_and_that_is_told():
    async with serving() as server:
        server.answers[OPENID] = answer(b"", status="302 Found", head=f"location: {server.url}/login\r\n")
        assert "redirects are not followed" in await fault(server)
        assert server.asked == [OPENID, OAUTH]


async def test_an_answer_without_an_end_is_left_at_its_size():
    async with serving() as server:
        server.answers["/jwks"] = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{"keys":['
        server.trickles["/jwks"] = b" " * 4096
        assert f"more than {MAX_DOCUMENT_BYTES} bytes" in await fault(server)


async def test_an_answer_that_drips_a_byte_at_a_time_is_left_at_its_deadline():
    async with serving() as server:
        server.answers[OPENID] = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"
        server.trickles[OPENID] = b"{"
        assert "did not answer within 0.2 s" in await fault(server, timeout_s=0.2)


async def test_headers_without_an_end_are_left():
    async with serving() as server:
        server.answers[OPENID] = b"HTTP/1.1 200 OK\r\n"
        server.trickles[OPENID] = b"x-more: " + b"a" * 4000 + b"\r\n"
        assert "could not be reached" in await fault(server)


async def test_a_storm_of_unknown_key_ids_reaches_the_provider_once():
    async with serving() as server:
        issuer = replace(CONFIG, url=server.url, jwks_refetch_s=3600)
        async with Issuers.open([issuer], now=lambda: claims()["iat"]) as issuers:
            await issuers.identify(mint(KEY, claims(iss=server.url)), resource=RESOURCE)

            async def forged(number):
                with pytest.raises(Unauthenticated):
                    await issuers.identify(mint(KEY, claims(iss=server.url), kid=f"k{number}"), resource=RESOURCE)

            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(forged, number)
        assert server.asked == [OPENID, "/jwks"]


async def test_an_issuer_that_is_down_keeps_nobody_of_another_out():
    async with serving() as server, serving() as gone:
        both = [replace(CONFIG, url=server.url), replace(CONFIG, url=gone.url, timeout_s=0.3)]
        gone.answers, gone.drip = {OPENID: b""}, True
        async with Issuers.open(both, now=lambda: claims()["iat"]) as issuers:
            with pytest.raises(IdentityUnavailable):
                await issuers.identify(mint(KEY, claims(iss=gone.url)), resource=RESOURCE)
            assert (await issuers.identify(mint(KEY, claims(iss=server.url)), resource=RESOURCE)).issuer == server.url
            assert await issuers.probe() is None, "somebody can be identified"


async def test_an_issuer_cannot_answer_for_another_that_it_names():
    async with serving() as server, serving() as other:
        server.answers[OPENID] = answer({"issuer": other.url, "jwks_uri": f"{other.url}/jwks"})
        async with Issuers.open([replace(CONFIG, url=server.url)], now=lambda: claims()["iat"]) as issuers:
            with pytest.raises(IdentityUnavailable, match="calls itself by another name"):
                await issuers.identify(mint(KEY, claims(iss=server.url)), resource=RESOURCE)
        assert other.asked == []


async def test_a_failing_key_endpoint_is_a_fault():
    async with serving() as server:
        server.answers["/jwks"] = answer(b"oops", status="500 Internal Server Error")
        assert "does not serve its jwks_uri" in await fault(server)


async def test_an_answer_shorter_than_it_says_is_a_fault():
    async with serving() as server:
        server.answers["/jwks"] = b'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"keys":[]}'
        assert "could not be reached (RemoteProtocolError)" in await fault(server)


async def test_what_is_not_http_is_a_fault():
    async with serving() as server:
        server.answers[OPENID] = b"SSH-2.0-OpenSSH\r\n"
        assert "could not be reached" in await fault(server)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"])
async def test_a_provider_that_stalls_is_given_up_at_its_deadline(sent):
    async with serving() as server:
        server.answers["/jwks"], server.drip = sent, True
        assert "did not answer within 0.2 s" in await fault(server, timeout_s=0.2)


async def test_a_provider_that_is_not_there_is_a_fault():
    async with serving() as server:
        gone = server
    assert "could not be reached (ConnectError)" in await fault(gone)


async def test_a_caller_that_hangs_up_does_not_end_the_fetch_that_others_wait_for():
    async with serving() as server:
        issuer = replace(CONFIG, url=server.url)
        async with Issuers.open([issuer]) as issuers, trio.open_nursery() as nursery:
            nursery.start_soon(issuers.probe)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        async with Issuers.open([issuer]) as issuers:
            assert await issuers.probe() is None


async def test_a_token_of_a_discovered_issuer_names_its_principal():
    async with serving() as server:
        issuer = replace(CONFIG, url=server.url)
        async with Issuers.open([issuer], now=lambda: claims()["iat"]) as issuers:
            principal = await issuers.identify(mint(KEY, claims(iss=server.url)), resource=RESOURCE)
        assert (principal.issuer, principal.subject) == (server.url, "alice")
