"""`phigate keys`: the gateway's secrets, kept where the evidence is not."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path

from gateway.cli import operator, places
from gateway.core.errors import ConfigFault
from gateway.store import keys_backup, kms
from gateway.store.keys import add_missing, load


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate keys` and its verbs."""
    noun = commands.add_parser("keys", help="back up, restore and prepare the gateway's keys")
    verbs = noun.add_subparsers(title="verbs", metavar="VERB", required=True)

    text = (
        "Write all keys to one new file, encrypted with a passphrase. Whoever has it, the passphrase and the evidence "
        "can read every body; without it, lost keys leave evidence provable and unreadable for ever."
    )
    command = verbs.add_parser("backup", help="all keys in one encrypted file", description=text)
    command.add_argument("file", type=Path, metavar="FILE", help="new file")
    places.add_config(command)
    command.add_argument("--keys", type=Path, metavar="DIR", help="keys directory; default: the configuration's")
    _add_passphrase(command)
    command.set_defaults(run=_backup)

    command = verbs.add_parser("restore", help="write the keys of a backup to a directory that holds none")
    command.add_argument("file", type=Path, metavar="FILE", help="from `keys backup`")
    command.add_argument("directory", type=Path, metavar="DIR", help="where the keys belong: new, or empty")
    _add_passphrase(command)
    command.set_defaults(run=_restore)

    text = (
        "Make the keys that wrap what is sealed in each of the coming months, those that are not there, "
        "and every other key that an older phigate did not make. Replicas that share a store make none by themselves: "
        "give all of them the same directory, before its last month begins."
    )
    command = verbs.add_parser("prepare", help="make the keys of the months to come", description=text)
    command.add_argument("--months", type=int, default=12, metavar="N", help="this month and those after; default: 12")
    places.add_config(command)
    command.add_argument("--keys", type=Path, metavar="DIR", help="keys directory; default: the configuration's")
    command.set_defaults(run=_prepare)


def _prepare(arguments: argparse.Namespace) -> int:
    directory, now = places.keys(arguments), operator.now()
    if not 1 <= arguments.months <= 120:
        raise ConfigFault("--months is 1 to 120.")
    load(directory)
    made = [*kms.prepare(directory, now, arguments.months), *add_missing(directory)]
    print(f"{directory}  {len(made)} keys made; enough for {kms.months_left(directory, now)} months from now on")
    if made:
        print("Back them up: phigate keys backup. Without them what is sealed in their months cannot be read.")
    return 0


def _add_passphrase(command: argparse.ArgumentParser) -> None:
    text = "file whose first line is the passphrase; without it you are asked"
    command.add_argument("--passphrase-file", type=Path, metavar="FILE", help=text)


def _backup(arguments: argparse.Namespace) -> int:
    passphrase = _passphrase(arguments, twice=True)
    count = keys_backup.write(places.keys(arguments), arguments.file, passphrase)
    print(f"{arguments.file}  {count} files, read again and compared. Keep it apart from the evidence's backups.")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    restored = keys_backup.restore(arguments.file, arguments.directory, _passphrase(arguments, twice=False))
    print(f"{arguments.directory}  the keys of the log {restored.origin}, complete")
    return 0


def _passphrase(arguments: argparse.Namespace, *, twice: bool) -> str:
    file: Path | None = arguments.passphrase_file
    if file is not None:
        try:
            return file.read_text("utf-8").partition("\n")[0]
        except (OSError, UnicodeDecodeError):
            raise ConfigFault(f"{file} cannot be read as text. Name a file with the passphrase.") from None
    given = getpass.getpass("Passphrase: ")
    if twice and getpass.getpass("Again: ") != given:
        raise ConfigFault("The two are not the same. Nothing was written.")
    return given
