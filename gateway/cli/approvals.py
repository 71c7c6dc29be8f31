"""`phigate approvals`: reviewing from a terminal, through the API of a gateway that runs.

The token is the reviewer's own. It is read from a file or from the environment, because what stands on a command line
can be read by everybody on the machine; `--token` is there for a quick try.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import cast
from urllib.parse import quote, urlsplit

import httpx2
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gateway.cli import places, screen
from gateway.core.errors import GatewayError
from gateway.core.policy.approval import State
from gateway.core.types import Document, Json

DEFAULT_SERVER = "http://127.0.0.1:8080"
TOKEN = "PHIGATE_TOKEN"
DEADLINE_S = 15.0

_COLOURS = {"pending": "yellow", "granted": "green", "spent": "green", "refused": "red"}
_LIVE = (State.PENDING.value, State.GRANTED.value)
_DONE = {"grant": "granted", "refuse": "refused"}


class _Told(GatewayError):
    """The gateway answered with an error. `no`: it understood and the answer is no."""

    def __init__(self, detail: str, *, no: bool = False) -> None:
        super().__init__(detail)
        self.no = no


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate approvals` and its verbs."""
    noun = commands.add_parser("approvals", help="list, show, grant or refuse what waits for a person")
    verbs = noun.add_subparsers(title="verbs", metavar="VERB", required=True)

    command = verbs.add_parser("list", help="the approvals that you may see, newest first")
    states = [state.value for state in State]
    command.add_argument("--state", choices=[*states, "all"], default=State.PENDING.value, help="default: pending")
    _add_server(command)
    command.set_defaults(run=_list)

    command = verbs.add_parser("show", help="one approval: exactly what will run, who asks, and why")
    command.add_argument("approval", metavar="ID", help="the approval, as the held call names it")
    _add_server(command)
    command.set_defaults(run=_show)

    for verb, text in (("grant", "let this one call run, once"), ("refuse", "keep this call from running")):
        command = verbs.add_parser(verb, help=text)
        command.add_argument("approval", metavar="ID", help="the approval, as the held call names it")
        command.add_argument("--reason", default="", metavar="TEXT", help="why; goes on record, sealed")
        _add_server(command)
        command.set_defaults(run=_resolve, verb=verb)


def _add_server(command: argparse.ArgumentParser) -> None:
    command.add_argument("--server", default=DEFAULT_SERVER, metavar="URL", help=f"default: {DEFAULT_SERVER}")
    token = command.add_mutually_exclusive_group()
    token.add_argument("--token-file", type=Path, metavar="FILE", help=f"your access token; default: ${TOKEN}")
    token.add_argument("--token", metavar="TOKEN", help="your access token; others on this machine can see it")
    places.add_format(command)


def _list(arguments: argparse.Namespace) -> int:
    query = "" if arguments.state == "all" else f"?state={arguments.state}"
    answer = _ask(arguments, "GET", query)
    found = cast(list[Document], answer["approvals"])
    changed = cast(list[Document], answer.get("changed_tools", []))
    if arguments.format == "json":
        _write_json(found)
        return 0
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("approval", "state", "who asks", "for", "granted", "until"):
        table.add_column(title, no_wrap=title in ("approval", "state", "until"), overflow="fold")
    for each in found:
        table.add_row(
            Text(_text(each["id"]), "cyan"),
            _state(each),
            _text(_of(each, "requester")["sub"]),
            Text(f"{_text(each['tool'] or each['method'])} on {_text(each['upstream'])}"),
            f"{each['grants']} of {each['quorum']}",
            _time(each["expires"], "%m-%d %H:%M %Z") if each["state"] in _LIVE else "",
        )
    drawn = screen.console()
    none = "Nothing waits" if arguments.state == State.PENDING.value else "There is nothing"
    drawn.print(table if found else Text(f"{none} that is yours to see."))
    for each in changed:
        name = f"{_text(each['upstream'])} {_text(each['tool'])}"
        drawn.print(Text(f"A tool changed and is hidden until it is accepted: phigate tools show {name}", "yellow"))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    found = _ask(arguments, "GET", f"/{quote(arguments.approval, safe='')}")
    if arguments.format == "json":
        _write_json(found)
        return 0
    console = screen.console()
    requester = _of(found, "requester")
    console.print(Text.assemble((_text(found["id"]), "bold cyan"), "  ", _state(found)))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    facts.add_row("who asks", Text(f"{_text(requester['sub'])} through {_text(requester['client'])}"))
    facts.add_row("for", Text(f"{_text(found['tool'] or found['method'])} on {_text(found['upstream'])}"))
    facts.add_row("policy says", Text(_reasons(found)))
    facts.add_row("granted", Text(f"{found['grants']} of {found['quorum']}, by {', '.join(_texts(found['groups']))}"))
    if found["state"] in _LIVE:
        facts.add_row("until", _time(found["expires"]))
    if found.get("justification"):
        facts.add_row("their reason", Text(_text(found["justification"])))
    facts.add_row("page", Text(_text(found["url"])))
    console.print(facts)
    _print_call(console, found)
    for vote in cast(list[Document], found.get("votes", [])):
        said = f"{_text(_of(vote, 'reviewer')['sub'])}: {_text(vote['verdict'])}  {_text(vote['reason'])}".rstrip()
        console.print(Text(said, "green" if vote["verdict"] == "grant" else "red"))
    if found["state"] == State.PENDING.value and "arguments" in found:
        server = "" if arguments.server == DEFAULT_SERVER else f" --server {arguments.server}"
        print(f"\nTo answer: phigate approvals grant {_text(found['id'])}{server} --reason …, or refuse")
    return 0


def _print_call(console: Console, found: Document) -> None:
    """Exactly what will run, or that it is not for this reader."""
    if "arguments" not in found:
        console.print(Text("\nThe arguments are sealed: whoever may review this approval sees them.", "dim"))
        return
    console.print(Text("\nexactly what will run", "bold"))
    for title in ("arguments", "params", "meta"):
        values = found[title]
        members = values.items() if isinstance(values, dict) else [(title, values)]
        for name, value in members:
            console.print(Text(f"  {_text(name)}", "dim"))
            text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
            console.print(Padding(Text(_text(text)), (0, 0, 0, 4), expand=False))


def _resolve(arguments: argparse.Namespace) -> int:
    path = f"/{quote(arguments.approval, safe='')}/{arguments.verb}"
    try:
        found = _ask(arguments, "POST", path, {"reason": arguments.reason})
    except _Told as told:
        if not told.no:
            raise
        print(f"phigate: {told.detail}", file=sys.stderr)
        return 1
    if arguments.format == "json":
        _write_json(found)
    else:
        print(_outcome(arguments.verb, found))
    return 0 if found["state"] in (_DONE[arguments.verb], State.PENDING.value) else 1


def _outcome(verb: str, found: Document) -> str:
    """What the reviewer's word has led to, in a sentence."""
    name = _text(found["id"])
    if found["state"] == State.PENDING.value:
        return f"Your grant is on record: {found['grants']} of {found['quorum']}. {name} waits for others."
    if found["state"] != _DONE[verb]:
        return f"{name} was not {_DONE[verb]}: it is {_text(found['state'])} ({_text(found['why'])})."
    return {
        "grant": f"Granted. {name} releases this one call, once, until {_time(found['expires'])}.",
        "refuse": f"Refused. {name} will not run.",
    }[verb]


def _ask(arguments: argparse.Namespace, method: str, path: str, body: Document | None = None) -> Document:
    """The API's answer. Raises GatewayError with what to do when there is none, or when it is no."""
    server = _server(arguments.server)
    headers = {"Authorization": f"Bearer {_token(arguments)}"}
    try:
        with httpx2.Client(timeout=DEADLINE_S, follow_redirects=False) as client:
            response = client.request(method, f"{server}/api/approvals{path}", headers=headers, json=body)
    except httpx2.HTTPError as error:
        raise GatewayError(
            f"The gateway at {server} cannot be reached ({type(error).__name__}). Is it running? Name it with --server."
        ) from None
    try:
        document: Json = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise GatewayError(f"What answers at {server} is no phigate (HTTP {response.status_code}). Check --server.")
    if response.status_code == 200:
        return document
    error_of = document.get("error")
    told = _text(error_of["message"]) if isinstance(error_of, dict) else f"HTTP {response.status_code}"
    if response.status_code == 401:
        told += f" Give your own access token with --token-file or ${TOKEN}."
    raise _Told(told, no=response.status_code in (403, 409, 422))


def _server(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise GatewayError("--server is the gateway's own address, as in https://gateway.example")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise GatewayError("A token is not sent in the clear: use https:// with --server, or ask on that machine.")
    return text.rstrip("/")


def _token(arguments: argparse.Namespace) -> str:
    if arguments.token_file is not None:
        try:
            token = arguments.token_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise GatewayError(f"{arguments.token_file} cannot be read ({type(error).__name__}).") from None
    else:
        token = arguments.token or os.environ.get(TOKEN, "")
    token = str(token).strip().removeprefix("Bearer ").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise GatewayError(f"There is no access token. Give yours with --token-file FILE, or in ${TOKEN}.")
    return token


def _state(found: Document) -> Text:
    state = _text(found["state"])
    return Text(state, _COLOURS.get(state, "dim"))


def _reasons(found: Document) -> str:
    return "; ".join(_text(reason["message"]) for reason in cast(list[Document], found["reasons"]))


def _time(value: Json, form: str = "%Y-%m-%d %H:%M:%S %Z") -> str:
    """A time in the reader's own zone, which it names."""
    return datetime.fromisoformat(_text(value)).astimezone().strftime(form)


def _of(document: Document, key: str) -> Document:
    return cast(Document, document[key])


def _text(value: Json) -> str:
    """Text from the gateway, which has it from clients, without what a terminal would obey."""
    return places.plain(str(value))


def _texts(value: Json) -> list[str]:
    return [_text(each) for each in cast(list[Json], value)]


def _write_json(value: object) -> None:
    print(json.dumps(value, indent=2, sort_keys=True))
