"""Serves one ASGI application on this machine only, and says where on standard output once it listens."""

from __future__ import annotations

import json
import signal
import socket
import sys
from functools import partial
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

ADDRESS = "127.0.0.1"


class Loopback:
    """A listening socket on a port of the system's choice, or on `port`. Nothing beyond this machine can reach it."""

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((ADDRESS, port))
        self.url = f"http://{ADDRESS}:{self._socket.getsockname()[1]}"

    def serve(self, application: Any, **announced: str) -> None:
        """Serve until SIGTERM or SIGINT. The first line on standard output is JSON: `url`, and what is `announced`."""
        trio.run(self._serve, application, announced)

    async def _serve(self, application: Any, announced: dict[str, str]) -> None:
        config = Config()
        config.bind = [f"fd://{self._socket.fileno()}"]
        config.errorlog = None
        config.graceful_timeout = 0.5
        # The signals are listened for before anybody is told that this runs, and may ask it to stop.
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                stop = partial(anext, signals)
                await nursery.start(partial(serve, application, config, shutdown_trigger=stop))
                json.dump({"url": self.url, **announced}, sys.stdout)
                print(flush=True)
