"""`phigate policy replay`: every decision on record, decided again with the bundle that was in force."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import Progress

from gateway.cli import places
from gateway.cli.policy import shared
from gateway.core.errors import EvidenceFault, PolicyFault
from gateway.core.evidence.leaf import Leaf
from gateway.core.evidence.record import LeafType
from gateway.core.policy import bundle as bundles
from gateway.core.types import Digest, Document, SessionId
from gateway.pdp import replay
from gateway.pdp.engine import Pdp
from gateway.store import keys
from gateway.store.reader import Reader

BODIES = ("decision", "catalogue", "recheck")
"""The sealed bodies that hold a decision event."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A decision that does not come out as it was recorded."""

    leaf: int
    type: str
    body: str
    why: str

    @property
    def document(self) -> Document:
        return {"leaf": self.leaf, "type": self.type, "body": self.body, "why": self.why}


@dataclass(slots=True)
class Archive:
    """The bundles of a store, each loaded when first asked for."""

    reader: Reader
    activated: dict[str, list[Digest]] = field(default_factory=dict)
    """Digests by revision, which need not be unique."""
    loaded: dict[Digest, Pdp] = field(default_factory=dict)

    def learn(self, leaf: Leaf) -> None:
        """Note a `bundle.activated` leaf."""
        revision, digest = leaf.members.get("revision"), leaf.members.get("bundle")
        if isinstance(revision, str) and isinstance(digest, str):
            self.activated.setdefault(revision, []).append(Digest(digest))

    def pdps(self, leaf: Leaf, event: Document) -> Iterator[Pdp]:
        """The bundles that an event can have been decided with: the leaf's own, then those of the same revision.

        Raises EvidenceFault when one is not in the archive, and PolicyFault when it is not what it was.
        """
        named = leaf.members.get("bundle")
        digests = [Digest(named)] if isinstance(named, str) else []
        for revision in replay.revisions(event):
            digests += [digest for digest in self.activated.get(revision, []) if digest not in digests]
        for digest in digests:
            if digest not in self.loaded:
                bundle = bundles.read(self.reader.bundle(digest))
                if bundle.digest != digest:
                    raise EvidenceFault(f"The archived bundle {digest} was altered: its digest is {bundle.digest}.")
                self.loaded[digest] = Pdp(bundle)
            yield self.loaded[digest]


def add(verbs: shared.Verbs) -> None:
    """Register `phigate policy replay`."""
    verb = shared.verb(verbs, "replay", run, "decide again what is on record, and compare")
    places.add_store(verb)
    verb.add_argument("--keys", type=Path, metavar="DIR", help="keys directory; default: the configuration's")
    verb.add_argument("--session", default=None, metavar="ID", help="only the decisions of one session")


def run(arguments: argparse.Namespace) -> int:
    """Replay and tell. 0: all decisions came out the same; 1: some did not."""
    pretty = arguments.format == "pretty"
    console = Console(stderr=not pretty, soft_wrap=True)
    count, found = 0, list[Difference]()
    with (
        Reader.open(places.store(arguments), keys.load(places.keys(arguments))) as reader,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("replaying", total=reader.size())
        for leaf, decisions, differences in _replayed(reader, arguments.session):
            progress.update(task, completed=leaf.index + 1)
            count += decisions
            found.extend(differences)
    if pretty:
        for difference in found:
            told = f"leaf {difference.leaf} ({difference.type}, {difference.body}): {difference.why}"
            console.print(told, markup=False, highlight=False)
        same = "all came out byte for byte as recorded" if not found else f"{len(found)} did not come out as recorded"
        console.print(f"{count} decisions replayed: {same}.", highlight=False)
    else:
        report: Document = {"decisions": count, "differences": [difference.document for difference in found]}
        sys.stdout.buffer.write(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return 1 if found else 0


def _replayed(reader: Reader, session: str | None) -> Iterator[tuple[Leaf, int, list[Difference]]]:
    """Each leaf with how many decisions it holds and which of them differ. Raises EvidenceFault for no such session."""
    if session is not None and not reader.session_leaves(SessionId(session)):
        raise EvidenceFault(f"There is no session {session} in this store. `phigate sessions list` shows them.")
    archive = Archive(reader)
    for leaf in reader.leaves():
        if leaf.type is LeafType.BUNDLE_ACTIVATED:
            archive.learn(leaf)
        names = [name for name in BODIES if leaf.body(name) is not None]
        if not names or (session is not None and leaf.session != session):
            yield leaf, 0, []
            continue
        told = ((name, _difference(archive, leaf, name)) for name in names)
        yield leaf, len(names), [Difference(leaf.index, leaf.type.value, name, why) for name, why in told if why]


def _difference(archive: Archive, leaf: Leaf, name: str) -> str | None:
    """Why a recorded decision does not come out the same; None when it does."""
    why: str | None = "no bundle of its revision was ever activated here"
    try:
        event = replay.parse(archive.reader.body(leaf, name))
        if event is None:
            return "the body is not a decision event"
        for pdp in archive.pdps(leaf, event):
            why = replay.difference(pdp, event)
            if why is None:
                # A leaf's effect is that of its last decision, which is the body called `decision`.
                return replay.disagreement(event, leaf.members.get("effect") if name == "decision" else None)
    except (EvidenceFault, PolicyFault) as fault:
        return fault.detail
    return why
