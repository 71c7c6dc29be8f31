"""One call at a time with none of phigate's own code: what is left is what the stack itself costs.

Bytes are passed on to the upstream as they come; each request is decided twice by the shipped library under bare
regorus, and written twice, each time durably, with the rows that phigate wrote for such a call: a leaf and its sealed
bodies, and nothing else. No parsing, identity, masking, sealing, tree or event loop. Blocking sockets, one connection.

`python -m benchmarks.bare PORT UPSTREAM_PORT STORE TIMES`: STORE is a copy of an evidence store that holds such a call;
the file TIMES tells in JSON what each part took of a
request of the newest connection, in µs.
"""

from __future__ import annotations

import gc
import json
import socket
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import policy
from gateway.pdp import loader
from gateway.pdp.engine import load

PARTS = ("decisions", "commits", "upstream")
WAL_PAGES = 2_000
"""After so many the log is put away, which is as often as phigate does it."""
CHUNK = 2**16


def decider(name: str) -> Callable[[], str]:
    """What asks the library about the benchmark's case `name`."""
    case = next(case for case in policy.cases() if case.name == name)
    bundle = loader.read(policy.POLICIES)
    engine = load(tuple(source for source in bundle.sources if not source.is_test), bundle.data)
    asked, rule = case.text.decode(), "data." + case.entrypoint.value.replace("/", ".")

    def decide() -> str:
        engine.set_input_json(asked)
        return engine.eval_rule_as_json(rule)

    decide()
    return decide


class Store:
    """An evidence store, to which the two leaves of its newest call are written again and again."""

    def __init__(self, file: str) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"wal_autocheckpoint={WAL_PAGES}"):
            self._connection.execute(f"PRAGMA {pragma}")
        query = "SELECT idx, type, exchange, entry, hash FROM leaf WHERE exchange IS NOT NULL ORDER BY idx DESC LIMIT 2"
        *_, self._outcome, self._intent = [None, *self._connection.execute(query)]
        (self._next,) = self._connection.execute("SELECT max(idx) + 1 FROM leaf").fetchone()
        query = "SELECT place % 16, name, data FROM body WHERE place / 16 = ?"
        self._bodies = {
            leaf: list(self._connection.execute(query, (leaf[0],))) for leaf in (self._intent, self._outcome)
        }

    def intent(self) -> None:
        """The record before the call is forwarded."""
        self._append(self._intent)

    def outcome(self) -> None:
        """The record before it is answered."""
        self._append(self._outcome)

    def _append(self, leaf: tuple[object, ...]) -> None:
        connection, index = self._connection, self._next
        connection.execute("BEGIN IMMEDIATE")
        for position, name, data in self._bodies[leaf]:
            connection.execute("INSERT INTO body VALUES (?, ?, ?)", (index * 16 + position, name, data))
        row = (index, leaf[1], None, *leaf[2:])  # Without its session: no index is kept of it.
        connection.execute("INSERT INTO leaf VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.execute("COMMIT")
        self._next += 1


def serve(port: int, upstream_port: int, store: Store, times: Path) -> None:
    """Answer one connection after the other, until ended from outside."""
    of_call, of_result = decider("call: read tool"), decider("result: its record")
    upstream = socket.create_connection(("127.0.0.1", upstream_port))
    upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answer = b""

    def forward() -> None:
        nonlocal answer
        upstream.sendall(request)
        answer = upstream.recv(CHUNK)

    steps = ((of_call, 0), (store.intent, 1), (forward, 2), (of_result, 0), (store.outcome, 1))
    gc.freeze()
    gc.disable()
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            count, spent = 0, [0.0] * len(PARTS)
            while request := _received(client):
                count += 1
                began = time.perf_counter()
                for step, part in steps:
                    step()
                    ended = time.perf_counter()
                    spent[part] += ended - began
                    began = ended
                client.sendall(answer)
            client.close()
            if count:
                taken = {part: total / count * 1e6 for part, total in zip(PARTS, spent, strict=True)}
                times.write_text(json.dumps(taken))


def _received(client: socket.socket) -> bytes:
    """A request of ours, which is small enough to come whole; b"" at the end."""
    try:
        return client.recv(CHUNK)
    except ConnectionResetError:  # How the load generator ends.
        return b""


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]), Store(sys.argv[3]), Path(sys.argv[4]))
