"""The `phigate` command: one noun a file, verbs as `opa` and `conftest` users know them.

Exit codes: 0 done · 1 the answer is no (a test failed, verification failed, a decision differs) · 2 the command could
not be carried out (bad usage, bad config, unreadable file).
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from gateway.core.errors import GatewayError

NOUNS = (
    "demo",
    "init",
    "serve",
    "doctor",
    "store",
    "policy",
    "bundle",
    "approvals",
    "emergency",
    "tools",
    "tokens",
    "sessions",
    "evidence",
    "keys",
)
"""Each names a module of `gateway.cli` with `add(commands)`, which registers its parser and sets `run` to a function
from the parsed arguments to an exit code."""


def parser(nouns: Sequence[str] = NOUNS) -> argparse.ArgumentParser:
    """The command line of these nouns; of all, it is what `--help` shows."""
    top = argparse.ArgumentParser(prog="phigate", description=__doc__.splitlines()[0] if __doc__ else "")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for noun in nouns:
        importlib.import_module(f"gateway.cli.{noun}").add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Faults of ours are told in a sentence, never as a traceback."""
    words = sys.argv[1:] if argv is None else argv
    # Only the noun that is asked for is loaded: all of them together take longer than most commands.
    arguments = parser(words[:1] if words and words[0] in NOUNS else NOUNS).parse_args(words)
    try:
        return int(arguments.run(arguments))
    except GatewayError as fault:
        print(f"phigate: {fault.detail}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever reads our output has enough. What is still in the buffer must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except KeyboardInterrupt:
        return 130
