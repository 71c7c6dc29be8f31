"""`/healthz`: this process answers. `/readyz`: it can serve, and if not, which part cannot.

Open to anyone who reaches the port, so it says which part and what that means, in our own words; the reason itself is
in the logger. Details, such as which policy is in force since when, are as public. An upstream that is down is one: the
others are served, and calls to it are refused by name.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import orjson
import trio
from quart import Blueprint, Response

from gateway.core.types import Document

logger = logging.getLogger(__name__)

Probe = Callable[[], Awaitable[str | None]]
"""Why a part is not ready, for the logger; None when it is."""

PROBE_S = 2.0
"""Below the 3 s or more that load balancers wait (Kubernetes asks for `timeoutSeconds`, default 1: raise it)."""

_LOOK = "See the gateway's log, or phigate doctor."
MEANINGS = {
    "evidence": f"Evidence cannot be written, so nothing is served until it can. {_LOOK}",
    "policy": f"No policy is in force, so nothing can be decided. {_LOOK}",
    "identity": f"No identity provider's keys can be had, so nobody can be known. {_LOOK}",
    "draining": "The gateway is going down. Send requests to another one.",
}
"""What it means for clients that a part is not ready."""
Detail = Callable[[], Document]
"""The state of a part, without anything that is not for everyone."""


def blueprint(probes: Mapping[str, Probe], details: Mapping[str, Detail] = MappingProxyType({})) -> Blueprint:
    """Serves both; `probes` are the parts that readiness needs, by the name that is shown; `details` stand beside."""
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    async def healthz() -> Response:
        return _answer(200, {"status": "ok"})

    @routes.get("/readyz")
    async def readyz() -> Response:
        parts = await check(probes)
        ready = all(parts.values())
        shown = {name: "ready" if good else "not ready" for name, good in parts.items()}
        document: dict[str, object] = {"status": "ready" if ready else "not ready", "parts": shown}
        if not ready:
            document["why"] = {name: MEANINGS.get(name, _LOOK) for name, good in parts.items() if not good}
        return _answer(200 if ready else 503, document | {name: detail() for name, detail in details.items()})

    return routes


async def check(probes: Mapping[str, Probe]) -> dict[str, bool]:
    """Ask every part at once; one that raises or does not answer within PROBE_S is not ready."""
    parts = dict.fromkeys(probes, False)

    async def ask(name: str, probe: Probe) -> None:
        why: str | None = f"no answer within {PROBE_S:g} s"
        with trio.move_on_after(PROBE_S):
            try:
                why = await probe()
            except Exception as error:  # Whatever breaks a part's own check, the part is not ready.
                why = f"the check failed ({type(error).__name__})"
        parts[name] = why is None
        if why is not None:
            logger.warning("not ready: %s: %s", name, why)

    async with trio.open_nursery() as nursery:
        for name, probe in probes.items():
            nursery.start_soon(ask, name, probe)
    return parts


def _answer(status: int, document: dict[str, object]) -> Response:
    return Response(orjson.dumps(document), status, {"cache-control": "no-store"}, content_type="application/json")
