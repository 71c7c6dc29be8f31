"""A bundle server over real sockets: what it may answer, and what then is in force."""

import http.server
import threading

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.core.errors import EvidenceFault, PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.core.policy.signature import Key, Verification
from gateway.pdp import server
from gateway.pdp.loader import ActivePolicy
from gateway.pdp.server import BundleServer, ServerConfig, Unreachable
from gateway.pdp.signing import Signer
from gateway.pdp.status import Trouble

from .policies import allowing, policy

PRIVATE = rsa.generate_private_key(65537, 2048)
TRUST = Verification((Key("default", "RS256", PRIVATE.public_key()),))
OTHER = rsa.generate_private_key(65537, 2048)


def signed(bundle, key=PRIVATE):
    return bundles.pack(Signer("RS256", key).signed(bundle.files))


ONE, TWO = signed(allowing(1)), signed(allowing(2))
GZIP = ("content-type", "application/gzip")


class Server(http.server.ThreadingHTTPServer):
    """Answers with what the test put there: (status, headers, body), or a function that writes to the connection."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.answer = (404, (), b"")
        self.url = f"http://127.0.0.1:{self.server_address[1]}/bundles/main.tar.gz"
        self.released = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append({name.lower(): value for name, value in self.headers.items()})
        if callable(self.server.answer):
            self.server.answer(self)
            return
        status, headers, body = self.server.answer
        etag = dict(headers).get("etag")
        if etag is not None and self.headers.get("if-none-match") == etag:
            status, body = 304, b""
        self.reply(status, headers, body)

    def reply(self, status, headers, body):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing to standard error."""


@pytest.fixture
def served():
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.released.set()
        made.shutdown()
        thread.join()


@pytest.fixture
async def http_client():
    async with server.client() as made:
        yield made


@pytest.fixture
def source(served, http_client):
    def make(*, verification=TRUST, **settings):
        return BundleServer(ServerConfig(served.url, **settings), http_client, verification)

    return make


@pytest.fixture
def opened(source):
    """Policies from the server; each lets go of its engine with the test."""
    made = []

    def make(*, on_activate=None, archived=None, **settings):
        async def record(bundle):
            recorded.append(bundle.digest)

        recorded = []
        active = ActivePolicy(source(**settings), on_activate=on_activate or record, archived=archived)
        active.recorded = recorded
        made.append(active)
        return active

    yield make
    for active in made:
        active.close()


async def archived():
    return ONE


async def test_a_signed_bundle_is_fetched_with_our_credentials_and_only_once(served, source):
    served.answer = (200, (GZIP, ("etag", '"1"')), ONE)
    from_there = source(headers={"Authorization": "Bearer secret-token"})

    assert (await from_there.look()).archive == ONE
    assert await from_there.look() is None

    first, second = served.asked
    assert first["authorization"] == "Bearer secret-token"
    assert first["prefer"] == "modes=snapshot"
    assert "if-none-match" not in first
    assert second["if-none-match"] == '"1"'
    assert "secret-token" not in repr(ServerConfig(served.url, {"Authorization": "Bearer secret-token"}))


async def test_without_an_etag_the_bundle_is_fetched_again(served, source):
    served.answer = (200, (GZIP,), ONE)
    from_there = source()

    await from_there.look()
    assert (await from_there.look()).archive == ONE
    assert "if-none-match" not in served.asked[1]


async def test_a_server_that_holds_requests_is_asked_to_and_then_without_pause(served, source):
    served.answer = (200, (("content-type", server.LONG_POLL_TYPE), ("etag", '"1"')), ONE)
    from_there = source(long_polling_timeout_s=30)
    await from_there.look()

    def hold(handler):
        served.released.wait()
        handler.reply(200, (("content-type", server.LONG_POLL_TYPE), ("etag", '"2"')), TWO)

    served.answer = hold
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_release_when_asked, served, 2)
            assert (await from_there.look()).archive == TWO
    assert served.asked[1]["prefer"] == "modes=snapshot;wait=30"
    assert from_there.pause_s() <= server.RETRY_S


async def _release_when_asked(served, times):
    while len(served.asked) < times:
        await trio.lowlevel.checkpoint()
    served.released.set()


async def test_a_server_that_does_not_know_long_polling_is_polled(served, source):
    served.answer = (200, (GZIP, ("etag", '"1"')), ONE)
    from_there = source(long_polling_timeout_s=30, min_delay_s=40, max_delay_s=50)

    await from_there.look()
    await from_there.look()

    assert served.asked[1]["prefer"] == "modes=snapshot"
    assert 40 <= from_there.pause_s() <= 50


async def test_failures_are_retried_soon_and_then_ever_later(served, source):
    served.answer = (503, (), b"")
    from_there = source(max_delay_s=8)
    pauses = []
    for _ in range(8):
        with pytest.raises(Unreachable) as raised:
            await from_there.look()
        assert raised.value.status == 503
        pauses.append(from_there.pause_s())

    assert 0.5 <= pauses[0] <= 1
    assert 4 <= pauses[-1] <= 8


@pytest.mark.parametrize("status", [204, 301, 302, 304, 401, 403, 404, 500])
async def test_any_other_answer_is_no_bundle_and_redirects_are_not_followed(served, source, status):
    served.answer = (status, (("location", served.url + "?elsewhere"),), b"")

    with pytest.raises(Unreachable, match=f"answered with status {status}"):
        await source().look()
    assert len(served.asked) == 1


async def test_a_server_that_is_away_or_silent_is_told_with_its_url(served, source, http_client):
    served.answer = lambda handler: served.released.wait()
    with pytest.raises(Unreachable, match="did not answer in time"):
        await source(timeout_s=0.2).look()

    gone = BundleServer(ServerConfig("http://127.0.0.1:9/x.tar.gz"), http_client, TRUST)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9/x\.tar\.gz could not be reached"):
        await gone.look()


async def test_a_body_without_end_is_cut_off(served, source):
    def flood(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(1000):
                handler.wfile.write(bytes(2**16))
        except OSError:
            return

    served.answer = flood
    with pytest.raises(Unreachable, match="sent more than"):
        await source().look()


async def test_a_body_that_is_cut_short_is_no_bundle(served, source):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("content-length", str(len(ONE)))
        handler.end_headers()
        handler.wfile.write(ONE[:-100])

    served.answer = cut
    with pytest.raises(Unreachable, match="could not be reached"):
        await source().look()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "cut short"),
        (b"<html>", "not a gzip file"),
        (allowing(1).archive, "not signed"),
        (signed(allowing(1), OTHER), "was not made with the key"),
    ],
)
async def test_attack_what_is_no_bundle_of_ours_is_refused(served, source, body, told):
    served.answer = (200, (GZIP,), body)

    with pytest.raises(PolicyFault, match=told) as raised:
        await source().look()
    assert not isinstance(raised.value, Unreachable)


async def test_unsigned_bundles_are_taken_only_without_keys_and_signed_ones_then_refused(served, source):
    served.answer = (200, (GZIP,), allowing(1).archive)
    assert await source(verification=None).look()

    served.answer = (200, (GZIP,), ONE)
    with pytest.raises(PolicyFault, match=r"\[\[policy.signing.key\]\]"):
        await source(verification=None).look()


async def test_a_bad_bundle_keeps_the_old_one_and_the_status_says_so(served, opened):
    served.answer = (200, (GZIP, ("etag", '"1"')), ONE)
    active = opened()
    await active.start()
    before = active.status
    assert before.trouble is None
    assert before.active_revision == allowing(1).manifest.revision

    for answer, trouble, code in (
        ((200, (GZIP, ("etag", '"2"')), signed(allowing(2), OTHER)), Trouble.BUNDLE, None),
        ((200, (GZIP, ("etag", '"3"')), signed(policy("f(x) := f(x)\n"))), Trouble.BUNDLE, None),
        ((500, (), b""), Trouble.DOWNLOAD, 500),
    ):
        served.answer = answer
        assert not await active.reload()
        assert (active.status.trouble, active.status.http_code) == (trouble, code)
        assert active.current.bundle == before.digest
        assert active.status.last_successful_activation == before.last_successful_activation

    public = active.status.public()
    assert (public["code"], public["http_code"]) == ("download_error", 500)
    assert public["digest"] == before.digest
    assert served.url not in str(public)
    assert len(active.recorded) == 1


async def test_a_refused_bundle_is_not_fetched_again_and_still_told(served, opened):
    served.answer = (200, (GZIP, ("etag", '"1"')), ONE)
    active = opened()
    await active.start()
    served.answer = (200, (GZIP, ("etag", '"2"')), signed(allowing(2), OTHER))
    await active.reload()
    await active.reload()

    assert served.asked[-1]["if-none-match"] == '"2"'
    assert active.status.trouble is Trouble.BUNDLE

    served.answer = (200, (GZIP, ("etag", '"3"')), TWO)
    assert await active.reload()
    assert active.status.trouble is None
    assert active.fault is None


async def test_a_server_that_is_back_is_told_to_be(served, opened):
    served.answer = (200, (GZIP, ("etag", '"1"')), ONE)
    active = opened()
    await active.start()
    served.answer = (503, (), b"")
    await active.reload()
    served.answer = (200, (GZIP, ("etag", '"1"')), ONE)

    assert not await active.reload()
    assert active.status.trouble is None
    assert len(active.recorded) == 1


async def test_a_bundle_that_could_not_be_put_on_record_is_fetched_again(served, opened):
    broken = [True]

    async def record(bundle):
        if broken and len(served.asked) > 1:
            broken.pop()
            raise EvidenceFault("disk full")

    served.answer = (200, (GZIP, ("etag", '"1"')), ONE)
    active = opened(on_activate=record)
    await active.start()
    served.answer = (200, (GZIP, ("etag", '"2"')), TWO)

    assert not await active.reload()
    assert active.status.trouble is Trouble.RECORD
    assert await active.reload()


async def test_a_start_without_the_server_takes_the_archived_bundle_and_says_so(served, opened):
    served.answer = (503, (), b"")
    active = opened(archived=archived)

    await active.start()

    assert active.current.bundle == bundles.read(ONE).digest
    public = active.status.public()
    assert (public["from_archive"], public["code"], public["http_code"]) == (True, "download_error", 503)

    served.answer = (200, (GZIP, ("etag", '"1"')), ONE)
    assert not await active.reload()
    assert not active.status.from_archive
    assert "code" not in active.status.public()


async def test_a_start_with_neither_server_nor_archive_fails(served, opened):
    async def empty():
        return None

    served.answer = (503, (), b"")
    for archive in (None, empty):
        active = opened(archived=archive)
        with pytest.raises(Unreachable):
            await active.start()
        with pytest.raises(PolicyFault):
            _ = active.current


async def test_attack_an_archived_bundle_is_verified_again(served, opened):
    async def planted():
        return signed(allowing(2), OTHER)

    served.answer = (503, (), b"")
    active = opened(archived=planted)

    with pytest.raises(PolicyFault, match="was not made with the key"):
        await active.start()
    with pytest.raises(PolicyFault):
        _ = active.current


async def test_the_watch_takes_up_what_the_server_has(served, nursery, opened):
    seen, receive = trio.open_memory_channel(2)

    async def record(bundle):
        await seen.send(bundle.digest)

    served.answer = (200, (GZIP, ("etag", '"1"')), ONE)
    active = opened(on_activate=record, min_delay_s=0.1, max_delay_s=0.1)
    await active.start()
    await receive.receive()
    served.answer = (200, (GZIP, ("etag", '"2"')), TWO)
    nursery.start_soon(active.watch)

    with trio.fail_after(60):
        assert await receive.receive() == bundles.read(TWO).digest
