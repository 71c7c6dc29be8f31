"""`phigate emergency`: who broke the glass, what they saw, and closing the review that this owes."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import orjson
import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli import operator, places, screen
from gateway.core.commands import Decided
from gateway.core.errors import EvidenceFault
from gateway.core.evidence.leaf import Leaf
from gateway.core.evidence.record import LeafType, Record
from gateway.core.types import Document
from gateway.store import emergencies
from gateway.store import keys as keystore
from gateway.store.emergencies import Emergency
from gateway.store.keys import Keys
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog, Transaction

_TOLD = ("upstream", "tool", "method", "reasons")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate emergency` and its verbs."""
    noun = commands.add_parser("emergency", help="emergency accesses and their reviews")
    verbs = noun.add_subparsers(title="verbs", metavar="VERB", required=True)

    command = verbs.add_parser("list", help="the emergencies that wait for their review, newest first")
    command.add_argument("--all", action="store_true", help="those that were reviewed too")
    places.add_store(command)
    places.add_format(command)
    command.set_defaults(run=_list)

    text = "One emergency: every access. With --purpose also who it was and why, which goes on record first."
    command = verbs.add_parser("show", help="one emergency", description=text)
    _add_id(command)
    command.add_argument("--purpose", metavar="TEXT", help="why you need to read what is sealed")
    operator.add_options(command)
    command.set_defaults(run=_show)

    text = "Close the review of an emergency. Whoever broke the glass cannot, and policy says who may."
    command = verbs.add_parser("close", help="close its review", description=text)
    _add_id(command)
    command.add_argument(
        "--reason", required=True, metavar="TEXT", help="what the review found; goes on record, sealed"
    )
    operator.add_options(command)
    command.set_defaults(run=_close)


def _add_id(command: argparse.ArgumentParser) -> None:
    command.add_argument("emergency", metavar="ID", help="its id, or enough of its beginning or end")


@dataclass(frozen=True, slots=True)
class _Person:
    """Who broke the glass, and why, as is sealed with the first access."""

    subject: str
    document: Document


def _list(arguments: argparse.Namespace) -> int:
    found = _found(arguments, open_only=not arguments.all)
    if arguments.format == "json":
        operator.write_json([_document(each) for each in found])
        return 0
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("emergency", "began (UTC)", "who", "accesses", "review"):
        table.add_column(title, no_wrap=True, justify="right" if title == "accesses" else "left")
    for each in found:
        state = Text("open", style="bold yellow") if each.closed is None else Text(f"leaf {each.closed}", style="green")
        table.add_row(Text(each.id[-12:], "cyan"), screen.minute(each.began), each.actor[:8], str(each.accesses), state)
    screen.console().print(table if found else Text("No emergency waits for a review."))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    each, people = _one(arguments), dict[int, Document]()
    if arguments.purpose is not None:
        decided = operator.ask(arguments, "emergencies", arguments.purpose)
        keys = keystore.load(places.keys(arguments))
        trio.run(_record_reading, arguments, keys, each, decided)
        if operator.refused(decided):
            return 1
        with Reader.open(places.store(arguments), keys) as reader:
            for index in emergencies.accesses(reader.connection, each.id):
                people[index] = _person(reader, reader.leaf(index)).document
    with Reader.open(places.store(arguments)) as reader:
        leaves = [reader.leaf(index) for index in emergencies.accesses(reader.connection, each.id)]
    if arguments.format == "json":
        operator.write_json({**_document(each), "leaves": [_leaf(leaf, people) for leaf in leaves]})
        return 0
    _print(each, leaves, people)
    return 0


def _print(each: Emergency, leaves: list[Leaf], people: dict[int, Document]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    state = "open" if each.closed is None else f"closed in leaf {each.closed}"
    console.print(Text.assemble((each.id, "bold cyan"), f"  {each.began[:19]}Z  by {each.actor[:8]}  review: {state}"))
    for leaf in leaves:
        told = "  ".join(places.plain(str(leaf.members[name])) for name in _TOLD if name in leaf.members)
        console.print(Text(f"  leaf {leaf.index}  {leaf.place.time[11:19]}  {told}"))
        for name, value in people.get(leaf.index, {}).items():
            console.print(Text(f"      {name}: {places.plain(str(value))}", "yellow"))
    if not people:
        console.print(Text("\nWho it was and why is sealed: give --purpose to read it.", "dim"))


def _close(arguments: argparse.Namespace) -> int:
    each = _one(arguments)
    if each.closed is not None:
        print(f"The review was closed already, in leaf {each.closed}.")
        return 0
    keys = keystore.load(places.keys(arguments))
    if not arguments.reason.strip():
        raise EvidenceFault("A review says what it found: give --reason.")
    with Reader.open(places.store(arguments), keys) as reader:
        subject = _person(reader, reader.leaf(each.leaf)).subject
    if _same(subject, operator.principal().subject):
        print("phigate: You broke this glass yourself: somebody else must review it.", file=sys.stderr)
        return 1
    decided = operator.ask(arguments, "emergencies", arguments.reason)
    if operator.refused(decided):
        return 1
    bodies = {"reason": arguments.reason.encode(), "decision": decided.event}
    trio.run(_record_review, arguments, keys, each, bodies)
    if arguments.format == "json":
        operator.write_json(_document(_one(arguments)))
    else:
        print(f"Closed, and on record: {each.accesses} accesses reviewed.")
    return 0


def _same(subject: str, login: str) -> bool:
    """Whether a login of this machine and a subject are one person, as far as names tell: accounts are not linked."""
    return subject.casefold().partition("@")[0] == login.casefold().partition("@")[0]


async def _record_reading(arguments: argparse.Namespace, keys: Keys, each: Emergency, decided: Decided) -> None:
    members: Document = {
        "actor": keys.actor(operator.principal()),
        "kind": "emergency",
        "of": each.id,
        "effect": decided.decision.effect.value,
        "bundle": decided.bundle,
    }
    bodies = {"purpose": arguments.purpose.encode(), "decision": decided.event}
    async with EvidenceLog.open(places.store(arguments), keys, now=operator.now) as log:
        await log.append(Record(LeafType.EVIDENCE_READ, members, bodies=bodies))


async def _record_review(arguments: argparse.Namespace, keys: Keys, each: Emergency, bodies: dict[str, bytes]) -> None:
    by = keys.actor(operator.principal())

    def job(transaction: Transaction) -> None:
        now = emergencies.get(transaction.connection, each.id)
        if now is None or now.closed is not None or now.accesses != each.accesses:
            raise EvidenceFault("This emergency changed while you reviewed it. Look at it again.")
        leaf = transaction.append(emergencies.review_record(now, by, bodies))
        emergencies.close(transaction.connection, now, leaf)

    async with EvidenceLog.open(places.store(arguments), keys, now=operator.now) as log:
        await log.transact(job)


def _person(reader: Reader, leaf: Leaf) -> _Person:
    match orjson.loads(reader.body(leaf, "decision")):
        case {"input": {"principal": {"sub": str(subject), "client": str(client)}}}:
            why = reader.body(leaf, "justification").decode("utf-8", "replace")
            return _Person(subject, {"who": subject, "through": client, "why": why})
    raise EvidenceFault(f"The decision of leaf {leaf.index} does not say who asked. Run: phigate evidence verify")


def _found(arguments: argparse.Namespace, *, open_only: bool) -> list[Emergency]:
    with Reader.open(places.store(arguments)) as reader:
        reader.require_newest()
        return emergencies.listed(reader.connection, open_only=open_only)


def _one(arguments: argparse.Namespace) -> Emergency:
    given = arguments.emergency
    found = [
        each for each in _found(arguments, open_only=False) if each.id.startswith(given) or each.id.endswith(given)
    ]
    if len(found) == 1:
        return found[0]
    what = "No emergency has" if not found else f"{len(found)} emergencies have"
    raise EvidenceFault(f"{what} an id that begins or ends with {given!r}. `phigate emergency list --all` shows all.")


def _document(each: Emergency) -> dict[str, object]:
    return {
        "id": each.id,
        "actor": each.actor,
        "began": each.began,
        "leaf": each.leaf,
        "accesses": each.accesses,
        "closed": each.closed,
    }


def _leaf(leaf: Leaf, people: dict[int, Document]) -> dict[str, object]:
    return {"leaf": orjson.Fragment(leaf.entry), **({"sealed": people[leaf.index]} if leaf.index in people else {})}
