"""The way in: whether clients that follow `public_url` arrive at this gateway."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx2
import trio
from cryptography import x509

from gateway.cli.doctor import certificate
from gateway.cli.doctor.finding import Finding, Status, fail, ok, warn, worst
from gateway.config import Config
from gateway.config.values import is_loopback

TIMEOUT_S = 5.0
AUTHORITY_DAYS = 60
"""Every agent's certificate has to be issued anew by then."""


async def authorities(config: Config) -> list[Finding]:
    """How long the authorities are good that client certificates are verified against; nothing without any."""
    mtls = config.gateway.ingress.mtls
    return [] if mtls is None else [_authority(each) for each in mtls.authorities]


def _authority(found: x509.Certificate) -> Finding:
    name = found.subject.rfc4514_string()
    days = (found.not_valid_after_utc - datetime.now(UTC)).days
    fix = "have the next one issued, and put it beside this one into the file that `ca` of [gateway.mtls] names"
    if days < 0:
        return fail(f"The authority {name} has expired: its agents are refused.", fix=fix)
    if days < AUTHORITY_DAYS:
        return warn(f"The authority {name} expires in {days} days, and then its agents are refused.", fix=fix)
    return ok(f"authority {name}: {days} days left")


async def check(config: Config) -> list[Finding]:
    """Hints only: from inside, the way that clients take cannot always be walked."""
    url = config.gateway.public_url
    host = urlsplit(url).hostname or ""
    if is_loopback(host):
        return [ok(f"public_url is {url}: clients on this machine only")]
    try:
        await trio.socket.getaddrinfo(host, None)
    except OSError:
        text = f"{host} of public_url has no address: clients that are told to go there find nobody."
        return [warn(text, fix=f"make a DNS record for {host}, or correct public_url in {config.file}")]
    secured = await certificate.check(url, timeout_s=TIMEOUT_S)
    if worst(secured) is Status.FAIL:
        return [warn(finding.text, fix=finding.fix) for finding in secured]
    return [*secured, await _arrives(config, url)]


async def _arrives(config: Config, url: str) -> Finding:
    """Whether the metadata that a 401 points at can be had through the ingress, and is this gateway's."""
    resource = config.resource(config.upstreams[0].name)
    asked = f"{url}/.well-known/oauth-protected-resource/mcp/{config.upstreams[0].name}"
    try:
        system = ssl.create_default_context()  # Its own bundle of authorities knows none of a site's.
        async with httpx2.AsyncClient(verify=system, trust_env=False, timeout=TIMEOUT_S) as http:
            reply = await http.get(asked)
        if reply.status_code == 200 and reply.json().get("resource") == resource:
            return ok(f"{url} leads to a gateway with this configuration")
        what = f"answers {reply.status_code}" if reply.status_code != 200 else "is answered by something else"
    except (httpx2.HTTPError, ValueError, AttributeError):
        what = "is not answered"
    text = f"{asked} {what}: clients cannot find out where to log in (RFC 9728)."
    fix = "have the ingress pass /mcp, /.well-known/oauth-protected-resource, /approvals, /healthz and /readyz"
    return warn(text, fix=f"{fix}; nothing answers before the gateway serves")
