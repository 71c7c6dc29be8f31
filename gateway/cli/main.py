"""The `phigate` command: one noun a file, verbs as `opa` and `conftest` users know them.

Exit codes: 0 done · 1 the answer is no (a test failed, verification failed, a decision differs) · 2 the command could
not be carried out (bad usage, bad config, unreadable file).
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NoReturn

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

ABOUT = "A policy-as-code gateway between AI agents and the MCP servers that reach protected health information."
FIRST = "To see it at work: phigate demo. To put it in front of your own MCP server: phigate init my-gateway."


class _Help(argparse.HelpFormatter):
    """Has each command beside what it does: argparse forgets that commands are indented (until Python 3.12)."""

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += self._indent_increment


class _Parser(argparse.ArgumentParser):
    """Shows what there is to whoever says no command, and the nearest word to whoever mistypes one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Help, **options})

    def error(self, message: str) -> NoReturn:
        if message.endswith((" required: COMMAND", " required: VERB")):
            self.print_help(sys.stderr)
            self.exit(2)
        super().error(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        known = [str(choice) for choice in action.choices or ()]
        near = difflib.get_close_matches(str(value), known, 1)
        if near and value not in known:
            raise argparse.ArgumentError(action, f"{value!r} is not known here. Did you mean {near[0]!r}?")
        super()._check_value(action, value)


def parser(nouns: Sequence[str] = NOUNS) -> argparse.ArgumentParser:
    """The command line of these nouns; of all, it is what `--help` shows."""
    top = _Parser(prog="phigate", description=ABOUT, epilog=FIRST)
    top.add_argument(
        "--version", action="version", version=f"phigate {version('phigate')}", help="say which phigate this is"
    )
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
