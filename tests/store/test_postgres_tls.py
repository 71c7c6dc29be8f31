"""Between a gateway and a database elsewhere: TLS that knows its server, or nothing, and the password least of all.

The server that the tests start has no TLS built in, so that a door before it speaks PostgreSQL's: `SSLRequest`, a byte
for yes or no, then the handshake (PostgreSQL 18 manual, §54.2.11).
"""

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from gateway.core.errors import EvidenceFault
from gateway.store.database import checked
from gateway.store.sequencer import EvidenceLog
from tests import postgresql as real
from tests.e2e.replicas import pump
from tests.fakes.evidence import database, make_keys, now, types
from tests.identity import certificates

SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class Door:
    """Stands before a server; `context` None says that it has no TLS. `heard`: what came in the clear."""

    def __init__(self, server, context):
        self.server, self.context = server, context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.heard = bytearray()

    def serve(self):
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                with client, suppress(OSError):
                    self.answer(client)

    def answer(self, client):
        asked = client.recv(8)
        assert asked == SSL_REQUEST
        client.sendall(b"S" if self.context else b"N")
        if self.context is None:
            self.heard += client.recv(4096)
            return
        with (
            self.context.wrap_socket(client, server_side=True) as inside,
            socket.create_connection(("127.0.0.1", self.server.port)) as behind,
        ):
            back = threading.Thread(target=pump, args=(behind, inside))
            back.start()
            pump(inside, behind)
            back.join()


@contextmanager
def door(server, context):
    made = Door(server, context)
    thread = threading.Thread(target=made.serve)
    thread.start()
    try:
        yield made
    finally:
        made.listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        made.listener.close()


@pytest.fixture
def authority(tmp_path):
    made = certificates.authority("Synthetic databases")
    made.write(tmp_path, "ca")
    return made


def serving(authority, place, *names):
    """TLS of a server with these names."""
    files = authority.issue(*names, usage=(certificates.SERVER,)).write(place, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


def store_behind(entrance, url, place):
    """The store as a gateway elsewhere names it: by the same rule that holds beyond loopback."""
    name = url.rpartition("/")[2]
    address = checked(f"postgresql://guarded@db.example/{name}?sslrootcert={place / 'ca.pem'}")
    assert "sslmode=verify-full" in address
    near = address.replace("db.example", f"127.0.0.1:{entrance.port}")
    return replace(database(near), password=real.PASSWORD)


async def test_a_server_whose_authority_and_name_are_known_is_spoken_with(
    postgresql, database_url, authority, tmp_path
):
    keys = make_keys(tmp_path)
    with door(postgresql, serving(authority, tmp_path, *certificates.loopback())) as entrance:
        store = store_behind(entrance, database_url, tmp_path)
        async with EvidenceLog.open(store, keys, now=now) as log:
            await log.probe()
    assert types(database(database_url)) != []


@pytest.mark.parametrize("attack", ["no TLS", "another authority", "another name"])
async def test_attack_who_stands_between_is_told_nothing(
    postgresql, database_url, authority, tmp_path, attack, monkeypatch
):
    monkeypatch.setattr("gateway.store.postgres.PATIENCE_S", 0.0)
    stranger = certificates.authority("Strangers")
    context = {
        "no TLS": lambda: None,
        "another authority": lambda: serving(stranger, tmp_path, *certificates.loopback()),
        "another name": lambda: serving(authority, tmp_path, certificates.dns("other.example")),
    }[attack]()
    with door(postgresql, context) as entrance:
        store = store_behind(entrance, database_url, tmp_path)
        with pytest.raises(EvidenceFault, match="The evidence store failed") as told:
            async with EvidenceLog.open(store, make_keys(tmp_path), now=now):
                pass
    assert real.PASSWORD not in str(told.value)
    assert entrance.heard == b""
