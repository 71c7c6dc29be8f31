"""The policy: read, its signature checked and admitted as at a start; and whether it is what decides already."""

from __future__ import annotations

from datetime import UTC, datetime

import trio

from gateway.cli.doctor.finding import Finding, fail, ok, warn
from gateway.cli.doctor.store import opened
from gateway.config import Config
from gateway.core.errors import EvidenceFault, PolicyFault
from gateway.core.evidence.record import LeafType
from gateway.core.policy.bundle import Bundle
from gateway.pdp import admission, server
from gateway.pdp.loader import Local


async def check(config: Config) -> list[Finding]:
    """The bundle that a start would put in force."""
    try:
        bundle = await _bundle(config)
    except PolicyFault as fault:
        return [fail(fault.detail, fix=_way(config))]
    try:
        await trio.to_thread.run_sync(admission.admit, bundle, abandon_on_cancel=True)
    except PolicyFault as fault:
        return [fail(fault.detail, fix="mend what is named; `phigate policy check` shows each with its lines")]
    signed = "signed as wanted" if config.policy.verification is not None else "unsigned"
    name = bundle.manifest.revision or bundle.digest[:12]
    admitted = ok(f"revision {name} is {signed} and admitted: linted, tested, measured")
    return [admitted, *await trio.to_thread.run_sync(_in_force, config, bundle, abandon_on_cancel=True)]


async def _bundle(config: Config) -> Bundle:
    """Raises PolicyFault."""
    policy = config.policy
    if policy.server is not None:
        async with server.client() as http:
            found = await server.BundleServer(policy.server, http, policy.verification).look()
    elif policy.bundle is not None:
        found = await Local(policy.bundle, verification=policy.verification).look()
    else:
        found = None
    if found is None:
        raise PolicyFault("There is no policy bundle.")
    return found


def _in_force(config: Config, bundle: Bundle) -> list[Finding]:
    """How old the decision for this bundle is, as the log has it; nothing when the log cannot be read."""
    try:
        with opened(config) as reader:
            if reader is None:
                return []
            query = "SELECT max(idx) FROM leaf WHERE type = ? AND session IS NULL"
            (index,) = reader.connection.execute(query, (LeafType.BUNDLE_ACTIVATED.value,)).fetchone()
            if index is None:
                return []
            leaf = reader.leaf(index)
    except EvidenceFault:
        return []  # The store's own check tells.
    since = datetime.fromisoformat(leaf.place.time)
    days = (datetime.now(UTC) - since).days
    if leaf.members.get("bundle") == bundle.digest:
        return [ok(f"it is what was put in force last, {_ago(days)} ({since:%Y-%m-%d %H:%M} UTC)")]
    text = f"What was put in force last, {_ago(days)}, is another bundle ({str(leaf.members.get('bundle'))[:12]}…)."
    fix = "a gateway that serves takes the new one within seconds; if it does not, its log says `the policy at`"
    return [warn(text, fix=fix)]


def _ago(days: int) -> str:
    return {0: "less than a day ago", 1: "a day ago"}.get(days, f"{days} days ago")


def _way(config: Config) -> str:
    if config.policy.server is not None:
        return f"from this machine, with the headers that [policy] names: curl -i {config.policy.server.url}"
    return f"phigate bundle verify {config.policy.bundle}, or restore it from your repository"
