"""Serve what the configuration names, until Ctrl-C. Exit code 1: a call outlived the drain; 2: it cannot start."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import trio

from gateway import config as configuration
from gateway.config import Config
from gateway.core.errors import ConfigFault
from gateway.process import log_to_stderr, now, tell
from gateway.store import keys as keystore
from gateway.store.sequencer import EvidenceLog
from gateway.supervisor import UNSEEN, WorkerFds, supervise

HEARTBEAT_S = 10.0
"""A worker that is silent for so long is stuck, most likely in a policy, and is replaced."""

logger = logging.getLogger("phigate")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `serve`."""
    parser = commands.add_parser("serve", help="run the gateway", description=__doc__)
    parser.add_argument("-c", "--config", type=Path, default=Path("phigate.toml"), help="default: phigate.toml")
    parser.add_argument("--check", action="store_true", help="check the configuration and stop")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop. Exit code 0: stopped cleanly; 1: a worker had to be killed; 2: cannot start."""
    config = configuration.load(arguments.config)
    if arguments.check:
        print(f"{arguments.config}: no faults found")
        return 0
    log_to_stderr(config.gateway.log_format)
    listening = _listen(config, config.gateway.host, config.gateway.port)
    with ExitStack() as stack:
        office = None
        if config.telemetry.metrics is not None:
            from gateway.telemetry.exposition import Office  # Of no use to a supervisor whose metrics nobody wants.

            office = stack.enter_context(Office.open(_listen(config, *config.telemetry.metrics)))
        verdicts = stack.enter_context(tempfile.TemporaryFile())
        trio.run(_recover, config)
        for line in _served(config):
            tell(line, logging.INFO)
        return supervise(
            partial(_worker, config.file, None if office is None else office.directory, verdicts.fileno()),
            sockets=[listening],
            inherited=[verdicts.fileno()],
            workers=config.gateway.workers,
            heartbeat_s=HEARTBEAT_S,
            drain_s=config.gateway.drain_delay_s + config.gateway.drain_s,
            on_worker_death=partial(trio.run, _recover, config),
            lives=office or UNSEEN,
        )


def _served(config: Config) -> list[str]:
    """What is at which address."""
    url = config.gateway.public_url
    names = [*(each.name for each in config.upstreams), *(each.name for each in config.aggregates)]
    return [
        f"listens on {url}; stop it with Ctrl-C",
        *(f"agents reach {name} at {url}/mcp/{name}" for name in names),
        f"people review what waits at {url}/approvals",
    ]


def _worker(config: Path, numbers: Path | None, verdicts: int, fds: WorkerFds) -> list[str]:
    """The command line of a worker. It is not imported here: the supervisor has no use for all that a worker needs."""
    sockets = [str(descriptor) for descriptor in fds.sockets]
    return [
        *(sys.executable, "-m", "gateway.worker", "-c", str(config)),
        *("--lifeline", str(fds.lifeline), "--sockets", *sockets, "--place", str(fds.place)),
        *("--verdicts", str(verdicts)),
        *(() if numbers is None else ("--numbers", str(numbers))),
    ]


def _listen(config: Config, host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ConfigFault."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise ConfigFault(
            f"Cannot listen on {host}:{port}: {os.strerror(error.errno) if error.errno else error}. "
            f"Stop what uses this port, or change `listen` in {config.file}."
        ) from None


async def _recover(config: Config) -> None:
    """End what a dead process left open: opening the log does it, before any worker serves."""
    keys = keystore.load(config.evidence.keys)
    async with EvidenceLog.open(config.evidence.store, keys, now=now):
        pass
