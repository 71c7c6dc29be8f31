"""`phigate policy shadow`: what a candidate that ran beside the active policy would have decided otherwise."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.cli import places
from gateway.cli.policy import shared
from gateway.core.errors import EvidenceFault, PolicyFault
from gateway.core.evidence import leaf as leaves
from gateway.core.evidence.leaf import Leaf
from gateway.core.evidence.record import LeafType
from gateway.core.policy.impact import ordered
from gateway.core.types import Document, Json, LeafIndex
from gateway.store.reader import Reader
from gateway.store.transaction import as_bytes

_COUNTS = ("compared", "differing", "dropped", "stopped", "untold")


@dataclass(slots=True)
class Seen:
    """What is on record of one candidate."""

    revision: str = ""
    since: str = ""
    until: str = ""
    active: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    told: list[Document] = field(default_factory=list)
    """The members of the leaves about one decision each."""


def add(verbs: shared.Verbs) -> None:
    """Register `phigate policy shadow`."""
    verb = shared.verb(verbs, "shadow", run, "show what a candidate in the shadow would have decided otherwise")
    places.add_store(verb)
    verb.add_argument("--candidate", metavar="DIGEST", default="", help="of one candidate: its digest's beginning")
    verb.add_argument("--samples", type=int, default=3, metavar="N", help="exchanges told for each rule (default: 3)")


def run(arguments: argparse.Namespace) -> int:
    """Read and tell. 0 also when nothing is on record."""
    if arguments.samples < 0:
        raise PolicyFault("--samples is 0 or more.")
    with Reader.open(places.store(arguments)) as reader:
        seen = _seen(reader, arguments.candidate)
        told = [_document(reader, digest, found, arguments.samples) for digest, found in seen.items()]
    if arguments.candidate and not told:
        raise EvidenceFault(f"No candidate whose digest begins with {arguments.candidate!r} was seen in the shadow.")
    if arguments.format == "json":
        shared.print_json({"candidates": list[Json](told)})
    else:
        nothing = Text('No candidate has run in the shadow. Name one in the configuration: [policy] shadow = "path".')
        Console(soft_wrap=True).print(Group(*map(_pretty, told)) if told else nothing)
    return 0


def _seen(reader: Reader, wanted: str) -> dict[str, Seen]:
    """What is on record by candidate, the oldest first."""
    seen: dict[str, Seen] = {}
    query = "SELECT idx FROM leaf WHERE type = ? AND session IS NULL ORDER BY idx"
    for (index,) in reader.connection.execute(query, (LeafType.POLICY_SHADOW.value,)).fetchall():
        leaf = reader.leaf(LeafIndex(index))
        digest = str(leaf.members.get("candidate"))
        if digest.startswith(wanted):
            _add(seen.setdefault(digest, Seen()), leaf)
    return seen


def _add(seen: Seen, leaf: Leaf) -> None:
    members = leaf.members
    seen.since, seen.until = seen.since or leaf.place.time, leaf.place.time
    seen.active.add(str(members.get("active")))
    if members.get("what") == "difference":
        seen.told.append(members)
        return
    seen.revision = str(members.get("revision"))
    seen.counts.update({name: _number(members.get(name)) for name in _COUNTS})
    for counter, name in ((seen.kinds, "kinds"), (seen.rules, "causes")):
        counted = members.get(name)
        counter.update({key: _number(count) for key, count in counted.items()} if isinstance(counted, dict) else {})


def _document(reader: Reader, digest: str, seen: Seen, samples: int) -> Document:
    who = dict(_principals(reader, {str(members["exchange"]) for members in seen.told}))
    principals = Counter(who.get(str(members["exchange"]), "(unknown)") for members in seen.told)
    return {
        "candidate": digest,
        "revision": seen.revision,
        "active": list[Json](sorted(seen.active)),
        "since": seen.since,
        "until": seen.until,
        **{name: seen.counts[name] for name in _COUNTS},
        "told": len(seen.told),
        "kinds": dict[str, Json](seen.kinds),
        "rules": [
            {"rule": rule, "decisions": count, "samples": list[Json](_samples(seen.told, rule, samples))}
            for rule, count in ordered(seen.rules)
        ],
        "principals": [{"principal": each, "told": count} for each, count in ordered(principals)],
    }


def _samples(told: Iterable[Document], rule: str, most: int) -> list[str]:
    found = (str(members["exchange"]) for members in told if rule in _list(members.get("causes")))
    return list(dict.fromkeys(found))[:most]


def _principals(reader: Reader, exchanges: set[str]) -> Iterator[tuple[str, str]]:
    """Of each of these exchanges the pseudonym of its principal."""
    if not exchanges:
        return
    query = "SELECT exchange, entry FROM leaf WHERE type IN (?, ?)"
    kinds = (LeafType.EXCHANGE_INTENT.value, LeafType.EXCHANGE_REFUSED.value)
    for exchange, entry in reader.connection.execute(query, kinds):
        if exchange in exchanges:
            try:
                yield exchange, str(leaves.parse(as_bytes(entry)).members.get("actor"))
            except ValueError as error:
                raise EvidenceFault(f"A leaf of the exchange {exchange} was altered: {error}.") from None


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _pretty(told: Document) -> RenderableType:
    head = Text.assemble(
        ("candidate  ", "dim"), (str(told["candidate"])[:16], "bold cyan"), f"  {places.plain(str(told['revision']))}\n"
    )
    head.append(f"{'seen':<11}", "dim").append(f"{str(told['since'])[:19]}Z to {str(told['until'])[:19]}Z\n")
    head.append(f"{'compared':<11}", "dim").append(f"{_number(told['compared']):,}, of which it would decide ")
    head.append(f"{_number(told['differing']):,}", "bold").append(" otherwise\n")
    for name, text in (("dropped", "were not put to it"), ("stopped", "ended its process")):
        if told[name]:
            head.append(f"{name:<11}", "dim").append(f"{_number(told[name]):,} {text}\n")
    table = Table(box=None, header_style="bold", pad_edge=False, show_edge=False)
    table.add_column("what, and by which rule", overflow="fold")
    table.add_column("decisions", justify="right")
    table.add_column("such as", style="dim", no_wrap=True)
    for row in _list(told["rules"]):
        if isinstance(row, dict):
            samples = "\n".join(map(str, _list(row["samples"])))
            table.add_row(Text(places.plain(str(row["rule"]))), f"{row['decisions']:,}", places.plain(samples))
    return Group(head, table, Text()) if told["rules"] else Group(head)
