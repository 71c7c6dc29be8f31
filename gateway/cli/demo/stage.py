"""Sets the stage: writes the configuration, starts the parts, has the story told, and takes all down again."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from gateway.cli import init
from gateway.cli.demo import parts
from gateway.cli.demo.issuer import AUDIENCE, IDENTITIES
from gateway.cli.demo.loopback import ADDRESS
from gateway.cli.demo.parts import DemoFault, Place
from gateway.cli.demo.population import PATIENTS
from gateway.cli.demo.screen import Screen
from gateway.cli.demo.story import Story

CONFIG = """\
# Made by `phigate demo`. `phigate init` writes one for your own upstream, with every setting explained.
[gateway]
listen = "{address}:{port}"

[evidence]
store = "evidence.db"
keys = "keys"

[policy]
bundle = "policies"

[[issuer]]
url = "{issuer}"
audience = "{audience}"

[[upstream]]
name = "clinic"
url = "{clinic}/mcp"
sql = {{ run_sql = "sql" }}
sql_dialect = "sqlite"
"""


def play(root: Path, *, port: int, interactive: bool, keep: bool) -> None:
    """Run the demo with its files in `root`. Raises DemoFault when it cannot be run, or goes differently than told."""
    logging.disable(logging.CRITICAL)
    place = Place(root)
    with place.prepared():
        trio.run(_play, place, port or _free_port(), interactive, keep)


async def _play(place: Place, port: int, interactive: bool, keep: bool) -> None:
    screen = Screen()
    screen.title("phigate demo", "A clinic, a gateway and an AI agent, all on this machine. Every patient is invented.")
    try:
        async with _ended_by_sigterm(), AsyncExitStack() as running:
            with screen.starting("clinic", f"an MCP server over SQLite, with {PATIENTS} synthetic patients"):
                database = str(place.root / "clinic.db")
                clinic = await running.enter_async_context(parts.announced(place, "clinic", "--db", database))
            with screen.starting("issuer", "development tokens, for this machine only"):
                issuer = await running.enter_async_context(parts.announced(place, "issuer"))
            with screen.starting("gateway", f"phigate serve -c {place.config}"):
                url = _configure(place, port, clinic=clinic.url, issuer=issuer.url)
                await running.enter_async_context(parts.gateway(place, url))
            story = Story(place, screen, clinic.url, issuer.url, url, interactive)
            await story.tell()
            if keep:
                await _stay(screen, story)
    except BaseExceptionGroup as group:  # Of nurseries; the person at the terminal is told the one thing that counts.
        raise _told(group) from group


@asynccontextmanager
async def _ended_by_sigterm() -> AsyncIterator[None]:
    """What runs inside is cancelled by SIGTERM, and so takes its parts down with it as for Ctrl-C."""

    async def obey(scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(obey, nursery.cancel_scope)
        yield
        nursery.cancel_scope.cancel()


def _configure(place: Place, port: int, *, clinic: str, issuer: str) -> str:
    """Write the gateway's configuration and keys; its URL."""
    text = CONFIG.format(address=ADDRESS, port=port, issuer=issuer, audience=AUDIENCE, clinic=clinic)
    place.config.write_text(text)
    init.prepare(place.root)
    return f"http://{ADDRESS}:{port}"


async def _stay(screen: Screen, story: Story) -> None:
    """Leave everything running until Ctrl-C, and say how to take part."""
    screen.heading("Still running")
    screen.say("Point any MCP client here, with the agent's token as its bearer token. Ctrl-C ends it all.")
    screen.output(f"{story.gateway}/mcp/clinic")
    screen.say("Calls that are held wait here; sign in with Morgan's token.")
    screen.output(f"{story.gateway}/approvals")
    screen.say("The tokens:")
    for who, identity in IDENTITIES.items():
        screen.output(f"{story.place.token(who)}  {identity.about}")
    await trio.sleep_forever()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def _told(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one thing to tell the person: our own fault if one is in there, else the interruption, else all of it."""
    leaves = list(_leaves(group))
    for kind in (DemoFault, KeyboardInterrupt):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return group


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for inner in group.exceptions:
        if isinstance(inner, BaseExceptionGroup):
            yield from _leaves(inner)
        else:
            yield inner
