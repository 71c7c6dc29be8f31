"""What the verbs of `phigate policy` share: how they are registered, read policies and print."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.core.policy import lint
from gateway.core.policy.bundle import Bundle
from gateway.core.types import Json
from gateway.pdp import loader

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]
    """What verbs are added to; argparse's class is generic to a type checker only."""


def verb(
    verbs: Verbs,
    name: str,
    run: Callable[[argparse.Namespace], int],
    help_: str,
    *,
    formats: tuple[str, ...] = ("pretty", "json"),
) -> argparse.ArgumentParser:
    """Register a verb that says what it found in one of `formats`, the first by default."""
    parser = verbs.add_parser(name, help=help_, description=help_.capitalize() + ".")
    parser.add_argument("-f", "--format", choices=formats, default=formats[0], help="for people, or for programs")
    parser.set_defaults(run=run)
    return parser


def chosen(path: Path | None) -> Bundle:
    """The policy at `path`, or the shipped one. Raises PolicyFault when it cannot be read or parsed."""
    bundle = bundles.read(loader.shipped()) if path is None else loader.read(path)
    refuse_unparsable(bundle)
    return bundle


def refuse_unparsable(bundle: Bundle) -> None:
    """Raise PolicyFault with every finding that would keep the engine busy for ever."""
    found = lint.unparsed(bundle.sources)
    if found:
        raise PolicyFault("\n".join(str(finding) for finding in found))


def seconds(text: str) -> float:
    """An option's value as a time, for argparse: seconds, more than none and at most an hour."""
    value = float(text)
    if not 0 < value <= 3600:
        raise ValueError(text)
    return value


def positive(text: str) -> int:
    """An option's value as a count, for argparse: a whole number, at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def print_json(value: Json) -> None:
    """Write `value` to standard output, indented."""
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()
