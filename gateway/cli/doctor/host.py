"""The machine: versions, open files, the port, and whether its clock runs evenly."""

from __future__ import annotations

import errno
import platform
import resource
import socket
import sqlite3
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx2
import trio

from gateway.cli.doctor.finding import Finding, fail, ok, warn
from gateway.config import Config
from gateway.config.values import bracketed

ANSWER_S = 3.0
"""Readiness itself waits 2 s for its parts."""
STEP_S = 0.5
"""A clock that gains or loses as much while we look is being set, not kept."""


async def versions() -> list[Finding]:
    """What it runs on."""
    found = f"Python {platform.python_version()}, trio {trio.__version__}, SQLite {sqlite3.sqlite_version}"
    return [ok(f"{found}, {ssl.OPENSSL_VERSION}")]


async def descriptors(config: Config) -> list[Finding]:
    """Whether each worker may open what `max_in_flight` calls need: two sockets each, and some for itself."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * config.gateway.max_in_flight + 256
    if hard != resource.RLIM_INFINITY and hard < wanted:
        fix = "LimitNOFILE=65536 in the systemd unit, or `ulimit -Hn 65536` before the start; or a lower max_in_flight"
        return [warn(f"A worker may open {hard} files, and {wanted} are used by max_in_flight calls.", fix=fix)]
    return [ok(f"each worker may open {'any number of' if hard == resource.RLIM_INFINITY else hard} files")]


async def port(config: Config) -> list[Finding]:
    """Whether the gateway can listen, or whether it is the gateway that does already."""
    gateway = config.gateway
    where = f"{bracketed(gateway.host)}:{gateway.port}"
    error = _in_the_way(gateway.host, gateway.port)
    if error is None:
        return [ok(f"{where} is free")]
    if error.errno == errno.EADDRINUSE:
        return [await _served(config, where)]
    fix = f"correct `listen` in {config.file}; ports below 1024 need CAP_NET_BIND_SERVICE"
    return [fail(f"Nobody can listen on {where}: {error.strerror}.", fix=fix)]


async def metrics(config: Config) -> list[Finding]:
    """The same of the socket that metrics are served on; nothing where they are not."""
    if config.telemetry.metrics is None:
        return []
    host, number = config.telemetry.metrics
    where = f"{bracketed(host)}:{number}"
    error = _in_the_way(host, number)
    if error is None:
        return [ok(f"{where} is free")]
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=ANSWER_S) as http:
            reply = await http.get(f"http://{where}/metrics")
        if reply.status_code == 200 and "phigate_" in reply.text:
            return [ok(f"metrics are served on {where}")]
    except httpx2.HTTPError:
        pass  # Whoever listens there speaks something else.
    fix = f"correct `listen` of [metrics] in {config.file}, or stop what listens there"
    return [fail(f"Metrics cannot be served on {where}: {error.strerror}.", fix=fix)]


def _in_the_way(host: str, number: int) -> OSError | None:
    """Why nobody could listen there now. Nobody can connect meanwhile: the socket is bound and does not listen."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            return error
    return None


async def _served(config: Config, where: str) -> Finding:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.gateway.host, config.gateway.host)
    url = f"http://{bracketed(host)}:{config.gateway.port}/readyz"
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=ANSWER_S) as http:
            reply = await http.get(url)
        parts = reply.json()["parts"]
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        fix = f"find it with `ss -ltnp 'sport = :{config.gateway.port}'` and stop it, or change `listen`"
        return fail(f"Another program listens on {where}.", fix=fix)
    if reply.status_code == 200:
        return ok(f"a gateway serves on {where}, and is ready")
    ill = ", ".join(sorted(name for name, state in parts.items() if state != "ready")) or "it drains"
    return fail(f"A gateway serves on {where} and is not ready: {ill}.", fix="its log says why: look for `not ready`")


@dataclass(frozen=True, slots=True)
class Clocks:
    """One reading of both clocks, in seconds."""

    wall: float
    monotonic: float

    @staticmethod
    def read() -> Clocks:
        """Now."""
        return Clocks(time.time(), time.monotonic())


def stepped(before: Clocks, after: Clocks) -> Sequence[Finding]:
    """Whether the wall clock went as far as the monotonic one."""
    gained = (after.wall - before.wall) - (after.monotonic - before.monotonic)
    if abs(gained) > STEP_S:
        fix = "keep it with one time service (chrony or systemd-timesyncd), which slews and does not step"
        text = (
            f"The clock was set by {gained:+.1f} s while the doctor looked: expiries and evidence times jump with it."
        )
        return [warn(text, fix=fix)]
    return [ok("the wall clock goes as evenly as the monotonic one")]
