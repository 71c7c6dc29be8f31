"""Refused tokens are counted by who refuses, why, and from where; the log grows by time alone."""

from __future__ import annotations

import httpx2
from quart_trio import QuartTrio

from gateway.identity.peer import Peers
from gateway.store import keys as keystore
from gateway.web.logins import MOST_PEERS, FailedLogins


def test_attempts_are_told_apart_by_address():
    logins = FailedLogins()
    for address in ("203.0.113.9", "203.0.113.9", "203.0.113.10", ""):
        logins.note("expired", "ehr", address)
    logins.note("missing", "ehr", "203.0.113.9")

    assert logins.take() == [
        ("expired", "ehr", "", 1),
        ("expired", "ehr", "203.0.113.10", 1),
        ("expired", "ehr", "203.0.113.9", 2),
    ]
    assert logins.take() == []


def test_a_flood_from_many_addresses_is_counted_and_does_not_grow_the_log():
    logins = FailedLogins()
    for number in range(10_000):
        logins.note("expired", "ehr", f"10.0.{number // 256}.{number % 256}")

    taken = logins.take()

    assert len(taken) == MOST_PEERS + 1
    assert sum(count for *_, count in taken) == 10_000


def test_an_address_is_in_the_log_as_a_pseudonym_that_only_the_keys_can_make(tmp_path):
    one = keystore.generate(tmp_path / "one", origin="one.example/log")
    other = keystore.generate(tmp_path / "other", origin="one.example/log")

    assert one.peer("203.0.113.9") != one.peer("203.0.113.10")
    assert one.peer("203.0.113.9") != other.peer("203.0.113.9")
    assert one.peer("2001:db8::1") == one.peer("2001:db8::ffff:2")
    assert one.peer("2001:db8::1") != one.peer("2001:db8:0:1::1")


async def test_pages_count_by_address_too():
    logins, app = FailedLogins(), QuartTrio(__name__)
    logins.note_page("expired", "approvals")

    @app.get("/")
    async def refused():
        logins.note_page("expired", "approvals")
        return ""

    async def behind_peers(scope, receive, send):
        await app(Peers().meet(scope) if scope["type"] == "http" else scope, receive, send)

    transport = httpx2.ASGITransport(behind_peers, client=("203.0.113.9", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
        await http.get("/")
    assert logins.take() == [("expired", "approvals", "", 1), ("expired", "approvals", "203.0.113.9", 1)]
