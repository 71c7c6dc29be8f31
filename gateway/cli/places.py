"""Where a command finds the evidence store, the keys and the policy: as told, else as the configuration says."""

from __future__ import annotations

import argparse
import shlex
import unicodedata
from pathlib import Path

from gateway import config
from gateway.core.errors import ConfigFault
from gateway.store import engines
from gateway.store.engines import Store

DEFAULT_CONFIG = Path("phigate.toml")


def add_config(command: argparse.ArgumentParser) -> None:
    """Let the command be told which configuration to look into."""
    command.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=f"default: {DEFAULT_CONFIG}"
    )


def add_store(command: argparse.ArgumentParser) -> None:
    """Let the command be told which evidence store to read."""
    add_config(command)
    text = "evidence store, a file or postgresql://…; default: the configuration's"
    command.add_argument("--store", metavar="DB", help=text)


def add_format(command: argparse.ArgumentParser) -> None:
    """Let the command be told whom it is talking to."""
    command.add_argument("--format", choices=("pretty", "json"), default="pretty", help="default: pretty")


def store(arguments: argparse.Namespace) -> Store:
    """The evidence store. Raises ConfigFault when neither option nor configuration names one."""
    given: str | None = arguments.store
    return engines.parse(given) if given is not None else config.evidence_at(_config(arguments, "--store")).store


def file(arguments: argparse.Namespace) -> Path:
    """The evidence store, for what is done with files. Raises ConfigFault for one in a database, and as `store`."""
    found = store(arguments)
    if not isinstance(found, Path):
        raise ConfigFault(
            "This is for a store in a file. This one is in PostgreSQL, which has means of its own: docs/postgresql.md."
        )
    return found


def keys(arguments: argparse.Namespace) -> Path:
    """The keys directory, or with some commands the log's vkey file. Raises ConfigFault as `store` does."""
    given: Path | None = arguments.keys
    return given if given is not None else config.evidence_at(_config(arguments, "--keys")).keys


def bundle(arguments: argparse.Namespace) -> Path:
    """The policy bundle or its source directory. Raises ConfigFault as `store` does."""
    given: Path | None = arguments.bundle
    found = given if given is not None else config.policy_at(_config(arguments, "--bundle")).bundle
    if found is None:
        raise ConfigFault("The policy comes from a bundle server. Name a bundle file or directory with --bundle.")
    return found


def again(arguments: argparse.Namespace) -> str:
    """What a command that is to look at the same place must be told, as the end of a command line."""
    store = "" if arguments.store is None else f" --store {shlex.quote(arguments.store)}"
    return store if arguments.config == DEFAULT_CONFIG else f" -c {shlex.quote(str(arguments.config))}{store}"


def plain(text: str) -> str:
    """`text` without anything that a terminal would obey: what clients and upstreams sent is shown, never done."""
    return "".join(sign if sign in "\n\t" or unicodedata.category(sign)[0] != "C" else "\ufffd" for sign in text)


def _config(arguments: argparse.Namespace, option: str) -> Path:
    file: Path = arguments.config
    if not file.exists():
        raise ConfigFault(f"There is no {file} here to look into. Say {option}, or name the configuration with -c.")
    return file
