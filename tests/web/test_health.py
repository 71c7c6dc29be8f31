"""Liveness and readiness, as an ingress sees them."""

from __future__ import annotations

import logging

import pytest
import trio
from quart_trio import QuartTrio

from gateway.web import health


async def fine() -> str | None:
    return None


async def broken() -> str | None:
    return "the disk at /secret/place is full"


async def raises() -> str | None:
    raise RuntimeError("secret")


def client(**probes):
    app = QuartTrio(__name__)
    app.register_blueprint(health.blueprint(probes))
    return app.test_client()


async def test_a_process_that_answers_is_alive_whatever_else_fails():
    reply = await client(evidence=broken).get("/healthz")
    assert reply.status_code == 200
    assert await reply.get_json() == {"status": "ok"}


async def test_a_gateway_is_ready_when_all_its_parts_are():
    reply = await client(evidence=fine, policy=fine).get("/readyz")
    assert reply.status_code == 200
    assert await reply.get_json() == {"status": "ready", "parts": {"evidence": "ready", "policy": "ready"}}
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("fault", [broken, raises])
async def test_a_part_that_is_not_ready_is_named_and_its_reason_goes_to_the_logger_only(fault, caplog):
    caplog.set_level(logging.WARNING)
    reply = await client(evidence=fault, policy=fine).get("/readyz")
    assert reply.status_code == 503
    parts = {"evidence": "not ready", "policy": "ready"}
    why = {"evidence": health.MEANINGS["evidence"]}
    assert await reply.get_json() == {"status": "not ready", "parts": parts, "why": why}
    assert b"secret" not in await reply.get_data()
    assert "not ready: evidence" in caplog.text


async def test_a_part_that_nobody_knows_the_meaning_of_is_told_of_too():
    assert (await (await client(other=broken).get("/readyz")).get_json())["why"] == {
        "other": "See the gateway's log, or phigate doctor."
    }


async def test_a_detail_makes_nothing_unready():
    app = QuartTrio(__name__)
    app.register_blueprint(health.blueprint({"evidence": fine}, {"upstreams": lambda: {"ward": "unreachable"}}))
    reply = await app.test_client().get("/readyz")
    assert reply.status_code == 200
    assert (await reply.get_json())["upstreams"] == {"ward": "unreachable"}


async def test_a_part_that_does_not_answer_is_not_ready(autojump_clock):
    assert await health.check({"identity": trio.sleep_forever, "policy": fine}) == {"identity": False, "policy": True}


async def test_answers_are_never_kept_by_a_cache():
    for path in ("/healthz", "/readyz"):
        assert (await client().get(path)).headers["cache-control"] == "no-store"
