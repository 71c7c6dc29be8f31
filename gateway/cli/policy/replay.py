"""`phigate policy replay`: every decision on record, decided again with the bundle that was in force."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio
from rich.console import Console
from rich.markup import escape

from gateway.cli import opening, places
from gateway.cli.policy import crew, shared
from gateway.cli.policy.again import Job, replayed
from gateway.core.errors import EvidenceFault
from gateway.core.policy.decision import Effect
from gateway.core.types import Document, Json, LeafIndex, SessionId
from gateway.pdp import loader
from gateway.pdp import replay as again
from gateway.store import engines
from gateway.store import keys as keystore
from gateway.store.reader import Reader

SHOWN = 100
"""Differences told one by one on a terminal; JSON has all."""

_KINDS = {
    "bundle": "cannot be decided again: the bundle of the time is missing, altered or does not load",
    "body": "cannot be read",
    "answer": "come out otherwise",
    "leaf": "are not what their leaf says",
    "stopped": "ended the process that decided them",
}


def add(verbs: shared.Verbs) -> None:
    """Register `phigate policy replay`."""
    verb = shared.verb(verbs, "replay", run, "decide again what is on record, and compare")
    crew.add_scope(verb)
    text = "show the values that differ, for this purpose; your reading goes on record first"
    verb.add_argument("--purpose", metavar="TEXT", help=text)
    verb.add_argument(
        "--bundle", type=Path, metavar="PATH", help="policy to ask for that; default: the configuration's"
    )


def run(arguments: argparse.Namespace) -> int:
    """Replay and tell. 0: all decisions came out the same; 1: some did not."""
    pretty = arguments.format == "pretty"
    console = Console(stderr=not pretty, soft_wrap=True)
    whole, scope = crew.job(arguments)
    if arguments.purpose is not None:
        _ask(arguments, whole, scope.first)
        whole = replace(whole, values=True)
    found: list[Document] = []
    count = 0
    for answer in crew.work(replayed, whole, scope, processes=crew.cores(arguments), console=console):
        decisions, told = answer.get("decisions"), answer.get("found")
        count += decisions if isinstance(decisions, int) else 0
        found += [item for item in told if isinstance(item, dict)] if isinstance(told, list) else []
        if "stopped" in answer:
            found.append(_stopped(answer))
    found.sort(key=_leaf)
    if pretty:
        _tell(console, count, found)
    else:
        differences: list[Json] = [*found]
        shared.print_json({"decisions": count, "differences": differences, "engine": again.engine()})
    return 1 if found else 0


def _ask(arguments: argparse.Namespace, whole: Job, first: int) -> None:
    """Return when the values may be shown: policy allows it, and that is on record. Raises EvidenceFault."""
    if whole.session is None and whole.exchange is None:
        raise EvidenceFault("To see values, say whose: --purpose goes with --session or --exchange.")
    path, keys = engines.unpack(whole.store), keystore.load(Path(whole.keys))
    with Reader.open(path) as reader:
        session = reader.leaf(LeafIndex(first)).session
    leave = partial(opening.ask, exchange=whole.exchange)
    bundle = loader.read(places.bundle(arguments))
    decided = trio.run(leave, path, keys, session or SessionId(""), arguments.purpose, bundle)
    if decided.decision.effect is not Effect.ALLOW:
        why = "; ".join(reason.message.rstrip(".") for reason in decided.decision.reasons) or "no policy allows it"
        raise EvidenceFault(f"Policy does not let you see what was decided there: {why}. The attempt is on record.")


def _stopped(answer: Document) -> Document:
    return {
        "leaf": answer["stopped"],
        "type": "",
        "exchange": None,
        "body": "",
        "kind": "stopped",
        "why": answer["why"],
    }


def _leaf(found: Document) -> int:
    leaf = found["leaf"]
    return leaf if isinstance(leaf, int) else -1


def _tell(console: Console, count: int, found: list[Document]) -> None:
    for item in found[:SHOWN]:
        place = ", ".join(str(item[name]) for name in ("type", "body") if item[name])
        exchange = f" of exchange {item['exchange']}" if item["exchange"] else ""
        console.print(
            places.plain(f"leaf {item['leaf']} ({place}){exchange}: {item['why']}"), markup=False, highlight=False
        )
        _tell_values(console, item.get("values"))
    if len(found) > SHOWN:
        console.print(f"… and {len(found) - SHOWN:,} more: --format json has them all.")
    if not count and not found:
        console.print("There is no decision on record in this range.")
        return
    if not found:
        console.print(f"{count:,} decisions replayed: all came out byte for byte as recorded.", highlight=False)
        return
    console.print(f"{count:,} decisions replayed: {len(found):,} did not come out as recorded.", highlight=False)
    for kind, text in _KINDS.items():
        of_kind = [item for item in found if item["kind"] == kind]
        if of_kind:
            console.print(f"  {len(of_kind):,} {text}", highlight=False)


def _tell_values(console: Console, values: Json) -> None:
    for value in values if isinstance(values, list) else []:
        if isinstance(value, dict):
            text = f"    {value['path']}: recorded {value['recorded']!r}, now {value['replayed']!r}"
            console.print(escape(places.plain(text)), highlight=False)
