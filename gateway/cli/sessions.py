"""`phigate sessions`: what happened, told from the evidence.

Leaves are free of PHI and shown to whoever may read the store. Bodies are plaintext PHI: they are shown for a purpose
that is given, when policy allows it (`gateway/access/decision`), and only after the reading itself is on record.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli import opening, places, replay, screen
from gateway.core.errors import EvidenceFault
from gateway.core.evidence import checkpoint, merkle
from gateway.core.evidence.leaf import Leaf
from gateway.core.evidence.note import Verifier
from gateway.core.policy.decision import Effect
from gateway.core.types import Document, Json, SessionId
from gateway.pdp import loader
from gateway.store import keys as keystore
from gateway.store.reader import Reader, Session


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate sessions` and its verbs."""
    noun = commands.add_parser("sessions", help="list sessions, replay one")
    verbs = noun.add_subparsers(title="verbs", metavar="VERB", required=True)

    command = verbs.add_parser("list", help="all sessions, newest first")
    places.add_store(command)
    places.add_format(command)
    command.set_defaults(run=_list)

    text = "Replay a session: what is free of PHI, and with --purpose the bodies too, which goes on record first."
    command = verbs.add_parser("show", help="replay one session", description=text)
    command.add_argument("session", metavar="ID", help="a session's id, or enough of its beginning or end")
    command.add_argument("--purpose", metavar="TEXT", help="why you need to read PHI; goes on record before you do")
    command.add_argument("--full", action="store_true", help="show bodies whole")
    places.add_store(command)
    command.add_argument("--keys", type=Path, metavar="DIR", help="keys directory; default: the configuration's")
    command.add_argument("--bundle", type=Path, metavar="PATH", help="policy; default: the configuration's")
    places.add_format(command)
    command.set_defaults(run=_show)


def _list(arguments: argparse.Namespace) -> int:
    with Reader.open(places.store(arguments)) as reader:
        rows = [(session, reader.leaf(session.opened).members) for session in reader.sessions()]
    if arguments.format == "json":
        _write_json([_session_document(session, members) for session, members in rows])
        return 0
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("session", "last heard of (UTC)", "who", "upstream", "exchanges", "state"):
        table.add_column(title, no_wrap=True, justify="right" if title == "exchanges" else "left")
    for session, members in rows:
        state = Text("open", style="green") if session.closed is None else Text("closed", style="dim")
        who, upstream = (Text(places.plain(str(members.get(name, "")))) for name in ("actor", "upstream"))
        short, when = Text(session.id[-12:], "cyan"), screen.minute(session.last)
        table.add_row(short, when, who[:8], upstream, str(session.exchanges), state)
    screen.console().print(table if rows else Text("No sessions yet: a client's first request begins one."))
    if rows and sys.stdout.isatty():  # A program that reads the table finds nothing else in it.
        print(f"\nTo replay one: phigate sessions show {rows[0][0].id[-12:]}{places.again(arguments)}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    path = places.store(arguments)
    with Reader.open(path) as reader:
        session = _find(reader, arguments.session)
    if arguments.purpose is None:
        with Reader.open(path) as reader:
            _print(reader, session, arguments, None, _verifier(arguments))
        return 0
    keys = keystore.load(places.keys(arguments))
    bundle = loader.read(places.bundle(arguments))
    decided = trio.run(opening.ask, path, keys, session, arguments.purpose, bundle)
    if decided.decision.effect is not Effect.ALLOW:
        why = "; ".join(reason.message.rstrip(".") for reason in decided.decision.reasons) or "no policy allows it"
        raise EvidenceFault(f"Policy does not let you read this session's bodies: {why}. The attempt is on record.")
    with Reader.open(path, keys) as reader:
        _print(reader, session, arguments, reader.body, keys.signer.verifier)
    return 0


def _find(reader: Reader, given: str) -> SessionId:
    """The one session that `given` begins or ends. Raises EvidenceFault when there is none, or more than one."""
    found = [session.id for session in reader.sessions() if session.id.startswith(given) or session.id.endswith(given)]
    if len(found) == 1:
        return found[0]
    what = "No session has" if not found else f"{len(found)} sessions have"
    raise EvidenceFault(f"{what} an id that begins or ends with {given!r}. `phigate sessions list` shows them all.")


def _verifier(arguments: argparse.Namespace) -> Verifier | None:
    """The log's public key, if it is at hand: without it leaves are shown, but not as proven."""
    if arguments.keys is None and not arguments.config.exists():
        return None
    return keystore.load_verifier(places.keys(arguments))


def _print(
    reader: Reader,
    session: SessionId,
    arguments: argparse.Namespace,
    opened: replay.Open | None,
    verifier: Verifier | None,
) -> None:
    leaves = _leaves(reader, session)
    signed = 0 if verifier is None else _signed(reader, verifier)
    if arguments.format == "json":
        _write_json([_leaf_document(leaf, opened, proven=leaf.index < signed) for leaf in leaves])
        return
    console = Console()
    badge, legend = _badge(reader, signed, known=verifier is not None)
    console.print(replay.session(leaves, badge=badge, opened=opened, full=arguments.full))
    console.print(legend)
    if opened is None:
        text = (
            "What was asked and returned is sealed. To read it, say why: --purpose TEXT (recorded before you see it)."
        )
        console.print(Text(text, style="dim"))


def _leaves(reader: Reader, session: SessionId) -> Sequence[Leaf]:
    """A session's leaves, with what reviewers said about its approvals, in the log's order."""
    own = reader.session_leaves(session)
    approvals = frozenset(leaf.approval for leaf in own if leaf.approval is not None)
    return sorted(
        {leaf.index: leaf for leaf in (*own, *reader.approval_leaves(approvals))}.values(), key=lambda leaf: leaf.index
    )


def _signed(reader: Reader, verifier: Verifier) -> int:
    """How many leaves the newest checkpoint proves: all it covers, if they make its root, and else none."""
    try:
        newest = checkpoint.verify(reader.checkpoint()[1], [verifier])
    except ValueError:
        return 0
    frontier: merkle.Frontier = ()
    for expected, (index, entry, _) in enumerate(reader.entries(0, newest.size)):
        if index != expected:
            return 0
        frontier = merkle.append(index, frontier, merkle.leaf_hash(entry))
    return newest.size if merkle.root(frontier) == newest.root else 0


def _badge(reader: Reader, signed: int, *, known: bool) -> tuple[replay.Badge, Text]:
    """The sign for each leaf, and what the signs mean."""
    if not known:
        return lambda _: Text("?", style="yellow"), Text(
            "? not checked: name the log's key with --keys", style="yellow"
        )
    if not signed and reader.size():
        text = "✘ the leaves are not what was signed: run `phigate evidence verify`"
        return lambda _: Text("✘", style="bold red"), Text(text, style="bold red")
    legend = Text(f"✔ proven: in the log of {signed} leaves that the newest checkpoint signs", style="green")
    if signed < reader.size():
        legend.append("   · not signed yet", style="yellow")
    return lambda leaf: Text("✔", style="green") if leaf.index < signed else Text("·", style="yellow"), legend


def _session_document(session: Session, members: Document) -> dict[str, object]:
    return {
        "id": session.id,
        "opened": session.opened,
        "last": session.last,
        "leaves": session.leaves,
        "exchanges": session.exchanges,
        "closed": session.closed,
        "members": members,
    }


def _leaf_document(leaf: Leaf, opened: replay.Open | None, *, proven: bool) -> dict[str, object]:
    document: dict[str, object] = {"proven": proven, "leaf": orjson.Fragment(leaf.entry)}
    if opened is not None:
        document["bodies"] = {ref.name: _body_document(ref.name, opened(leaf, ref.name)) for ref in leaf.bodies}
    return document


def _body_document(name: str, data: bytes) -> Json:
    if name == "messages":
        return [_body_document("message", line) for line in data.split(b"\n")]
    try:
        value: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data.decode("utf-8", "replace")
    return value


def _write_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
