"""A synthetic clinic, the gateway in front of it and an agent, on this machine only, told as a story."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

PLACE = Path(".phigate-demo")


def add(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "demo", help="see the whole gateway at work on a synthetic clinic", description=__doc__
    )
    parser.add_argument("--interactive", action="store_true", help="you grant the held call, in another terminal")
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    parser.add_argument("--port", type=int, default=0, help="the gateway's port (default: any free one)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Tell the story. 0: as told; 2: something differed, or could not be started."""
    if importlib.util.find_spec("mcp") is None:
        print("The demo needs the MCP SDK: pip install 'phigate[demo]'")
        return 2
    from gateway.cli.demo import stage  # What needs the SDK is imported only by those who run the demo.

    stage.play(PLACE, port=arguments.port, interactive=arguments.interactive, keep=arguments.keep)
    return 0
