"""`phigate store migrate`: make the tables of an evidence store, or bring them up to date."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from gateway.cli import places
from gateway.store import engines, keys, schema


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the noun and its verb."""
    noun = commands.add_parser("store", help="make the evidence store, or bring it up to date")
    verbs = noun.add_subparsers(title="verbs", metavar="VERB", required=True)
    text = (
        "Make the tables of a new evidence store, or bring those of an older one up to date, and say what was done. "
        "On PostgreSQL gateways do not do it by themselves: run this before them, as the owner of the tables. Again is "
        "no change, several at once do it once, and there is no way back to an older version."
    )
    command = verbs.add_parser("migrate", help="bring the tables up to date", description=text)
    places.add_store(command)
    key = "the log's vkey file, or the keys directory; default: the configuration's"
    command.add_argument("--key", "--keys", dest="keys", type=Path, metavar="PATH", help=key)
    command.set_defaults(run=_migrate)


def _migrate(arguments: argparse.Namespace) -> int:
    store, origin = places.store(arguments), keys.load_verifier(places.keys(arguments)).name
    engine = engines.of(store)
    with engine.faults("being brought up to date"), closing(engine.connect()) as connection:
        before = engine.migrate(connection, origin)
    if before is None:
        print(f"{store}  made, for the log {origin}: schema version {schema.VERSION}")
    elif before < schema.VERSION:
        print(f"{store}  brought from schema version {before} to {schema.VERSION}")
    else:
        print(f"{store}  is up to date: schema version {before}")
    return 0
