"""A whole gateway whose policy comes from a bundle server: what is in force, on record, and shown."""

import http.server
import json
import threading

import pytest
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway import config, service
from gateway.core.errors import PolicyFault
from gateway.core.evidence.record import LeafType
from gateway.core.policy import bundle as bundles
from gateway.pdp.signing import Signer
from gateway.store import keys
from gateway.store.reader import Reader

from .pdp.policies import allowing

PRIVATE = rsa.generate_private_key(65537, 2048)
ONE, TWO = (bundles.pack(Signer("RS256", PRIVATE).signed(allowing(number).files)) for number in (1, 2))


class Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bundle = ONE


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.server.bundle else 503)
        self.end_headers()
        self.wfile.write(self.server.bundle)

    def log_message(self, *_):
        """Nothing to standard error."""


@pytest.fixture
def served():
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def place(tmp_path, served):
    """The configuration's directory; `configure` writes the file and returns it loaded."""
    kinds = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "bundles.pub").write_bytes(PRIVATE.public_key().public_bytes(*kinds))
    keys.generate(tmp_path / "keys", origin="gateway.example/phigate")
    return tmp_path


def configured(place, served, path="main.tar.gz"):
    (place / "phigate.toml").write_text(
        f"""
[policy]
url = "http://127.0.0.1:{served.server_address[1]}/bundles/{path}"
[[policy.signing.key]]
public_key = "bundles.pub"
[[issuer]]
url = "http://127.0.0.1:9"
[[upstream]]
name = "ehr"
url = "https://ehr.example/mcp"
"""
    )
    return config.load(place / "phigate.toml")


async def readiness(app):
    sent = []

    asked = iter([True])

    async def receive():
        if not next(asked, False):
            await trio.sleep_forever()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http"}
    scope |= {"path": "/readyz", "raw_path": b"/readyz", "query_string": b"", "root_path": "", "headers": []}
    await app({**scope, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}, receive, send)
    return json.loads(b"".join(message.get("body", b"") for message in sent))


async def test_the_served_bundle_is_in_force_on_record_and_shown(place, served):
    loaded = configured(place, served)

    async with service.open_gateway(loaded) as gateway:
        shown = (await readiness(gateway.app))["policy"]

    assert shown["digest"] == bundles.read(ONE).digest
    assert shown["last_successful_activation"]
    assert "code" not in shown
    with Reader.open(place / "evidence.db") as reader:
        (leaf,) = (leaf for leaf in reader.leaves() if leaf.type is LeafType.BUNDLE_ACTIVATED)
        assert leaf.members["source"] == loaded.policy.server.url
        assert reader.bundle(bundles.read(ONE).digest) == ONE


async def test_while_the_server_is_away_the_gateway_starts_with_what_it_had_from_there(place, served):
    loaded = configured(place, served)
    for bundle in (TWO, ONE):
        served.bundle = bundle
        async with service.open_gateway(loaded):
            pass
    served.bundle = b""

    async with service.open_gateway(loaded) as gateway:
        shown = (await readiness(gateway.app))["policy"]

    assert (shown["digest"], shown["from_archive"]) == (bundles.read(ONE).digest, True)
    assert (shown["code"], shown["http_code"]) == ("download_error", 503)


async def test_what_came_from_elsewhere_is_not_taken_for_what_came_from_there(place, served):
    async with service.open_gateway(configured(place, served)):
        pass
    served.bundle = b""

    with pytest.raises(PolicyFault, match="answered with status 503"):
        async with service.open_gateway(configured(place, served, path="other.tar.gz")):
            pass
