"""A worker process: one gateway, serving sockets that its supervisor bound, until the supervisor says stop.

Started by `phigate serve` as `python -m gateway.worker`; not for people to run.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import trio
from hypercorn.typing import ASGIFramework

from gateway import config as configuration
from gateway.config import Config
from gateway.core.errors import GatewayError
from gateway.pdp.verdicts import Verdicts
from gateway.process import allow_descriptors, log_to_stderr, report_uncaught, tell
from gateway.service import Gateway, open_gateway
from gateway.supervisor import adopt, supervised
from gateway.telemetry.settings import Place
from gateway.web.server import ServerSettings, serve

FAILED_START = 2
"""Exit code of a worker that cannot start: the next one could not either."""
GARBAGE_THRESHOLD = 10_000
"""Objects that come to be between collections; the usual 700 are there every few calls."""


def main() -> int:
    """Run one worker to its end."""
    arguments = argparse.ArgumentParser(prog="gateway.worker", description=__doc__)
    arguments.add_argument("-c", "--config", type=Path, required=True)
    arguments.add_argument("--lifeline", type=int, required=True)
    arguments.add_argument("--sockets", type=int, nargs="+", required=True)
    arguments.add_argument("--place", type=int, default=0)
    arguments.add_argument("--numbers", type=Path)
    arguments.add_argument("--verdicts", type=int, required=True)
    options = arguments.parse_args()
    log_to_stderr()
    report_uncaught()
    allow_descriptors()
    try:
        config = configuration.load(options.config)
        place = Place(options.place, options.numbers)
        log_to_stderr(config.gateway.log_format, worker=place.number)
        trio.run(_run, config, place, Verdicts(options.verdicts), options.sockets, options.lifeline)
    except GatewayError as fault:
        return _failed([fault])
    except BaseExceptionGroup as group:  # Of `_run`'s nursery: told if it is faults of ours alone, else raised on.
        faults, others = group.split(GatewayError)
        if others is not None or faults is None:
            raise
        return _failed(_leaves(faults))
    return 0


def _failed(faults: list[GatewayError]) -> int:
    for fault in faults:
        tell(fault.detail)
    return FAILED_START


async def _run(config: Config, place: Place, verdicts: Verdicts, sockets: list[int], lifeline: int) -> None:
    # The first beat says that a worker serves. One that cannot start must not have beaten, or it is restarted for ever.
    async with (
        open_gateway(config, place, verdicts.admit) as gateway,
        supervised(lifeline) as shutdown,
        trio.open_nursery() as nursery,
    ):
        settle_garbage()
        settings = ServerSettings(
            drain_delay_s=config.gateway.drain_delay_s,
            drain_s=config.gateway.drain_s,
            max_body=config.gateway.max_request_bytes,
        )
        nursery.start_soon(_reload, gateway)
        nursery.start_soon(_drain, shutdown, gateway, settings)
        await serve(
            cast(ASGIFramework, gateway.app), adopt(sockets), settings=settings, shutdown=shutdown, started=_nothing
        )
        nursery.cancel_scope.cancel()


async def _reload(gateway: Gateway) -> None:
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            gateway.look_again()


def settle_garbage() -> None:
    """What was loaded to start lives as long as the process: the collector need not look at it again and again.

    A call spends 0.02 ms collecting instead of 0.13 ms, and none meets the 40 ms of looking through everything.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


async def _drain(shutdown: Callable[[], Awaitable[None]], gateway: Gateway, settings: ServerSettings) -> None:
    """Once told to stop: not ready; when the ingress had time to see that, nobody kept waiting, who would only come
    back to us before; and near the drain's end all that goes on ended on record."""
    await shutdown()
    gateway.app.draining = True
    await trio.sleep(settings.drain_delay_s)
    gateway.endpoint.end_streams()
    gateway.endpoint.hurry()
    await trio.sleep(settings.drain_s * 0.9)
    gateway.endpoint.leave_all()


def _nothing() -> None:
    """The supervisor hears our heart; nobody waits for more."""


def _leaves(group: BaseExceptionGroup[GatewayError]) -> list[GatewayError]:
    faults: list[GatewayError] = []
    for fault in group.exceptions:
        faults += _leaves(fault) if isinstance(fault, BaseExceptionGroup) else [fault]
    return faults


if __name__ == "__main__":
    sys.exit(main())
