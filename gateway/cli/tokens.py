"""`phigate tokens`: access tokens that do not count any more although they have not expired."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime

import trio
from rich.table import Table
from rich.text import Text

from gateway import config
from gateway.cli import operator, places, screen
from gateway.config import Config
from gateway.core.errors import ConfigFault, EvidenceFault
from gateway.core.revocation import Kind, Revocation
from gateway.core.types import LeafIndex, Principal
from gateway.store import keys as keystore
from gateway.store import revocations
from gateway.store.keys import Keys
from gateway.store.reader import Reader
from gateway.store.revocations import Known
from gateway.store.sequencer import EvidenceLog
from gateway.store.stamps import timestamp
from gateway.store.transaction import Transaction


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate tokens` and its verbs."""
    noun = commands.add_parser("tokens", help="access tokens: revoking them before they expire")
    verbs = noun.add_subparsers(title="verbs", metavar="VERB", required=True)

    text = "Refuse tokens that have not expired. Every worker and replica does so within seconds."
    command = verbs.add_parser("revoke", help="refuse tokens from now on", description=text)
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--jti", metavar="ID", help="the one token with this jti (Entra ID: uti) claim")
    which.add_argument("--subject", metavar="SUB", help="the tokens of this person or agent, by its subject claim")
    which.add_argument("--all", action="store_true", help="every token of the issuer")
    command.add_argument("--issuer", metavar="URL", help="whose tokens; default: the only one that is configured")
    command.add_argument(
        "--before",
        metavar="TIME",
        help="RFC 3339: refuse those issued until then, also if that is yet to come; default: now",
    )
    command.add_argument("--reason", required=True, metavar="TEXT", help="why; goes on record, sealed")
    operator.add_options(command)
    command.set_defaults(run=_revoke)

    command = verbs.add_parser("list", help="the revocations that are in force")
    places.add_store(command)
    places.add_format(command)
    command.set_defaults(run=_list)

    command = verbs.add_parser("restore", help="take a revocation back")
    command.add_argument("leaf", type=int, metavar="LEAF", help="its leaf, as `list` has it")
    command.add_argument("--reason", required=True, metavar="TEXT", help="why; goes on record, sealed")
    operator.add_options(command)
    command.set_defaults(run=_restore)


def _revoke(arguments: argparse.Namespace) -> int:
    issuer, before = _issuer(arguments), _before(arguments.before)
    decided = operator.ask(arguments, "tokens", arguments.reason)
    if operator.refused(decided):
        return 1
    keys = keystore.load(places.keys(arguments))
    target: str = arguments.jti or arguments.subject or ""
    if arguments.jti is not None:
        said = Revocation(Kind.TOKEN, issuer, keys.token(issuer, target), before)
    elif arguments.subject is not None:
        said = Revocation(Kind.SUBJECT, issuer, keys.actor(Principal(issuer, target)), before)
    else:
        said = Revocation(Kind.ISSUER, issuer, "", before)
    bodies = {"reason": arguments.reason.encode(), "target": target.encode(), "decision": decided.event}
    by = keys.actor(operator.principal())
    leaf = trio.run(_record, arguments, keys, lambda transaction: revocations.revoke(transaction, said, by, bodies))
    if arguments.format == "json":
        operator.write_json({"leaf": leaf, **said.members()})
    else:
        print(f"Revoked, on record in leaf {leaf}, and in force everywhere within seconds.")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    known = next((each for each in _known(arguments) if each.leaf == arguments.leaf), None)
    if known is None:
        raise EvidenceFault(f"No revocation of leaf {arguments.leaf} is in force. `phigate tokens list` shows all.")
    decided = operator.ask(arguments, "tokens", arguments.reason)
    if operator.refused(decided):
        return 1
    keys = keystore.load(places.keys(arguments))
    bodies = {"reason": arguments.reason.encode(), "decision": decided.event}
    by = keys.actor(operator.principal())
    leaf = trio.run(_record, arguments, keys, lambda transaction: revocations.restore(transaction, known, by, bodies))
    if arguments.format == "json":
        operator.write_json({"leaf": leaf, "restored": known.leaf})
    else:
        print(
            f"Taken back, on record in leaf {leaf}. Those tokens count again within seconds, unless they have expired."
        )
    return 0


def _list(arguments: argparse.Namespace) -> int:
    known = _known(arguments)
    if arguments.format == "json":
        operator.write_json([{"leaf": each.leaf, "time": each.time, "by": each.by, **each.revocation.members()}
                             for each in known])  # fmt: skip
        return 0
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("leaf", "what", "issuer", "issued until (UTC)", "pseudonym"):
        table.add_column(title, overflow="fold")
    for each in known:
        said = each.revocation
        until = "" if said.kind is Kind.TOKEN else said.before[:19].replace("T", " ")
        table.add_row(str(each.leaf), said.kind.value, Text(places.plain(said.issuer), "cyan"), until, said.of)
    screen.console().print(table if known else Text("Nothing is revoked."))
    return 0


def _known(arguments: argparse.Namespace) -> list[Known]:
    with Reader.open(places.store(arguments)) as reader:
        return revocations.in_force(reader.connection)


async def _record(arguments: argparse.Namespace, keys: Keys, job: Callable[[Transaction], LeafIndex]) -> LeafIndex:
    async with EvidenceLog.open(places.store(arguments), keys, now=operator.now) as log:
        return await log.transact(job)


def _issuer(arguments: argparse.Namespace) -> str:
    """The issuer that is meant: one that is trusted, since the tokens of any other are refused anyway."""
    if arguments.issuer is not None and not arguments.config.exists():
        return str(arguments.issuer)
    made = config.load(arguments.config)
    known = _issuers(made)
    if arguments.issuer is None and len(known) == 1:
        return known[0]
    if arguments.issuer not in known:
        raise ConfigFault(f"Say which issuer's tokens you mean, exactly as configured: --issuer {' or '.join(known)}")
    return str(arguments.issuer)


def _issuers(made: Config) -> list[str]:
    """Everybody by whose name somebody can come in: providers of either kind, certificates, and ourselves."""
    ours = [] if made.authority is None else [made.gateway.public_url]
    people = [] if made.saml is None else [each.principal_issuer for each in made.saml.identity_providers]
    mtls = made.gateway.ingress.mtls
    agents = [] if mtls is None else [mtls.issuer]
    return list(dict.fromkeys([*(each.url for each in made.issuers), *ours, *people, *agents]))


def _before(text: str | None) -> str:
    if text is None:
        return timestamp(operator.now())
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ConfigFault("--before is no RFC 3339 time with its zone. For example: --before 2026-11-22T17:30:00Z")
    return timestamp(at.astimezone(UTC))
