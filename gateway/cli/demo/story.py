"""The demo's story: one agent, five calls, and what is left of them for an auditor.

Each step is made by the official MCP client or by a `phigate` command that the reader could type, is shown as it is,
and is checked: a story that goes differently than told ends the demo with a fault.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import trio
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from gateway.cli.demo import population
from gateway.cli.demo.parts import POLL_S, DemoFault, Place
from gateway.cli.demo.screen import Screen
from gateway.core.evidence.leaf import Leaf
from gateway.core.evidence.record import LeafType
from gateway.core.protocol.versions import LATEST_MODERN
from gateway.core.types import LeafIndex
from gateway.store.reader import Reader

VISITS = "SELECT department, count(*) AS visits FROM encounters GROUP BY department"
BULK = "SELECT mrn, family, birth_date, zip, allergies FROM patients"
SCHEMA_CHANGE = "DROP TABLE claims"
REFUSAL = "phigate/refusal"
_WAITING = re.compile(r"waiting for approval (\S+)")
_COMMAND_S = 60.0
_SIGNED_S = 15.0


@dataclass(slots=True)
class Story:
    """What the steps share. URLs without a trailing slash."""

    place: Place
    screen: Screen
    clinic: str
    issuer: str
    gateway: str
    interactive: bool
    _told: int = 0
    """Leaves of the evidence log that earlier steps made."""

    async def tell(self) -> None:
        """All of it, in order. Raises DemoFault where it differs from what is told."""
        for who in ("agent", "officer"):
            self.place.token(who).write_text(await self._token(who))
            self.place.token(who).chmod(0o600)
        await self._until("the log is signed", _signed)
        self.place.checkpoint.write_text(await self._phigate("evidence", "checkpoint", "-c", str(self.place.config)))
        async with self._agent(self.place.token("agent").read_text()) as agent:
            await self._allowed(agent)
            await self._masked(agent)
            await self._held(agent)
            await self._refused(agent)
        await self._expired()
        await self._verified()
        await self._tampered()
        await self._next()

    async def _allowed(self, agent: Client) -> None:
        self.screen.heading("A read that policy allows")
        tools = [tool.name for tool in (await agent.list_tools()).tools]
        expect("run_sql" in tools and "read_patient" in tools, "the agent sees the clinic's tools", tools)
        self._recorded()
        self.screen.asks("agent", "run_sql", VISITS)
        result = await agent.call_tool("run_sql", {"sql": VISITS})
        rows = _structured(result)["rows"]
        expect(len(rows) == 6 and all(set(row) == {"department", "visits"} for row in rows), "six departments", result)
        self._decided("allowed", "counts by department name nobody, so nothing was masked", "green")
        self.screen.rows(rows, show=2)

    async def _masked(self, agent: Client) -> None:
        mrn = str(population.generate().tables["patients"][0][1])
        self.screen.heading("A read whose PHI comes back masked")
        self.screen.asks("agent", "read_patient", mrn)
        async with Client(f"{self.clinic}/mcp") as direct:
            held = _brief(_structured(await direct.call_tool("read_patient", {"mrn": mrn})))
        result = await agent.call_tool("read_patient", {"mrn": mrn})
        given = _brief(_structured(result))
        expect(held["patient"]["sex"] == given["patient"]["sex"], "what is no identifier is left as it is", result)
        shown = result.model_dump_json()
        for value in _identifiers(held["patient"]):
            expect(value not in shown, "no identifier of the patient comes through", result)
        self._decided("allowed, masked", "analysts see no identifiers (Safe Harbor, 45 CFR 164.514(b))", "green")
        self.screen.gap()
        self.screen.beside(("what the clinic answered", held), ("what the agent was given", given))

    async def _held(self, agent: Client) -> None:
        self.screen.heading("A bulk read, held until a person grants it")
        self.screen.asks("agent", "run_sql", BULK)
        async with trio.open_nursery() as nursery:
            asked, waiting = trio.open_memory_channel[str](100)
            answered: list[CallToolResult] = []
            nursery.start_soon(self._until_answered, agent, asked, answered)
            async with waiting:
                approval = await waiting.receive()
                await self._reviewed(approval)
                async for _ in waiting:
                    pass
        if self.interactive and (refusal := _refusal(answered[0])):
            self._decided("not granted", "so it never ran. The model is told why:", "red")
            self.screen.json(refusal)
            return
        rows = _structured(answered[0])["rows"]
        expect(len(rows) == population.PATIENTS, "the granted call returns every patient", answered[0])
        family = str(population.generate().tables["patients"][0][3])
        expect(family not in answered[0].model_dump_json(), "the granted rows are masked", answered[0])
        self._decided("granted", "the call that waited ran, once, and its result is masked all the same", "green")
        self.screen.rows(rows, show=2)

    async def _until_answered(
        self, agent: Client, asked: trio.MemorySendChannel[str], answered: list[CallToolResult]
    ) -> None:
        """Call, and call again for as long as the gateway says that reviewers have not answered."""

        async def told(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001 - as MCP calls it
            if found := _WAITING.fullmatch(message or ""):
                asked.send_nowait(found[1])

        async with asked:
            result = await agent.call_tool("run_sql", {"sql": BULK}, progress_callback=told)
            while _refusal(result).get("code") == "approval_pending":
                result = await agent.call_tool("run_sql", {"sql": BULK}, progress_callback=told)
            answered.append(result)

    async def _reviewed(self, approval: str) -> None:
        server = ["--server", self.gateway, "--token-file", str(self.place.token("officer"))]
        seen = json.loads(await self._phigate("approvals", "show", approval, *server, "--format", "json"))
        reasons = "; ".join(reason["message"] for reason in seen["reasons"])
        self.screen.verdict("held", reasons, "yellow")
        self.screen.gap()
        self.screen.say("The call is paused, and its progress says so. A privacy officer sees what would run here:")
        self.screen.output(seen["url"])
        self.screen.say("and grant it there, or with this command:")
        grant = ["approvals", "grant", approval, *server, "--reason", "Quarterly allergy review"]
        self.screen.command(self._typed(*grant))
        if self.interactive:
            self.screen.say("This demo is interactive: it goes on when you have run it.")
            return
        self.screen.say("Morgan, who is not the one who asked, runs it:")
        self.screen.output(await self._phigate(*grant))
        self.screen.gap()

    async def _refused(self, agent: Client) -> None:
        self.screen.heading("A schema change, refused")
        self.screen.asks("agent", "run_sql", SCHEMA_CHANGE)
        result = await agent.call_tool("run_sql", {"sql": SCHEMA_CHANGE})
        refusal = _refusal(result)
        expect(result.is_error is True and refusal.get("code") == "refused", "DROP TABLE is refused", result)
        self._decided("refused", "the clinic never saw it. The model is told why, and can do better:", "red")
        self.screen.json(refusal)

    async def _expired(self) -> None:
        self.screen.heading("A call with an expired token")
        self.screen.asks("agent", "run_sql", VISITS)
        answers: list[httpx2.Response] = []
        token = await self._token("agent", lifetime_s=-3600)
        refused = False
        try:
            async with self._agent(token, answers, mode=LATEST_MODERN) as agent:
                await agent.call_tool("run_sql", {"sql": VISITS})
        except* (MCPError, httpx2.HTTPError):
            refused = True
        expect(refused and bool(answers) and answers[-1].status_code == 401, "an expired token is refused", answers)
        challenge = answers[-1].headers["www-authenticate"]
        expect("resource_metadata=" in challenge, "the challenge says where to get a token", challenge)
        await self._until("the failed login is on record", lambda log: _last(log).type is LeafType.LOGIN_FAILED)
        self._decided("401", "no principal, so there is nothing to decide. The challenge says where to go:", "red")
        self.screen.output(f"WWW-Authenticate: {challenge}")

    async def _verified(self) -> None:
        self.screen.heading("The evidence, verified")
        self.screen.say("An auditor kept the log's signed head from before the first call: this log must extend it.")
        verify = ["evidence", "verify", "-c", str(self.place.config), "--checkpoint", str(self.place.checkpoint)]
        await self._until("the log is signed", _signed)
        self.screen.command(self._typed(*verify))
        self.screen.output(await self._phigate(*verify))

    async def _tampered(self) -> None:
        self.screen.heading("The same evidence with one bit changed")
        copy = self.place.root / "tampered.db"
        self.place.copy_store(copy)
        with Reader.open(copy) as reader:
            leaf = next(leaf for leaf in reader.leaves() if leaf.type is LeafType.EXCHANGE_REFUSED)
        offset, before, after = flip(copy, leaf.entry, b"deny")
        self.screen.say(
            f"Somebody who may write to the disk wants to unmake the refusal in leaf {leaf.index}. In a copy of the "
            f"database, byte {offset} goes from {before!r} to {after!r}, and deny is deny no more:"
        )
        verify = ["evidence", "verify", "-c", str(self.place.config), "--store", str(copy)]
        verify += ["--checkpoint", str(self.place.checkpoint)]
        self.screen.command(self._typed(*verify))
        said = await self._phigate(*verify, code=1)
        self.screen.output(said)

    async def _next(self) -> None:
        self.screen.heading("Three commands to try next")
        with Reader.open(self.place.store) as log:
            session = log.sessions()[-1].id
        show = ["sessions", "show", session[-12:], "-c", str(self.place.config), "--purpose", "Trying phigate"]
        self.screen.say("Replay what the agent did: what was asked, what policy was told and said, what was returned.")
        self.screen.command(self._typed(*show))
        self.screen.say("Decide every recorded call again. Each decision must come out the same, byte for byte.")
        self.screen.command(self._typed("policy", "replay", "-c", str(self.place.config)))
        self.screen.say("Put phigate in front of your own MCP server.")
        self.screen.command(self._typed("init", "my-gateway"))

    def _decided(self, effect: str, why: str, style: str) -> None:
        """Show what became of the call, and where that stands in the evidence."""
        self.screen.verdict(effect, why, style)
        self.screen.record(self._recorded())

    def _recorded(self) -> str:
        """The leaves that this step has made."""
        with Reader.open(self.place.store) as log:
            leaves = list(log.leaves(self._told))
            self._told = log.size()
        expect(bool(leaves), "the step is on record", leaves)
        return " · ".join(f"leaf\u00a0{leaf.index} {_named(leaf)}" for leaf in leaves)

    async def _until(self, what: str, true: Callable[[Reader], bool]) -> None:
        """Wait for what the gateway does on its own within a second."""
        with trio.move_on_after(_SIGNED_S):
            while True:
                with Reader.open(self.place.store) as log:  # Opened anew: a reader sees the log of one moment.
                    if true(log):
                        return
                await trio.sleep(POLL_S)
        expect(False, what, f"not within {_SIGNED_S:.0f} s")

    @asynccontextmanager
    async def _agent(
        self, token: str, answers: list[httpx2.Response] | None = None, *, mode: str = "auto"
    ) -> AsyncIterator[Client]:
        """The official MCP client, with a token, connected to the clinic through the gateway."""

        async def note(response: httpx2.Response) -> None:
            if answers is not None:
                answers.append(response)

        headers = {"authorization": f"Bearer {token}"}
        timeout = httpx2.Timeout(30.0, read=300.0)
        async with httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks={"response": [note]}) as http:
            transport = streamable_http_client(f"{self.gateway}/mcp/clinic", http_client=http)
            async with Client(transport, mode=mode) as client:
                yield client

    async def _token(self, who: str, lifetime_s: int = 3600) -> str:
        async with httpx2.AsyncClient() as http:
            answer = await http.post(f"{self.issuer}/token", data={"who": who, "lifetime_s": str(lifetime_s)})
        return answer.raise_for_status().text

    async def _phigate(self, *arguments: str, code: int = 0) -> str:
        """What a `phigate` command prints. Raises DemoFault when it does not end with `code`."""
        command = [sys.executable, "-m", "gateway", *arguments]
        with trio.fail_after(_COMMAND_S):
            environment = {**os.environ, "COLUMNS": str(self.screen.room)}
            done = await trio.run_process(
                command, capture_stdout=True, capture_stderr=True, check=False, env=environment
            )
        output = done.stdout.decode() + done.stderr.decode()
        expect(done.returncode == code, f"`{self._typed(*arguments)}` ends with exit code {code}", output)
        return output

    def _typed(self, *arguments: str) -> str:
        """A `phigate` command as the reader would type it."""
        words = [f'"{word}"' if " " in word else word for word in arguments]
        return " ".join([program(), *words])


def program() -> str:
    """How this machine calls `phigate`: by name if the shell finds it, else by its path."""
    if shutil.which("phigate"):
        return "phigate"
    path = Path(sys.prefix, "bin", "phigate")
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def flip(path: Path, entry: bytes, word: bytes) -> tuple[int, str, str]:
    """Flip one bit of `word` in the `entry` that a file holds: the offset, and the letter that stood and now stands."""
    data = bytearray(path.read_bytes())
    offset = data.find(entry) + entry.find(word)
    expect(data.count(entry) == 1 and word in entry, f"one entry with {word.decode()} in {path}", data.count(entry))
    before = chr(data[offset])
    data[offset] ^= 1
    path.write_bytes(data)
    return offset, before, chr(data[offset])


def expect(true: bool, what: str, instead: object) -> None:
    """Hold the story to what it tells."""
    if not true:
        raise DemoFault(f"This differs from the story. Expected: {what}. Instead:\n{instead}")


def _structured(result: CallToolResult) -> dict[str, Any]:
    expect(
        not result.is_error and isinstance(result.structured_content, dict), "a result with structured content", result
    )
    return dict(result.structured_content or {})


def _last(log: Reader) -> Leaf:
    return log.leaf(LeafIndex(log.size() - 1))


def _signed(log: Reader) -> bool:
    return next(log.checkpoints(), None) is not None and log.checkpoint()[0] == log.size()


def _named(leaf: Leaf) -> str:
    said = leaf.members.get("status") or leaf.members.get("state") or leaf.members.get("effect")
    return f"{leaf.type.value.removeprefix('exchange.')}" + (f"\u00a0({said})" if said else "")


def _refusal(result: CallToolResult) -> dict[str, Any]:
    return dict((result.meta or {}).get(REFUSAL, {}))


def _brief(record: dict[str, Any]) -> dict[str, Any]:
    """As much of a patient's record as fits beside another."""
    patient = {key: value for key, value in record["patient"].items() if key != "id"}
    return {"patient": patient, "last note": record["notes"][0]["text"]}


def _identifiers(patient: dict[str, Any]) -> list[str]:
    return [str(patient[key]) for key in ("mrn", "given", "family", "birth_date", "ssn", "phone", "email", "street")]
