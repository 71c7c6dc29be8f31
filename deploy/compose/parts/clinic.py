"""The demo's upstream in a container of its own: `phigate demo`'s clinic, listening beyond its own machine.

It believes whoever calls it, as the clinic of the demo does. That nobody but the gateway can call it is not its doing
but the network's: look at `networks` in compose.yaml, and at the NetworkPolicies in deploy/kubernetes.
"""

import argparse
from pathlib import Path

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from gateway.cli.demo import clinic


def main() -> None:
    """Serve 300 invented patients until told to stop."""
    arguments = argparse.ArgumentParser(prog="clinic", description=__doc__)
    arguments.add_argument("--db", type=Path, default=Path("/tmp/clinic.db"), help="the database file; made anew")
    arguments.add_argument("--host", default="0.0.0.0", help="address to listen on")
    arguments.add_argument("--port", type=int, default=8000, help="port to listen on")
    options = arguments.parse_args()
    clinic.create(options.db)
    config = Config()
    config.bind = [f"{options.host}:{options.port}"]
    config.graceful_timeout = 0.5
    trio.run(serve, clinic.server(options.db).streamable_http_app(host=options.host), config)


if __name__ == "__main__":
    main()
