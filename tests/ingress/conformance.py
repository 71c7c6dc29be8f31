"""The official MCP suite through an ingress: suite, shim that adds the token, TLS, ingress, two gateways."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from tests import real_parts
from tests.conformance import parts as conformance
from tests.conformance import shim
from tests.e2e import harness
from tests.e2e.harness import Upstream
from tests.e2e.issuer import Issuer
from tests.ingress import parts
from tests.ingress.parts import KINDS, Kind


@contextmanager
def through(place: Path, people: Issuer, upstream: str, kinds: Mapping[str, Kind] = KINDS) -> Iterator[dict[str, str]]:
    """The URLs at which the suite meets the MCP server at `upstream`, by the kind of ingress that it goes through."""
    shims = {name: harness.free_port() for name in kinds}
    hosts = [f"{host}:{port}" for host in ("127.0.0.1", "localhost") for port in shims.values()]
    settings = {"allowed_origins": [f"http://{host}" for host in hosts]}
    behind = Upstream("everything", {"url": upstream, "labels": {"phi": False}})
    with ExitStack() as stack:
        gateways = stack.enter_context(
            parts.gateways(
                place / "gateways",
                people,
                [behind],
                list(shims.values()),
                "client-cert",
                "client-cert",
                settings=settings,
                policy=conformance.opened,
            )
        )
        for name, kind in kinds.items():
            # Without mTLS, with which nginx wants the name of the handshake and the Host to be the same.
            front = parts.in_front(replace(kind, mtls=()), place / name, gateways, harness.free_port())
            ingress = stack.enter_context(front)
            where = [str(shims[name]), str(ingress.place.port), str(ingress.place.tls / "ca.pem")]
            command = [sys.executable, "-m", "tests.conformance.shim", *where]
            token = people.token(conformance.WHO, [conformance.WHO])
            environment = {**real_parts.environment(), shim.TOKEN: token}
            process = stack.enter_context(harness.child(*command, env=environment))
            harness.wait_for_port(process, shims[name])
        yield {name: f"http://127.0.0.1:{port}/mcp/everything" for name, port in shims.items()}
