"""`phigate tools`: what upstreams say their tools do, what changed of it, and accepting a change.

Definitions come from upstreams, so they are shown and never obeyed: signs that a terminal would act on, or that nobody
can see, are shown as a mark.
"""

from __future__ import annotations

import argparse
import sys

import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli import operator, places, screen
from gateway.core.errors import EvidenceFault
from gateway.store import keys as keystore
from gateway.store import tools
from gateway.store.keys import Keys
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from gateway.store.tools import Known

_PIN_LEAST = 8
"""Digits of a pin that must be given: nobody hits on the pin of another definition by so many."""
_SHOWN = 12


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate tools` and its verbs."""
    noun = commands.add_parser("tools", help="the tools of upstreams: what changed, and accepting it")
    verbs = noun.add_subparsers(title="verbs", metavar="VERB", required=True)

    command = verbs.add_parser("list", help="every tool with its pin; those that changed first")
    command.add_argument("--upstream", metavar="NAME", help="only the tools of this upstream")
    command.add_argument("--changed", action="store_true", help="only those that changed")
    places.add_store(command)
    places.add_format(command)
    command.set_defaults(run=_list)

    command = verbs.add_parser("show", help="a tool's definition, or what changed of it")
    _add_tool(command)
    places.add_store(command)
    places.add_format(command)
    command.set_defaults(run=_show)

    text = "Take the newest definition of a tool for its own. Look at it first: `phigate tools show`."
    command = verbs.add_parser("accept", help="accept a changed definition", description=text)
    _add_tool(command)
    command.add_argument(
        "--pin", required=True, metavar="PIN", help="the new pin, as `show` has it: what you looked at"
    )
    command.add_argument("--reason", required=True, metavar="TEXT", help="why; goes on record, sealed")
    operator.add_options(command)
    command.set_defaults(run=_accept)


def _add_tool(command: argparse.ArgumentParser) -> None:
    command.add_argument("upstream", metavar="UPSTREAM", help="the upstream's name")
    command.add_argument("tool", metavar="TOOL", help="the tool's name")


def _list(arguments: argparse.Namespace) -> int:
    known = sorted(_known(arguments, arguments.upstream), key=lambda each: not each.newest.changed)
    if arguments.changed:
        known = [each for each in known if each.newest.changed]
    if arguments.format == "json":
        operator.write_json([_document(each, whole=False) for each in known])
        return 0
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("upstream", "tool", "pin", "accepted", "state (UTC)"):
        table.add_column(title, overflow="fold", no_wrap=title in ("pin", "accepted"))
    for each in known:
        changed = each.newest.changed
        table.add_row(
            Text(places.plain(each.upstream)),
            Text(places.plain(each.newest.name), "cyan"),
            each.newest.pin[:_SHOWN],
            screen.minute(each.since)[:10],
            Text(f"changed {screen.minute(each.seen)}", "bold yellow") if changed else Text("as accepted", "green"),
        )
    screen.console().print(table if known else Text("No such tool is known: no client has listed any yet."))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    each = _one(arguments)
    if arguments.format == "json":
        operator.write_json(_document(each, whole=True))
        return 0
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text.assemble((places.plain(each.newest.name), "bold cyan"), f" of {places.plain(each.upstream)}"))
    console.print(Text(f"accepted {each.accepted}  {each.since[:19]}Z", "dim"))
    if not each.newest.changed:
        for line in tools.lines(each.newest.definition, places.plain):
            console.print(Text(line))
        return 0
    console.print(Text(f"newest   {each.newest.pin}  {each.seen[:19]}Z\n", "bold yellow"))
    for line in tools.difference(each, places.plain):
        console.print(Text(line, {"+": "green", "-": "red", "@": "dim"}.get(line[0], "")))
    command = f"phigate tools accept {each.upstream} {each.newest.name} --pin {each.newest.pin[:_SHOWN]} --reason …"
    console.print(Text(f"\nIf this is what the tool should be: {places.plain(command)}", "dim"))
    return 0


def _accept(arguments: argparse.Namespace) -> int:
    each = _one(arguments)
    if not each.newest.changed:
        print(f"{places.plain(each.newest.name)} is defined as it was accepted. There is nothing to do.")
        return 0
    if len(arguments.pin) < _PIN_LEAST or not each.newest.pin.startswith(arguments.pin):
        print(
            f"phigate: The newest definition has the pin {each.newest.pin[:_SHOWN]}, not the one you give. "
            "Look at it again: phigate tools show",
            file=sys.stderr,
        )
        return 1
    decided = operator.ask(arguments, "tools", arguments.reason)
    if operator.refused(decided):
        return 1
    bodies = {"reason": arguments.reason.encode(), "decision": decided.event}
    keys = keystore.load(places.keys(arguments))
    if not trio.run(_record, arguments, keys, each, bodies):
        print("phigate: The upstream has come up with another definition meanwhile. Look at that one.", file=sys.stderr)
        return 1
    if arguments.format == "json":
        operator.write_json(_document(_one(arguments), whole=False))
    else:
        print(f"Accepted, and on record. {places.plain(each.newest.name)} is offered again within seconds.")
    return 0


async def _record(arguments: argparse.Namespace, keys: Keys, each: Known, bodies: dict[str, bytes]) -> bool:
    actor = keys.actor(operator.principal())
    async with EvidenceLog.open(places.store(arguments), keys, now=operator.now) as log:
        return await log.transact(lambda transaction: tools.accept(transaction, each, actor, bodies))


def _known(arguments: argparse.Namespace, upstream: str | None) -> list[Known]:
    with Reader.open(places.store(arguments)) as reader:
        reader.require_newest()
        return tools.known(reader.connection, upstream)


def _one(arguments: argparse.Namespace) -> Known:
    for each in _known(arguments, arguments.upstream):
        if each.newest.name == arguments.tool:
            return each
    raise EvidenceFault(
        f"No tool {arguments.tool} of an upstream {arguments.upstream} is known. `phigate tools list` shows all."
    )


def _document(each: Known, *, whole: bool) -> dict[str, object]:
    newest: dict[str, object] = {"pin": each.newest.pin, "seen": each.seen}
    accepted: dict[str, object] = {"pin": each.accepted, "since": each.since}
    if whole:
        newest["definition"], accepted["definition"] = each.newest.definition, each.definition
    return {
        "upstream": each.upstream,
        "tool": each.newest.name,
        "changed": each.newest.changed,
        "newest": newest,
        "accepted": accepted,
    }
