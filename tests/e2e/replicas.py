"""Three whole gateways on one PostgreSQL, behind a balancer that knows nothing of sessions."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from gateway.store import kms
from tests import postgresql
from tests.e2e import harness
from tests.e2e.harness import Gateway, Upstream
from tests.e2e.issuer import Issuer

COUNT = 3
LEASE_S = 3


class Balancer:
    """Takes connections and gives each to the next replica that accepts it."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self.listener.getsockname()[1])
        self.ports: list[int] = []
        self.given: dict[int, int] = {}
        """Connections by the port of the replica that took them."""
        self._next = 0
        self._threads: list[threading.Thread] = []

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Balance while the block runs."""
        accepting = threading.Thread(target=self._accept)
        accepting.start()
        try:
            yield
        finally:
            self.listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            self.listener.close()
            for thread in self._threads:
                thread.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self._threads = [each for each in self._threads if each.is_alive()]
                self._threads.append(threading.Thread(target=self._join, args=(client,)))
                self._threads[-1].start()

    def _join(self, client: socket.socket) -> None:
        with client:
            server = self._connected()
            if server is not None:
                with server:
                    back = threading.Thread(target=pump, args=(server, client))
                    back.start()
                    pump(client, server)
                    back.join()

    def _connected(self) -> socket.socket | None:
        """A connection to the next replica that takes one."""
        for _ in self.ports:
            self._next += 1
            port = self.ports[self._next % len(self.ports)]
            with suppress(OSError):
                server = socket.create_connection(("127.0.0.1", port))
                self.given[port] = self.given.get(port, 0) + 1
                return server
        return None


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy what comes from one to the other until it ends, then end both."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@dataclass
class Replicas:
    """The gateways; `front` is how they are reached together."""

    gateways: list[Gateway]
    balancer: Balancer
    server: postgresql.Server
    database: str
    front: Gateway = field(init=False)

    def __post_init__(self) -> None:
        first = self.gateways[0]
        self.front = Gateway(first.place, first.issuer, self.balancer.port)

    @asynccontextmanager
    async def client(self, who: str, mode: str) -> AsyncIterator[Client]:
        """The official client, each of whose requests goes to another replica."""
        headers = {"authorization": f"Bearer {self.front.issuer.token(who)}"}
        limits = httpx2.Limits(max_keepalive_connections=0)
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60, limits=limits) as http,
            Client(streamable_http_client(self.front.mcp("ledger"), http_client=http), mode=mode) as session,
        ):
            yield session

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the database says."""
        with postgresql.psycopg.connect(self.server.url(self.database), autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()


def _check_clear(server: postgresql.Server, phi: set[str]) -> None:
    """No file of the database holds any of this."""
    for path in (path for path in (server.place / "data").rglob("*") if path.is_file()):
        data = path.read_bytes()
        found = [value for value in phi if value.encode() in data]
        assert not found, f"{path.name} holds {found} in the clear"


@contextmanager
def running(
    place: Path, people: Issuer, upstream: Upstream, policy: Callable[[Path], None], *, phi: set[str], **gateway: Any
) -> Iterator[Replicas]:
    """Replicas that serve while the block runs, checked when they have ended; `phi` must be nowhere in the clear."""
    balancer = Balancer()
    with postgresql.running() as server, server.database() as url, balancer.serving():
        evidence = {"store": url, "store_lease_s": LEASE_S}
        front = {"public_url": f"http://127.0.0.1:{balancer.port}", **gateway}
        made = []
        for number in range(COUNT):
            directory = place / f"replica-{number}"
            directory.mkdir()
            settings = {"gateway": front, "evidence": evidence}
            made.append(harness.prepare(directory, people, [upstream], settings=settings, policy=policy))
            made[-1].phi |= phi
        kms.prepare(made[0].place / "keys", datetime.now(UTC), 2)
        for each in made[1:]:
            shutil.rmtree(each.place / "keys")
            shutil.copytree(made[0].place / "keys", each.place / "keys")
        made[0].phigate("store", "migrate", "-c", str(made[0].config))
        balancer.ports = [each.port for each in made]
        try:
            with ThreadPoolExecutor() as together:
                list(together.map(Gateway.start, made))
            yield Replicas(made, balancer, server, url.rpartition("/")[2])
            with ThreadPoolExecutor() as together:
                list(together.map(Gateway.stop, made))
            made[0].check()
            _check_clear(server, phi)
            made[0].check_ends()
            made[0].replay()
        finally:
            for each in made:
                each.kill()
