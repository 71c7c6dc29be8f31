"""What may be done with the store from its own machine: policy is asked (`gateway/access/decision`) each time."""

from __future__ import annotations

import argparse
import getpass
import sys
from datetime import UTC, datetime
from pathlib import Path

import orjson

from gateway.cli import places
from gateway.core.commands import Decided
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.policy.input import principal_document
from gateway.core.types import Document, Principal
from gateway.pdp import loader
from gateway.pdp.engine import Pdp
from gateway.store.stamps import timestamp


def add_options(command: argparse.ArgumentParser) -> None:
    """Let the command be told where store, keys and policy are."""
    places.add_store(command)
    command.add_argument("--keys", type=Path, metavar="DIR", help="keys directory; default: the configuration's")
    command.add_argument("--bundle", type=Path, metavar="PATH", help="policy; default: the configuration's")
    places.add_format(command)


def principal() -> Principal:
    """Whoever is logged in here, as policy knows them."""
    return Principal("local", getpass.getuser(), ("local-operator",))


def now() -> datetime:
    """The clock of what is put on record from here."""
    return datetime.now(UTC)


def ask(arguments: argparse.Namespace, kind: str, purpose: str) -> Decided:
    """Policy's answer to whether whoever is logged in may do `kind`, and for this purpose."""
    question: Document = {
        "phase": "access",
        "principal": principal_document(principal()),
        "access": {"kind": kind, "purpose": purpose},
    }
    with Pdp(loader.read(places.bundle(arguments))) as pdp:
        return pdp.decide(Entrypoint.ACCESS, question, at=timestamp(now()))


def refused(decided: Decided) -> bool:
    """Whether policy said no; then it has been told why."""
    if decided.decision.effect is Effect.ALLOW:
        return False
    why = "; ".join(reason.message.rstrip(".") for reason in decided.decision.reasons) or "no policy allows it"
    print(f"phigate: Policy does not let you do this: {why}.", file=sys.stderr)
    return True


def write_json(value: object) -> None:
    """Print a JSON document."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
