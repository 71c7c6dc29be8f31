"""An MCP server behind the gateway: whether it is there, and which era it says it speaks. No tool is called."""

from __future__ import annotations

import shlex

from gateway.cli.doctor import certificate
from gateway.cli.doctor.finding import Finding, Status, fail, ok, worst
from gateway.config import Config
from gateway.config.upstream import UpstreamConfig
from gateway.core.errors import UpstreamFault
from gateway.core.types import Era
from gateway.doors import wire_settings
from gateway.upstream import wire
from gateway.upstream.bridge import detection
from gateway.upstream.credentials.settings import Kind


async def check(config: Config, upstream: UpstreamConfig) -> list[Finding]:
    """Everything about one `[[upstream]]`: a program is started for the question, and ended after it."""
    secured: list[Finding] = []
    if upstream.url is not None:
        secured = await certificate.check(upstream.url, timeout_s=upstream.connect_s)
        if worst(secured) is Status.FAIL:
            return secured
    async with wire(wire_settings(upstream, config.gateway.max_in_flight)) as inner:
        try:
            era = Era.MODERN if await detection.speaks_modern(inner) else Era.LEGACY
        except UpstreamFault as fault:
            if _of_callers(upstream) and fault.kind != "unreachable":
                return [*secured, ok("it is there; more it tells only to a caller, whose credentials it wants")]
            return [*secured, fail(f"Upstream {upstream.name}: {fault.detail}.", fix=_way(upstream, fault.kind))]
    return [*secured, _era(upstream, era)]


def _of_callers(upstream: UpstreamConfig) -> bool:
    """Whether it is shown a credential of each caller, of whom there is none here."""
    return upstream.credentials is not None and upstream.credentials.kind is not Kind.CLIENT_CREDENTIALS


def _era(upstream: UpstreamConfig, found: Era) -> Finding:
    said = f"it answers, and speaks the {found.value} era"
    if upstream.era is None or upstream.era is found:
        return ok(said)
    # It may speak both: detection says modern whenever it can.
    if found is Era.MODERN:
        return ok(f"{said}; it is used in the legacy one, as `era` says")
    text = f"Upstream {upstream.name} speaks the legacy era, and `era` says modern: every call to it fails."
    return fail(text, fix=f'era = "legacy" in [[upstream]] {upstream.name}, or no `era`: it is then found out')


def _way(upstream: UpstreamConfig, kind: str) -> str:
    if upstream.url is None:
        return f"run it by hand and see what it says: {shlex.join((*upstream.launcher, *upstream.command))}"
    url = upstream.url.partition("?")[0]  # A query may hold a key.
    if kind == "unreachable":
        return f"start it, or correct `url` in [[upstream]] {upstream.name}; from this machine: curl -i {url}"
    if kind == "status":
        return f"`url` must be its MCP endpoint, and headers_env or headers_file must hold what it wants: {url}"
    return f"see that an MCP server over Streamable HTTP answers at {url}; it may need a longer idle_s"
